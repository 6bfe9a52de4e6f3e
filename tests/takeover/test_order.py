"""The order of one socket, and what gets through while a handler waits."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from .driver import LIMIT, Layer, problems, turns, until
from .flavours import FLAVOURS, Gate, InThread, Mixed, OnLoop, connected


@pytest.mark.parametrize("consumer", FLAVOURS)
async def test_everything_keeps_its_place(consumer: type, gate: Gate, layer: Layer) -> None:
    """Foreign frames, requests and channel-layer events are handled one at a time, in the order of their arrival."""
    async with connected(consumer, gate) as socket:
        socket.request("slow", 0)
        await until(lambda: gate.waiting)
        channel = socket.scope["consumers"][0].channel_name
        expected: list[Any] = [("slow", 0), ("slow ended", 0)]
        for number in range(1, 30):
            kind = "feq"[number * 7 % 3]
            if kind == "f":
                socket.json({"foreign": number})
                expected.append(("foreign", {"foreign": number}))
            elif kind == "e":
                await layer.send(channel, {"type": "note", "note": number})
                expected.append(("event", number))
            else:
                socket.request("quick", number, number)
                expected.append(("quick", number))
            await until(lambda: socket.is_idle() and layer.is_idle())
        assert socket.log == expected[:1]
        gate.open()
        frames = await socket.read(30)
        assert socket.log == expected
        assert [frame.get("foreign", frame.get("note", frame.get("payload"))) for frame in frames] == [
            "late",
            *range(1, 30),
        ]


@pytest.mark.parametrize("consumer", FLAVOURS)
async def test_foreign_frame_waits_for_the_running_one(consumer: type, gate: Gate) -> None:
    """A request behind a foreign frame that waits is handled after it, and PING is answered meanwhile."""
    async with connected(consumer, gate) as socket:
        socket.json({"wait": 1})
        socket.request("quick", 1)
        await until(lambda: gate.waiting)
        await socket.ping()
        assert socket.log == [("foreign", {"wait": 1})]
        gate.open()
        await socket.reply(1)
        assert socket.frames[-2] == {"wait": 1}


@pytest.mark.parametrize("consumer", FLAVOURS)
async def test_foreign_frames_are_never_refused(consumer: type, gate: Gate, settings: Any) -> None:
    """When the queue is full of foreign frames the reader pauses; all are answered, in order, and none is lost."""
    settings.ROUTESOCK = {"MAX_QUEUED": 4}
    async with connected(consumer, gate) as socket:
        socket.request("slow", 0)
        await until(lambda: gate.waiting)
        socket.json(*({"foreign": number} for number in range(50)))
        socket.requests("quick", 1, 2, 3)
        await asyncio.sleep(0.1)  # five times the patience with a request
        assert not socket.is_idle()
        assert socket.sent[1:] == []
        gate.open()
        frames = await socket.read(54)
    assert frames[0]["status"] == 200
    assert frames[1:51] == [{"foreign": number} for number in range(50)]
    assert socket.statuses() == [(0, 200), (1, 200), (2, 200), (3, 200)]


@pytest.mark.repetitions
@pytest.mark.parametrize("route", ["quick", "yield"])
async def test_ten_thousand_quick_requests_are_ten_thousand_answers(route: str, gate: Gate) -> None:
    """However many quick requests are pipelined, each is answered 200, in order; whether a handler waits or not."""
    text = json.dumps({"route": route, "uuid": -1, "payload": 1})
    async with connected(OnLoop, gate) as socket:
        socket.text(*(text.replace("-1,", f"{number},") for number in range(10_000)))
        await until(lambda: len(socket.sent) >= 10_001, "10,000 replies", 30)
        assert socket.statuses() == [(number, 200) for number in range(10_000)]


@pytest.mark.repetitions
@pytest.mark.parametrize("consumer", [InThread, Mixed])
async def test_many_quick_sync_requests_are_as_many_answers(
    consumer: type, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Requests whose handlers run in the database thread are quick ones too."""
    monkeypatch.setattr(
        "routesock._connection.queue.jobs.QUEUE_TIMEOUT", 1.0
    )  # a busy machine may not run that thread for 20 ms
    async with connected(consumer, gate) as socket:
        socket.requests("quick", *range(1000))
        await until(lambda: len(socket.sent) >= 1001, "1,000 replies", 30)
        assert socket.statuses() == [(number, 200) for number in range(1000)]


@pytest.mark.repetitions
async def test_pipelined_requests_leave_the_loop_to_others(gate: Gate) -> None:
    """A flood of requests that never wait lets other tasks run every few requests."""
    async with connected(OnLoop, gate) as socket:
        socket.requests("quick", *range(2000))
        most = turns = 0
        while len(socket.sent) < 2001:
            before = len(socket.sent)
            await asyncio.sleep(0)
            most = max(most, len(socket.sent) - before)
            turns += 1
        assert most <= 64


@pytest.mark.parametrize("consumer", FLAVOURS)
async def test_ping_does_not_wait_for_a_handler(consumer: type, gate: Gate) -> None:
    """A PING behind a handler that waits is answered before the handler ends, with its uuid and payload."""
    async with connected(consumer, gate) as socket:
        socket.request("slow", 1)
        await until(lambda: gate.waiting)
        socket.json({"route": "PING", "uuid": "p", "payload": [1, None]}, {"route": "PING"})
        frames = await socket.read(2)
        assert frames == [
            {"route": "PONG", "uuid": "p", "payload": [1, None]},
            {"route": "PONG", "uuid": None, "payload": None},
        ]
        gate.open()
        assert (await socket.reply(1))["payload"] == "late"


