"""A consumer with names and texts that would break a generated module that does not escape them."""

from __future__ import annotations

from typing import Any

import pydantic
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from channels.routing import URLRouter
from django.urls import path

from routesock import Push, Request, RouteMixin, route, topic

paths: Any = path

TEXT = """*/ export const leaked = 1; /* </script><script>alert(1)</script> @deprecated {@link x} \\ \u2028 \u202e
* */ export const leaked = 2;
\"\"\" + leaked + \"\"\" \\"""

NAME = "\"'`${1}\\\n\u2028</script>"


class Odd(pydantic.BaseModel):
    """A text: */ export const leaked = 3; /*"""

    end: str = pydantic.Field(alias="*/", description=TEXT)
    quotes: int = pydantic.Field(2, alias='"\\')
    keyword: dict[str, Odd] | None = pydantic.Field(None, alias="class", description="\ud800", deprecated=True)


class HostileConsumer(RouteMixin, AsyncJsonWebsocketConsumer):
    __doc__ = TEXT

    route_pushes = [Push(NAME, schema=Odd, summary=TEXT, description=TEXT, tags=[TEXT], deprecated=True)]

    @route(NAME, schema=Odd, dehydrate=Odd, summary=TEXT, description=TEXT, errors={409: TEXT})
    async def odd(self, request: Request) -> Any:
        return request.data

    @route("constructor")
    async def constructor(self, request: Request) -> Any:
        return 1

    @route("__proto__")
    async def prototype(self, request: Request) -> Any:
        return 1

    @topic("`${x}\\.</script>", summary=TEXT)
    async def topic(self, request: Request) -> Any:
        return 1


class Confirm(pydantic.BaseModel):
    text: str


class Decision(pydantic.BaseModel):
    delete: bool
    reason: str = ""


class AskingConsumer(RouteMixin, AsyncJsonWebsocketConsumer):
    """Asks, and has topics that can be resumed."""

    route_pushes = [
        Push("confirm", schema=Confirm, answer=Decision, summary="Show a dialog."),
        Push("ready", answer=pydantic.TypeAdapter(bool)),
        Push("said", schema=Confirm),
    ]

    @route("files.delete")
    async def delete(self, request: Request) -> Any:
        return await self.socket.ask("confirm", {"text": "Delete?"}, timeout=5)

    @topic("room.{id}", recover=True, dehydrate=Confirm)
    async def room(self, request: Request) -> Any:
        return {"text": ""}

    @topic("news", recover=True, dehydrate=Confirm)
    async def news(self, request: Request) -> Any:
        return {"text": ""}


application = URLRouter(
    [
        paths("hostile/`$/*/<str:default>/*/", HostileConsumer.as_asgi()),
        paths("asking/", AskingConsumer.as_asgi()),
    ]
)
