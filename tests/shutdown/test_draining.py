"""What a socket does between SIGTERM and its end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from channels.layers import get_channel_layer
from django.test import override_settings

from routesock import Keys, Request, RouteMixin, route
from routesock._groups import hub
from routesock._runtime import closing
from routesock.testing import RouteClient
from tests.shutdown.conftest import Calls, sigterm, turns, until

LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}

pytestmark = pytest.mark.usefixtures("calls")


class Told(RouteMixin, AsyncJsonWebsocketConsumer):
    """Its requests end when ``go`` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.go = asyncio.Event()
        self.seen: list[Any] = []

    @route("wait")
    async def wait(self, request: Request) -> Any:
        self.seen.append(request.payload)
        await self.go.wait()
        return request.payload

    @route("beside", parallel=True)
    async def beside(self, request: Request) -> Any:
        return await self.wait(request)

    @route("stream")
    async def stream(self, request: Request) -> AsyncIterator[Any]:
        yield 1
        await self.go.wait()
        yield 2

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        self.seen.append(content)

    async def layer_event(self, event: Any) -> None:
        self.seen.append(event["type"])

    async def disconnect(self, code: int) -> None:
        self.seen.append(("disconnect", code))


async def told(client: RouteClient) -> dict[str, Any]:
    """The notice, which is the last frame of a socket that is closed then."""
    notice = await client.expect_push("CLOSE")
    payload: dict[str, Any] = notice.payload
    assert payload.pop("retry_after") >= 1.0
    assert (await client.expect_close()).code == 1012
    return payload


NOTICE = {"code": 1012, "reason": "The server restarts.", "reconnect": True}


async def test_server_gets_the_signal_behind_disconnect(calls: Calls) -> None:
    consumer = Told()
    async with RouteClient(consumer) as client:
        sigterm()
        await until(lambda: calls)
        assert consumer.seen == [("disconnect", 1012)]
        assert await told(client) == NOTICE


class Member(Told):
    async def connect(self) -> None:
        await self.socket.join("news")
        await self.accept()


async def test_socket_in_a_group_is_in_none_afterwards(calls: Calls) -> None:
    async with RouteClient(Member) as client:
        sigterm()
        assert await told(client) == NOTICE
        await until(lambda: hub._hubs == {})


@pytest.mark.parametrize("name", ["wait", "beside"])
async def test_what_runs_is_answered_before_the_notice(name: str, calls: Calls) -> None:
    consumer = Told()
    async with RouteClient(consumer) as client:
        await client.send(name, "payload", id=1)
        await until(lambda: consumer.seen)
        sigterm()
        await turns()
        consumer.go.set()
        assert (await client.expect_reply(1)).payload == "payload"
        assert await told(client) == NOTICE


async def test_socket_waits_for_all_that_run(calls: Calls) -> None:
    consumer = Told()
    async with RouteClient(consumer) as client:
        for id, name in enumerate(("wait", "beside", "beside")):
            await client.send(name, id, id=id)
        await until(lambda: len(consumer.seen) == 3)
        sigterm()
        await turns()
        consumer.go.set()
        for id in range(3):
            assert (await client.expect_reply(id)).status == 200
        assert await told(client) == NOTICE


async def test_stream_goes_on_within_the_grace() -> None:
    consumer = Told()
    async with RouteClient(consumer) as client:
        await client.send("stream", id=1)
        assert (await client.receive())["payload"] == 1
        sigterm()
        await turns()
        consumer.go.set()
        assert (await client.receive())["payload"] == 2
        assert (await client.receive())["status"] == 200
        assert await told(client) == NOTICE


@pytest.mark.parametrize("name", ["wait", "beside", "stream"])
async def test_what_outlasts_the_grace_is_answered_503(name: str) -> None:
    class Impatient(Told):
        route_disconnect_grace = 0.02

    async with RouteClient(Impatient()) as client:
        await client.send(name, id=1)
        sigterm()
        reply = await client.receive()
        while reply["status"] == 206:
            reply = await client.receive()
        assert (reply["uuid"], reply["status"], reply["payload"]["code"]) == (1, 503, "unavailable")
        assert reply["headers"]["Retry-After"] >= 1
        assert await told(client) == NOTICE


