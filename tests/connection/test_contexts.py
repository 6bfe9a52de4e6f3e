"""Context variables of a socket: what handlers, readers, PONGs and pushes see of each other's."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from channels.generic.websocket import AsyncJsonWebsocketConsumer

from routesock import Event, Heartbeat, Request, RouteMixin, abroadcast, asend_event, event, route
from routesock.testing import RouteClient
from tests.takeover.threads import entering_async_to_sync

span: ContextVar[str | None] = ContextVar("span", default=None)

language: ContextVar[str] = ContextVar("language", default="en")

sent: list[tuple[str, str, str | None]] = []


@pytest.fixture(autouse=True)
def nothing_sent() -> None:
    sent.clear()


@contextmanager
def spanning(name: str) -> Iterator[None]:
    token = span.set(name)
    try:
        yield
    finally:
        span.reset(token)


@contextmanager
def speaking(name: str) -> Iterator[None]:
    token = language.set(name)
    try:
        yield
    finally:
        language.reset(token)


def traced(app: Any) -> Any:
    """Sets a variable around ``receive()`` and ``send()``, as OpenTelemetry's middleware does."""

    async def application(scope: Any, receive: Any, send: Any) -> None:
        async def traced_receive() -> Any:
            with spanning("receive"):
                return await receive()

        async def traced_send(message: Any) -> None:
            sent.append((message["type"], language.get(), span.get()))
            with spanning("send"):
                await asyncio.sleep(0)
                await send(message)

        with spanning("socket"):
            await app(scope, traced_receive, traced_send)

    return application


class Chat(RouteMixin, AsyncJsonWebsocketConsumer):
    release: asyncio.Event

    async def connect(self) -> None:
        await self.accept()
        await self.socket.join("all")

    @route("span")
    async def span(self, request: Request) -> Any:
        return span.get()

    @route("slow")
    async def slow(self, request: Request) -> Any:
        seen = []
        with speaking("de"):
            for _ in range(6):
                seen.append((span.get(), language.get()))
                await asyncio.sleep(0)
            await self.release.wait()
            seen.append((span.get(), language.get()))
        return seen

    @route("speak")
    async def speak(self, request: Request) -> None:
        language.set(request.payload)

    @route("language")
    async def language(self, request: Request) -> str:
        return language.get()

    @route("parallel", parallel=True)
    async def in_parallel(self, request: Request) -> str:
        return language.get()

    @event("say")
    async def say(self, event: Event) -> None:
        await self.send_json({"event": language.get()})

    async def disconnect(self, code: int) -> None:
        sent.append(("disconnect", language.get(), span.get()))


@pytest.fixture
def release() -> asyncio.Event:
    Chat.release = asyncio.Event()
    return Chat.release


async def test_no_handler_sees_what_is_set_around_receive_and_send(release: asyncio.Event) -> None:
    async with RouteClient(traced(Chat.as_asgi())) as client:
        await client.send_json({"route": "slow", "uuid": 1})
        for _ in range(3):
            await client.ping()
        release.set()
        reply = await client.receive()
        assert {tuple(seen) for seen in reply["payload"]} == {("socket", "de")}
        for _ in range(3):  # nor does a later one see what an earlier request has left
            assert (await client.call("span")).payload == "socket"


async def test_what_goes_out_beside_a_handler_knows_nothing_of_it(release: asyncio.Event) -> None:
    async with RouteClient(traced(Chat.as_asgi())) as client:
        await client.send_json({"route": "slow", "uuid": 1})
        await client.settle()
        sent.clear()
        await client.ping()
        await abroadcast("all", "news")
        assert (await client.receive())["route"] == "news"
        assert (await client.call("parallel")).payload == "en"
        assert (await client.call("unknown")).status == 404
        assert sent == [("websocket.send", "en", "socket")] * 4
        release.set()
        await client.receive()


async def test_handlers_in_order_share_a_context_and_what_follows_has_a_copy_of_it() -> None:
    async with RouteClient(Chat) as client:
        await client.call("speak", "fr")
        assert (await client.call("language")).payload == "fr"
        assert (await client.call("parallel")).payload == "fr"
        await asend_event("all", "say")
        assert await client.receive() == {"event": "fr"}
    assert sent == [("disconnect", "fr", None)]


async def test_what_connect_sets_is_there_in_handlers_and_pushes(release: asyncio.Event) -> None:
    class French(Chat):
        async def connect(self) -> None:
            language.set("fr")
            await super().connect()

    async with RouteClient(traced(French.as_asgi())) as client:
        assert (await client.call("language")).payload == "fr"
        await client.send_json({"route": "slow", "uuid": 1})
        await client.settle()
        sent.clear()
        await abroadcast("all", "news")
        await client.receive()
        assert sent == [("websocket.send", "fr", "socket")]
        release.set()
        await client.receive()


async def test_a_ping_of_the_server_knows_nothing_of_a_running_handler(release: asyncio.Event) -> None:
    class Beating(Chat):
        route_heartbeat = Heartbeat(interval=0.01, timeout=10)

    async with RouteClient(traced(Beating.as_asgi()), timeout=30) as client:
        await client.send_json({"route": "slow", "uuid": 1})
        while (await client.receive())["route"] != "PING":
            pass
        release.set()
    assert {name for kind, name, _ in sent if kind == "websocket.send"} == {"en"}


class Threads(RouteMixin, AsyncJsonWebsocketConsumer):
    entered: threading.Event
    go_on: threading.Event

    @route("enter")
    async def enter(self, request: Request) -> None:
        await sync_to_async(entering_async_to_sync)(self.entered, self.go_on)

    @route("enter.stubbornly")
    async def enter_stubbornly(self, request: Request) -> None:
        with suppress(asyncio.CancelledError):
            await sync_to_async(entering_async_to_sync)(self.entered, self.go_on)

    @route("thread")
    async def thread(self, request: Request) -> str:
        return await sync_to_async(lambda: threading.current_thread().name)()


@pytest.mark.parametrize("entering", ["enter", "enter.stubbornly"])
async def test_a_cancelled_request_leaves_the_next_one_its_thread(entering: str) -> None:
    """Its thread was entering ``async_to_sync``, where asgiref makes its executor the one of the whole context."""

    class Consumer(Threads):
        entered = threading.Event()
        go_on = threading.Event()

    async with RouteClient(Consumer) as client:
        before = (await client.call("thread")).payload
        await client.send_json({"route": entering, "uuid": "entering"})
        assert await asyncio.to_thread(Consumer.entered.wait, 30)
        await client.send_json({"route": "CANCEL", "uuid": "entering"})
        frame: Any = await client.receive()
        assert (frame["uuid"], frame["status"]) == ("entering", 499)
        Consumer.go_on.set()
        reply = await client.call("thread")
        assert (reply.status, reply.payload) == (200, before)
