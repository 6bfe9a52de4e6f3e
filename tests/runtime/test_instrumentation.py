"""The log of requests: one line for each, with what a structured log needs, and nothing that a client could forge."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import pytest
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from django.core.exceptions import ImproperlyConfigured
from django.db import DataError
from django.test import override_settings
from hypothesis import assume, given
from hypothesis import strategies as st

from routesock import Keys, Reply, Request, RouteMixin, route
from routesock._routing.arguments import RESERVED
from routesock._runtime import instrumentation
from routesock.dialects import Frame
from routesock.exceptions import Conflict, Unavailable
from routesock.signals import request_finished
from routesock.testing import RouteClient
from tests.takeover.driver import until

TRACE: Final = "0af7651916cd43dd8448eb211c80319c"
TRACEPARENT: Final = f"00-{TRACE}-b7ad6b7169203331-01"
EXTRAS: Final = {
    "routesock_client",
    "routesock_consumer",
    "routesock_duration_ms",
    "routesock_error_id",
    "routesock_request_id",
    "routesock_route",
    "routesock_status",
    "routesock_trace_id",
    "routesock_user",
}
CLIENT: Final = {"routesock_consumer": "Shop", "routesock_user": None, "routesock_client": "127.0.0.1"}


def extras(record: logging.LogRecord) -> dict[str, Any]:
    return {name: value for name, value in record.__dict__.items() if name.startswith("routesock_")}


class Shop(RouteMixin, AsyncJsonWebsocketConsumer):
    route_disconnect_grace = 0

    @route("echo")
    async def echo(self, request: Request) -> Any:
        return request.payload

    @route("raise")
    async def fail(self, request: Request) -> None:
        raise {"conflict": Conflict(), "unavailable": Unavailable(), "fault": LookupError("secret")}[request.payload]

    @route("status")
    async def status(self, request: Request) -> Reply:
        return Reply(None, status=request.payload)

    @route("unspeakable")
    async def unspeakable(self, request: Request) -> object:
        return object()

    @route("slow")
    async def slow(self, request: Request) -> None:
        await asyncio.Event().wait()

    @route("late", timeout=0.01)
    async def late(self, request: Request) -> None:
        await asyncio.Event().wait()


class Rejecting(Keys):
    """A dialect that did not expect one id."""

    def read(self, value: Any) -> Frame | None:
        if value.get("uuid") == "break":
            raise RuntimeError("in the dialect")
        return super().read(value)


class Own(Shop):
    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        await self.send_json(content)


@contextmanager
def listening(level: int) -> Iterator[list[logging.LogRecord]]:
    """The records of the logger, which has this level meanwhile."""
    records: list[logging.LogRecord] = []

    class Keeping(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            records.append(record)

    logger, handler = logging.getLogger("routesock.request"), Keeping()
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(level)
    try:
        yield records
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)


@pytest.fixture
def log() -> Iterator[list[logging.LogRecord]]:
    with listening(logging.INFO) as records:
        yield records


@pytest.mark.parametrize(
    ("name", "payload", "level", "status"),
    [
        ("echo", 1, logging.INFO, 200),
        ("echo", None, logging.INFO, 204),
        ("status", 302, logging.INFO, 302),
        ("status", 418, logging.WARNING, 418),
        ("raise", "conflict", logging.WARNING, 409),
        ("raise", "unavailable", logging.WARNING, 503),
        ("late", None, logging.ERROR, 504),
    ],
)
async def test_a_request_has_one_line_whose_level_tells_how_it_ended(
    log: list[logging.LogRecord], name: str, payload: Any, level: int, status: int
) -> None:
    async with RouteClient(Shop) as client:
        await client.call(name, payload, id=7, headers={"traceparent": TRACEPARENT})
    (record,) = log
    assert record.name == "routesock.request"
    assert record.levelno == level
    assert record.getMessage().startswith(f"Route '{name}': {status} in ")
    assert record.exc_info is None
    told = extras(record)
    assert 0 <= told.pop("routesock_duration_ms") < 60_000
    assert told == {
        **CLIENT,
        "routesock_route": name,
        "routesock_request_id": 7,
        "routesock_status": status,
        "routesock_trace_id": TRACE,
        "routesock_error_id": None,
    }


@pytest.mark.parametrize(("name", "payload"), [("raise", "fault"), ("unspeakable", None)])
async def test_a_fault_has_its_traceback_for_a_line(log: list[logging.LogRecord], name: str, payload: Any) -> None:
    async with RouteClient(Shop, raise_exceptions=False) as client:
        reply = await client.call(name, payload, id="a", headers={"traceparent": TRACEPARENT})
    (record,) = log
    assert record.levelno == logging.ERROR
    assert record.exc_info is not None
    told = extras(record)
    assert 0 <= told.pop("routesock_duration_ms") < 60_000
    assert told == {
        **CLIENT,
        "routesock_route": name,
        "routesock_request_id": "a",
        "routesock_status": 500,
        "routesock_trace_id": TRACE,
        "routesock_error_id": reply.payload["error_id"],
    }


async def test_a_fault_that_only_its_own_log_knows_has_the_trace_that_the_handler_saw(
    log: list[logging.LogRecord],
) -> None:
    seen: list[str] = []

    class Tracing(RouteMixin, AsyncJsonWebsocketConsumer):
        @route("fail")
        async def fail(self, request: Request) -> None:
            seen.append(request.trace_id)
            raise LookupError

    async with RouteClient(Tracing, raise_exceptions=False) as client:
        await client.call("fail")
    assert [extras(record)["routesock_trace_id"] for record in log] == seen


async def test_what_nobody_waits_for_any_more_is_no_failure(log: list[logging.LogRecord]) -> None:
    """Neither a CANCEL nor a client that leaves is anybody's fault."""
    async with RouteClient(Shop) as client:
        await client.send("slow", id="cancelled")
        await client.cancel("cancelled")
        await client.expect_reply("cancelled")
        await client.send("slow", id="left")
    assert [record.levelno for record in log] == [logging.INFO] * 2
    assert [extras(record)["routesock_status"] for record in log] == [499, None]
    assert log[1].getMessage().startswith("Route 'slow': no reply in ")


