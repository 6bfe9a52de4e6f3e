"""The signals: when each is sent, what it says, and that no receiver changes anything."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import threading
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from types import SimpleNamespace
from typing import Any, Final

import pytest
from asgiref.sync import sync_to_async
from channels.exceptions import StopConsumer
from channels.generic.websocket import AsyncJsonWebsocketConsumer, JsonWebsocketConsumer
from django.test import override_settings
from hypothesis import given
from hypothesis import strategies as st

from routesock import Reply, Request, RouteMixin, route, signals
from routesock.exceptions import Conflict, Unavailable
from routesock.testing import ConnectionRefused, RouteClient
from tests.takeover.driver import Socket, until

SIGNALS: Final = {name: getattr(signals, name) for name in signals.__all__ if name.startswith(("request_", "socket_"))}


class Heard:
    """Every signal that was sent: its name and its arguments, in order."""

    def __init__(self) -> None:
        self.all: list[tuple[str, SimpleNamespace]] = []
        self._receivers = {name: partial(self._hear, name) for name in SIGNALS}

    def _hear(self, name: str, **arguments: Any) -> None:
        self.all.append((name, SimpleNamespace(**arguments)))

    def connect(self) -> None:
        for name, signal in SIGNALS.items():
            signal.connect(self._receivers[name])

    def disconnect(self) -> None:
        for name, signal in SIGNALS.items():
            assert signal.disconnect(self._receivers[name])

    def named(self, name: str) -> list[SimpleNamespace]:
        return [arguments for heard, arguments in self.all if heard == name]

    async def begun(self, *ids: Any) -> None:
        """Wait until these requests have been started, and no others."""
        await until(lambda: [told.request.id for told in self.named("request_started")] == [*ids])

    async def ended(self, *statuses: tuple[Any, int | None]) -> None:
        """Wait until these requests have finished so, in this order, and no others."""
        await until(lambda: len(self.statuses) >= len(statuses))
        assert self.statuses == [*statuses]

    @property
    def statuses(self) -> list[tuple[Any, int | None]]:
        """By id, of the requests that have finished."""
        return [(told.request.id, told.status) for told in self.named("request_finished")]

    def assert_paired(self) -> None:
        """Each request that was started has finished, once, after it was started; and so for the sockets."""
        open_now: set[int] = set()
        for name, told in self.all:
            of = id(told.request if name.startswith("request") else told.consumer)
            if name in ("request_started", "socket_opened"):
                assert of not in open_now
                open_now.add(of)
            else:
                open_now.remove(of)
        assert not open_now
        assert max(Counter(id(told.request) for told in self.named("request_started")).values(), default=1) == 1


@contextmanager
def listening(function: Any, *names: str, sender: Any = None) -> Iterator[None]:
    """``function`` receives these signals, meanwhile and no longer."""
    for name in names:
        SIGNALS[name].connect(function, sender)
    try:
        yield
    finally:
        for name in names:
            SIGNALS[name].disconnect(function, sender)


@pytest.fixture
def heard() -> Iterator[Heard]:
    heard = Heard()
    heard.connect()
    yield heard
    heard.disconnect()


def number(payload: Any) -> int:
    if not isinstance(payload, int):
        raise ValueError("no number")
    return payload


class Desk(RouteMixin, AsyncJsonWebsocketConsumer):
    route_disconnect_grace = 0

    @route("echo")
    async def echo(self, request: Request) -> Any:
        return request.payload

    @route("number", schema=number)
    async def number(self, request: Request) -> Any:
        return Reply(request.payload, status=201)

    @route("in.thread")
    def in_thread(self, request: Request) -> Any:
        return request.payload

    @route("raise")
    async def fail(self, request: Request) -> None:
        raise {"conflict": Conflict(), "unavailable": Unavailable(), "exit": SystemExit(), "fault": LookupError("x")}[
            request.payload
        ]

    @route("status")
    async def status(self, request: Request) -> Reply:
        return Reply("as it is", status=request.payload)

    @route("unspeakable")
    async def unspeakable(self, request: Request) -> object:
        return object()

    @route("slow")
    async def slow(self, request: Request) -> None:
        await asyncio.Event().wait()

    @route("late", timeout=0.01)
    async def late(self, request: Request) -> None:
        await asyncio.Event().wait()

    @route("stubborn")
    async def stubborn(self, request: Request) -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return "nevertheless"
        return "never"

    @route("deaf")
    async def deaf(self, request: Request) -> None:
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        await asyncio.Event().wait()

    @route("parallel", parallel=True)
    async def parallel(self, request: Request) -> None:
        await asyncio.Event().wait()

    @route("stream", timeout=0.5)
    async def stream(self, request: Request) -> AsyncIterator[Any]:
        """Two items, then what the payload says."""
        yield 1
        yield 2
        if request.payload == "fail":
            raise LookupError("midway")
        if request.payload == "odd":
            yield object()
        if request.payload == "wait":
            await asyncio.Event().wait()

    @route("stream.in.thread")
    def stream_in_thread(self, request: Request) -> Iterator[int]:
        yield from range(10)

    @route("leave")
    async def leave(self, request: Request) -> None:
        await self.socket.close(403, "enough")

    @route("close")
    async def end(self, request: Request) -> str:
        await self.close(4000)
        return "nobody reads this"


class TestRequests:
    async def test_a_request_is_started_and_finished(self, heard: Heard) -> None:
        async with RouteClient(Desk) as client:
            await client.call("echo", [1], id="a")
            (_, started), (_, finished) = heard.all[1:]
        assert [name for name, _ in heard.all[1:3]] == ["request_started", "request_finished"]
        assert started.sender is finished.sender is Desk
        assert started.signal is signals.request_started
        assert started.request is finished.request
        assert (started.request.id, started.request.payload) == ("a", [1])
        assert started.trace_id == finished.trace_id == started.request.trace_id
        assert (finished.route, finished.status) == ("echo", 200)
        assert 0 <= finished.duration < 60
        assert started.__dict__.keys() == {"signal", "sender", "request", "trace_id"}
        assert finished.__dict__.keys() == {"signal", "sender", "request", "trace_id", "route", "status", "duration"}

    @pytest.mark.parametrize(
        ("name", "payload", "status"),
        [
            ("echo", 1, 200),
            ("echo", None, 204),
            ("number", 1, 201),
            ("number", "x", 422),
            ("in.thread", 1, 200),
            ("raise", "conflict", 409),
            ("raise", "unavailable", 503),
            ("raise", "fault", 500),
            ("raise", "exit", 500),
            ("status", 302, 302),
            ("status", 418, 418),
            ("unspeakable", None, 500),
            ("late", None, 504),
        ],
    )
    async def test_the_status_is_the_one_that_the_client_reads(
        self, heard: Heard, name: str, payload: Any, status: int
    ) -> None:
        async with RouteClient(Desk, raise_exceptions=False) as client:
            assert (await client.call(name, payload, id=1)).status == status
        assert heard.statuses == [(1, status)]
        heard.assert_paired()

    async def test_a_notification_has_the_status_that_its_reply_would_have(self, heard: Heard) -> None:
        async with RouteClient(Desk) as client:
            await client.send("number", 1)
            await client.send("number", "x")
            await heard.ended((None, 201), (None, 422))
        heard.assert_paired()

    async def test_what_is_no_request_of_a_route_is_not_told(self, heard: Heard) -> None:
        async with RouteClient(Desk) as client:
            for frame in ("no JSON", "[]", '{"route": "nowhere"}', '{"route": "echo", "uuid": true}'):
                await client.send_text(frame)
                assert (await client.receive())["status"] >= 400
            await client.ping()
            await client.cancel("unknown")
        assert {name for name, _ in heard.all} == {"socket_opened", "socket_closed"}

    async def test_a_second_request_of_an_id_is_refused_and_not_told(self, heard: Heard) -> None:
        async with RouteClient(Desk) as client:
            await client.send("slow", id=1)
            await client.send("echo", id=1)
            assert (await client.receive())["status"] == 409
            await client.cancel(1)
            await heard.ended((1, 499))

    async def test_a_cancelled_request_has_finished_whether_it_ran_or_waited(self, heard: Heard) -> None:
        async with RouteClient(Desk) as client:
            await client.send("slow", id="runs")
            await client.send("echo", id="waits")
            await heard.begun("runs")
            await client.cancel("waits")
            await heard.ended(("waits", 499))
            await client.cancel("runs")
            assert (await client.expect_reply("runs")).status == 499
        assert heard.statuses == [("waits", 499), ("runs", 499)]
        heard.assert_paired()

    async def test_what_a_handler_returns_after_its_cancel_is_not_told(self, heard: Heard) -> None:
        async with RouteClient(Desk) as client:
            await client.send("stubborn", id=1)
            await heard.begun(1)
            await client.cancel(1)
            assert (await client.call("echo", 2, id=2)).payload == 2
        assert heard.statuses == [(1, 499), (2, 200)]
        heard.assert_paired()

    async def test_nor_is_its_end_when_the_socket_ends(self, heard: Heard) -> None:
        async with RouteClient(Desk) as client:
            await client.send("deaf", id=1)
            await heard.begun(1)
            await client.cancel(1)
            await heard.ended((1, 499))
        assert heard.statuses == [(1, 499)]
        heard.assert_paired()

    async def test_a_request_without_room_has_finished_with_429(self, heard: Heard) -> None:
        with override_settings(ROUTESOCK={"MAX_QUEUED": 1}):
            async with RouteClient(Desk) as client:
                await client.send("slow", id="runs")
                await client.send("echo", id="waits")
                assert (await client.call("echo", id="refused")).status == 429
                assert heard.statuses == [("refused", 429)]
        heard.assert_paired()

    async def test_a_request_has_its_turn_when_the_one_before_it_has_finished(self, heard: Heard) -> None:
        async with RouteClient(Desk) as client:
            for number in range(3):
                await client.send("in.thread", number, id=number)
            await client.expect_reply(2)
        told = [(name, told.request.id) for name, told in heard.all[1:-1]]
        assert told == [(name, n) for n in range(3) for name in ("request_started", "request_finished")]

    async def test_what_is_left_when_the_client_leaves_has_no_status(self, heard: Heard) -> None:
        async with RouteClient(Desk) as client:
            await client.send("slow", id="runs")
            await client.send("echo", id="waits")
            await client.send("echo")
            await heard.begun("runs")
        assert sorted(heard.statuses, key=str) == [("runs", None), ("waits", None), (None, None)]
        heard.assert_paired()

    async def test_nor_has_one_that_no_cancellation_ends(self, heard: Heard, monkeypatch: pytest.MonkeyPatch) -> None:
        """Nobody waits for it any more, and it is not told when it ends after all."""
        monkeypatch.setattr("routesock._connection.tasks.CANCEL_WAIT", 0.01)
        async with RouteClient(Desk) as client:
            await client.send("deaf", id=1)
            await heard.begun(1)
        assert [name for name, _ in heard.all][-2:] == ["request_finished", "socket_closed"]
        assert heard.statuses == [(1, None)]
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
            await asyncio.wait([task])
        assert heard.statuses == [(1, None)]

    async def test_what_ends_in_its_grace_has_no_status_either(self, heard: Heard) -> None:
        """There was no reply for anybody to see."""
        gate = asyncio.Event()

        class Graceful(Desk):
            route_disconnect_grace = 30

            @route("gate")
            async def gate(self, request: Request) -> str:
                await gate.wait()
                return "saved"

            async def disconnect(self, code: int) -> None:
                heard.all.append(("disconnect", SimpleNamespace()))

        async with RouteClient(Graceful) as client:
            await client.send("gate", id=1)
            await heard.begun(1)
            asyncio.get_running_loop().call_later(0.02, gate.set)
        assert heard.statuses == [(1, None)]
        names = [name for name, _ in heard.all]
        assert names == ["socket_opened", "request_started", "request_finished", "disconnect", "socket_closed"]

    async def test_nor_has_one_whose_handler_closes_the_socket(self, heard: Heard) -> None:
        async with RouteClient(Desk) as client:
            await client.send("close", id=1)
            assert (await client.expect_close()).code == 4000
            await heard.ended((1, None))
        heard.assert_paired()

    async def test_what_a_receiver_puts_into_the_context_is_there_in_the_handler(self) -> None:
        """That is how a log's context, or a span, gets to know the request."""
        current = contextvars.ContextVar[str]("current", default="none")

        class Contextual(RouteMixin, AsyncJsonWebsocketConsumer):
            @route("async")
            async def on_loop(self, request: Request) -> str:
                await asyncio.sleep(0)
                return current.get()

            @route("sync")
            def in_thread(self, request: Request) -> str:
                return current.get()

        def bind(request: Request, **kwargs: Any) -> None:
            current.set(f"request {request.id}")

        with listening(bind, "request_started"):
            async with RouteClient(Contextual) as client:
                assert (await client.call("async", id=1)).payload == "request 1"
                assert (await client.call("sync", id=2)).payload == "request 2"

    @pytest.mark.parametrize("listens", SIGNALS)
    async def test_each_signal_does_without_the_others(self, listens: str) -> None:
        told: list[str] = []

        def listen(**arguments: Any) -> None:
            told.append(listens)

        with listening(listen, listens):
            async with RouteClient(Desk) as client:
                await client.call("echo", 1)
        assert told == [listens]

    async def test_a_receiver_hears_of_its_sender_alone(self) -> None:
        told: list[Any] = []

        class Other(Desk):
            pass

        def listen(sender: Any, **arguments: Any) -> None:
            told.append(sender)

        with listening(listen, "request_finished", sender=Other):
            for consumer in (Desk, Other):
                async with RouteClient(consumer) as client:
                    await client.call("echo", 1)
        assert told == [Other]

    async def test_without_receivers_no_trace_is_made(self) -> None:
        requests: list[Request] = []

        class Keeping(RouteMixin, AsyncJsonWebsocketConsumer):
            @route("keep")
            async def keep(self, request: Request) -> None:
                requests.append(request)

        async with RouteClient(Keeping) as client:
            await client.call("keep")
        assert not hasattr(requests[0], "_trace_id")


