"""The application behind the tests of channel layers that fail."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
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

    @route("broadcast", timeout=None)
    def broadcast(self, request: Request) -> list[str]:
        """Broadcast, and return the names of what was raised."""
        return self._errors(lambda number: self.socket.broadcast("news", "news", number), request)

    @route("join", timeout=None)
    def join(self, request: Request) -> list[str]:
        return self._errors(lambda number: self.socket.join(f"news {number}"), request)

    def _errors(self, call: Callable[[int], None], request: Request) -> list[str]:
        errors = []
        for number in range(request.payload["count"]):
            try:
                call(number)
            except Exception as exc:
                errors.append(type(exc).__name__)
        return errors

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


class Roamer(RouteMixin, AsyncJsonWebsocketConsumer):
    """A socket with a channel that is read, which joins and broadcasts as it is told."""

    async def connect(self) -> None:
        if self.scope["query_string"] == b"own":
            await self.channel_layer.group_add("own", self.channel_name)
        await self.accept()

    @route("join")
    async def join(self, request: Request) -> None:
        await self.socket.join(request.payload)

    @route("join.own")
    async def join_own(self, request: Request) -> None:
        await self.channel_layer.group_add(request.payload, self.channel_name)

    @route("shout")
    async def shout(self, request: Request) -> None:
        await self.socket.broadcast(request.payload, "news", request.payload)

    @route("shout.own")
    async def shout_own(self, request: Request) -> None:
        await self.channel_layer.group_send(request.payload, {"type": "told", "group": request.payload})

    @route("block")
    async def block(self, request: Request) -> None:
        """Hold the loop while others wait for the layer."""
        joining = [asyncio.ensure_future(self.socket.join(f"blocked {number}")) for number in range(3)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        time.sleep(request.payload)  # noqa: ASYNC251
        await asyncio.gather(*joining)
        sending = [
            asyncio.ensure_future(self.socket.broadcast(f"blocked {number}", "news", number)) for number in range(3)
        ]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        time.sleep(request.payload)  # noqa: ASYNC251
        await asyncio.gather(*sending)

    async def told(self, event: dict[str, Any]) -> None:
        await self.send_json({"told": event["group"]})


application = ProtocolTypeRouter(
    {
        "websocket": URLRouter(
            [
                path("ws/", Member.as_asgi()),
                path("sync/", SyncMember.as_asgi()),
                path("news/", Listener.as_asgi()),
                path("roam/", Roamer.as_asgi()),
            ]
        )
    }
)
