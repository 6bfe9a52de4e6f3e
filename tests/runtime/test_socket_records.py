"""The records about sockets and authentications: who, from where, and never a token."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any

import pytest
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from django.core.exceptions import DisallowedHost, SuspiciousFileOperation
from django.utils.functional import SimpleLazyObject

from routesock import Request, RouteMixin, route
from routesock._runtime.instrumentation import client_extras, log_authentication, log_socket
from routesock.auth import HandshakeMiddleware, TokenMiddleware
from routesock.auth._login.watcher import _Outage
from routesock.testing import RouteClient
from tests.takeover.driver import Socket, until

ALICE = SimpleNamespace(pk=7, is_authenticated=True, is_active=True)
ORIGIN = (b"origin", b"https://shop.example")


class Shop(RouteMixin, AsyncJsonWebsocketConsumer):
    @route("echo")
    async def echo(self, request: Request) -> Any:
        return request.payload

    @route("odd")
    async def odd(self, request: Request) -> None:
        raise {"host": DisallowedHost, "file": SuspiciousFileOperation}[request.payload]("from\na client")

    @route("close")
    async def shut(self, request: Request) -> None:
        await self.socket.close(4403, "Closed.")


def consumer_of(**scope: Any) -> Any:
    consumer = Shop()
    consumer.scope = {"client": ("10.0.0.9", 5), "headers": [ORIGIN], **scope}
    return consumer


def lazy(value: Any) -> Any:
    made = SimpleLazyObject(lambda: value)
    assert made.pk == value.pk
    return made


class Broken:
    @property
    def pk(self) -> int:
        raise LookupError


@pytest.mark.parametrize(
    ("user", "pk"),
    [
        (ALICE, 7),
        (lazy(ALICE), 7),
        (SimpleLazyObject(pytest.fail), None),
        (SimpleNamespace(pk="a\nb"), r"a\nb"),
        (SimpleNamespace(pk=None), None),
        (Broken(), None),
        (None, None),
    ],
    ids=["user", "lazy", "not loaded", "text", "anonymous", "broken", "none"],
)
def test_the_user_is_named_by_its_pk(user: Any, pk: Any) -> None:
    """A lazy user is not loaded for the log, since that would query the database."""
    assert client_extras(consumer_of(user=user)) == {
        "routesock_consumer": "Shop",
        "routesock_user": pk,
        "routesock_client": "10.0.0.9",
    }


@pytest.mark.parametrize(("proxies", "address"), [(0, "10.0.0.9"), (1, "203.0.113.7"), (-1, "10.0.0.9")])
def test_the_address_is_that_behind_the_proxies(settings: Any, proxies: int, address: str) -> None:
    """A wrong setting does not cost the record."""
    settings.ROUTESOCK = {"NUM_PROXIES": proxies}
    consumer = consumer_of(headers=[(b"x-forwarded-for", b"203.0.113.7")])
    assert client_extras(consumer)["routesock_client"] == address


def test_an_address_is_escaped() -> None:
    assert client_extras(consumer_of(client=["\x1b[2J", 0]))["routesock_client"] == r"\x1b[2J"
    assert client_extras(consumer_of(client=None))["routesock_client"] is None


async def test_a_request_has_them_in_its_text(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "routesock")
    async with RouteClient(Shop, as_user=ALICE) as client:
        await client.call("echo", 1)
    (record,) = caplog.records
    assert record.getMessage().endswith(" ms (Shop, user 7, 127.0.0.1).")
    assert (record.routesock_user, record.routesock_client) == (7, "127.0.0.1")


def test_a_record_about_a_socket(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "routesock")
    log_socket(logging.INFO, consumer_of(user=ALICE), "Closed with %d: %s", 4401, "100% over")
    log_socket(logging.DEBUG, consumer_of(), "Not logged.")
    (record,) = caplog.records
    assert (record.name, record.getMessage()) == (
        "routesock.socket",
        "Closed with 4401: 100% over (Shop, user 7, 10.0.0.9)",
    )
    assert record.funcName == "test_a_record_about_a_socket"


@pytest.mark.parametrize(("refused", "level"), [(None, logging.INFO), ("Wrong.", logging.WARNING)])
def test_an_authentication(caplog: pytest.LogCaptureFixture, refused: str | None, level: int) -> None:
    caplog.set_level(logging.INFO, "routesock")
    log_authentication(consumer_of(user=ALICE), "header", refused)
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("routesock.auth", level)
    assert "(Shop, user 7, 10.0.0.9, origin https://shop.example, header)" in record.getMessage()
    assert (record.routesock_origin, record.routesock_source) == ("https://shop.example", "header")
    caplog.clear()
    caplog.set_level(logging.ERROR, "routesock.auth")
    log_authentication(consumer_of(), "header", refused)
    assert caplog.records == []


async def by_token(credentials: Any) -> Any:
    if credentials.token == "s3cr3t-broken":
        raise LookupError("of the authenticator")
    return ALICE if credentials.token == "s3cr3t-good" else None


def told(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    records = [record for record in caplog.records if record.name == "routesock.auth"]
    assert "s3cr3t" not in caplog.text
    return [(record.levelname, record.getMessage().partition(" (")[0]) for record in records]


GOOD = ("INFO", "Authenticated")
WRONG = ("WARNING", "Authentication refused: The token is not valid.")
FAILS = ("WARNING", "Authentication refused: An authenticator failed.")


@pytest.mark.parametrize(("token", "record"), [("good", GOOD), ("wrong", WRONG), ("broken", FAILS)])
async def test_token_middleware_logs_authentications(
    caplog: pytest.LogCaptureFixture, token: str, record: tuple[str, str]
) -> None:
    caplog.set_level(logging.INFO)
    headers = [(b"authorization", f"Bearer s3cr3t-{token}".encode()), ORIGIN]
    async with Socket(TokenMiddleware(Shop.as_asgi(), [by_token]), headers=headers) as socket:
        await until(lambda: socket.sent)
    assert told(caplog) == [record]


@pytest.mark.parametrize(("token", "record"), [("good", GOOD), ("wrong", WRONG), ("broken", FAILS)])
async def test_a_handshake_logs_authentications(
    caplog: pytest.LogCaptureFixture, token: str, record: tuple[str, str]
) -> None:
    caplog.set_level(logging.INFO)
    app = HandshakeMiddleware(Shop.as_asgi(), authenticators=[by_token])
    async with Socket(app) as socket:
        socket.json({"route": "AUTH", "uuid": 1, "payload": {"token": f"s3cr3t-{token}"}})
        await until(lambda: any(frame.get("uuid") == 1 for frame in socket.frames))
        if token == "good":
            socket.json({"route": "AUTH", "uuid": 2, "payload": {"token": "s3cr3t-wrong"}})
            await until(lambda: any(frame.get("uuid") == 2 for frame in socket.frames))
    assert told(caplog)[0] == record


@pytest.mark.parametrize(("kind", "name"), [("host", "DisallowedHost"), ("file", "SuspiciousFileOperation")])
async def test_suspicious_operations_go_to_djangos_loggers(
    caplog: pytest.LogCaptureFixture, kind: str, name: str
) -> None:
    """With the text and the traceback, so that a project's configuration for Django holds here, too."""
    async with RouteClient(Shop) as client:
        assert (await client.call("odd", kind)).status == 400
    (record,) = [record for record in caplog.records if record.name.startswith("django.")]
    assert (record.name, record.levelname) == (f"django.security.{name}", "ERROR")
    assert record.getMessage() == r"from\na client (Shop, anonymous, 127.0.0.1)"
    assert record.exc_info is not None
    assert (record.status_code, record.routesock_route) == (400, "odd")


def test_one_look_up_of_a_login_that_fails_is_no_outage(caplog: pytest.LogCaptureFixture) -> None:
    """The second failure is the alarm, and the all-clear has its level."""
    caplog.set_level(logging.INFO)
    outage = _Outage()
    outage.failed(LookupError())
    outage.over()
    assert caplog.records == []
    for _ in range(3):
        outage.failed(LookupError())
    outage.over()
    outage.over()
    assert [record.levelname for record in caplog.records] == ["ERROR", "ERROR"]