@pytest.mark.parametrize("consumer", FLAVOURS)
async def test_full_queue_refuses_within_patience(consumer: type, gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind a slow request 64 wait; the rest is answered 429 soon, those 200 in order, and PING soon."""
    # If each of 200 frames waited for so long, PONG would not come within LIMIT.
    monkeypatch.setattr("routesock._connection.queue.jobs.QUEUE_TIMEOUT", LIMIT / 100)
    async with connected(consumer, gate) as socket:
        socket.request("slow", "running")
        await until(lambda: gate.waiting)
        socket.requests("quick", *range(264))
        await socket.ping()
        assert problems(socket.frames[:-1]) == [(429, "too_many_in_flight", number) for number in range(64, 264)]
        gate.open()
        await socket.read(266)
        assert socket.statuses()[200:] == [("running", 200), *((number, 200) for number in range(64))]


async def test_there_is_room_again_when_a_request_has_ended(gate: Gate, settings: Any) -> None:
    """A refusal is for one moment: when the queue has been worked off, as many requests find room as before."""
    settings.ROUTESOCK = {"MAX_QUEUED": 2}
    async with connected(OnLoop, gate) as socket:
        socket.requests("slow", 0, 1, 2, 3)
        await until(lambda: socket.replies(3))
        assert socket.statuses() == [(3, 429)]
        gate.open()
        await until(lambda: socket.replies(2))
        socket.requests("slow", 3, 4)
        await until(lambda: socket.replies(4))
        assert socket.statuses() == [(3, 429), (0, 200), (1, 200), (2, 200), (3, 200), (4, 200)]


@pytest.mark.parametrize("consumer", FLAVOURS)
async def test_refusals_may_overtake(consumer: type, gate: Gate) -> None:
    """An error that needs no handler is answered while another request is being handled."""
    async with connected(consumer, gate) as socket:
        socket.request("slow", 1)
        await until(lambda: gate.waiting)
        socket.text("not JSON", '{"route": "quick", "uuid": true}', '{"route": "quick", "uuid": 2, "headers": []}')
        frames = await socket.read(3)
        assert problems(frames) == [
            (400, "parse_error", None),
            (400, "invalid_envelope", None),
            (400, "invalid_envelope", 2),
        ]
        gate.open()
        await socket.reply(1)


@pytest.mark.parametrize("consumer", FLAVOURS)
async def test_one_socket_does_not_wait_for_another(consumer: type, gate: Gate) -> None:
    """A handler that waits on one socket delays neither PING nor, on the loop, a request on another."""
    async with connected(consumer, gate) as busy, connected(consumer, gate) as other:
        busy.request("slow", 1)
        await until(lambda: gate.waiting)
        await other.ping()
        if consumer is OnLoop:
            assert (await other.call("quick", 2))["status"] == 200
        gate.open()
        await busy.reply(1)
        # Both have tasks of their own: only the last one to end can tell whether some are left.
        busy.disconnect()
        await until(lambda: busy.done)


async def test_back_pressure_of_the_client_holds_the_reader(gate: Gate) -> None:
    """While the client does not read the reply of a handler that never waited, nothing more is read from it."""
    async with connected(OnLoop, gate) as socket:
        socket.writable.clear()
        socket.requests("quick", *range(5))
        await until(lambda: socket.log, "the first handler")
        await turns()
        assert not socket.is_idle()
        assert socket.log == [("quick", 0)]
        socket.writable.set()
        await socket.read(5)
        assert socket.statuses() == [(number, 200) for number in range(5)]


@pytest.mark.parametrize("consumer", FLAVOURS)
@pytest.mark.parametrize("route", ["quick", "call.later"])
async def test_client_that_reads_slowly_is_refused_nothing(
    consumer: type, route: str, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reply that waits in ``send()`` is back-pressure, no busy handler: quick requests behind it are not refused."""
    monkeypatch.setattr(
        "routesock._connection.queue.jobs.QUEUE_TIMEOUT", 0.5
    )  # a busy machine may not run a thread for 20 ms
    async with connected(consumer, gate) as socket:
        socket.scope["nothing"] = lambda consumer: 1
        socket.writable.clear()
        for number in range(200):
            socket.request(route, number, "nothing")
        await until(lambda: socket.log, "the first handler")
        await asyncio.sleep(0.6)  # longer than the patience with a handler
        socket.writable.set()
        await socket.read(200)
        assert socket.statuses() == [(number, 200) for number in range(200)]


async def test_push_from_a_task_of_the_consumer_gets_through(gate: Gate) -> None:
    """What a task of the consumer's own sends does not wait for a handler, nor does it hold the reader."""
    async with connected(OnLoop, gate) as socket:
        socket.request("slow", 1)
        await until(lambda: gate.waiting)
        await socket.scope["consumers"][0].send_json({"push": 1})
        await socket.ping()
        assert socket.frames[0] == {"push": 1}
        gate.open()
        await socket.reply(1)


async def test_blocked_push_does_not_keep_the_reader_from_ping(gate: Gate) -> None:
    """A push that had to wait for the client while a handler began does not hold the reader for the handler's time."""
    async with connected(OnLoop, gate) as socket:
        socket.writable.clear()
        push = asyncio.create_task(socket.scope["consumers"][0].send_json({"push": 1}))
        await asyncio.sleep(0)
        socket.request("slow", 1)
        await until(lambda: gate.waiting)
        socket.writable.set()
        await push
        await socket.ping()
        gate.open()
        await socket.reply(1)
