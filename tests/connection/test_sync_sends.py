"""Sync code that sends to a client which does not read never holds the thread that it shares with other sockets."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncJsonWebsocketConsumer, JsonWebsocketConsumer
from django.test import override_settings

from routesock import Request, RouteMixin, asend_event, event, route
from routesock._connection.sending.send_queue import POSTED_OVERHEAD
from tests.layers.in_memory import as_default
from tests.takeover.driver import Layer, Socket, until

TEXT = "x" * 1000

COUNT = 300
"""More frames than ``MAX_OUTGOING``, of fewer bytes than ``MAX_OUTGOING_BYTES``."""


class Async(RouteMixin, AsyncJsonWebsocketConsumer):
    """Its sync handlers send, each in another way."""

    async def connect(self) -> None:
        self.scope["consumers"].append(self)
        await self.accept()

    def _send_all(self, count: int) -> None:
        for number in range(count):
            async_to_sync(self.send_json)({"number": number, "text": TEXT})

    @route("send")
    def send_route(self, request: Request) -> str:
        self._send_all(request.payload)
        return "sent"

    @route("in_async_code")
    async def in_async_code(self, request: Request) -> str:
        await database_sync_to_async(self._send_all)(request.payload)
        return "sent"

    @route("push")
    def push_route(self, request: Request) -> str:
        for number in range(request.payload):
            async_to_sync(self.socket.push)("news", {"number": number, "text": TEXT})
        return "sent"


class Sync(RouteMixin, JsonWebsocketConsumer):
    def connect(self) -> None:
        self.scope["consumers"].append(self)
        self.accept()
        self.channel_name  # noqa: B018  (the channel is read from now on)

    @route("send")
    def send_route(self, request: Request) -> str:
        for number in range(request.payload):
            self.send_json({"number": number, "text": TEXT})
        return "sent"

    @route("push")
    def push_route(self, request: Request) -> str:
        for number in range(request.payload):
            self.socket.push("news", {"number": number, "text": TEXT})
        self.scope["log"].append("pushed")
        return "sent"

    def numbers(self, message: dict[str, Any]) -> None:
        for number in range(message["count"]):
            self.send_json({"number": number, "text": TEXT})

    @event("numbers")
    def on_numbers(self, event: Any) -> None:
        self.numbers({"count": event.payload})

    @route("end")
    def end(self, request: Request) -> None:
        self.send_json({"last": "words"})
        self.close(4000)

    @route("end_with_notice")
    def end_with_notice(self, request: Request) -> None:
        self.socket.close(403, "enough")


class SyncWithOwnSend(Sync):
    def send_json(self, content: Any, close: bool = False) -> None:
        super().send_json(content, close)


class Other(RouteMixin, JsonWebsocketConsumer):
    """Another socket, which needs the thread."""

    @route("query")
    def query(self, request: Request) -> str:
        return threading.current_thread().name


def of(consumer: Any) -> Socket:
    return Socket(consumer.as_asgi(), consumers=[], log=[])


def numbers(client: Socket) -> list[int]:
    bodies = [frame.get("payload") if frame.get("route") == "news" else frame for frame in client.frames]
    return [body["number"] for body in bodies if type(body) is dict and "number" in body]


HANDLERS = pytest.mark.parametrize(
    ("consumer", "name"),
    [
        (Async, "send"),
        (Async, "in_async_code"),
        (Async, "push"),
        (Sync, "send"),
        (Sync, "push"),
        (SyncWithOwnSend, "send"),
        (SyncWithOwnSend, "push"),
    ],
)


@HANDLERS
async def test_the_thread_is_free_and_all_frames_arrive_in_order(consumer: Any, name: str) -> None:
    async with of(consumer) as slow, of(Other) as other:
        slow.writable.clear()
        slow.request(name, 1, COUNT)
        assert (await other.call("query", 1))["status"] == 200
        assert slow.texts == []
        slow.writable.set()
        await slow.reply(1)
        assert numbers(slow) == [*range(COUNT)]


@HANDLERS
async def test_too_much_closes_the_socket(consumer: Any, name: str) -> None:
    with override_settings(ROUTESOCK={"MAX_OUTGOING_BYTES": 10 * len(TEXT)}):
        async with of(consumer) as slow, of(Other) as other:
            slow.writable.clear()
            slow.request(name, 1, COUNT)
            assert (await other.call("query", 1))["status"] == 200
            await until(lambda: slow.scope["consumers"][0]._routesock_connection._state.is_closing)
            slow.writable.set()
            assert await slow.ending() is None
            assert slow.closed is not None
            assert slow.closed["code"] == 1013


async def test_small_frames_are_bounded_too() -> None:
    with override_settings(ROUTESOCK={"MAX_OUTGOING_BYTES": 10 * POSTED_OVERHEAD}):
        async with of(Sync) as slow:
            slow.writable.clear()
            consumer = slow.scope["consumers"][0]
            for _ in range(12):  # one is on its way, ten wait
                await database_sync_to_async(consumer.send)("")
            await until(lambda: consumer._routesock_connection._state.is_closing)
            slow.writable.set()
            assert await slow.ending() is None


async def test_pushes_of_sync_code_give_way_where_the_class_says_so() -> None:
    class Dropping(Sync):
        route_overflow = "drop"

    with override_settings(ROUTESOCK={"MAX_OUTGOING_BYTES": 10 * len(TEXT)}):
        async with of(Dropping) as slow, of(Other) as other:
            slow.writable.clear()
            slow.request("push", 1, 100)
            await until(lambda: slow.log == ["pushed"])
            assert (await other.call("query", 1))["status"] == 200
            slow.writable.set()
            await slow.reply(1)
            got = numbers(slow)
            assert 1 < len(got) < 20
            assert got == [0, *range(100 - len(got) + 1, 100)]


@pytest.mark.parametrize("consumer", [Sync, SyncWithOwnSend])
async def test_channel_layer_handlers_and_events_do_not_hold_the_thread(consumer: Any) -> None:
    with as_default(Layer()) as layer:
        async with of(consumer) as slow, of(Other) as other:
            slow.writable.clear()
            sync_consumer = slow.scope["consumers"][0]
            await layer.send(sync_consumer.channel_name, {"type": "numbers", "count": COUNT})
            await until(lambda: sync_consumer._routesock_connection._send_queue._waiting)
            assert (await other.call("query", 1))["status"] == 200
            await database_sync_to_async(sync_consumer.socket.join)("room")
            await asend_event("room", "numbers", COUNT)
            assert (await other.call("query", 2))["status"] == 200
            slow.writable.set()
            await until(lambda: len(numbers(slow)) == 2 * COUNT)
            assert numbers(slow) == [*range(COUNT), *range(COUNT)]


@pytest.mark.parametrize(("name", "code"), [("end", 4000), ("end_with_notice", 4403)])
async def test_a_close_does_not_hold_the_thread(name: str, code: int) -> None:
    async with of(Sync) as slow, of(Other) as other:
        slow.writable.clear()
        slow.request(name, 1)
        assert (await other.call("query", 1))["status"] == 200
        slow.writable.set()
        assert await slow.ending() is None
        assert slow.closed is not None
        assert slow.closed["code"] == code


async def test_what_the_servers_send_raises_at_once_is_raised_in_sync_code() -> None:
    async with of(Sync) as client:

        async def failing(message: Any) -> None:
            raise ZeroDivisionError("own")

        consumer = client.scope["consumers"][0]
        consumer._routesock_connection._send_queue._send = failing
        with pytest.raises(ZeroDivisionError):
            await database_sync_to_async(consumer.send_json)(1)
        del consumer


async def test_what_it_raises_later_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async with of(Sync) as client:
        consumer = client.scope["consumers"][0]
        queue = consumer._routesock_connection._send_queue
        send: Callable[[Any], Any] = queue._send

        async def failing(message: Any) -> None:
            await client.writable.wait()
            raise ZeroDivisionError("own")

        queue._send = failing
        client.writable.clear()
        for number in range(3):
            await database_sync_to_async(consumer.send_json)(number)
        client.writable.set()
        await until(lambda: caplog.text.count("A frame could not be sent.") == 3)
        queue._send = send
        await database_sync_to_async(consumer.send_json)("after")
        await until(lambda: client.frames == ["after"])
        del consumer, queue
