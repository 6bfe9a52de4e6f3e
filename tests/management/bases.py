"""A base class in a file of its own, as larger projects have it."""

from __future__ import annotations

from typing import Any

from channels.generic.websocket import AsyncJsonWebsocketConsumer


class DispatchingConsumer(AsyncJsonWebsocketConsumer):
    """Finds the action in one place for all consumers of the project."""

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        await self.handle(content.get("cmd"), content.get("data", {}), content.get("ref"))

    async def handle(self, cmd: Any, data: Any, ref: Any) -> None:
        await self.send_json({"cmd": "error", "ref": ref})
