"""Consumers with a ``websocket_receive`` or ``dispatch`` of their own: what they change on the way is what counts."""

from __future__ import annotations

import asyncio
import json
import threading
from typing import Any

import pytest
from channels.generic.websocket import AsyncJsonWebsocketConsumer, AsyncWebsocketConsumer, JsonWebsocketConsumer
from channels.layers import get_channel_layer
from django.test import override_settings

from routesock import Request, RouteMixin, route
from routesock.testing import RouteClient
from tests.takeover.driver import Socket, problems, turns


class Echo(RouteMixin):
    @route("echo")
    async def echo(self, request: Request) -> Any:
        return request.payload

    @route("slow", timeout=30)
    async def slow(self, request: Request) -> str:
        await asyncio.sleep(30)
        return "never"

    @route("late", timeout=0.05)
    async def late(self, request: Request) -> str:
        await asyncio.sleep(30)
        return "never"


def unsigned(text: str) -> str:
    frame = json.loads(text)
    frame.pop("sig", None)
    return json.dumps(frame)


class Copying(Echo, AsyncJsonWebsocketConsumer):
    async def websocket_receive(self, message: Any) -> None:
        await super().websocket_receive({**message, "text": unsigned(message["text"])})


class InPlace(Echo, AsyncJsonWebsocketConsumer):
    async def websocket_receive(self, message: Any) -> None:
        message["text"] = unsigned(message["text"])
        await super().websocket_receive(message)


class InThread(Echo, JsonWebsocketConsumer):
    def websocket_receive(self, message: Any) -> None:
        message["text"] = unsigned(message["text"])
        super().websocket_receive(message)


class Renaming(Echo, AsyncJsonWebsocketConsumer):
    async def websocket_receive(self, message: Any) -> None:
        frame = json.loads(message["text"])
        if "uuid" in frame:
            frame["uuid"] = f"ns:{frame['uuid']}"
        await super().websocket_receive({**message, "text": json.dumps(frame)})


class Batched(Echo, AsyncJsonWebsocketConsumer):
    async def websocket_receive(self, message: Any) -> None:
        for line in message["text"].splitlines():
            await self.receive(text_data=line)


class Detached(Echo, AsyncJsonWebsocketConsumer):
    async def websocket_receive(self, message: Any) -> None:
        self.task = asyncio.ensure_future(super().websocket_receive(message))


async def ask(client: RouteClient, **frame: Any) -> Any:
    await client.send_json({"sig": "abc", **frame})
    return await client.receive()


@pytest.mark.parametrize("consumer", [Copying, InPlace, InThread])
async def test_a_frame_that_a_guard_rewrites_keeps_its_id(consumer: type) -> None:
    async with RouteClient(consumer) as client:
        for number in (1, 1, 2):
            reply = await ask(client, route="echo", uuid=number, payload=number)
            assert (reply["uuid"], reply["status"], reply["payload"]) == (number, 200, number)


@pytest.mark.parametrize("consumer", [Copying, InPlace, InThread])
async def test_a_rewritten_request_can_be_cancelled_and_has_its_deadline(consumer: type) -> None:
    async with RouteClient(consumer) as client:
        await client.send_json({"sig": "abc", "route": "slow", "uuid": 1})
        async with asyncio.timeout(30):
            while True:  # until the request has been read
                await client.send_json({"route": "CANCEL", "uuid": 1})
                await client.send_json({"route": "PING", "uuid": 9})
                frame = await client.receive()
                assert isinstance(frame, dict)
                if frame.get("status") == 499:
                    break
        while (await ask(client, route="late", uuid=2)).get("status") != 504:
            pass
        while (await ask(client, route="echo", uuid=3, payload=3)).get("payload") != 3:
            pass


@pytest.mark.parametrize("rewrites", [False, True])
async def test_a_request_that_is_cancelled_before_a_thread_passes_it_on_does_not_begin(rewrites: bool) -> None:
    """A thread cannot be cancelled, so the request is stopped where it comes back."""
    begun, go_on = threading.Event(), threading.Event()
    ran: list[Any] = []
    raised: list[BaseException] = []

    class Waiting(RouteMixin, JsonWebsocketConsumer):
        def websocket_receive(self, message: Any) -> None:
            begun.set()
            assert go_on.wait(30)
            text = json.dumps({**json.loads(message["text"]), "payload": 2}) if rewrites else message["text"]
            try:
                super().websocket_receive({**message, "text": text})
            except BaseException as exc:
                raised.append(exc)
                raise

        @route("echo")
        async def echo(self, request: Request) -> Any:
            ran.append(request.id)
            return request.payload

    async with RouteClient(Waiting) as client:
        await client.send_json({"route": "echo", "uuid": 1, "payload": 1})
        assert await asyncio.to_thread(begun.wait, 30)
        await client.send_json({"route": "CANCEL", "uuid": 1})
        frame: Any = await client.receive()
        assert (frame["uuid"], frame["status"]) == (1, 499)
        go_on.set()
        assert (await ask(client, route="echo", uuid=2, payload=2))["payload"] == 2
    assert ran == [2]
    assert [type(exc).__name__ for exc in raised] == ["CancelledError"]


