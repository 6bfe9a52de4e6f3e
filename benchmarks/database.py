"""How long the sync queries of several sockets take together: one after the other, or in threads of their own."""

from __future__ import annotations

import asyncio
import time
from statistics import median
from typing import Any

from channels.generic.websocket import AsyncJsonWebsocketConsumer, JsonWebsocketConsumer
from django.db import connection

from routesock import RouteMixin, route

from .clients import connected, run
from .driving import Application, reply
from .tables import Table

SOCKETS = 6


def query(seconds: float) -> Any:
    """What a query of that length does: it holds its thread and the connection of that thread, and not the loop."""
    with connection.cursor() as cursor:
        connection.connection.create_function("wait", 1, time.sleep)
        return cursor.execute("SELECT wait(%s)", [seconds]).fetchone()[0]


class ByHand(JsonWebsocketConsumer):
    def receive_json(self, content: Any, **kwargs: Any) -> None:
        if content["route"] == "query":
            self.send_json(reply("query", content["uuid"], query(content["payload"])))


class SyncRouted(RouteMixin, JsonWebsocketConsumer):
    @route("query")
    def query(self, request: Any) -> Any:
        return query(request.payload)


class AsyncRouted(RouteMixin, AsyncJsonWebsocketConsumer):
    @route("query")
    def query(self, request: Any) -> Any:
        return query(request.payload)


class SyncIsolated(SyncRouted):
    route_dedicated_threads = True


class AsyncIsolated(AsyncRouted):
    route_dedicated_threads = True


WAYS: dict[str, Application] = {
    "hand-written sync consumer": ByHand.as_asgi(),
    "1 route, sync consumer": SyncRouted.as_asgi(),
    "1 route, sync, isolated": SyncIsolated.as_asgi(),
    "1 route, async consumer": AsyncRouted.as_asgi(),
    "1 route, async, isolated": AsyncIsolated.as_asgi(),
}


def together(*, seconds: float, rounds: int) -> Table:
    """One query of ``seconds`` on each of :data:`SOCKETS` sockets at once, ``rounds`` times for each way."""

    async def all_rounds() -> dict[str, list[float]]:
        times: dict[str, list[float]] = {name: [] for name in WAYS}
        for _ in range(rounds):
            for name, way in WAYS.items():
                times[name].append(await _until_the_last(way, seconds))
        return times

    rows = {name: [median(own) * 1000] for name, own in run(all_rounds()).items()}
    return Table("ms", ("until the last reply",), rows)


async def _until_the_last(way: Application, seconds: float) -> float:
    async with connected(way, SOCKETS) as clients:
        begun = time.perf_counter()
        await asyncio.gather(*(client.ask("query", seconds) for client in clients))
        return time.perf_counter() - begun