async def test_nothing_new_is_dispatched_but_all_requests_are_answered() -> None:
    consumer = Told()
    async with RouteClient(consumer) as client:
        await client.send("wait", "runs", id=1)
        await client.send("wait", "queued", id=2)
        await client.send_json({"route": "wait", "payload": "queued"})
        await client.send_json({"own": "queued"})
        await until(lambda: consumer.seen)
        sigterm()
        await turns()
        await client.send("wait", "late", id=3)
        await client.send("beside", "late", id=4)
        await client.send_json({"own": "late"})
        assert await client.ping("there?") == "there?"
        consumer.go.set()
        for id in (2, 3, 4):
            assert (await client.expect_reply(id)).status == 503
        assert (await client.expect_reply(1)).status == 200
        notification = await client.receive()
        assert (notification["uuid"], notification["status"]) == (None, 503)
        assert await told(client) == NOTICE
    assert consumer.seen == ["runs", ("disconnect", 1012)]


async def test_channel_layer_messages_are_dropped() -> None:
    consumer = Told()
    with override_settings(CHANNEL_LAYERS=LAYERS):
        layer: Any = get_channel_layer()
        async with RouteClient(consumer) as client:
            await client.send("wait", "runs", id=1)
            await until(lambda: consumer.seen)
            await layer.send(consumer.channel_name, {"type": "layer.event"})
            await turns()
            sigterm()
            await turns()
            await layer.send(consumer.channel_name, {"type": "layer.event"})
            await turns()
            consumer.go.set()
            await told(client)
    assert consumer.seen == ["runs", ("disconnect", 1012)]


async def test_client_that_leaves_meanwhile_has_left(calls: Calls) -> None:
    consumer = Told()
    async with RouteClient(consumer) as client:
        await client.send("wait", "runs", id=1)
        await until(lambda: consumer.seen)
        sigterm()
        await turns()
        leaving = asyncio.ensure_future(client.disconnect(1001))
        await turns()
        assert not calls
        consumer.go.set()
        await leaving
        await until(lambda: calls)
    assert consumer.seen == ["runs", ("disconnect", 1001)]


async def test_connect_that_runs_may_end(calls: Calls) -> None:
    class Slow(Told):
        async def connect(self) -> None:
            self.seen.append("connect")
            await self.go.wait()
            await self.accept()

    consumer = Slow()
    client = RouteClient(consumer)
    connecting = asyncio.ensure_future(client.connect())
    await until(lambda: consumer.seen)
    sigterm()
    await turns()
    consumer.go.set()
    await connecting
    assert await told(client) == NOTICE
    await until(lambda: calls)
    assert consumer.seen == ["connect", ("disconnect", 1012)]


async def test_socket_that_is_closed_already_is_told_nothing(calls: Calls) -> None:
    class Slow(Told):
        async def disconnect(self, code: int) -> None:
            await self.go.wait()
            await super().disconnect(code)

    consumer = Slow()
    async with RouteClient(consumer) as client:
        leaving = asyncio.ensure_future(client.disconnect(1001))
        await turns()
        sigterm()
        await turns()
        assert not calls
        consumer.go.set()
        await leaving
        await until(lambda: calls)
    assert consumer.seen == [("disconnect", 1001)]


async def test_grace_of_a_client_that_has_left_goes_on(calls: Calls) -> None:
    class Brief(Told):
        route_disconnect_grace = 0.05

    consumer = Brief()
    async with RouteClient(consumer) as client:
        await client.send("wait", "runs", id=1)
        await until(lambda: consumer.seen)
        leaving = asyncio.ensure_future(client.disconnect(1001))
        await turns()
        sigterm()
        await leaving
        await until(lambda: calls)
    assert consumer.seen == ["runs", ("disconnect", 1001)]


