"""What the servers load: the ways to the database, for sockets that share a thread and for isolated ones."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.database.settings")
django.setup()

from channels.generic.websocket import AsyncJsonWebsocketConsumer, JsonWebsocketConsumer  # noqa: E402
from channels.routing import ProtocolTypeRouter, URLRouter  # noqa: E402
from django.urls import path  # noqa: E402

from routesock import Request, RouteMixin, route  # noqa: E402

from . import tenants  # noqa: E402
from .models import Backend, OwnPid, TypeName  # noqa: E402


class Async(RouteMixin, AsyncJsonWebsocketConsumer):
    """Each route but the last uses the alias that the payload names, and answers with its connection's ``pid``."""

    @route("async")
    async def in_async(self, request: Request) -> int:
        return (await Backend.objects.using(request.payload).aget(pid=OwnPid())).pid

    @route("sync")
    def in_sync(self, request: Request) -> int:
        return Backend.objects.using(request.payload).get(pid=OwnPid()).pid

    @route("cursor")
    def cursor(self, request: Request) -> Iterator[str]:
        """Rows of a cursor on the server, which ends with its connection; each in a hop of its own."""
        for row in TypeName.objects.using(request.payload)[:20].iterator(chunk_size=1):
            yield row.typname

    @route("async-cursor", parallel=True)
    async def async_cursor(self, request: Request) -> int:
        return len([row async for row in TypeName.objects.using(request.payload)[:20].aiterator(chunk_size=1)])

    @route("threads")
    async def threads(self, request: Request) -> list[str]:
        return [thread.name for thread in threading.enumerate()]


class Sync(RouteMixin, JsonWebsocketConsumer):
    @route("sync-consumer")
    def in_sync(self, request: Request) -> int:
        return Backend.objects.using(request.payload).get(pid=OwnPid()).pid


class IsolatedAsync(Async):
    route_dedicated_threads = True


class IsolatedSync(Sync):
    route_dedicated_threads = True


application = ProtocolTypeRouter(
    {
        "websocket": URLRouter(
            [
                path("shared/", Async.as_asgi()),
                path("shared/sync/", Sync.as_asgi()),
                path("isolated/", IsolatedAsync.as_asgi()),
                path("isolated/sync/", IsolatedSync.as_asgi()),
                *tenants.urls,
            ]
        )
    }
)
