"""What the servers load."""

from __future__ import annotations

import asyncio
import os
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.sessions.settings")

from django.core.asgi import get_asgi_application

django_application = get_asgi_application()

from channels.auth import AuthMiddlewareStack  # noqa: E402
from channels.generic.websocket import AsyncJsonWebsocketConsumer, JsonWebsocketConsumer  # noqa: E402
from channels.routing import ProtocolTypeRouter, URLRouter  # noqa: E402
from django.urls import path  # noqa: E402

from routesock import Request, RouteMixin, route  # noqa: E402


class Talk(RouteMixin, AsyncJsonWebsocketConsumer):
    @route("echo")
    async def echo(self, request: Request) -> Any:
        return request.payload

    @route("wait")
    async def wait(self, request: Request) -> None:
        await asyncio.Event().wait()


class Checked(Talk):
    route_revalidate_interval = 1


class Blocking(RouteMixin, JsonWebsocketConsumer):
    @route("echo")
    def echo(self, request: Request) -> Any:
        return request.payload


application = ProtocolTypeRouter(
    {
        "http": django_application,
        "websocket": AuthMiddlewareStack(
            URLRouter(
                [
                    path("talk/", Talk.as_asgi()),
                    path("checked/", Checked.as_asgi()),
                    path("blocking/", Blocking.as_asgi()),
                ]
            )
        ),
    }
)
