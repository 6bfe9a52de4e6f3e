"""Requests, replies and errors as handlers and tests see them."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from http import HTTPStatus
from types import SimpleNamespace
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from django.contrib.auth.models import AnonymousUser
from django.http import Http404
from django.test import override_settings
from django.utils.functional import SimpleLazyObject, lazy
from rest_framework.exceptions import APIException

from routesock import Reply, Request, RouteMixin, RoutesockError, route
from routesock.exceptions import Conflict, Throttled, Unavailable
from routesock.testing import RouteClient
from routesock.typing import UNSET
from tests.clock import advance, shifted, simulated
from tests.takeover.driver import until


def test_a_request_made_by_hand_is_enough_for_a_handler() -> None:
    request = Request("chat.send", 1, {"text": "x"})
    assert (request.route, request.id, request.payload, request.data) == ("chat.send", 1, {"text": "x"}, {"text": "x"})
    assert (dict(request.headers), dict(request.scope)) == ({}, {})


def test_without_a_user_in_the_scope_it_is_an_anonymous_instance() -> None:
    for scope in ({}, {"user": None}, {"user": AnonymousUser}):
        consumer: Any = SimpleNamespace(scope=scope)
        user = Request("a", consumer=consumer).user
        assert isinstance(user, AnonymousUser)
        assert user.is_authenticated is False
    assert isinstance(Request("a").user, AnonymousUser)


def test_a_lazy_user_is_not_looked_up_before_it_is_asked() -> None:
    consumer: Any = SimpleNamespace(scope={"user": SimpleLazyObject(lambda: 1 / 0)})
    assert type(Request("a", consumer=consumer).user) is SimpleLazyObject


def test_what_a_client_sent_stays_out_of_the_repr() -> None:
    assert repr(Request("r" * 500, 1, "secret")) == f"<Request {'r' * 200!r} id=1>"
    assert repr(Reply("secret", status=HTTPStatus.CREATED)) == "<Reply 201>"


@pytest.mark.parametrize("status", [0, 100, 199, 206, 600, "200", None])
def test_a_reply_has_a_final_status(status: Any) -> None:
    with pytest.raises(ValueError, match="200 to 599"):
        Reply(1, status=status)


def test_replies_are_equal_by_what_they_say() -> None:
    assert Reply(1, 201, {"a": 1}) == Reply(1, 201, {"a": 1})
    assert Reply(1, 201) != Reply(1, 200)
    assert Reply(1) != 1


@pytest.mark.parametrize("status", [0, 200, 399, 600])
def test_an_error_has_the_status_of_one(status: int) -> None:
    with pytest.raises(ValueError, match="400 to 599"):
        RoutesockError(status=status)


def test_an_errors_extra_members_cannot_replace_the_standard_ones() -> None:
    problem = Conflict("Taken.", by="bob", title="x").problem()
    assert problem == {"code": "conflict", "title": "Conflict", "detail": "Taken.", "by": "bob"}


@pytest.mark.parametrize("error", [Throttled, Unavailable])
@pytest.mark.parametrize(("wait", "header"), [(None, {}), (0, 0), (0.1, 1), (1.0, 1), (1.01, 2), (-3, 0)])
def test_the_time_to_wait_is_in_whole_seconds_rounded_up(error: Any, wait: float | None, header: Any) -> None:
    assert error(wait=wait).headers == (header if wait is None else {"Retry-After": header})


def test_unset_reads_as_such() -> None:
    assert repr(UNSET) == "UNSET"


class Odd(APIException):
    status_code = 200  # no status of an error


class Faulty(RouteMixin, AsyncJsonWebsocketConsumer):
    @route("odd")
    async def odd(self, request: Request) -> None:
        raise Odd("secret")

    @route("fail")
    async def fail(self, request: Request) -> None:
        raise LookupError("the cause")

    @route("unspeakable")
    async def unspeakable(self, request: Request) -> None:
        raise Conflict(errors={"x": object()} if request.payload == "errors" else None, headers={"X": object()})

    @route("large")
    async def large(self, request: Request) -> None:
        raise Conflict("d" * 5000, errors={"x": ["e" * 5000]}, more="m" * 5000)


class Exiting:
    def __str__(self) -> str:
        raise SystemExit(3)


class Exits(RouteMixin, AsyncJsonWebsocketConsumer):
    @route("text")
    async def text(self, request: Request) -> None:
        raise Http404(lazy(lambda: str(Exiting()), str)())

    @route("extra")
    async def extra(self, request: Request) -> None:
        raise Conflict(hint=lazy(lambda: str(Exiting()), str)())


@pytest.mark.parametrize("name", ["text", "extra"])
async def test_an_error_made_of_what_exits_is_a_500_and_the_process_lives(name: str) -> None:
    async with RouteClient(Exits, raise_exceptions=False) as client:
        assert (await client.call(name)).status == 500


async def test_an_exception_that_cannot_be_told_as_an_error_is_a_500() -> None:
    async with RouteClient(Faulty, raise_exceptions=False) as client:
        reply = await client.call("odd")
        assert (reply.status, "secret" in str(reply.payload)) == (500, False)


@pytest.mark.parametrize("part", ["errors", "headers"])
async def test_an_error_that_cannot_be_spelt_is_a_500_and_the_socket_lives(part: str) -> None:
    async with RouteClient(Faulty, raise_exceptions=False) as client:
        assert (await client.call("unspeakable", part)).status == 500
        assert (await client.call("large")).status == 409


async def test_an_error_of_any_size_is_sent_in_4_kib() -> None:
    async with RouteClient(Faulty) as client:
        await client.send("large", id="r" * 128)
        frame = await client.receive()
        assert len(json.dumps(frame)) <= 4096
        assert isinstance(frame, dict)
        assert frame["payload"].keys() == {"code", "title", "detail", "errors"}


async def test_the_details_of_a_fault_are_on_the_wire_under_debug_alone() -> None:
    async with RouteClient(Faulty, raise_exceptions=False) as client:
        assert "the cause" not in str((await client.call("fail")).payload)
        with override_settings(DEBUG=True):
            problem = (await client.call("fail")).payload
        assert problem["detail"] == "LookupError: the cause"
        assert "async def fail" not in problem["title"]
        assert "Traceback" in problem["traceback"]


async def test_the_log_has_the_traceback_under_the_id_that_the_client_reads(caplog: pytest.LogCaptureFixture) -> None:
    async with RouteClient(Faulty, raise_exceptions=False) as client:
        error_id = (await client.call("fail")).payload["error_id"]
    (record,) = [record for record in caplog.records if record.name == "routesock.request"]
    assert record.levelno == logging.ERROR
    assert error_id in record.getMessage()
    assert record.__dict__["routesock_error_id"] == error_id
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], LookupError)


class Hooked(RouteMixin, AsyncJsonWebsocketConsumer):
    route_timeout = 0.15

    @route("late", hydrate="wait")
    async def late(self, request: Request) -> str:
        await asyncio.sleep(0.1)
        return "in time"

    @route("never", hydrate="wait")
    async def never(self, request: Request) -> str:
        await asyncio.sleep(30)
        return "never"

    @route("stuck", hydrate="hang")
    async def stuck(self, request: Request) -> str:
        return "never"

    async def wait(self, request: Request) -> None:
        await asyncio.sleep(0.1)

    async def hang(self, request: Request) -> None:
        await asyncio.sleep(30)


def deadlines_keep_the_loops_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test moves the clock of the running loop, and they would measure real time."""
    clock = SimpleNamespace(monotonic=asyncio.get_running_loop().time)
    for module in ("routesock._pipeline.steps", "routesock._connection.queue.jobs"):
        monkeypatch.setattr(f"{module}.time", clock)


