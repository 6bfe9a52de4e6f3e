"""The application behind chanx's generated client. ``chat.asyncapi.json`` is what chanx says of such a consumer."""

from __future__ import annotations

import os
from typing import Any

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
django.setup()

from channels.generic.websocket import AsyncJsonWebsocketConsumer  # noqa: E402  (models need the settings)
from channels.routing import ProtocolTypeRouter, URLRouter  # noqa: E402
from django.urls import path  # noqa: E402
from pydantic import BaseModel  # noqa: E402

from routesock import Request, RouteMixin, route, topic  # noqa: E402
from routesock.dialects import Chanx  # noqa: E402


class Text(BaseModel):
    text: str
    n: int = 0


class ChatConsumer(RouteMixin, AsyncJsonWebsocketConsumer):
    route_dialect = Chanx(reply_actions={"chat.send": "chat.sent"})

    async def connect(self) -> None:
        await self.accept()
        await self.socket.join("everybody")

    @route("chat.send", schema=Text)
    async def send_text(self, request: Request) -> Any:
        name = request.frame.get("topic")
        if name in self.socket.groups:
            await self.socket.broadcast(name, "news", request.payload.model_dump(), headers={"seq": 1})
        return request.payload.model_dump()

    @route("cast", schema=Text)
    async def cast(self, request: Request) -> None:
        await self.socket.broadcast("everybody", "cast", request.payload.model_dump())

    @topic("room:{id}", permissions=[lambda request: request.topic != "room:9"])
    async def room(self, request: Request) -> None:
        return None


application = ProtocolTypeRouter({"websocket": URLRouter([path("ws/chat/", ChatConsumer.as_asgi())])})
