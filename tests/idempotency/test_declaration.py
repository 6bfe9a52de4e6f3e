"""What ``idempotent=`` accepts, where it cannot be, and what projects without it pay."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import pytest
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from django.contrib.auth.models import User

from routesock import Dialect, Idempotent, Keys, Request, RouteMixin, RouteSetupError, route
from routesock._wire.messages import NO_HEADERS
from routesock.dialects import Chanx, Dcrf, Frame, JsonRpc, Wsx
from routesock.testing import RouteClient
from tests.servers import ROOT, python_environment


async def handler(self: Any, request: Request) -> str:
    return "done"


def consumer(options: dict[str, Any] | None = None, **attributes: Any) -> Any:
    """A class with one route that has these options."""
    go = attributes.pop("go", handler)
    return type(
        "Shop",
        (RouteMixin, AsyncJsonWebsocketConsumer),
        {"go": route("go", **(options or {"idempotent": True}))(go), **attributes},
    )


@pytest.fixture(autouse=True)
def unmarked() -> None:
    """The handler gets a new mark in each test."""
    vars(handler).clear()


@pytest.mark.parametrize("value", [None, 1, 86_400, "yes", Idempotent, {"ttl": 5}], ids=repr)
def test_other_values_are_refused(value: Any) -> None:
    with pytest.raises(RouteSetupError, match="idempotent= must be"):
        route("go", idempotent=value)


@pytest.mark.parametrize("ttl", [0, -1, 0.5, 30 * 86_400 + 1, float("nan"), float("inf"), "1", None, True], ids=repr)
def test_ttl_of_other_values(ttl: Any) -> None:
    with pytest.raises(RouteSetupError, match="from 1 to 2592000"):
        Idempotent(ttl=ttl)


@pytest.mark.parametrize("required", [0, None, "yes"], ids=repr)
def test_required_of_other_values(required: Any) -> None:
    with pytest.raises(RouteSetupError, match=r"Idempotent\(required=\.\.\.\) must be True or False"):
        Idempotent(required=required)


@pytest.mark.parametrize(
    ("options", "what"),
    [({"timeout": None}, "timeout=None"), ({"cancel_on_disconnect": True}, "cancel_on_disconnect=")],
    ids=["timeout", "cancel_on_disconnect"],
)
def test_options_that_contradict_it(options: dict[str, Any], what: str) -> None:
    with pytest.raises(RouteSetupError, match=what):
        route("go", idempotent=True, **options)
    assert route("go", **options)


async def streaming(self: Any, request: Request) -> AsyncIterator[int]:
    yield 1


def sync_streaming(self: Any, request: Request) -> Any:
    yield 1


@pytest.mark.parametrize("go", [streaming, sync_streaming])
def test_streams(go: Callable[..., Any]) -> None:
    with pytest.raises(RouteSetupError, match=r"Shop\.go yields.*Remove idempotent="):
        consumer(go=go)


def test_class_without_a_deadline() -> None:
    """A route may have its own."""
    with pytest.raises(RouteSetupError, match=r"Shop\.go.*route_timeout is None"):
        consumer(route_timeout=None)
    vars(handler).clear()
    assert consumer({"idempotent": True, "timeout": 5}, route_timeout=None)


DIALECTS: Mapping[str, Any] = {
    "flat": Keys(payload=None),
    "no headers": Keys(headers=None),
    "chanx": Chanx(),
    "dcrf": Dcrf(),
    "json_rpc": JsonRpc(),
    "wsx": Wsx(),
}


@pytest.mark.parametrize("dialect", DIALECTS.values(), ids=DIALECTS.keys())
def test_dialects_without_headers(dialect: Dialect) -> None:
    """No client could send a key."""
    with pytest.raises(RouteSetupError, match=r"Shop\.go: idempotent= needs the header Idempotency-Key"):
        consumer(route_dialect=dialect)
    vars(handler).clear()
    assert consumer({"timeout": 5}, route_dialect=dialect)


class WithHeaders(Wsx):
    def read(self, value: Any) -> Frame:
        return super().read(value)._replace(headers=value.get("meta"))

    def request(self, route: str, id: Any, payload: Any, headers: Mapping[str, Any] = NO_HEADERS) -> Any:
        return {**super().request(route, id, payload), "meta": dict(headers)}


class Chosen(Wsx):
    def for_consumer(self, consumer: Any) -> Dialect:
        return Keys()


async def test_dialect_that_reads_headers_itself() -> None:
    async with RouteClient(consumer(route_dialect=WithHeaders()), as_user=User(pk=1)) as client:
        assert (await client.call("go", headers={"Idempotency-Key": "a"})).payload == "done"
        assert (await client.call("go", headers={"Idempotency-Key": ""}, payload=1)).status == 400


def test_dialect_that_is_chosen_for_each_socket() -> None:
    assert consumer(route_dialect=Chosen())


def test_projects_without_it_do_not_import_it() -> None:
    """Nor do those that have it import redis-py where the keys are in memory."""
    program = (
        "import sys, routesock\n"
        "from channels.generic.websocket import AsyncJsonWebsocketConsumer\n"
        "from routesock import RouteMixin, route\n"
        "def shop(**options):\n"
        "    async def go(self, request): ...\n"
        "    return type('Shop', (RouteMixin, AsyncJsonWebsocketConsumer), {'go': route('go', **options)(go)})\n"
        "shop()\n"
        "assert not [name for name in sys.modules if 'idempotency' in name]\n"
        "shop(idempotent=True)\n"
        "assert 'routesock._pipeline.idempotency' in sys.modules\n"
        "assert 'redis' not in sys.modules\n"
    )
    env = {**python_environment(ROOT), "DJANGO_SETTINGS_MODULE": "tests.settings"}
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, env=env, check=True)