class TestBeside:
    """Parallel requests, and streams."""

    @pytest.mark.parametrize(
        ("payload", "status"), [(None, 200), ("fail", 500), ("odd", 500), ("cancel", 499), ("wait", 504)]
    )
    async def test_a_stream_has_the_status_of_its_end(self, heard: Heard, payload: Any, status: int) -> None:
        async with RouteClient(Desk, raise_exceptions=False) as client:
            await client.send("stream", "wait" if payload == "cancel" else payload, id=1)
            assert [(await client.receive())["payload"] for _ in range(2)] == [1, 2]
            if payload == "cancel":
                await client.cancel(1)
            assert (await client.receive())["status"] == status
        assert heard.statuses == [(1, status)]
        heard.assert_paired()

    async def test_a_stream_that_its_client_leaves_has_none(self, heard: Heard) -> None:
        async with RouteClient(Desk) as client:
            await client.send("stream", "wait", id=1)
            await heard.begun(1)
        assert heard.statuses == [(1, None)]
        heard.assert_paired()

    async def test_what_waits_for_a_place_beside_the_order_is_started_when_it_has_one(self, heard: Heard) -> None:
        with override_settings(ROUTESOCK={"CONCURRENCY": 1}):
            async with RouteClient(Desk) as client:
                for id in (1, 2, 3):
                    await client.send("parallel", id=id)
                await heard.begun(1)
                await client.cancel(1)
                await heard.begun(1, 2)
        assert heard.statuses[0] == (1, 499)
        assert sorted(heard.statuses[1:]) == [(2, None), (3, None)]
        heard.assert_paired()

    async def test_each_has_a_context_of_its_own(self) -> None:
        current = contextvars.ContextVar[Any]("current", default="none")
        gate = asyncio.Event()

        class Contextual(RouteMixin, AsyncJsonWebsocketConsumer):
            @route("parallel", parallel=True)
            async def parallel(self, request: Request) -> Any:
                await gate.wait()
                return current.get()

        def bind(request: Request, **kwargs: Any) -> None:
            current.set(request.id)
            if request.id == 2:
                gate.set()

        with listening(bind, "request_started"):
            async with RouteClient(Contextual) as client:
                await client.send("parallel", id=1)
                await client.send("parallel", id=2)
                assert [(await client.expect_reply(id)).payload for id in (1, 2)] == [1, 2]


