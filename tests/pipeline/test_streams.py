"""Streams: items and one final reply, back-pressure, and a generator that is closed whatever ends it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from channels.generic.websocket import AsyncJsonWebsocketConsumer, JsonWebsocketConsumer
from hypothesis import given
from hypothesis import strategies as st
from marshmallow import Schema, fields

from routesock import Reply, Request, RouteMixin, route, run_on_loop
from tests.clock import simulated
from tests.takeover.driver import Socket, strict, turns, until


class NumberSchema(Schema):
    number = fields.Integer(required=True)


async def doubled(item: Any) -> Any:
    await asyncio.sleep(0)
    return {"number": item["number"] * 2}


def doubled_in_thread(item: Any) -> Any:
    return {"number": item["number"] * 2, "on_loop": threading.current_thread() is threading.main_thread()}


async def marking(request: Request, call_next: Any) -> Reply:
    request.consumer.scope["log"].append("before")  # type: ignore[union-attr]
    reply = await call_next(request)
    request.consumer.scope["log"].append("after")  # type: ignore[union-attr]
    return Reply(reply.payload, reply.status, {"Marked": "yes"})


class Streams(RouteMixin, AsyncJsonWebsocketConsumer):
    async def connect(self) -> None:
        self.log: list[Any] = self.scope["log"]
        self.gate: asyncio.Event = self.scope["gate"]
        await self.accept()

    @route("count", schema=NumberSchema)
    async def count(self, request: Request) -> AsyncIterator[Any]:
        for number in range(request.payload["number"]):
            yield {"number": number}

    @route("endless")
    async def endless(self, request: Request) -> AsyncIterator[Any]:
        """Never waits by itself."""
        number = 0
        try:
            while True:
                yield number
                number += 1
        finally:
            self.log.append(("closed", number))

    @route("waiting", timeout=30)
    async def waiting(self, request: Request) -> AsyncIterator[Any]:
        try:
            yield "first"
            await self.gate.wait()
            yield "second"
        finally:
            await asyncio.sleep(0)
            self.log.append("closed")

    @route("stubborn")
    async def stubborn(self, request: Request) -> AsyncIterator[Any]:
        """Takes no notice of its cancellation, and yields on."""
        yield "first"
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.log.append("cancelled")
        yield "second"

    @route("fails")
    async def fails(self, request: Request) -> AsyncIterator[Any]:
        yield 1
        raise ValueError("secret")

    @route("exits")
    async def exits(self, request: Request) -> AsyncIterator[Any]:
        yield 1
        raise SystemExit(3)

    @route("unspeakable")
    async def unspeakable(self, request: Request) -> AsyncIterator[Any]:
        try:
            yield 1
            yield object()
        finally:
            self.log.append("closed")

    @route("replies")
    async def replies(self, request: Request) -> AsyncIterator[Any]:
        yield Reply(1)

    @route("empty")
    async def empty(self, request: Request) -> AsyncIterator[Any]:
        return
        yield

    @route("none", dehydrate=doubled)
    async def none(self, request: Request) -> AsyncIterator[Any]:
        yield None

    @route("spelt", dehydrate=NumberSchema())
    async def spelt(self, request: Request) -> AsyncIterator[Any]:
        yield {"number": 1, "secret": 2}

    @route("spelt.async", dehydrate=doubled)
    async def spelt_async(self, request: Request) -> AsyncIterator[Any]:
        yield {"number": 1}

    @route("spelt.thread", dehydrate=doubled_in_thread)
    async def spelt_in_thread(self, request: Request) -> AsyncIterator[Any]:
        yield {"number": 1}

    @route("sync")
    def sync(self, request: Request) -> Iterator[Any]:
        try:
            for number in range(request.payload):
                yield [number, threading.current_thread() is threading.main_thread()]
        finally:
            self.log.append("closed")

    @route("sync.spelt", dehydrate=doubled_in_thread)
    def sync_spelt(self, request: Request) -> Iterator[Any]:
        yield {"number": 1}

    @route("sync.spelt.async", dehydrate=doubled)
    def sync_spelt_async(self, request: Request) -> Iterator[Any]:
        yield {"number": 1}

    @route("sync.fails")
    def sync_fails(self, request: Request) -> Iterator[Any]:
        yield 1
        raise ValueError("secret")

    @route("sync.stops")
    def sync_stops(self, request: Request) -> Iterator[Any]:
        yield next(iter(()))

    @route("on.loop")
    @run_on_loop
    def on_loop(self, request: Request) -> Iterator[Any]:
        yield threading.current_thread() is threading.main_thread()

    @route("around", middleware=[marking])
    async def around(self, request: Request) -> AsyncIterator[Any]:
        self.log.append("first")
        yield 1
        self.log.append("last")

    @route("ordered")
    async def ordered(self, request: Request) -> str:
        return "ordered"

    @route("closes")
    async def closes(self, request: Request) -> AsyncIterator[Any]:
        try:
            yield 1
            await self.close()
            while True:
                yield 2
        finally:
            self.log.append("closed")

    async def disconnect(self, code: int) -> None:
        self.log.append("disconnected")


class Guarded(Streams):
    async def dispatch(self, message: dict[str, Any]) -> None:
        await super().dispatch(message)


class Timed(RouteMixin, AsyncJsonWebsocketConsumer):
    """For a simulated loop: without anything that runs in a thread."""

    async def connect(self) -> None:
        self.log: list[Any] = self.scope["log"]
        await self.accept()

    @route("slow", timeout=0.05)
    async def slow(self, request: Request) -> AsyncIterator[Any]:
        """Each item in time, all of them together not; and at last one that is not."""
        try:
            for number in range(4):
                await asyncio.sleep(0.02)
                yield number
            await asyncio.sleep(60)
        finally:
            self.log.append("closed")

    @route("late.start", timeout=0.02)
    async def late_start(self, request: Request) -> AsyncIterator[Any]:
        await asyncio.sleep(60)
        yield 1


class SyncStreams(RouteMixin, JsonWebsocketConsumer):
    @route("sync")
    def sync(self, request: Request) -> Iterator[Any]:
        yield from range(request.payload)


def socket(consumer: type = Streams) -> Socket:
    return Socket(consumer.as_asgi(), log=[], gate=asyncio.Event())  # type: ignore[attr-defined]


async def streamed(client: Socket, name: str, payload: Any = None) -> list[Any]:
    """The status and payload of each reply, to the final one."""
    uuid = f"{name} {len(client.texts)}"
    client.request(name, uuid, payload)
    await until(lambda: client.replies(uuid) and client.replies(uuid)[-1]["status"] != 206, f"the end of {name}")
    await turns()
    return [(frame["status"], frame["payload"]) for frame in client.replies(uuid)]


END = (200, None)


@pytest.mark.parametrize("consumer", [Streams, Guarded])
async def test_items_are_followed_by_one_final_reply(consumer: type) -> None:
    async with socket(consumer) as client:
        assert await streamed(client, "count", {"number": 3}) == [*((206, {"number": n}) for n in range(3)), END]
        assert await streamed(client, "count", {"number": 0}) == [END]
        assert await streamed(client, "empty") == [END]
        assert await streamed(client, "none") == [(206, None), END]


async def test_what_comes_before_the_first_item_can_refuse_it() -> None:
    async with socket() as client:
        ((status, problem),) = await streamed(client, "count", {"number": "x"})
        assert (status, problem["code"]) == (422, "invalid")


@pytest.mark.parametrize(
    ("name", "item"),
    [
        ("spelt", {"number": 1}),
        ("spelt.async", {"number": 2}),
        ("spelt.thread", {"number": 2, "on_loop": False}),
        ("sync.spelt", {"number": 2, "on_loop": False}),
        ("sync.spelt.async", {"number": 2}),
        ("on.loop", True),
    ],
)
async def test_each_item_is_spelt_where_its_dehydrate_runs(name: str, item: Any) -> None:
    async with socket() as client:
        assert await streamed(client, name) == [(206, item), END]


async def test_a_sync_generator_runs_in_the_database_thread() -> None:
    async with socket() as client:
        assert await streamed(client, "sync", 2) == [(206, [0, False]), (206, [1, False]), END]
        assert client.log == ["closed"]
    async with socket(SyncStreams) as client:
        assert await streamed(client, "sync", 2) == [(206, 0), (206, 1), END]


@pytest.mark.parametrize("name", ["fails", "exits", "sync.fails", "unspeakable"])
async def test_an_error_midway_ends_the_stream_with_its_status(name: str) -> None:
    async with socket() as client:
        (item, (status, problem)) = await streamed(client, name)
        assert item == (206, 1)
        assert (status, problem["code"]) == (500, "internal_error")
        assert "secret" not in str(problem)
        assert (await client.call("ordered", "after"))["status"] == 200


@pytest.mark.parametrize("name", ["replies", "sync.stops"])
async def test_what_cannot_be_an_item_is_a_500(name: str) -> None:
    """A Reply has a status of its own, and a StopIteration is an error in a generator (PEP 479)."""
    async with socket() as client:
        ((status, _),) = await streamed(client, name)
        assert status == 500


async def test_an_item_that_cannot_be_spelt_closes_the_generator() -> None:
    async with socket() as client:
        await streamed(client, "unspeakable")
        assert client.log == ["closed"]


async def test_a_stream_runs_beside_the_order() -> None:
    async with socket() as client:
        client.request("waiting", 1)
        await client.read(1)
        client.request("ordered", 2)
        await client.ping()
        assert client.statuses() == [(1, 206), (2, 200)]
        client.scope["gate"].set()
        await until(lambda: (1, 200) in client.statuses())
        assert client.statuses() == [(1, 206), (2, 200), (1, 206), (1, 200)]


async def test_one_that_never_waits_holds_up_nothing() -> None:
    async with socket() as client:
        client.request("endless", 1)
        await client.ping()
        assert (await client.call("ordered", 2))["status"] == 200
        client.cancel(1)
        await until(lambda: client.statuses()[-1] == (1, 499))
        await turns()
        assert client.statuses()[-1] == (1, 499)
        assert [kind for kind, _ in client.log] == ["closed"]


async def test_a_client_that_does_not_read_stops_the_generator() -> None:
    async with socket() as client:
        client.request("endless", 1)
        await until(lambda: len(client.texts) > 20)
        client.writable.clear()
        before = len(client.texts)
        await turns(500)
        assert len(client.texts) == before
        client.cancel(1)
        await until(lambda: client.log)
        (_, produced) = client.log[0]
        assert produced <= before + 2
        client.writable.set()
        await until(lambda: client.statuses()[-1] == (1, 499))


@simulated
async def test_while_the_client_does_not_read_the_deadline_stands_still() -> None:
    async with socket(Timed) as client:
        client.writable.clear()
        client.request("slow", 1)
        await asyncio.sleep(0.15)  # three times the timeout
        client.writable.set()
        await until(lambda: client.statuses()[-1:] == [(1, 504)])
        assert client.statuses() == [*[(1, 206)] * 4, (1, 504)]


@simulated
async def test_the_deadline_is_the_time_between_two_items() -> None:
    async with socket(Timed) as client:
        assert [status for status, _ in await streamed(client, "slow")] == [206, 206, 206, 206, 504]
        assert client.log == ["closed"]
        assert [status for status, _ in await streamed(client, "late.start")] == [504]


async def test_cancel_closes_the_generator_and_lets_its_finally_wait() -> None:
    async with socket() as client:
        client.request("waiting", 1)
        await client.read(1)
        client.cancel(1)
        await client.read(2)
        await until(lambda: client.log == ["closed"])
        assert client.statuses() == [(1, 206), (1, 499)]


async def test_nothing_follows_the_final_reply() -> None:
    """Not even of a generator that takes no notice of its cancellation."""
    async with socket() as client:
        client.request("stubborn", 1)
        await client.read(1)
        client.cancel(1)
        await client.read(2)
        await until(lambda: client.log == ["cancelled"])
        await turns()
        assert client.statuses() == [(1, 206), (1, 499)]
        assert (await client.call("ordered", 2))["status"] == 200


async def test_cancel_closes_a_sync_generator_in_its_thread() -> None:
    async with socket() as client:
        client.request("sync", 1, 10**9)
        await client.read(3)
        client.cancel(1)
        await until(lambda: client.log == ["closed"])
        assert client.statuses()[-1] == (1, 499)


@pytest.mark.parametrize(("name", "payload"), [("waiting", None), ("endless", None), ("sync", 10**9)])
async def test_a_stream_ends_with_its_client(name: str, payload: Any) -> None:
    """At once, since nobody is left to read it; its generator is closed before ``disconnect()`` runs."""
    client = socket()
    async with client:
        client.request(name, 1, payload)
        await client.read(1)
        client.disconnect()
        await client.ending()
    assert [entry if isinstance(entry, str) else entry[0] for entry in client.log] == ["closed", "disconnected"]


async def test_a_stream_ends_when_its_socket_is_closed() -> None:
    client = socket()
    async with client:
        client.request("closes", 1)
        await client.ending()
    assert client.log == ["closed", "disconnected"]
    assert client.statuses() == [(1, 206)]


async def test_middleware_is_around_the_whole_stream() -> None:
    async with socket() as client:
        client.request("around", 1)
        await client.read(2)
        assert client.log == ["before", "first", "last", "after"]
        assert [(frame["status"], frame.get("headers")) for frame in client.frames] == [
            (206, None),
            (200, {"Marked": "yes"}),
        ]


async def test_a_stream_without_an_id_is_refused() -> None:
    async with socket() as client:
        client.json({"route": "endless"})
        (frame,) = await client.read(1)
        assert (frame["status"], frame["payload"]["code"], frame["uuid"]) == (400, "invalid_envelope", None)
        assert client.log == []


async def test_a_wrapper_that_hides_a_generator_is_told_so(caplog: pytest.LogCaptureFixture) -> None:
    def wrapper(self: Any, request: Request) -> Any:
        return (number for number in range(3))

    cls: Any = type("Chat", (Streams,), {"wrapper": route("wrapped")(wrapper)})
    async with socket(cls) as client:
        assert (await client.call("wrapped", 1))["status"] == 500
    assert "Write the decorator around it as a generator function too" in caplog.text


@given(steps=st.lists(st.sampled_from(["item", "wait", "cancel", "stall", "read", "fail"]), max_size=12))
def test_a_stream_has_one_end_and_nothing_after_it(steps: list[str]) -> None:
    """In whatever order items, a slow client, errors and a CANCEL come."""
    asyncio.run(ended_once(steps))


async def ended_once(steps: list[str]) -> None:
    queue: asyncio.Queue[str] = asyncio.Queue()

    async def handler(self: Any, request: Request) -> AsyncIterator[Any]:
        try:
            while (step := await queue.get()) != "end":
                if step == "fail":
                    raise ValueError("secret")
                yield step
        finally:
            self.scope["log"].append("closed")

    cls: Any = type("Chat", (RouteMixin, AsyncJsonWebsocketConsumer), {"handler": route("stream")(handler)})
    async with socket(cls) as client:
        client.request("stream", 1)
        await turns(5)
        for step in steps:
            if step == "cancel":
                client.cancel(1)
            elif step in ("stall", "read"):
                (client.writable.clear if step == "stall" else client.writable.set)()
            elif step == "wait":
                await turns(10)
            else:
                queue.put_nowait(step)
        queue.put_nowait("end")
        client.writable.set()
        await until(lambda: client.statuses() and client.statuses()[-1][1] != 206)
        await turns()
        statuses = [status for _, status in client.statuses()]
        assert statuses[:-1] == [206] * (len(statuses) - 1)
        assert statuses[-1] in (200, 499, 500)
        assert client.log in (["closed"], [])  # a CANCEL may come before its first step
        for text in client.texts:
            strict(text)