@pytest.mark.parametrize(
    ("frame", "status", "route", "id"),
    [
        ("no JSON", 400, None, None),
        ("[]", 400, None, None),
        ('{"route": "nowhere", "uuid": 1}', 404, "nowhere", 1),
        ('{"route": "echo", "uuid": true}', 400, "echo", None),
        ('{"route": "echo", "uuid": "a", "payload": "%s"}' % ("x" * 70_000), 413, None, "a"),
    ],
)
async def test_a_refused_frame_has_a_line_too(
    log: list[logging.LogRecord], frame: str, status: int, route: str | None, id: Any
) -> None:
    async with RouteClient(Shop) as client:
        await client.send_text(frame)
        await client.receive()
    (record,) = log
    assert record.levelno == logging.WARNING
    assert (
        record.getMessage()
        == f"{'A frame' if route is None else f'Route {route!r}'}: {status} (Shop, anonymous, 127.0.0.1)."
    )
    assert extras(record) == {
        **CLIENT,
        "routesock_route": route,
        "routesock_request_id": id,
        "routesock_status": status,
        "routesock_duration_ms": None,
        "routesock_trace_id": None,
        "routesock_error_id": None,
    }


async def test_heartbeats_and_foreign_frames_have_none(log: list[logging.LogRecord]) -> None:
    async with RouteClient(Own) as client:
        await client.ping()
        await client.send_text('{"action": "own"}')
        assert await client.receive() == {"action": "own"}
        await client.cancel("unknown")
    assert log == []


class Breaking(Own):
    """Its own code fails, and so does its dialect."""

    route_dialect = Rejecting()

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        raise LookupError("in the consumer's own code")


@pytest.mark.parametrize("frame", ['{"own": 1}', '{"route": "echo", "uuid": "break"}'])
async def test_a_fault_outside_of_requests_has_one_line(log: list[logging.LogRecord], frame: str) -> None:
    async with RouteClient(Breaking, raise_exceptions=False) as client:
        await client.send_text(frame)
        assert (await client.receive())["status"] == 500
    (record,) = log
    assert record.levelno == logging.ERROR
    assert record.exc_info is not None
    assert extras(record)["routesock_status"] == 500


async def test_a_notification_has_a_line(log: list[logging.LogRecord]) -> None:
    async with RouteClient(Shop) as client:
        await client.send("echo", 1)
        await until(lambda: log)
    assert [extras(record)["routesock_request_id"] for record in log] == [None]


class Mute(Own):
    """Spells no error, and its own code fails."""

    async def encode_json(self, content: Any) -> str:  # type: ignore[override]
        raise ValueError("spells nothing")

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        raise LookupError("in the consumer's own code")


class Unwritable(Shop):
    async def send(self, text_data: Any = None, bytes_data: Any = None, close: bool = False) -> None:
        raise RuntimeError("the server is in no mood")


