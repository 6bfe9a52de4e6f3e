"""How soon a PING is answered while something else of the process, or of the same socket, waits."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Coroutine, Sequence
from itertools import chain
from typing import Any

from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncJsonWebsocketConsumer

from routesock import RouteMixin, route

from .clients import Client, connected, run
from .driving import Application, reply
from .tables import Most, Table, percentile

BUSY_SOCKETS = 10
BLOCKED_FOR = 0.05
HANDLER_WAITS = 0.2
PAUSE = 0.02
MOST_MILLISECONDS = 50

Ping = Callable[[Client], Coroutine[Any, Any, float]]


class ByHand(AsyncJsonWebsocketConsumer):
    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        route, id, payload = content["route"], content["uuid"], content["payload"]
        if route == "PING":
            await self.send_json({"route": "PONG", "uuid": id, "payload": payload})
        elif route == "wait":
            await asyncio.sleep(payload)
            await self.send_json(reply(route, id, payload))
        elif route == "block":
            await database_sync_to_async(time.sleep)(payload)  # what a query does, seen from the loop
            await self.send_json(reply(route, id, payload))


class Routed(RouteMixin, AsyncJsonWebsocketConsumer):
    @route("wait")
    async def wait(self, request: Any) -> Any:
        await asyncio.sleep(request.payload)
        return request.payload


HAND_WRITTEN = ByHand.as_asgi()
WAYS: dict[str, Application] = {"hand-written consumer": HAND_WRITTEN, "1 route": Routed.as_asgi()}


def beside_blocking_sockets(*, sockets: int, seconds: float) -> Table:
    """PINGs on ``sockets`` sockets of each way, while others keep the database thread busy."""

    async def measured() -> list[list[float]]:
        done = asyncio.Event()

        async def block(client: Client) -> None:
            while not done.is_set():
                await client.ask("block", BLOCKED_FOR)

        async with connected(HAND_WRITTEN, BUSY_SOCKETS) as busy:
            blocking = [asyncio.ensure_future(block(client)) for client in busy]
            times = await _of_each_way(sockets, seconds, _ping)
            done.set()
            await asyncio.gather(*blocking)
        return times

    return _table(run(measured()))


def behind_a_handler(*, sockets: int, seconds: float) -> Table:
    """PINGs on ``sockets`` sockets of each way, each while a handler of the same socket waits."""
    return _table(run(_of_each_way(sockets, seconds, _ping_behind_a_request)))


def _table(times: Sequence[Sequence[float]]) -> Table:
    rows = {
        name: [percentile(own, percent) * 1000 for percent in (50, 99)] for name, own in zip(WAYS, times, strict=True)
    }
    return Table("ms", ("p50", "p99"), rows, (None, Most(MOST_MILLISECONDS)))


async def _of_each_way(sockets: int, seconds: float, ping: Ping) -> list[list[float]]:
    """The times of all PINGs of each way, at the same time and for so long."""
    return await asyncio.gather(*(_of(way, sockets, seconds, ping) for way in WAYS.values()))


async def _of(way: Application, sockets: int, seconds: float, ping: Ping) -> list[float]:
    async def now_and_then(client: Client) -> list[float]:
        times = []
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            await asyncio.sleep(random.uniform(0, 2 * PAUSE))
            times.append(await ping(client))
        return times

    async with connected(way, sockets) as clients:
        return list(chain.from_iterable(await asyncio.gather(*(now_and_then(client) for client in clients))))


async def _ping(client: Client) -> float:
    return await client.ask("PING")


async def _ping_behind_a_request(client: Client) -> float:
    waiting = asyncio.ensure_future(client.ask("wait", HANDLER_WAITS))
    await asyncio.sleep(random.uniform(0, HANDLER_WAITS / 10))
    seconds = await client.ask("PING")
    await waiting
    return seconds
