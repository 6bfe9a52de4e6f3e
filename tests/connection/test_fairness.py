"""One socket's costly frames leave turns of the loop to all others, and its queue is bounded in bytes."""

from __future__ import annotations

import asyncio
import json
import tracemalloc
from collections import Counter
from typing import Any

import pytest
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from channels.layers import get_channel_layer
from django.test import override_settings

from routesock import Request, RouteMixin, RouteSetupError, asend_event, event, route
from routesock._connection import readers
from routesock._connection.queue import job_queue
from routesock._runtime.timers import FAIR_SHARE
from routesock.auth import HandshakeMiddleware
from tests.takeover.driver import LIMIT, Socket, until

COSTLY = 0.004
"""Seconds: two of these exceed what a task may run."""


class Clock:
    """A clock that only the handlers put forward."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(readers, "clock", clock)
    monkeypatch.setattr(job_queue, "clock", clock)
    return clock


class Costly(RouteMixin, AsyncJsonWebsocketConsumer):
    clock: Clock
    done = 0
    gate: asyncio.Event

    def work(self) -> None:
        type(self).done += 1
        type(self).clock.now += COSTLY

    @route("costly")
    async def costly(self, request: Request) -> None:
        self.work()

    @route("parallel", parallel=True)
    async def parallel(self, request: Request) -> None:
        self.work()

    @route("wait")
    async def wait(self, request: Request) -> None:
        await type(self).gate.wait()

    @route("wait too", parallel=True)
    async def wait_too(self, request: Request) -> None:
        await type(self).gate.wait()

    @event("costly.event")
    async def costly_event(self, event: Any) -> None:
        self.work()

    async def note(self, message: Any) -> None:
        self.work()


def costly(clock: Clock) -> type[Costly]:
    class Own(Costly):
        pass

    Own.clock = clock
    Own.gate = asyncio.Event()
    return Own


async def most_in_a_turn(consumer: type[Costly], number: int) -> int:
    """Wait until so many jobs are done; return how many of them one turn of the loop did at most."""
    most = 0
    while consumer.done < number:
        before = consumer.done
        await asyncio.sleep(0)
        most = max(most, consumer.done - before)
    return most


def frames(name: str, number: int) -> list[str]:
    return [json.dumps({"route": name, "uuid": n}) for n in range(number)]


@pytest.mark.parametrize("name", ["costly", "parallel"])
async def test_others_wait_for_two_costly_frames_and_not_for_sixteen(name: str, clock: Clock) -> None:
    consumer = costly(clock)
    async with Socket(consumer.as_asgi()) as socket:
        socket.text(*frames(name, 20))
        assert await most_in_a_turn(consumer, 20) <= 2


async def test_costly_jobs_that_were_queued(clock: Clock) -> None:
    """They run one behind the other in the task of the job that they waited for."""
    consumer = costly(clock)
    async with Socket(consumer.as_asgi()) as socket:
        socket.json({"route": "wait", "uuid": "w"})
        socket.text(*frames("costly", 20))
        await until(lambda: socket.unread() == 0)
        consumer.gate.set()
        assert await most_in_a_turn(consumer, 20) <= 2


async def test_frames_that_cost_nothing_are_counted(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "COSTLY", 0.0)
    consumer = costly(clock)
    async with Socket(consumer.as_asgi()) as socket:
        socket.text(*frames("costly", 60))
        assert await most_in_a_turn(consumer, 60) == FAIR_SHARE


async def test_costly_channel_layer_messages(clock: Clock) -> None:
    class Named(Costly):
        name = ""

        async def connect(self) -> None:
            Named.name = self.channel_name
            await self.accept()

    Named.clock = clock
    async with Socket(Named.as_asgi()) as socket:
        layer: Any = get_channel_layer()
        for _ in range(20):
            await layer.send(Named.name, {"type": "note"})
        assert await most_in_a_turn(Named, 20) <= 2
        assert socket.closed is None


async def test_costly_events(clock: Clock) -> None:
    class Joined(Costly):
        async def connect(self) -> None:
            await self.accept()
            await self.socket.join("room")

    Joined.clock = clock
    async with Socket(Joined.as_asgi()) as socket:
        await until(lambda: socket.sent)
        for _ in range(20):
            await asend_event("room", "costly.event")
        assert await most_in_a_turn(Joined, 20) <= 2


LARGE = json.dumps([{}] * 16_000)
"""64 KB that take a megabyte when they are decoded."""


@pytest.mark.repetitions
@pytest.mark.parametrize("name", ["costly", "parallel"])
async def test_queued_frames_are_bounded_in_bytes(name: str, clock: Clock) -> None:
    """64 frames may wait, but not even half as many large ones: what is decoded takes some 25 times as much memory."""
    consumer = costly(clock)
    with override_settings(ROUTESOCK={"CONCURRENCY": 1}):
        async with Socket(consumer.as_asgi()) as socket:
            socket.json({"route": "wait", "uuid": "w"}, {"route": "wait too", "uuid": "p"})
            await until(lambda: socket.unread() == 0)
            tracemalloc.start()
            try:
                socket.text(*[f'{{"route": "{name}", "uuid": {n}, "payload": {LARGE}}}' for n in range(32)])
                await until(lambda: len(socket.frames) == 24, "refusals", 10 * LIMIT)  # tracing takes a while
                assert tracemalloc.get_traced_memory()[1] < 25_000_000
            finally:
                tracemalloc.stop()
            consumer.gate.set()
            await until(lambda: len(socket.frames) == 34)
            assert Counter(frame["status"] for frame in socket.frames) == {429: 24, 204: 10}


async def test_one_frame_may_wait_whatever_its_size(clock: Clock) -> None:
    consumer = costly(clock)
    with override_settings(ROUTESOCK={"MAX_QUEUED_BYTES": 1}):
        async with Socket(consumer.as_asgi()) as socket:
            socket.json({"route": "wait", "uuid": "w"}, {"route": "costly", "uuid": 1}, {"route": "costly", "uuid": 2})
            await until(lambda: len(socket.frames) == 1)
            assert [(frame["uuid"], frame["status"]) for frame in socket.frames] == [(2, 429)]
            consumer.gate.set()
            await until(lambda: len(socket.frames) == 3)


async def test_the_frame_limit_of_a_class() -> None:
    class Small(RouteMixin, AsyncJsonWebsocketConsumer):
        route_max_frame = 100

        @route("echo", public=True)
        async def echo(self, request: Request) -> Any:
            return request.payload

    class Large(Small):
        route_max_frame = 100_000

    for consumer, status in ((Small, 413), (Large, 200)):
        for app in (consumer.as_asgi(), HandshakeMiddleware(consumer.as_asgi(), authenticators=[nobody])):
            async with Socket(app) as socket:
                for size in (20, 80_000):
                    socket.json({"route": "echo", "uuid": size, "payload": "x" * size})
                await until(lambda: [frame for frame in socket.frames if frame.get("status")][1:])
                statuses = [frame["status"] for frame in socket.frames if frame.get("status")]
                assert sorted(statuses) == [200, status]


async def nobody(credentials: Any) -> None:
    """An authenticator that knows no token."""


@pytest.mark.parametrize("most", [0, -1, "1", 1.0, True, None])
def test_a_frame_limit_that_is_none(most: Any) -> None:
    with pytest.raises(RouteSetupError, match=r"\.route_max_frame must be a positive number of bytes; got "):
        type("Wrong", (RouteMixin, AsyncJsonWebsocketConsumer), {"route_max_frame": most})
