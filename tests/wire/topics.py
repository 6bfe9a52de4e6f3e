"""A consumer with topics whose hooks work, fail and hang."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from channels.generic.websocket import AsyncJsonWebsocketConsumer

from routesock import Request, RouteMixin, route, topic

logger = logging.getLogger(__name__)


class TopicsConsumer(RouteMixin, AsyncJsonWebsocketConsumer):
    route_disconnect_grace = 0.1

    @topic("works.{name}", unsubscribe="works_no_more")
    async def works(self, request: Request) -> Any:
        return request.payload

    @topic("fails.{name}", unsubscribe="fails_then")
    async def fails(self, request: Request) -> None: ...

    @topic("hangs.{name}", unsubscribe="hangs_then")
    async def hangs(self, request: Request) -> None: ...

    @topic("thread.{name}", unsubscribe="in_thread")
    def thread(self, request: Request) -> None: ...

    @route("tell")
    async def tell(self, request: Request) -> None:
        await self.socket.broadcast(request.payload, "told", "Hello")

    async def works_no_more(self, request: Request) -> None:
        logger.warning("hook of %s", request.topic)

    async def fails_then(self, request: Request) -> None:
        logger.warning("hook of %s", request.topic)
        raise SystemExit(3)

    async def hangs_then(self, request: Request) -> None:
        logger.warning("hook of %s", request.topic)
        await asyncio.sleep(60)

    def in_thread(self, request: Request) -> None:
        logger.warning("hook of %s", request.topic)

    async def disconnect(self, code: int) -> None:
        logger.warning("disconnect of %s", self.scope["query_string"].decode())
