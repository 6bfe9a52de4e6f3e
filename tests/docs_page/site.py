"""The site that the tests of the page look at: the consumer of the example, the zoo, and one with 200 routes."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.docs_page.site_settings")

from channels.auth import AuthMiddlewareStack
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from channels.routing import ProtocolTypeRouter, URLRouter
from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler
from django.urls import path

from chat.routing import websocket_urlpatterns
from config.asgi import django_application
from routesock import Request, RouteMixin, route
from tests.asyncapi import zoo

SCRIPT = zoo.SCRIPT

paths: Any = path


def numbered(number: int) -> Any:
    @route(f"many.{number}", tags=[f"tag {number % 9}"])
    async def answer(self: Any, request: Request) -> Any:
        return {"number": number}

    return answer


Many = type(
    "Many",
    (RouteMixin, AsyncJsonWebsocketConsumer),
    {
        "__doc__": "Two hundred routes.",
        "route_pushes": [],
        **{f"route_{number}": numbered(number) for number in range(200)},
    },
)


class Counter(RouteMixin, AsyncJsonWebsocketConsumer):
    """Streams, and a close."""

    route_pushes: list[Any] = []

    @route("count")
    async def count(self, request: Request) -> AsyncIterator[Any]:
        """Count, and then wait until the client cancels."""
        for number in range(3):
            yield {"number": number}
        await asyncio.Event().wait()

    @route("leave")
    async def leave(self, request: Request) -> None:
        await self.close(code=4403)


application = ProtocolTypeRouter(
    {
        "http": ASGIStaticFilesHandler(django_application),
        "websocket": AuthMiddlewareStack(
            URLRouter(
                [
                    *websocket_urlpatterns,
                    paths("ws/many/", Many.as_asgi()),
                    paths("ws/count/", Counter.as_asgi()),
                    paths("ws/zoo/", zoo.application.application_mapping["websocket"]),
                ]
            )
        ),
    }
)
