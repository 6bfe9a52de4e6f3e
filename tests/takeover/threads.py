"""Consumers that send from threads and from event loops of their own, as web terminals and device bridges do."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

from asgiref.sync import async_to_sync, markcoroutinefunction
from channels.generic.websocket import AsyncJsonWebsocketConsumer, JsonWebsocketConsumer
from channels.routing import ProtocolTypeRouter, URLRouter
from django.urls import path

from routesock import Request, RouteMixin, route

FRAMES = 330
"""How many frames all threads of a consumer send together."""


def run_threads(count: int, work: Callable[[int], None]) -> None:
    """Start ``count`` threads, and do not wait for them."""
    for number in range(count):
        threading.Thread(target=work, args=[number], daemon=True).start()


class AsyncSender(RouteMixin, AsyncJsonWebsocketConsumer):
    """Its threads call ``async_to_sync``, which makes a loop for each frame."""

    @route("start")
    async def start(self, request: Request) -> str:
        count = request.payload

        def read(number: int) -> None:
            for frame in range(FRAMES // count):
                async_to_sync(self.send_json)({"thread": number, "frame": frame})

        run_threads(count, read)
        return "started"

    @route("echo")
    async def echo(self, request: Request) -> Any:
        return request.payload


class LoopSender(AsyncSender):
    """Its threads run a loop of their own."""

    async def start(self, request: Request) -> str:
        count = request.payload

        async def read(number: int) -> None:
            for frame in range(FRAMES // count):
                await self.send_json({"thread": number, "frame": frame})

        run_threads(count, lambda number: asyncio.run(read(number)))
        return "started"


class SyncSender(RouteMixin, JsonWebsocketConsumer):
    """Its threads call ``self.send`` of a sync consumer."""

    @route("start")
    def start(self, request: Request) -> str:
        count = request.payload

        def read(number: int) -> None:
            for frame in range(FRAMES // count):
                self.send_json({"thread": number, "frame": frame})

        run_threads(count, read)
        return "started"

    @route("echo")
    def echo(self, request: Request) -> Any:
        return request.payload


SENDERS = {"async": AsyncSender, "loop": LoopSender, "sync": SyncSender}

application = ProtocolTypeRouter(
    {"websocket": URLRouter([path(f"{name}/", consumer.as_asgi()) for name, consumer in SENDERS.items()])}
)


def entering_async_to_sync(entered: threading.Event, go_on: threading.Event) -> None:
    """Enter ``async_to_sync`` and stay there, in front of what it runs on the loop, until ``go_on``."""

    @markcoroutinefunction
    def late() -> Any:
        entered.set()
        assert go_on.wait(30)
        return asyncio.sleep(0)

    async_to_sync(late)()