async def test_request_in_a_frame_that_the_consumer_unpacks_is_answered_too() -> None:
    class Packed(Told):
        route_disconnect_grace = 0.02

        async def websocket_receive(self, message: Any) -> None:
            await super().websocket_receive({**message, "text": message["text"].removeprefix("packed:")})

    consumer = Packed()
    async with RouteClient(consumer) as client:
        await client.send_text('packed:{"route": "wait", "uuid": 1}')
        await until(lambda: consumer.seen)
        sigterm()
        assert (await client.expect_reply(1)).status == 503
        assert await told(client) == NOTICE


async def test_notice_is_spelt_as_the_class_spells_its_frames() -> None:
    class Own(Told):
        route_dialect = Keys(route="action", payload=None)

        async def send_json(self, content: Any, close: bool = False) -> None:
            await super().send_json({**content, "own": True}, close)

    async with RouteClient(Own()) as client:
        sigterm()
        frame = await client.receive()
        assert frame.pop("retry_after") >= 1.0
        assert frame == {"action": "CLOSE", **NOTICE, "own": True}


class ByHand:
    """A server's side of one socket, which sends as it is told: ``send`` is called with each message."""

    def __init__(self, consumer: Any, send: Any, **scope: Any) -> None:
        self.inbox: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.inbox.put_nowait({"type": "websocket.connect"})
        self.sent: list[dict[str, Any]] = []
        self._send = send
        scope = {"type": "websocket", "path": "/", "headers": [], **scope}
        self.task = asyncio.ensure_future(consumer(scope, self.inbox.get, self.send))

    async def send(self, message: dict[str, Any]) -> None:
        await self._send(message)
        self.sent.append(message)


async def takes_all(message: dict[str, Any]) -> None:
    pass


async def test_server_that_cannot_send_1012_sends_4503(calls: Calls) -> None:
    async def as_daphne(message: dict[str, Any]) -> None:
        if message["type"] == "websocket.close" and 1000 < message["code"] < 3000:
            raise Exception("invalid close code 1012 (must be 1000 or from [3000, 4999])")  # noqa: TRY002

    consumer = Told()
    socket = ByHand(consumer, as_daphne)
    await until(lambda: socket.sent)
    sigterm()
    await until(lambda: calls)
    assert socket.sent[-1] == {"type": "websocket.close", "code": 4503, "reason": "The server restarts."}
    assert consumer.seen == [("disconnect", 1012)]
    await socket.task


async def test_client_that_does_not_read_does_not_hold_up_the_end(
    calls: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def stands_still(message: dict[str, Any]) -> None:
        if message["type"] != "websocket.accept":
            await asyncio.Event().wait()

    class Impatient(Told):
        route_disconnect_grace = 0.02

    monkeypatch.setattr(closing, "CLOSE_WAIT", 0.02)
    consumer = Impatient()
    socket = ByHand(consumer, stands_still)
    socket.inbox.put_nowait({"type": "websocket.receive", "text": '{"route": "wait", "uuid": 1}'})
    await until(lambda: consumer.seen)
    sigterm()
    await until(lambda: calls)
    assert consumer.seen == [None, ("disconnect", 1012)]
    await socket.task


@pytest.mark.parametrize(("offered", "chosen"), [([], None), (["chat", "token"], "chat")])
async def test_socket_that_opens_meanwhile_is_told_and_not_connected(
    calls: Calls, offered: list[str], chosen: str | None
) -> None:
    consumer, late = Told(), Told()
    async with RouteClient(consumer) as client:
        await client.send("wait", id=1)
        await until(lambda: consumer.seen)
        sigterm()
        await turns()
        socket = ByHand(late, takes_all, subprotocols=offered)
        await socket.task
        assert [message["type"] for message in socket.sent] == [
            "websocket.accept",
            "websocket.send",
            "websocket.close",
        ]
        assert socket.sent[0]["subprotocol"] == chosen
        assert socket.sent[2]["code"] == 1012
        assert not late.seen
        consumer.go.set()
        await until(lambda: calls)
