"""The application behind the tests of channel layers that fail."""

from __future__ import annotations

import asyncio
from typing import Any

from asgiref.sync import async_to_sync
from channels.generic.websocket import AsyncJsonWebsocketConsumer, JsonWebsocketConsumer
from channels.routing import ProtocolTypeRouter, URLRouter
from django.urls import path

from routesock import Request, RouteMixin, delivery_counts, route


class Member(RouteMixin, AsyncJsonWebsocketConsumer):
    groups = ["declared"]

    async def connect(self) -> None:
        await self.channel_layer.group_add("joined", self.channel_name)
        await self.accept()

    @route("echo")
    async def echo(self, request: Request) -> Any:
        return request.payload

    @route("broadcast")
    async def broadcast(self, request: Request) -> None:
        for number in range(request.payload.get("count", 1)):
            await self.channel_layer.group_send(
                request.payload["group"], {"type": "told", **request.payload, "number": number}
            )

    @route("busy", timeout=None)
    async def busy(self, request: Request) -> None:
        await asyncio.Event().wait()

    async def told(self, event: dict[str, Any]) -> None:
        await self.send_json({"told": event["group"], "round": event["round"], "number": event["number"]})


class SyncMember(RouteMixin, JsonWebsocketConsumer):
    groups = ["declared"]

    def connect(self) -> None:
        async_to_sync(self.channel_layer.group_add)("joined", self.channel_name)
        self.accept()

    @route("echo")
    def echo(self, request: Request) -> Any:
        return request.payload

    def told(self, event: dict[str, Any]) -> None:
        self.send_json({"told": event["group"], "round": event["round"], "number": event["number"]})


class Listener(RouteMixin, AsyncJsonWebsocketConsumer):
    """A socket in a group of routesock's own."""

    async def connect(self) -> None:
        await self.socket.join("news, for all")
        await self.accept()

    @route("tell", timeout=None)
    async def tell(self, request: Request) -> list[Any]:
        """Broadcast the numbers from ``first`` up to ``last``; those of which the layer raised something."""
        refused: list[Any] = []
        for number in range(request.payload["first"], request.payload["last"]):
            try:
                await self.socket.broadcast("news, for all", "news", number)
            except Exception:
                refused.append(number)
        return refused

    @route("counts")
    async def counts(self, request: Request) -> dict[str, int]:
        return delivery_counts()._asdict()

    @route("pass")
    async def pass_on(self, request: Request) -> None:
        await self.socket.broadcast("news, for all", "news", request.payload)


application = ProtocolTypeRouter(
    {
        "websocket": URLRouter(
            [
                path("ws/", Member.as_asgi()),
                path("sync/", SyncMember.as_asgi()),
                path("news/", Listener.as_asgi()),
            ]
        )
    }
)
