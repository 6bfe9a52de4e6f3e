"""Consumers with a ``__call__`` of their own: demultiplexers, and classes that wrap the whole socket."""

from __future__ import annotations

import asyncio
import json
import re
from functools import partial
from typing import Any, ClassVar

import pytest
from channels.generic.websocket import AsyncJsonWebsocketConsumer, JsonWebsocketConsumer

from routesock import RouteMixin, RouteSetupError, route

from .driver import Socket, until


class Demultiplexer(AsyncJsonWebsocketConsumer):
    """Runs the consumers of ``applications``, each of which gets the frames ``{"stream": name, "payload": frame}``."""

    applications: ClassVar[dict[str, Any]] = {}

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.scope = scope
        self.base_send = send
        self.accepted: set[str] = set()
        self.queues: dict[str, asyncio.Queue[Any]] = {name: asyncio.Queue() for name in self.applications}
        children = [
            asyncio.create_task(application(scope, self.queues[name].get, partial(self.upstream, name)))
            for name, application in self.applications.items()
        ]
        while True:
            message = await receive()
            if message["type"] == "websocket.receive":
                content = json.loads(message["text"])
                text = json.dumps(content["payload"])
                self.queues[content["stream"]].put_nowait({"type": "websocket.receive", "text": text})
                continue
            for queue in self.queues.values():
                queue.put_nowait(message)
            if message["type"] == "websocket.disconnect":
                await asyncio.gather(*children)
                return

    async def upstream(self, name: str, message: dict[str, Any]) -> None:
        if message["type"] == "websocket.accept":
            self.accepted.add(name)
            if self.accepted == {*self.applications}:
                await self.base_send(message)
        elif message["type"] == "websocket.send":
            text = json.dumps({"stream": name, "payload": json.loads(message["text"])})
            await self.base_send({"type": "websocket.send", "text": text})
        else:
            await self.base_send(message)


class RoutedChild(RouteMixin, AsyncJsonWebsocketConsumer):
    @route("echo")
    async def echo(self, request: Any) -> Any:
        return request.payload

    async def disconnect(self, code: int) -> None:
        self.scope["log"].append("async")  # type: ignore[typeddict-item]


class SyncRoutedChild(RouteMixin, JsonWebsocketConsumer):
    @route("echo")
    def echo(self, request: Any) -> Any:
        return request.payload

    def disconnect(self, code: int) -> None:
        self.scope["log"].append("sync")  # type: ignore[typeddict-item]


class OldChild(AsyncJsonWebsocketConsumer):
    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        await self.send_json({"old": content})


class Streams(Demultiplexer):
    applications: ClassVar = {
        "async": RoutedChild.as_asgi(),  # type: ignore[no-untyped-call]
        "sync": SyncRoutedChild.as_asgi(),  # type: ignore[no-untyped-call]
        "old": OldChild.as_asgi(),  # type: ignore[no-untyped-call]
    }


async def test_the_consumers_behind_a_demultiplexer_take_the_mixin() -> None:
    """They share one socket and one scope, and each answers its own frames."""
    async with Socket(Streams.as_asgi(), log=[]) as client:
        for number, stream in enumerate(["async", "sync", "old", "async"]):
            frame = {"route": "echo", "uuid": number, "payload": stream}
            client.json({"stream": stream, "payload": frame})
            await client.read(number + 1)
        assert client.frames[2] == {"stream": "old", "payload": {"old": {"route": "echo", "uuid": 2, "payload": "old"}}}
        assert [(frame["stream"], frame["payload"].get("uuid")) for frame in client.frames] == [
            ("async", 0),
            ("sync", 1),
            ("old", None),
            ("async", 3),
        ]
        client.json({"stream": "sync", "payload": {"route": "nowhere", "uuid": 4}})
        await client.read(5)
        assert client.frames[4]["payload"]["status"] == 404
    assert sorted(client.log) == ["async", "sync"]


def test_the_mixin_in_front_of_a_demultiplexer_says_where_it_belongs() -> None:
    with pytest.raises(RouteSetupError, match=r"Demultiplexer overrides __call__.* put the mixin into those consumers"):
        type("Chat", (RouteMixin, Streams), {})


class Traced(JsonWebsocketConsumer):
    """Wraps the whole socket."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        scope["log"].append("begin")
        await super().__call__(scope, receive, send)
        scope["log"].append("end")


class PlainTraced:
    """The same as a mixin."""

    __call__ = Traced.__call__


def test_the_advice_for_a_mixin_that_wraps_the_socket_names_the_consumer_behind_it() -> None:
    with pytest.raises(RouteSetupError, match=r"`class Routed\(RouteMixin, AsyncJsonWebsocketConsumer\)` .*"):
        type("Chat", (RouteMixin, PlainTraced, AsyncJsonWebsocketConsumer), {})


async def test_the_advice_for_a_class_that_wraps_the_socket_can_be_followed() -> None:
    with pytest.raises(RouteSetupError) as caught:
        type("Chat", (RouteMixin, Traced), {})
    written = re.findall("`class (.*?)`", str(caught.value))
    assert written == ["Routed(RouteMixin, JsonWebsocketConsumer)", "Chat(Traced, Routed)"]

    class Routed(RouteMixin, JsonWebsocketConsumer):
        @route("echo")
        def echo(self, request: Any) -> Any:
            return request.payload

    class Chat(Traced, Routed): ...

    async with Socket(Chat.as_asgi(), log=[]) as client:
        assert (await client.call("echo", 1, "x"))["payload"] == "x"
        await until(client.is_idle)
    assert client.log == ["begin", "end"]