class Guarding(Desk):
    """Keeps some frames, and rewrites others."""

    begun: asyncio.Event

    async def websocket_receive(self, message: Any) -> None:
        if "keep" in message["text"]:
            return
        if "break" in message["text"]:
            raise LookupError("of the guard")
        if "rewrite" in message["text"]:
            message["text"] = message["text"].replace("rewrite", "rewritten")
        if "late" in message["text"]:
            await asyncio.sleep(60)
        if "deaf" in message["text"]:
            with suppress(asyncio.CancelledError):
                self.begun.set()
                await asyncio.Event().wait()
        await super().websocket_receive(message)


class TestGuarded:
    async def test_a_frame_that_the_consumer_keeps_is_no_request(self, heard: Heard) -> None:
        async with RouteClient(Guarding) as client:
            await client.send("echo", "keep", id=1)
            await client.call("echo", "pass", id=2)
        assert heard.statuses == [(2, 200)]
        heard.assert_paired()

    async def test_of_a_rewritten_frame_what_stands_in_its_place_is_told(self, heard: Heard) -> None:
        async with RouteClient(Guarding) as client:
            assert (await client.call("echo", "rewrite", id=1)).payload == "rewritten"
        (finished,) = heard.named("request_finished")
        assert (finished.request.payload, finished.status) == ("rewritten", 200)
        heard.assert_paired()

    async def test_a_request_that_was_answered_before_it_was_passed_on_has_finished(self, heard: Heard) -> None:
        async with RouteClient(Guarding, raise_exceptions=False) as client:
            assert (await client.call("echo", "break", id=1)).status == 500
            await client.send("echo", "late", id=2)
            await client.cancel(2)
            assert (await client.expect_reply(2)).status == 499
        assert heard.statuses == [(1, 500), (2, 499)]
        heard.assert_paired()

    async def test_one_that_is_passed_on_after_its_answer_does_not_begin_anew(self, heard: Heard) -> None:
        Guarding.begun = asyncio.Event()
        async with RouteClient(Guarding) as client:
            await client.send("echo", "deaf", id=1)
            await Guarding.begun.wait()
            await client.cancel(1)
            assert (await client.call("echo", id=2)).status == 204
        assert heard.statuses == [(1, 499), (2, 204)]
        heard.assert_paired()

    async def test_a_rewritten_request_that_the_end_of_its_socket_cuts_off_has_finished(self, heard: Heard) -> None:
        async with RouteClient(Guarding) as client:
            await client.send("slow", "rewrite", id=1)
            await heard.begun(1)
        assert heard.statuses == [(1, None)]
        heard.assert_paired()