async def test_a_request_that_a_thread_passes_on_after_the_end_of_its_socket_does_not_begin() -> None:
    begun, go_on = threading.Event(), threading.Event()
    calls: list[str] = []

    class Waiting(RouteMixin, JsonWebsocketConsumer):
        route_disconnect_grace = 0

        def websocket_receive(self, message: Any) -> None:
            begun.set()
            assert go_on.wait(30)
            try:
                super().websocket_receive(message)
            finally:
                calls.append("passed on")

        @route("echo")
        async def echo(self, request: Request) -> Any:
            calls.append("echo")
            return request.payload

        def disconnect(self, code: int) -> None:
            calls.append("disconnect")

    async with Socket(Waiting.as_asgi()) as client:
        client.request("echo", 1)
        assert await asyncio.to_thread(begun.wait, 30)
        client.disconnect()
        await turns()
        go_on.set()
    assert calls == ["passed on", "disconnect"]


async def test_ids_that_a_guard_makes_up_are_forgotten_with_their_requests() -> None:
    async with RouteClient(Renaming) as client:
        for _ in range(3):
            reply = await ask(client, route="echo", uuid=1, payload=1)
            assert (reply["uuid"], reply["status"]) == ("ns:1", 200)


async def test_each_frame_that_a_guard_unpacks_is_answered() -> None:
    async with RouteClient(Batched) as client:
        lines = [json.dumps({"route": "echo", "uuid": number, "payload": number}) for number in range(3)]
        await client.send_text("\n".join([*lines, "no JSON"]))
        frames: list[Any] = [await client.receive() for _ in range(4)]
        assert [(frame["uuid"], frame["status"]) for frame in frames] == [(0, 200), (1, 200), (2, 200), (None, 400)]


async def test_a_frame_that_a_guard_hands_to_a_task_of_its_own_is_answered() -> None:
    async with RouteClient(Detached) as client:
        assert (await ask(client, route="echo", uuid=1, payload=1))["status"] == 200


async def test_refusals_that_wait_for_a_guard_do_not_stop_the_reading() -> None:
    """They are bounded as requests are: a PING behind them is answered while the handler in front of them runs."""

    class Slow(Copying):
        @route("hold")
        async def hold(self, request: Request) -> None:
            await self.scope["over"].wait()

    over = asyncio.Event()
    with override_settings(ROUTESOCK={"MAX_QUEUED": 2}):
        async with Socket(Slow.as_asgi(), over=over) as client:
            client.request("hold", "held")
            client.requests("unknown", 1, 2, 3)
            await client.ping()
            assert problems(client.frames[:1]) == [(429, "too_many_in_flight", 3)]
            over.set()
            await client.reply(2)
            assert client.statuses()[1:] == [("held", 204), (1, 404), (2, 404)]


class Relay(AsyncWebsocketConsumer):
    groups = ["relay"]

    async def websocket_receive(self, message: Any) -> None:
        await super().websocket_receive(message)

    async def receive(self, text_data: Any = None, bytes_data: Any = None) -> None:
        await self.send(text_data=json.dumps({"received": str(text_data or bytes_data)}))

    async def relay(self, event: Any) -> None:
        await self.receive(bytes_data=b"relayed")


class RoutedRelay(Echo, Relay):
    pass


async def test_what_is_no_frame_of_the_client_reaches_the_consumers_own_receive() -> None:
    async with RouteClient(RoutedRelay) as client:
        layer = get_channel_layer()
        assert layer is not None
        await layer.group_send("relay", {"type": "relay"})
        assert await client.receive() == {"received": "b'relayed'"}
        await layer.group_send("relay", {"type": "websocket.receive", "text": "from the layer"})
        assert await client.receive() == {"received": "from the layer"}
