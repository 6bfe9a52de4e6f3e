"""The socket itself: what opens it, and what is left of it when it ends."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings

from routesock import Request, RouteMixin, route
from routesock.testing import RouteClient


class Echo(RouteMixin, AsyncJsonWebsocketConsumer):
    @route("echo")
    async def echo(self, request: Request) -> Any:
        return request.payload

    @route("wait")
    async def wait(self, request: Request) -> None:
        await asyncio.Event().wait()


async def test_one_consumer_instance_does_not_serve_two_sockets() -> None:
    """Each would answer the other's requests."""
    shared = Echo()
    async with RouteClient(shared) as client:
        assert (await client.call("echo", 1)).payload == 1
        with pytest.raises(RuntimeError, match=r"Echo\.as_asgi\(\)"):
            async with RouteClient(shared):
                pass


@pytest.mark.parametrize("name", ["TIMEOUT", "MAX_FRAME", "MAX_QUEUED", "MAX_REPLY", "MIDDLEWARE", "DISCONNECT_GRACE"])
async def test_a_setting_that_cannot_be_meant_is_named_when_a_socket_opens(name: str) -> None:
    with (
        override_settings(ROUTESOCK={name: "30"}),
        pytest.raises(ImproperlyConfigured, match=rf"ROUTESOCK\['{name}'\] is .*; got '30'"),
    ):
        async with RouteClient(Echo):
            pass


def test_a_handler_whose_loop_goes_away_is_no_fault_of_its_own(caplog: pytest.LogCaptureFixture) -> None:
    """Its coroutine is closed with a GeneratorExit, which nobody is there to answer."""

    async def leave_running() -> Any:
        client = RouteClient(Echo)
        await client.connect()
        await client.send("wait", id="w")
        await asyncio.sleep(0.01)
        return client

    loop = asyncio.new_event_loop()
    client = loop.run_until_complete(leave_running())
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task._log_destroy_pending = False  # type: ignore[attr-defined]
        coroutine = task.get_coro()
        assert coroutine is not None
        coroutine.close()
    loop.close()
    del client, tasks
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == []


class Sockets:
    """An application that is driven by hand, without a server."""

    def __init__(self, application: Any) -> None:
        self.inbox: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.sent: list[dict[str, Any]] = []
        scope = {"type": "websocket", "path": "/", "headers": []}
        self.task = asyncio.ensure_future(application(scope, self.inbox.get, self.send))

    async def send(self, message: dict[str, Any]) -> None:
        self.sent.append(message)

    async def put(self, *messages: dict[str, Any]) -> None:
        for message in messages:
            self.inbox.put_nowait(message)
        await asyncio.sleep(0.02)


async def test_a_server_without_patience_cuts_the_grace_short_but_not_the_disconnect() -> None:
    seen: list[str] = []

    class Slow(RouteMixin, AsyncJsonWebsocketConsumer):
        route_disconnect_grace = 30

        @route("slow")
        async def slow(self, request: Request) -> None:
            try:
                await asyncio.Event().wait()
            finally:
                seen.append("slow cancelled")

        async def disconnect(self, code: int) -> None:
            seen.append(f"disconnect {code}")

    before = asyncio.all_tasks()
    socket = Sockets(Slow.as_asgi())
    await socket.put(
        {"type": "websocket.connect"},
        {"type": "websocket.receive", "text": '{"route": "slow", "uuid": 1}'},
        {"type": "websocket.disconnect", "code": 1001},
    )
    assert seen == []
    socket.task.cancel()
    await asyncio.wait([socket.task], timeout=5)
    assert socket.task.cancelled()
    assert seen == ["slow cancelled", "disconnect 1001"]
    assert asyncio.all_tasks() == before


async def test_what_is_no_websocket_is_left_to_channels() -> None:
    """A server that offers its lifespan must hear that nobody takes it, or it waits."""
    inbox: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    inbox.put_nowait({"type": "lifespan.startup"})
    with pytest.raises(ValueError, match=r"lifespan\.startup"):
        await asyncio.wait_for(Echo.as_asgi()({"type": "lifespan"}, inbox.get, inbox.put), 5)


class Guarded(RouteMixin, AsyncJsonWebsocketConsumer):
    """Counts every frame, and unpacks those that were sent backwards."""

    seen = 0

    async def websocket_receive(self, message: Any) -> None:
        self.seen += 1
        text = message.get("text")
        if text and text.startswith("}"):
            await self.receive(text_data=text[::-1])
        else:
            await super().websocket_receive(message)

    @route("echo")
    async def echo(self, request: Request) -> Any:
        return request.payload

    @route("seen")
    async def count(self, request: Request) -> int:
        return self.seen


async def test_a_guard_that_passes_a_frame_on_does_not_keep_its_refusal_from_the_client() -> None:
    async with RouteClient(Guarded) as client:
        for text, status in [("no JSON", 400), ("[]", 400), ('{"route": "nowhere"}', 404)]:
            await client.send_text(text)
            reply = await client.receive()
            assert isinstance(reply, dict)
            assert reply["status"] == status
        assert (await client.call("seen")).payload == 4


async def test_what_a_guard_unpacks_is_routed() -> None:
    async with RouteClient(Guarded) as client:
        for text, status in [('{"route": "echo", "uuid": 5, "payload": 1}', 200), ('{"route": "nowhere"}', 404)]:
            await client.send_text(text[::-1])
            reply = await client.receive()
            assert isinstance(reply, dict)
            assert reply["status"] == status