actions = st.lists(
    st.one_of(
        st.tuples(
            st.sampled_from(
                "echo number in.thread unspeakable slow late stubborn nowhere parallel stream stream.in.thread "
                "close leave".split()
            ),
            st.none() | st.integers(0, 3),
        ),
        st.tuples(st.just("CANCEL"), st.integers(0, 3)),
        st.tuples(st.just("pause"), st.none()),
    ),
    max_size=12,
)


@given(actions)
def test_whatever_a_client_does_each_start_has_one_end(sent: list[tuple[str, int | None]]) -> None:
    """Also those that are in the queue, in a thread or on their way when it leaves."""
    heard = Heard()

    async def converse() -> None:
        async with RouteClient(Desk, raise_exceptions=False, timeout=30) as client:
            for name, id in sent:
                if name == "pause":
                    await client.settle()
                elif client.closed is None:
                    await client.send(name, id=id)

    heard.connect()
    try:
        with override_settings(ROUTESOCK={"MAX_QUEUED": 3, "CONCURRENCY": 1}):
            asyncio.run(converse())
    finally:
        heard.disconnect()
    heard.assert_paired()
    assert [name for name, _ in heard.all][-1] == "socket_closed"


class Sync(RouteMixin, JsonWebsocketConsumer):
    @route("echo")
    def echo(self, request: Request) -> Any:
        return request.payload


