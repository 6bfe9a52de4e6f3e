"""A consumer whose handlers wait, block, stream and fall over, for the tests of a socket's life."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import AsyncIterator, Iterator
from typing import Any

from channels.exceptions import StopConsumer
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from django.db import connection

from routesock import Request, RouteMixin, route

logger = logging.getLogger(__name__)

MEGABYTE = "x" * 990_000


class LifeConsumer(RouteMixin, AsyncJsonWebsocketConsumer):
    route_disconnect_grace = 0.5

    @route("echo")
    async def echo(self, request: Request) -> Any:
        return request.payload

    @route("wait")
    async def wait(self, request: Request) -> str:
        """Waits for so long; the log says how it ended."""
        name, seconds = request.payload
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            logger.warning("cancelled %s", name)
            raise
        logger.warning("finished %s", name)
        return "waited"

    @route("wait.cancellable", cancel_on_disconnect=True)
    async def wait_cancellable(self, request: Request) -> str:
        return await self.wait(request)

    @route("held")
    async def held(self, request: Request) -> str:
        """Waits for ``release``."""
        self.released = asyncio.Event()
        await self.released.wait()
        return "released"

    @route("release", parallel=True)
    async def release(self, request: Request) -> None:
        self.released.set()

    @route("beside", parallel=True)
    async def beside(self, request: Request) -> Any:
        await asyncio.sleep(0.001 * (request.payload % 7))
        return request.payload

    @route("query")
    def query(self, request: Request) -> Any:
        """Keeps the database thread, and nothing else, for some tenths of a second."""
        with connection.cursor() as cursor:
            cursor.execute(
                "WITH RECURSIVE counter(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM counter LIMIT %s)"
                " SELECT count(*) FROM counter",
                [request.payload],
            )
            return cursor.fetchone()[0]

    @route("ticks")
    async def ticks(self, request: Request) -> AsyncIterator[Any]:
        try:
            for number in itertools.count():
                yield number
                await asyncio.sleep(0.01)
        finally:
            logger.warning("closed %s", request.payload)

    @route("pages")
    def pages(self, request: Request) -> Iterator[Any]:
        yield from range(request.payload)

    @route("flood.stream")
    async def flood_stream(self, request: Request) -> AsyncIterator[Any]:
        for _ in range(request.payload):
            yield MEGABYTE

    @route("flood.push")
    async def flood_push(self, request: Request) -> None:
        for _ in range(request.payload):
            await self.socket.push("flood", MEGABYTE)

    @route("flood.beside", parallel=True)
    async def flood_beside(self, request: Request) -> str:
        return MEGABYTE

    @route("stop")
    async def stop(self, request: Request) -> None:
        raise StopConsumer

    @route("tasks", parallel=True)
    async def tasks(self, request: Request) -> int:
        return len(asyncio.all_tasks())

    async def disconnect(self, code: int) -> None:
        name = self.scope["query_string"].decode()
        if name:
            logger.warning("disconnect of %s", name)
