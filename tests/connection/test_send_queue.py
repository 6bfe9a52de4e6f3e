"""Frames that wait for a slow client: in order, bounded, and what gives way at the bound."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from django.test import override_settings

from routesock import Request, RouteMixin, RouteSetupError, route
from routesock._connection.sending.send_queue import FrameKind, SendQueue
from routesock._connection.state import Phase, SocketState
from routesock._connection.tasks import Tasks
from tests.takeover.driver import Socket, turns, until

BAD = "a frame that the server does not take"


class Server:
    """A server's ``send`` that waits while the client does not read."""

    def __init__(self) -> None:
        self.readable = asyncio.Event()
        self.sent: list[str] = []

    async def send(self, message: dict[str, Any]) -> None:
        await self.readable.wait()
        if message["text"] == BAD:
            raise OSError
        self.sent.append(message["text"])


class Writers:
    """Tasks that write frames, each named by its text."""

    def __init__(self, *, drops: bool = False) -> None:
        self.server = Server()
        self.overflows = 0
        self.drops: list[int] = []
        self.failures: list[BaseException] = []
        self.state = SocketState()
        tasks = Tasks(contextvars.copy_context(), self.state, self.failures.append)
        self.outbox = SendQueue(
            self.server.send,
            self.state,
            drops=drops,
            overflow=self.overflow,
            report_dropped=self.dropped,
            start=tasks.start,
            start_now=tasks.start_now,
        )
        self.tasks: dict[str, asyncio.Task[None]] = {}

    def overflow(self) -> None:
        self.overflows += 1

    def dropped(self, number: int) -> None:
        self.drops.append(number)

    async def write(self, text: str, kind: FrameKind = FrameKind.OWN) -> None:
        message = {"type": "websocket.send", "text": text}
        self.tasks[text] = asyncio.create_task(self.outbox.write(message, kind))
        await turns(3)

    async def drain(self) -> list[str]:
        self.server.readable.set()
        await turns()
        return self.server.sent

    def done(self) -> list[str]:
        return [text for text, task in self.tasks.items() if task.done()]


SMALL = {"MAX_OUTGOING": 3, "MAX_OUTGOING_BYTES": 100}


async def test_frames_leave_one_at_a_time_and_in_their_order() -> None:
    writers = Writers()
    for text in "abcde":
        await writers.write(text)
    assert writers.done() == []
    assert await writers.drain() == [*"abcde"]
    assert not writers.state.sending


@override_settings(ROUTESOCK=SMALL)
async def test_too_many_frames_that_nobody_asked_for_overflow_once() -> None:
    writers = Writers()
    for text in "abcdefg":
        await writers.write(text)
    assert writers.overflows == 1
    assert writers.done() == ["e", "f", "g"]
    assert await writers.drain() == [*"abcd"]


@override_settings(ROUTESOCK=SMALL)
async def test_too_many_bytes_overflow() -> None:
    writers = Writers()
    for text in ("first", "é" * 30, "é" * 20, "x"):
        await writers.write(text)
    assert writers.overflows == 1
    assert writers.done() == ["x"]


@override_settings(ROUTESOCK=SMALL)
async def test_one_large_frame_is_no_overflow() -> None:
    """It is there already: what is bounded is what piles up behind it."""
    writers = Writers()
    await writers.write("first")
    await writers.write("x" * 1000)
    assert writers.overflows == 0
    assert await writers.drain() == ["first", "x" * 1000]


@override_settings(ROUTESOCK=SMALL)
async def test_replies_always_wait() -> None:
    """How many there are is bounded by the requests that run; a bound here would lose one."""
    writers = Writers()
    texts = [str(number) * 50 for number in range(20)]
    for text in texts:
        await writers.write(text, FrameKind.REPLY)
    assert writers.overflows == 0
    assert await writers.drain() == texts


@override_settings(ROUTESOCK=SMALL)
async def test_the_oldest_push_is_dropped_where_that_is_wanted(caplog: pytest.LogCaptureFixture) -> None:
    writers = Writers(drops=True)
    await writers.write("own 1")
    for number in range(3):
        await writers.write(f"push {number}", FrameKind.PUSH)
    await writers.write("own 2")
    await writers.write("push 3", FrameKind.PUSH)
    assert writers.done() == ["push 0", "push 1"]
    assert await writers.drain() == ["own 1", "push 2", "own 2", "push 3"]
    assert writers.overflows == 0
    assert [record.getMessage() for record in caplog.records] == [
        "2 pushes were dropped, since the client reads too slowly."
    ]
    assert writers.drops == [2]
    caplog.clear()
    await writers.write("own 3")
    assert caplog.records == []


