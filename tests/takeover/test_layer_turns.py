"""A message of the channel layer is handled as soon as under plain Channels, counted in turns of the event loop."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from channels.generic.websocket import AsyncJsonWebsocketConsumer

from routesock import RouteMixin

from .driver import Layer, Socket, until

MOST_TURNS = 100


class Listener(AsyncJsonWebsocketConsumer):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.heard: list[Any] = kwargs["heard"]

    async def connect(self) -> None:
        await self.channel_layer.group_add("room", self.channel_name)
        await self.accept()

    async def said(self, event: Any) -> None:
        self.heard.append(event)


class RoutedListener(RouteMixin, Listener):
    pass


async def turns_until_heard(consumer: Any, layer: Layer) -> int:
    """Send a message, and return how many turns pass until its handler has run. The first is not counted."""
    heard: list[Any] = []
    async with Socket(consumer.as_asgi(heard=heard)) as socket:
        for _ in range(3):  # the first handler call of a process may import something
            await until(lambda: socket.is_idle() and layer.is_idle())
            heard.clear()
            await layer.group_send("room", {"type": "said"})
            turns = 0
            while not heard and turns < MOST_TURNS:
                await asyncio.sleep(0)
                turns += 1
            await until(lambda: heard)
    return turns


async def test_the_mixin_costs_no_turn(layer: Layer, monkeypatch: pytest.MonkeyPatch) -> None:
    async def nothing_to_close() -> None:
        """Do nothing: how long a thread takes is no matter of turns."""

    # Channels 4.1 has no such function, and calls nothing of the kind.
    monkeypatch.setattr("channels.consumer.aclose_old_connections", nothing_to_close, raising=False)
    assert await turns_until_heard(RoutedListener, layer) <= await turns_until_heard(Listener, layer) < MOST_TURNS
