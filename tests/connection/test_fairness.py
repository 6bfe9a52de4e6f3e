"""One socket's costly frames leave turns of the loop to all others, by number and by time."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from channels.generic.websocket import AsyncJsonWebsocketConsumer

from routesock import Request, RouteMixin, event, route
from routesock._connection import readers
from routesock._connection.queue import job_queue
from routesock._runtime.timers import FAIR_SHARE
from tests.takeover.driver import Socket, until

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
        from channels.layers import get_channel_layer

        layer: Any = get_channel_layer()
        for _ in range(20):
            await layer.send(Named.name, {"type": "note"})
        assert await most_in_a_turn(Named, 20) <= 2
        assert socket.closed is None


async def test_costly_events(clock: Clock) -> None:
    from routesock import asend_event

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