async def test_a_format_string_may_name_every_extra_for_every_record(log: list[logging.LogRecord]) -> None:
    """``logging`` prints an error instead of a record that lacks one."""
    async with RouteClient(Mute, raise_exceptions=False) as client:
        await client.send("echo", 1, id=1)
        await client.send("nowhere", id=2)
        await client.send_text("no JSON")
        await client.send_text("{}")
        await until(lambda: any("websocket.receive" in record.getMessage() for record in log))
    async with RouteClient(Unwritable) as client:
        await client.send("echo", 1, id=1)
        await until(lambda: log[-1].getMessage().startswith("Route 'echo': 200"))
    assert {record.getMessage() for record in log} >= {"Nor could the error be sent.", "A frame could not be sent."}
    for record in log:
        assert extras(record).keys() == EXTRAS, record.getMessage()


FORMAT: Final = "%(message)s " + " ".join(f"%({name})s" for name in sorted(EXTRAS))

hostile = st.text(st.characters() | st.sampled_from("\n\r\t\x0b\x0c\x1b\x85\u2028\u2029\u202e\0'\"\\%"))


@given(hostile, hostile | st.integers(), hostile, st.sampled_from(["traceparent", "x"]))
def test_no_client_forges_a_line(name: str, id: str | int, text: str, header: str) -> None:
    """A log line is one line of printable characters, of bounded length, without anything of the payload."""
    assume(name not in {*RESERVED, "slow", "late", "status", "unspeakable", "raise"})
    frames = [
        {"route": name, "uuid": id, "payload": "the payload", "headers": {header: text}},
        {"route": "echo", "uuid": id, "payload": f"the payload {text}", "headers": {header: text}},
    ]

    async def converse() -> None:
        async with RouteClient(Shop, timeout=30) as client:
            for frame in frames:
                await client.send_text(json.dumps(frame))
            await until(lambda: len(log) == 2)

    with listening(logging.INFO) as log:
        asyncio.run(converse())
    assert len(log) == 2
    for record in log:
        line = logging.Formatter(FORMAT).format(record)
        assert line.isprintable()
        assert len(line) < 1000
        assert "the payload" not in line


async def test_long_ids_of_a_dialect_of_its_own_are_cut(log: list[logging.LogRecord]) -> None:
    request = Request("echo", "x" * 5000)
    instrumentation.finished(request, None)
    assert extras(log[0])["routesock_request_id"] == "x" * 200


async def test_below_its_level_nothing_is_made() -> None:
    requests: list[Request] = []

    class Keeping(RouteMixin, AsyncJsonWebsocketConsumer):
        @route("keep")
        async def keep(self, request: Request) -> None:
            requests.append(request)

    with listening(logging.WARNING) as log:
        async with RouteClient(Keeping) as client:
            await client.call("keep")
    assert log == []
    assert not hasattr(requests[0], "_trace_id")


async def test_a_level_of_its_own_chooses_what_is_logged() -> None:
    with listening(logging.WARNING) as log:
        async with RouteClient(Shop) as client:
            for status in (200, 418, 503):
                await client.call("status", status)
    assert [extras(record)["routesock_status"] for record in log] == [418, 503]


async def test_headers_that_are_none_cost_no_log_line(log: list[logging.LogRecord]) -> None:
    """A dialect of the user's own gave them."""
    request = Request("echo", 1, headers=[1, 2])  # type: ignore[arg-type]
    instrumentation.finished(request, None)
    assert len(log) == 1


class BrokenHandler(logging.Handler):
    """A handler of the project that raises for every record."""

    def handle(self, record: logging.LogRecord) -> bool:
        raise ConnectionError("The log server is down.")


async def test_a_log_handler_that_raises_changes_nothing_for_a_client(capsys: pytest.CaptureFixture[str]) -> None:
    """Each reply comes, the socket goes on, and it ends as ever."""
    seen: list[int] = []

    class Leaving(Shop):
        async def disconnect(self, code: int) -> None:
            seen.append(code)

        @route("close")
        async def shut(self, request: Request) -> None:
            await self.socket.close(403, "over")

    handler, loggers = BrokenHandler(), [logging.getLogger(f"routesock.{name}") for name in ("request", "socket")]
    for logger in loggers:
        logger.addHandler(handler)
        logger.setLevel(logging.DEBUG)
    try:
        async with RouteClient(Leaving, raise_exceptions=False) as client:
            payloads = ["conflict", "unavailable", "fault"]
            statuses = [(await client.call("raise", payload)).status for payload in payloads]
            statuses += [(await client.call("unspeakable")).status, (await client.call("nowhere")).status]
            statuses += [(await client.call("late")).status, (await client.call("echo", 1)).status]
            assert statuses == [409, 503, 500, 500, 404, 504, 200]
            await client.send("close")
            assert (await client.expect_push("CLOSE")).payload["code"] == 4403
            assert (await client.expect_close()).code == 4403
    finally:
        for logger in loggers:
            logger.removeHandler(handler)
            logger.setLevel(logging.NOTSET)
    assert seen == [4403]
    assert "The log server is down." in capsys.readouterr().err


