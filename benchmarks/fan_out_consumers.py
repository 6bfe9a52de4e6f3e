"""The two ways of one socket to reach many; ``/subscriber`` is one of the many, ``/sender`` the one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

from channels.generic.websocket import AsyncJsonWebsocketConsumer

from routesock import RouteMixin, route

from .driving import Application
from .fan_out import PLAIN, ROUTED

GROUP = "room"
ROUTE = "chat.message"
TEXT = "The quick brown fox jumps over the lazy dog, and then over another one."


async def messages(count: int, interval: float) -> AsyncIterator[dict[str, Any]]:
    """The payloads of ``count`` broadcasts, one each ``interval`` seconds. All are of one length, and say when they
    were made."""
    begun = time.monotonic()
    for number in range(count):
        if interval:
            await asyncio.sleep(begun + number * interval - time.monotonic())
        yield {"number": f"{number:06}", "sent": f"{time.monotonic_ns():018}", "room": GROUP, "text": TEXT}


class Plain(AsyncJsonWebsocketConsumer):
    """What a team writes on Channels."""

    async def connect(self) -> None:
        if self.scope["path"] == "/subscriber":
            await self.channel_layer.group_add(GROUP, self.channel_name)
        await self.accept()

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        async for payload in messages(**content["payload"]):
            frame = {"route": ROUTE, "payload": payload}
            await self.channel_layer.group_send(GROUP, {"type": "chat.message", "frame": frame})

    async def chat_message(self, event: Any) -> None:
        await self.send_json(event["frame"])


class Routed(RouteMixin, AsyncJsonWebsocketConsumer):
    async def connect(self) -> None:
        if self.scope["path"] == "/subscriber":
            await self.socket.join(GROUP)
        await self.accept()

    @route("send", timeout=None)
    async def send_messages(self, request: Any) -> None:
        async for payload in messages(**request.payload):
            await self.socket.broadcast(GROUP, ROUTE, payload)


WAYS: dict[str, Application] = {PLAIN: Plain.as_asgi(), ROUTED: Routed.as_asgi()}