class TestSockets:
    @pytest.mark.parametrize("consumer", [Desk, Sync])
    async def test_a_socket_is_opened_and_closed(self, heard: Heard, consumer: Any) -> None:
        async with RouteClient(consumer, "/somewhere") as client:
            await client.call("echo", 1)
            (opened,) = heard.named("socket_opened")
            assert opened.sender is consumer
            assert opened.scope is opened.consumer.scope
            assert opened.scope["path"] == "/somewhere"
            assert opened.__dict__.keys() == {"signal", "sender", "consumer", "scope"}
        (closed,) = heard.named("socket_closed")
        assert closed.consumer is opened.consumer
        assert closed.code == 1000
        assert 0 <= closed.duration < 60
        assert closed.__dict__.keys() == {"signal", "sender", "consumer", "code", "duration"}

    async def test_it_is_opened_when_connect_has_returned(self, heard: Heard) -> None:
        class Slow(Desk):
            async def connect(self) -> None:
                await self.accept()
                await asyncio.sleep(0)
                heard.all.append(("connected", SimpleNamespace()))

        async with RouteClient(Slow):
            await until(lambda: heard.named("socket_opened"))
            assert [name for name, _ in heard.all] == ["connected", "socket_opened"]

    async def test_it_is_opened_when_it_is_accepted(self, heard: Heard) -> None:
        class Later(Desk):
            async def connect(self) -> None:
                asyncio.get_running_loop().call_soon(lambda: self.tasks.append(asyncio.ensure_future(self.take())))

            async def take(self) -> None:
                heard.all.append(("accepted", SimpleNamespace()))
                await self.accept()

            tasks: list[Any] = []

        async with RouteClient(Later):
            await until(lambda: heard.named("socket_opened"))
            assert [name for name, _ in heard.all] == ["accepted", "socket_opened"]

    async def test_a_second_accept_opens_nothing(self, heard: Heard) -> None:
        """Not every server refuses it."""

        class Twice(Desk):
            async def connect(self) -> None:
                await self.accept()
                await self.accept()

        async with Socket(Twice.as_asgi()):  # type: ignore[no-untyped-call]
            await until(lambda: heard.named("socket_opened"))
        assert len(heard.named("socket_opened")) == len(heard.named("socket_closed")) == 1

    async def test_one_that_was_refused_was_never_opened(self, heard: Heard) -> None:
        class Refusing(Desk):
            async def connect(self) -> None:
                await self.close()

        with pytest.raises(ConnectionRefused):
            async with RouteClient(Refusing):
                pass
        assert heard.all == []

    async def test_nor_was_one_whose_connect_failed(self, heard: Heard) -> None:
        class Failing(Desk):
            async def connect(self) -> None:
                await self.accept()
                raise LookupError("in connect")

        with pytest.raises(LookupError, match="in connect"):
            async with RouteClient(Failing):
                pass
        assert heard.all == []

    @pytest.mark.parametrize("exc", [LookupError("in disconnect"), StopConsumer()])
    async def test_it_is_closed_when_disconnect_has_run_even_if_that_failed(self, heard: Heard, exc: Exception) -> None:
        class Failing(Desk):
            async def disconnect(self, code: int) -> None:
                heard.all.append(("disconnect", SimpleNamespace()))
                raise exc

        try:
            async with RouteClient(Failing):
                pass
        except LookupError:
            assert isinstance(exc, LookupError)
        assert [name for name, _ in heard.all] == ["socket_opened", "disconnect", "socket_closed"]

    async def test_the_code_is_the_one_that_disconnect_gets(self, heard: Heard) -> None:
        codes: list[int] = []

        class Telling(Desk):
            async def disconnect(self, code: int) -> None:
                codes.append(code)

        async with RouteClient(Telling) as client:
            await client.send("close")
            await client.expect_close()
        client = RouteClient(Telling)
        await client.connect()
        await client.disconnect(4321)
        assert [told.code for told in heard.named("socket_closed")] == codes
        assert codes == [4000, 4321]

    async def test_a_close_of_ours_is_its_code(self, heard: Heard) -> None:
        async with RouteClient(Desk) as client:
            await client.send("leave")
            await client.expect_close()
            await until(lambda: heard.named("socket_closed"))
        assert [told.code for told in heard.named("socket_closed")] == [4403]
        assert heard.statuses == [(None, None)]
        heard.assert_paired()

    async def test_a_socket_that_its_consumer_stops_is_closed_once(self, heard: Heard) -> None:
        class Stopping(Desk):
            async def receive_json(self, content: Any, **kwargs: Any) -> None:
                raise StopConsumer

        async with RouteClient(Stopping) as client:
            await client.send_text("{}")
        assert [name for name, _ in heard.all] == ["socket_opened", "socket_closed"]