def excluding(*names: Any) -> Any:
    return override_settings(ROUTESOCK={"LOG_EXCLUDE": list(names)})


class TestExcludedRoutes:
    @pytest.mark.parametrize(("status", "lines"), [(200, 0), (204, 0), (302, 0), (404, 1), (503, 1)])
    async def test_a_success_has_no_line(self, status: int, lines: int, log: list[logging.LogRecord]) -> None:
        """An error has, since it is what a log is read for."""
        with excluding("PING", "status"):
            async with RouteClient(Shop) as client:
                await client.call("status", status)
        assert len(log) == lines

    async def test_other_routes_have_their_lines(self, log: list[logging.LogRecord]) -> None:
        with excluding("status", "ech"):
            async with RouteClient(Shop) as client:
                await client.call("echo")
        assert len(log) == 1

    async def test_faults_and_requests_without_an_end_have_their_lines(self, log: list[logging.LogRecord]) -> None:
        """A traceback belongs to an error reply; a request without a reply has not succeeded."""
        with excluding("raise", "slow"):
            async with RouteClient(Shop, raise_exceptions=False) as client:
                assert (await client.call("raise", "fault")).status == 500
                await client.send("slow")
                await client.ping()
        assert [record.levelname for record in log] == ["ERROR", "INFO"]

    async def test_the_name_includes_the_prefix(self, log: list[logging.LogRecord]) -> None:
        with excluding("shop.echo"):
            async with RouteClient(type("Prefixed", (Shop,), {"route_prefix": "shop."})) as client:
                await client.call("shop.echo")
        assert log == []

    async def test_signals_are_sent_as_ever(self) -> None:
        ended = []

        def note(sender: Any, route: str, **kwargs: Any) -> None:
            ended.append(route)

        request_finished.connect(note, sender=Shop)
        try:
            with excluding("echo"):
                async with RouteClient(Shop) as client:
                    await client.call("echo")
        finally:
            request_finished.disconnect(note, sender=Shop)
        assert ended == ["echo"]

    async def test_a_value_that_is_not_valid_opens_no_socket(self) -> None:
        """As with every setting: it would be too late when the first request has ended."""
        with (
            override_settings(ROUTESOCK={"LOG_EXCLUDE": "typing"}),
            pytest.raises(ImproperlyConfigured, match=r"ROUTESOCK\['LOG_EXCLUDE'\] must be a list of names of routes"),
        ):
            async with RouteClient(Shop):
                pass


class Nulls(RouteMixin, AsyncJsonWebsocketConsumer):
    @route("save")
    async def save(self, request: Request) -> None:
        raise ValueError("A string literal cannot contain NUL (0x00) characters.")

    @route("save.newer")
    async def save_newer(self, request: Request) -> None:
        raise DataError("PostgreSQL text fields cannot contain NUL (0x00) bytes")


@pytest.mark.parametrize("name", ["save", "save.newer"])
async def test_a_null_character_that_postgresql_refuses_is_the_clients_mistake(name: str) -> None:
    """As in Django's forms. Where the client has sent none, it is a fault."""
    async with RouteClient(Nulls, raise_exceptions=False) as client:
        reply = await client.call(name, {"text": "a\0b"})
        assert (reply.status, reply.payload["errors"]) == (422, {"__all__": ["Null characters are not allowed."]})
        assert (await client.call(name, {"text": r"a\x00b"})).status == 500


class Returning(RouteMixin, AsyncJsonWebsocketConsumer):
    @route("return")
    @route("return.limited", throttle="1000/min")
    async def give(self, request: Request) -> Any:
        return tuple(request.payload)


@pytest.mark.parametrize("name", ["return", "return.limited"])
@pytest.mark.parametrize(
    ("value", "debug", "lines"),
    [
        ([{"id": 1}, 201], True, 1),
        ([{"id": 1}, 201], False, 0),
        ([1, 2], True, 0),
        ([{"id": 1}, True], True, 0),
        ([{"id": 1}, 201, 3], True, 0),
    ],
)
async def test_a_tuple_with_a_status_is_named_under_debug(
    name: str,
    value: list[Any],
    debug: bool,
    lines: int,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is sent as a list, once or twice; the warning is logged once for each route."""
    monkeypatch.setattr("routesock._pipeline.steps._warned", set())
    with override_settings(DEBUG=debug):
        async with RouteClient(Returning) as client:
            assert [(await client.call(name, value)).payload for _ in range(2)] == [value, value]
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(warnings) == lines
    assert all("write `return Reply(payload, status=201)`" in warning for warning in warnings)
