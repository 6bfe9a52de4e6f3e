"""Each method of Channels that a consumer may override, on each of the four families of consumers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any
from unittest import mock

import pytest
from channels.generic.websocket import (
    AsyncJsonWebsocketConsumer,
    AsyncWebsocketConsumer,
    JsonWebsocketConsumer,
    WebsocketConsumer,
)

from routesock import RouteMixin, route

from .driver import Socket, until

pytestmark = pytest.mark.repetitions

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


def override(base: type, name: str, holder: Callable[[], type] = lambda: RouteMixin) -> Any:
    """A method of ``holder()`` that notes each call in ``calls`` of its class and does what ``base`` does."""
    is_known = hasattr(base, name)
    is_async = name == "dispatch" or asyncio.iscoroutinefunction(getattr(base, name, None))

    def noted(self: Any, *args: Any, **kwargs: Any) -> Any:
        vars(self if isinstance(self, type) else type(self))["calls"].append((name, args, kwargs))
        return getattr(super(holder(), self), name)(*args, **kwargs) if is_known else None

    async def noted_async(self: Any, *args: Any, **kwargs: Any) -> Any:
        return await noted(self, *args, **kwargs)

    method = noted_async if is_async else noted
    return classmethod(method) if name in CLASSMETHODS else method


def in_the_class(base: type, names: Sequence[str]) -> Any:
    methods = {name: override(base, name) for name in names}
    return type("Consumer", (RouteMixin, Routes, base), {"__module__": __name__, "calls": [], **methods})


def in_front_of_the_mixin(base: type, names: Sequence[str]) -> Any:
    front: Any = type("Front", (base,), {name: override(base, name, lambda: front) for name in names})
    return type("Consumer", (front, in_the_class(base, ())), {"__module__": __name__, "calls": []})


def behind_the_mixin(base: type, names: Sequence[str]) -> Any:
    behind: Any = type("Behind", (base,), {name: override(base, name, lambda: behind) for name in names})
    return type("Consumer", (RouteMixin, Routes, behind), {"__module__": __name__, "calls": []})


def by_a_class_decorator(base: type, names: Sequence[str]) -> Any:
    consumer = in_the_class(base, ())
    for name in names:
        setattr(consumer, name, override(base, name))
    return consumer


def on_the_instance(base: type, names: Sequence[str]) -> Any:
    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        base.__init__(self, *args, **kwargs)
        for name in names:
            setattr(self, name, override(base, name).__get__(self, type(self)))

    consumer = in_the_class(base, ())
    consumer.__init__ = init
    return consumer


PLACES = [in_the_class, in_front_of_the_mixin, behind_the_mixin, by_a_class_decorator, on_the_instance]

routed = in_the_class


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


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", OVERRIDES)
async def test_replies_errors_and_pongs_reach_the_client(base: type, name: str, place: Any) -> None:
    """Whatever the class overrides, the frames are those of a class without overrides."""
    expected = await converse(routed(base, ()))
    assert [frame.get("status") for frame in expected] == [200, None, 500, 400]
    consumer = place(base, [name])
    frames = await converse(consumer)
    for frame in (expected[2], frames[2]):
        del frame["payload"]["error_id"]
    assert frames == expected
    called = {name for name, _, _ in consumer.calls}
    is_known = hasattr(base, name)
    assert called == ({name} if is_known and name not in ("receive", "receive_json") else set())


@pytest.mark.parametrize("names", [OVERRIDES, ("send", "receive"), ("send", "dispatch"), ("send", "websocket_receive")])
@pytest.mark.parametrize("place", PLACES)
async def test_several_overrides_together(base: type, names: tuple[str, ...], place: Any) -> None:
    consumer = place(base, names)
    frames = await converse(consumer)
    assert [(frame["uuid"], frame.get("status")) for frame in frames] == [(1, 200), (2, None), (3, 500), (None, 400)]
    # Channels' send_json calls no send but that of its base class.
    sends = "send_json" if "send_json" in names and hasattr(base, "send_json") else "send"
    assert [name for name, _, _ in consumer.calls if name in ("send", "send_json")] == [sends] * 4


@pytest.mark.parametrize("name", OVERRIDES)
async def test_a_patch_holds_for_the_sockets_that_open_under_it(base: type, name: str) -> None:
    """Also if the class has served others before, and no longer when it is taken back."""
    consumer = routed(base, ())
    before = await converse(consumer)
    with mock.patch.object(consumer, name, override(base, name), create=True):
        await converse(consumer)
    called = {name for name, _, _ in consumer.calls}
    assert called == ({name} if hasattr(base, name) and name not in ("receive", "receive_json") else set())
    consumer.calls.clear()
    assert len(await converse(consumer)) == len(before)
    assert consumer.calls == []


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", ["dispatch", "websocket_receive"])
async def test_a_gate_is_not_bypassed(base: type, name: str, place: Any) -> None:
    """A method that drops frames, wherever it comes from, drops routed ones as well."""
    plain = override

    def gate(base: type, name: str, holder: Callable[[], type] = lambda: RouteMixin) -> Any:
        passes = plain(base, name, holder)

        async def gated_async(self: Any, message: Any) -> None:
            if "secret" in message.get("text", "secret"):
                await passes(self, message)

        def gated(self: Any, message: Any) -> None:
            if "secret" in message.get("text", "secret"):
                passes(self, message)

        return gated_async if asyncio.iscoroutinefunction(passes) else gated

    with mock.patch(f"{__name__}.override", gate):
        consumer = place(base, [name])
        async with Socket(consumer.as_asgi()) as client:
            client.request("answer", 1, "open")
            assert (await client.call("answer", 2, "secret"))["status"] == 200
            assert client.replies(1) == []


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("names", [("receive",), ("receive", "websocket_receive"), ("receive", "dispatch")])
async def test_foreign_frames_reach_an_own_receive(base: type, names: tuple[str, ...], place: Any) -> None:
    consumer = place(base, names)
    async with Socket(consumer.as_asgi()) as client:
        client.json({"route": "unknown"})
        assert (await client.call("answer", 1))["status"] == 200
    received = [kwargs or args for name, args, kwargs in consumer.calls if name == "receive"]
    assert received == [{"text_data": '{"route": "unknown"}'}]


async def test_a_push_goes_through_an_own_send(base: type) -> None:
    class Pushing(routed(base, ["send"])):  # type: ignore[misc]
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
    class Closing(routed(base, ["send"])):  # type: ignore[misc]
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