@override_settings(ROUTESOCK=SMALL)
async def test_what_the_consumer_sent_is_never_dropped_for_a_push() -> None:
    writers = Writers(drops=True)
    for number in range(4):
        await writers.write(f"own {number}")
    await writers.write("push", FrameKind.PUSH)
    assert (writers.overflows, writers.done()) == (0, ["push"])
    await writers.write("own 4")
    assert writers.overflows == 1


async def test_a_cancelled_writer_leaves_no_hole() -> None:
    writers = Writers()
    for text in "abcd":
        await writers.write(text)
    writers.tasks["b"].cancel()
    await turns()
    assert await writers.drain() == [*"acd"]


async def test_one_cancelled_when_its_turn_has_come_passes_it_on() -> None:
    writers = Writers()
    for text in "abc":
        await writers.write(text)
    writers.server.readable.set()
    await turns(2)  # a is sent: b's turn is there, and b has not run yet
    writers.tasks["b"].cancel()
    await turns()
    assert "c" in writers.server.sent
    assert not writers.state.sending


async def test_what_the_server_raises_reaches_its_writer_and_no_other() -> None:
    writers = Writers()
    writers.server.sent = None  # type: ignore[assignment]
    await writers.write("a")
    await writers.write("b")
    writers.server.readable.set()
    await turns(1)
    writers.server.sent = []
    await turns()
    assert isinstance(writers.tasks["a"].exception(), AttributeError)
    assert writers.server.sent == ["b"]


async def test_closing_lets_go_of_all_that_wait() -> None:
    writers = Writers()
    for text in "abc":
        await writers.write(text)
    writers.outbox.drop_all()
    await turns()
    assert writers.done() == ["b", "c"]
    assert await writers.drain() == ["a"]


class Row:
    """A task that writes several frames, each made when the server has taken the one before it."""

    def __init__(self, writers: Writers, *texts: str) -> None:
        self.made: list[str] = []
        self.failures: list[Exception] = []
        writing = writers.outbox.write_all(self._messages(texts), FrameKind.KEPT_PUSH, self.failures.append)
        self.task = asyncio.create_task(writing)

    def _messages(self, texts: tuple[str, ...]) -> Iterator[dict[str, Any]]:
        for text in texts:
            self.made.append(text)
            yield {"type": "websocket.send", "text": text}


class TestRows:
    async def test_frames_are_made_one_by_one(self) -> None:
        """So that a slow client costs no memory for those that it does not read yet."""
        writers = Writers()
        row = Row(writers, *"abc")
        await turns()
        assert (row.made, writers.state.sending) == (["a"], True)
        assert await writers.drain() == [*"abc"]
        assert (row.task.done(), writers.state.sending) == (True, False)

    async def test_other_frames_get_between_them(self) -> None:
        writers = Writers()
        row = Row(writers, *"abc")
        await turns()
        await writers.write("reply", FrameKind.REPLY)
        await writers.write("push", FrameKind.PUSH)
        assert await writers.drain() == ["a", "reply", "push", "b", "c"]
        assert (row.task.done(), writers.state.sending) == (True, False)

    async def test_frame_waits_for_those_in_front(self) -> None:
        writers = Writers()
        await writers.write("first")
        Row(writers, *"ab")
        await turns()
        assert await writers.drain() == ["first", "a", "b"]

    async def test_what_the_server_raises_holds_up_no_other(self) -> None:
        writers = Writers()
        row = Row(writers, "a", BAD, "c")
        assert await writers.drain() == ["a", "c"]
        assert [type(failure) for failure in row.failures] == [OSError]
        assert (row.task.done(), writers.state.sending) == (True, False)

    @override_settings(ROUTESOCK=SMALL)
    async def test_bounds_hold(self) -> None:
        """A frame that finds too many in front of it overflows, also where pushes are dropped."""
        writers = Writers(drops=True)
        for number in range(4):
            await writers.write(f"own {number}")
        Row(writers, *"ab")
        await turns()
        assert writers.overflows == 1

    async def test_nothing_is_sent_once_a_close_has_begun(self) -> None:
        writers = Writers()
        row = Row(writers, *"abc")
        await turns()
        for phase in (Phase.OPEN, Phase.CLOSING):
            writers.state.advance(phase)
        assert await writers.drain() == ["a"]
        assert row.task.done()

    async def test_cancelled_row_leaves_no_hole(self) -> None:
        writers = Writers()
        row = Row(writers, *"ab")
        await turns()
        await writers.write("reply", FrameKind.REPLY)
        row.task.cancel()
        assert await writers.drain() == ["reply"]
        assert (row.task.cancelled(), writers.state.sending) == (True, False)


