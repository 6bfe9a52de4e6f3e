"""What the servers load: a socket that says when it was there, and routes that take as long as they are told."""

from __future__ import annotations

import asyncio
import logging
import os
from pathlib import Path
from typing import Any, ClassVar

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
django.setup()

from channels.generic.websocket import AsyncJsonWebsocketConsumer, JsonWebsocketConsumer  # noqa: E402
from channels.routing import ProtocolTypeRouter, URLRouter  # noqa: E402
from django.urls import path  # noqa: E402

from routesock import Request, RouteMixin, route  # noqa: E402

logger = logging.getLogger(__name__)


class Told(RouteMixin, AsyncJsonWebsocketConsumer):
    route_disconnect_grace: ClassVar[float] = 3.0

    async def connect(self) -> None:
        logger.warning("connected %s", self.name)
        await self.accept()

    @route("sleep")
    async def sleep(self, request: Request) -> str:
        await asyncio.sleep(request.payload)
        return "slept"

    @route("held")
    async def held(self, request: Request) -> str:
        """Waits for a file with this path."""
        while not await asyncio.to_thread(Path(request.payload).exists):  # noqa: ASYNC110  (another process writes it)
            await asyncio.sleep(0.02)
        return "released"

    async def disconnect(self, code: int) -> None:
        await asyncio.sleep(0.05)
        logger.warning("disconnected %s %s", self.name, code)

    @property
    def name(self) -> Any:
        return self.scope["url_route"]["kwargs"]["name"]


class Patient(Told):
    route_disconnect_grace = 60.0


class SyncTold(RouteMixin, JsonWebsocketConsumer):
    def disconnect(self, code: int) -> None:
        logger.warning("disconnected sync %s", code)


application = ProtocolTypeRouter(
    {
        "websocket": URLRouter(
            [
                path("told/<name>/", Told.as_asgi()),
                path("patient/<name>/", Patient.as_asgi()),
                path("sync/", SyncTold.as_asgi()),
            ]
        )
    }
)
