"""Each method of Channels that a consumer may override, on each of the four families of consumers."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from channels.generic.websocket import (
    AsyncJsonWebsocketConsumer,
    AsyncWebsocketConsumer,
    JsonWebsocketConsumer,
    WebsocketConsumer,
)

from routesock import RouteMixin, route

from .driver import Socket, until

FAMILIES = [AsyncWebsocketConsumer, WebsocketConsumer, AsyncJsonWebsocketConsumer, JsonWebsocketConsumer]

MESSAGES = ("websocket_connect", "websocket_receive", "websocket_disconnect")

OVERRIDES = ("dispatch", *MESSAGES, "receive", "receive_json", "decode_json", "encode_json", "send_json", "send")

CLASSMETHODS = ("decode_json", "encode_json")


class Routes:
    """The routes of every consumer below."""

    @route("answer")
    async def answer(self, request: Any) -> Any:
        return {"got": request.payload}

    @route("fail")
    async def fail(self, request: Any) -> Any:
        raise ValueError("secret")


def override(base: type, name: str) -> Any:
    """A method that notes each call in ``calls`` of its class and does what ``base`` does, if that has the method."""
    is_known = hasattr(base, name)
    is_async = name == "dispatch" or asyncio.iscoroutinefunction(getattr(base, name, None))

    def noted(self: Any, *args: Any, **kwargs: Any) -> Any:
        vars(self if isinstance(self, type) else type(self))["calls"].append((name, args, kwargs))
        return getattr(super(RouteMixin, self), name)(*args, **kwargs) if is_known else None

    async def noted_async(self: Any, *args: Any, **kwargs: Any) -> Any:
        return await noted(self, *args, **kwargs)

    method = noted_async if is_async else noted
    return classmethod(method) if name in CLASSMETHODS else method


def routed(base: type, *names: str) -> Any:
    """A consumer of the family ``base`` that overrides ``names``."""
    namespace: dict[str, Any] = {name: override(base, name) for name in names}
    return type("Consumer", (RouteMixin, Routes, base), {"__module__": __name__, "calls": [], **namespace})


async def converse(consumer: Any) -> list[Any]:
    """What a client reads that sends a request, a PING, a request that fails and one with a bad uuid."""
    async with Socket(consumer.as_asgi()) as client:
        client.request("answer", 1, "x")
        await client.read(1)
        client.json({"route": "PING", "uuid": 2})
        await client.read(2)
        client.request("fail", 3)
        await client.read(3)
        client.json({"route": "answer", "uuid": []})
        await client.read(4)
        return [*client.frames]


@pytest.fixture(params=FAMILIES)
def base(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.mark.parametrize("name", OVERRIDES)
async def test_replies_errors_and_pongs_reach_the_client(base: type, name: str) -> None:
    """Whatever the class overrides, the frames are those of a class without overrides."""
    expected = await converse(routed(base))
    assert [frame.get("status") for frame in expected] == [200, None, 500, 400]
    consumer = routed(base, name)
    frames = await converse(consumer)
    for frame in (expected[2], frames[2]):
        del frame["payload"]["error_id"]
    assert frames == expected
    called = {name for name, _, _ in consumer.calls}
    is_known = hasattr(base, name)
    assert called == ({name} if is_known and name not in ("receive", "receive_json") else set())


@pytest.mark.parametrize("names", [OVERRIDES, ("send", "receive"), ("send", "dispatch"), ("send", "websocket_receive")])
async def test_several_overrides_together(base: type, names: tuple[str, ...]) -> None:
    consumer = routed(base, *names)
    frames = await converse(consumer)
    assert [(frame["uuid"], frame.get("status")) for frame in frames] == [(1, 200), (2, None), (3, 500), (None, 400)]
    # Channels' send_json calls no send but that of its base class.
    sends = "send_json" if "send_json" in names and hasattr(base, "send_json") else "send"
    assert [name for name, _, _ in consumer.calls if name in ("send", "send_json")] == [sends] * 4


async def test_a_push_goes_through_an_own_send(base: type) -> None:
    class Pushing(routed(base, "send")):  # type: ignore[misc]
        calls: list[Any] = []

        @route("push")
        async def push(self, request: Any) -> None:
            socket = getattr(self.socket, "_socket", self.socket)
            await socket.push("news", request.payload)

    async with Socket(Pushing.as_asgi()) as client:
        client.request("push", None, 5)
        await client.read(1)
        assert client.frames == [{"route": "news", "payload": 5}]
        assert [name for name, _, _ in Pushing.calls] == ["send"]


async def test_a_close_notice_goes_through_an_own_send(base: type) -> None:
    class Closing(routed(base, "send")):  # type: ignore[misc]
        calls: list[Any] = []

        @route("close")
        async def close_it(self, request: Any) -> None:
            socket = getattr(self.socket, "_socket", self.socket)
            await socket.close(409, "enough")

    async with Socket(Closing.as_asgi()) as client:
        client.request("close", None)
        await until(lambda: client.closed)
        assert [frame["route"] for frame in client.frames] == ["CLOSE"]
        assert [name for name, _, _ in Closing.calls] == ["send"]
