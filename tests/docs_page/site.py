"""The site that the tests of the page look at: the consumer of the example, and some of the zoo."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from typing import Any

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.docs_page.site_settings")
django.setup()  # the consumers import models

from channels.auth import AuthMiddlewareStack  # noqa: E402
from channels.generic.websocket import AsyncJsonWebsocketConsumer  # noqa: E402
from channels.routing import ProtocolTypeRouter, URLRouter  # noqa: E402
from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler  # noqa: E402
from django.core.asgi import get_asgi_application  # noqa: E402
from django.urls import path  # noqa: E402

from chat.routing import websocket_urlpatterns  # noqa: E402
from routesock import Request, RouteMixin, route  # noqa: E402
from routesock.auth import TokenMiddleware  # noqa: E402
from tests.asyncapi import zoo  # noqa: E402

paths: Any = path


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
        "http": ASGIStaticFilesHandler(get_asgi_application()),
        "websocket": AuthMiddlewareStack(
            URLRouter(
                [
                    *websocket_urlpatterns,
                    paths("ws/count/", Counter.as_asgi()),
                    paths("ws/zoo/nested/<int:pk>/<slug:name>/", zoo.Nested.as_asgi()),
                    paths("ws/zoo/token/", TokenMiddleware(zoo.Zoo.as_asgi(), [zoo.user_of])),
                    paths("ws/zoo/json-rpc/", zoo.OfJsonRpc.as_asgi()),
                    paths("ws/zoo/plain/", zoo.Plain.as_asgi()),
                ]
            )
        ),
    }
)
