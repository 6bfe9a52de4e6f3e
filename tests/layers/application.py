"""The application behind the tests of channel layers that fail."""

from __future__ import annotations

import asyncio
from typing import Any

from asgiref.sync import async_to_sync
from channels.generic.websocket import AsyncJsonWebsocketConsumer, JsonWebsocketConsumer
from channels.routing import ProtocolTypeRouter, URLRouter
from django.urls import path

from routesock import Request, RouteMixin, route


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


application = ProtocolTypeRouter(
    {"websocket": URLRouter([path("ws/", Member.as_asgi()), path("sync/", SyncMember.as_asgi())])}
)