class Pushing(RouteMixin, AsyncJsonWebsocketConsumer):
    @route("push")
    async def push(self, request: Request) -> str:
        tasks = [asyncio.create_task(self.socket.push("number", number)) for number in range(request.payload)]
        await asyncio.gather(*tasks)
        return "done"

    @route("own")
    async def own(self, request: Request) -> str:
        await asyncio.gather(*(self.send_json({"number": number}) for number in range(request.payload)))
        return "done"

    async def disconnect(self, code: int) -> None:
        self.scope["log"].append(("disconnect", code))


class Dropping(Pushing):
    route_overflow = "drop"


NOTICE = {"code": 1013, "reason": "too slow", "reconnect": True}


@override_settings(ROUTESOCK={"MAX_OUTGOING": 10})
@pytest.mark.parametrize("name", ["push", "own"])
async def test_a_client_that_does_not_read_is_closed(name: str) -> None:
    client = Socket(Pushing.as_asgi(), log=[])  # type: ignore[attr-defined]
    async with client:
        client.writable.clear()
        client.request(name, 1, 100)
        await turns()
        client.writable.set()
        await client.ending()
    assert client.closed == {"type": "websocket.close", "code": 1013, "reason": "too slow"}
    assert client.frames[-1] == {"route": "CLOSE", "payload": NOTICE}
    assert len(client.frames) == 12  # one with the server, ten that waited, and the notice
    assert client.disconnects == [("disconnect", 1013)]


@override_settings(ROUTESOCK={"MAX_OUTGOING": 10})
async def test_a_client_that_never_reads_is_closed_without_a_word_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("routesock._runtime.closing.CLOSE_WAIT", 0.02)

    class Hasty(Pushing):
        route_disconnect_grace = 0

    client = Socket(Hasty.as_asgi(), log=[])  # type: ignore[attr-defined]
    async with client:
        client.writable.clear()
        client.request("push", 1, 100)
        await client.ending()
    assert client.frames == []
    assert client.disconnects == [("disconnect", 1013)]


@override_settings(ROUTESOCK={"MAX_OUTGOING": 10})
async def test_a_class_may_drop_pushes_instead(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "routesock.socket")
    async with Socket(Dropping.as_asgi(), log=[]) as client:  # type: ignore[attr-defined]
        client.writable.clear()
        client.request("push", 1, 100)
        await turns()
        client.writable.set()
        assert (await client.reply(1))["status"] == 200
        assert [frame["payload"] for frame in client.frames[:-1]] == [0, *range(90, 100)]
    assert "89 pushes" in caplog.text


async def test_the_setting_holds_where_the_class_says_nothing() -> None:
    with override_settings(ROUTESOCK={"MAX_OUTGOING": 10, "OVERFLOW": "drop"}):
        async with Socket(Pushing.as_asgi(), log=[]) as client:  # type: ignore[attr-defined]
            client.writable.clear()
            client.request("push", 1, 100)
            await turns()
            client.writable.set()
            await until(lambda: client.statuses() == [(1, 200)])


@pytest.mark.parametrize("policy", ["", "Drop", None, True, ["close"]])
def test_a_policy_is_one_of_two(policy: Any) -> None:
    with pytest.raises(RouteSetupError, match="route_overflow must be 'close' or 'drop'; got"):
        type("Chat", (RouteMixin, AsyncJsonWebsocketConsumer), {"route_overflow": policy})