async def fails_later(**arguments: Any) -> None:
    raise AssertionError("never called")


class AsyncReceiver:
    async def __call__(self, **arguments: Any) -> None:
        raise AssertionError("never called")


class Nameless:
    def __call__(self, **arguments: Any) -> None:
        raise LookupError("of a receiver")


def failing(exc: BaseException) -> Any:
    def fail(**arguments: Any) -> None:
        raise exc

    return fail


class TestReceivers:
    @pytest.mark.parametrize("name", SIGNALS)
    @pytest.mark.parametrize(
        "function", [fails_later, AsyncReceiver(), partial(fails_later), sync_to_async(print)], ids=type
    )
    def test_an_async_receiver_is_refused_when_it_is_connected(self, name: str, function: Any) -> None:
        """No version of Django would call it from the loop, and none would say so here."""
        with pytest.raises(TypeError, match=r"Connect a plain function.*asyncio\.create_task"):
            SIGNALS[name].connect(function)
        assert not SIGNALS[name].receivers

    @pytest.mark.parametrize(
        "fail",
        [failing(LookupError("of a receiver")), failing(SystemExit()), failing(asyncio.CancelledError()), Nameless()],
    )
    async def test_what_a_receiver_raises_is_logged_and_changes_nothing(
        self, heard: Heard, fail: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        with listening(fail, *SIGNALS):
            async with RouteClient(Desk) as client:
                assert (await client.call("echo", 1, id=1)).payload == 1
                assert (await client.call("echo", 2, id=2)).payload == 2
        assert heard.statuses == [(1, 200), (2, 200)]
        heard.assert_paired()
        assert [record.name for record in caplog.records] == ["django.dispatch"] * 6
        assert all(record.levelno == logging.ERROR and record.exc_info for record in caplog.records)

    @pytest.mark.parametrize(
        "exc", [LookupError("x"), SystemExit(), KeyboardInterrupt(), asyncio.CancelledError()], ids=type
    )
    def test_one_that_raises_keeps_no_other_from_being_called(
        self, exc: BaseException, caplog: pytest.LogCaptureFixture
    ) -> None:
        signal, called = signals.LoopSignal(use_caching=True), []
        first, fail, last = (lambda **arguments: called.append(1)), failing(exc), (lambda **arguments: called.append(2))
        for receiver in (first, fail, last):
            signal.connect(receiver)
        signal.notify(Desk, number=7)
        assert called == [1, 2]
        (record,) = caplog.records
        assert record.exc_info is not None
        assert record.exc_info[1] is exc

    @pytest.mark.parametrize("consumer", [Desk, Sync])
    async def test_receivers_run_on_the_event_loop(self, consumer: Any) -> None:
        threads: dict[str, threading.Thread] = {}

        def listen(signal: Any, **arguments: Any) -> None:
            threads[next(name for name in SIGNALS if SIGNALS[name] is signal)] = threading.current_thread()
            asyncio.get_running_loop()

        with listening(listen, *SIGNALS):
            async with RouteClient(consumer) as client:
                await client.call("echo", 1)
        assert threads == dict.fromkeys(SIGNALS, threading.current_thread())