@simulated
async def test_a_deadline_counts_from_the_handlers_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """What its hooks waited is not the handler's time; nor may they wait for ever."""
    deadlines_keep_the_loops_time(monkeypatch)
    async with RouteClient(Hooked, timeout=30) as client:
        assert (await client.call("late")).status == 200
        assert (await client.call("never")).status == 504
        assert (await client.call("stuck")).status == 504


class InThread(RouteMixin, AsyncJsonWebsocketConsumer):
    begun = threading.Event()
    go_on = threading.Event()

    @route("work", timeout=60)
    def work(self, request: Request) -> str:
        self.begun.set()
        assert self.go_on.wait(30)
        return "done"


@shifted
async def test_a_sync_handlers_deadline_does_not_count_its_wait_for_the_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    deadlines_keep_the_loops_time(monkeypatch)
    async with RouteClient(InThread, timeout=1000) as client:
        free = threading.Event()
        other = asyncio.ensure_future(sync_to_async(free.wait)(30))
        await asyncio.sleep(0)
        call = asyncio.ensure_future(client.call("work"))
        await advance(40)
        assert not InThread.begun.is_set()
        free.set()
        await until(InThread.begun.is_set)
        await advance(40)
        InThread.go_on.set()
        assert (await call).status == 200
        await other
