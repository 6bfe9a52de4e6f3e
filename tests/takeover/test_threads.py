"""What a consumer's own code calls from a thread or from another event loop."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from channels.generic.websocket import AsyncJsonWebsocketConsumer, JsonWebsocketConsumer
from django.test import override_settings

from routesock import Request, RouteMixin, route
from routesock.exceptions import SocketEnded
from tests.servers import ASGI_SERVERS, Server, connect, run_server, send

from .driver import LIMIT, Socket, until
from .threads import FRAMES, SENDERS


def check_order(frames: list[Any], threads: int) -> None:
    """Nothing is lost, and the frames of each thread are in the order in which it sent them."""
    for thread in range(threads):
        assert [frame["frame"] for frame in frames if frame.get("thread") == thread] == [*range(FRAMES // threads)]


def due(threads: int) -> int:
    """The frames of all threads and the reply to the request that starts them."""
    return FRAMES // threads * threads + 1


@pytest.mark.parametrize("threads", [1, 4])
@pytest.mark.parametrize("kind", SENDERS)
async def test_frames_from_threads_all_arrive_in_order_and_the_next_frame_is_answered(kind: str, threads: int) -> None:
    async with Socket(SENDERS[kind].as_asgi()) as client:
        client.yields = True
        client.request("start", 1, threads)
        await client.read(due(threads))
        check_order(client.frames, threads)
        assert (await client.call("echo", 2, "next"))["payload"] == "next"


@pytest.fixture(scope="module", params=ASGI_SERVERS)
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    with run_server(request.param, "tests.takeover.asgi:application") as server:
        yield server


@pytest.mark.servers
@pytest.mark.parametrize("threads", [1, 4])
@pytest.mark.parametrize("kind", SENDERS)
async def test_frames_from_threads_arrive_over_a_server(server: Server, kind: str, threads: int) -> None:
    async with connect(server, f"/{kind}/") as connection, asyncio.timeout(LIMIT):
        await send(connection, {"route": "start", "uuid": 1, "payload": threads})
        check_order([json.loads(await connection.recv()) for _ in range(due(threads))], threads)
        await send(connection, {"route": "echo", "uuid": 2, "payload": "next"})
        assert json.loads(await connection.recv())["payload"] == "next"


# Everything else that such code may call


def in_thread(work: Callable[[], Any]) -> None:
    """Run ``work`` in a thread that neither asyncio nor asgiref knows."""
    threading.Thread(target=work, daemon=True).start()


class AsyncCaller(RouteMixin, AsyncJsonWebsocketConsumer):
    """Calls in a thread what the test has left in the scope."""

    async def connect(self) -> None:
        self.scope["consumers"].append(self)
        await self.accept()

    async def disconnect(self, code: int) -> None:
        self.scope["log"].append(("disconnect", code))

    @route("echo")
    async def echo(self, request: Request) -> Any:
        return request.payload


class SyncCaller(RouteMixin, JsonWebsocketConsumer):
    def connect(self) -> None:
        self.scope["consumers"].append(self)
        self.accept()

    def disconnect(self, code: int) -> None:
        self.scope["log"].append(("disconnect", code))

    @route("echo")
    def echo(self, request: Request) -> Any:
        return request.payload


BOTH = pytest.mark.parametrize("caller", [AsyncCaller, SyncCaller])


def blocking(method: Any) -> Callable[..., Any]:
    """``method`` of an async consumer or of a sync one, to be called in a thread."""
    return async_to_sync(method) if asyncio.iscoroutinefunction(method) else method  # type: ignore[no-any-return]


def of(caller: type) -> Socket:
    return Socket(caller.as_asgi(), log=[], consumers=[])  # type: ignore[attr-defined]


async def call_in_thread(method: Any, *args: Any, **kwargs: Any) -> None:
    """Call ``method`` in a thread, and wait for its end. Raises what it raises."""
    done: list[BaseException | None] = []

    def work() -> None:
        try:
            blocking(method)(*args, **kwargs)
        except BaseException as exc:
            done.append(exc)
        else:
            done.append(None)

    in_thread(work)
    await until(lambda: done, "the call in the thread")
    if done[0] is not None:
        raise done[0]


@BOTH
async def test_a_thread_pushes_joins_broadcasts_and_leaves(caller: type) -> None:
    async with of(caller) as client, of(caller) as other:
        socket = client.scope["consumers"][0].socket
        await call_in_thread(socket.push, "news", 1)
        await call_in_thread(socket.join, "room")
        assert socket.groups == {"room"}
        await call_in_thread(socket.broadcast, "room", "news", 2)
        await call_in_thread(socket.broadcast, "room", "news", 3, exclude_self=True)
        await call_in_thread(other.scope["consumers"][0].socket.broadcast, "room", "news", 4)
        await client.read(3)
        await call_in_thread(socket.leave, "room")
        assert socket.groups == frozenset()
        await call_in_thread(socket.broadcast, "room", "news", 5)
        assert (await client.call("echo", 1, "next"))["payload"] == "next"
        assert [frame["payload"] for frame in client.frames] == [1, 2, 4, "next"]
        with pytest.raises(TypeError, match="not JSON serializable"):
            await call_in_thread(socket.push, "news", object())


@BOTH
async def test_a_thread_closes_the_socket(caller: type) -> None:
    async with of(caller) as client:
        await call_in_thread(client.scope["consumers"][0].socket.close, 409, "elsewhere")
        assert await client.ending() is None
        assert client.closed is not None
        assert (client.closed["code"], client.closed["reason"]) == (4409, "elsewhere")
        assert client.disconnects == [("disconnect", 4409)]


@BOTH
async def test_a_thread_closes_the_socket_by_the_consumer_s_own_method(caller: type) -> None:
    async with of(caller) as client:
        await call_in_thread(client.scope["consumers"][0].close, 4001)
        assert await client.ending() is None
        assert client.closed is not None
        assert client.closed["code"] == 4001


@BOTH
async def test_a_thread_rejects_the_socket_that_connect_has_not_accepted(caller: type) -> None:
    class Rejecting(caller):  # type: ignore[misc,valid-type]
        def accept(self, *args: Any, **kwargs: Any) -> Any:
            if asyncio.iscoroutinefunction(super().accept):
                return asyncio.sleep(0)
            return None

    client = of(Rejecting)
    client.start()
    client.feed({"type": "websocket.connect"})
    await until(lambda: client.scope["consumers"])
    await call_in_thread(client.scope["consumers"][0].socket.reject, 403, "no")
    assert await client.ending() is None
    assert [message["type"] for message in client.sent] == ["websocket.accept", "websocket.send", "websocket.close"]


@BOTH
async def test_what_a_thread_sends_after_the_end_is_not_sent(caller: type) -> None:
    """A reader thread that learns of the end later than the consumer ends with an exception."""
    async with of(caller) as client:
        consumer = client.scope["consumers"][0]
        socket = consumer.socket
    sent = len(client.sent)
    with pytest.raises(SocketEnded):
        await call_in_thread(consumer.send_json, 1)
    with pytest.raises(SocketEnded):
        await call_in_thread(socket.push, "news", 1)
    await call_in_thread(socket.join, "room")
    await call_in_thread(socket.leave, "room")
    await call_in_thread(socket.broadcast, "room", "news", 1)
    await call_in_thread(socket.close, 409)
    assert (len(client.sent), client.late, socket.groups) == (sent, [], frozenset())


@BOTH
def test_what_a_thread_sends_after_its_loop_is_closed_is_dropped(caller: type) -> None:
    """The server has thrown the loop away with the socket, which never ended."""

    async def opened() -> Socket:
        client = of(caller)
        client.start()
        client.feed({"type": "websocket.connect"})
        await until(lambda: client.scope["consumers"])
        state = client.scope["consumers"][0]._routesock_connection._state
        await until(lambda: state.connected)
        return client

    loop = asyncio.new_event_loop()
    client = loop.run_until_complete(opened())
    for task in asyncio.all_tasks(loop):
        task._log_destroy_pending = False  # type: ignore[attr-defined]
        coroutine = task.get_coro()
        assert coroutine is not None
        coroutine.close()
    Socket._open.discard(client)
    consumer = client.scope["consumers"][0]
    socket = consumer.socket
    loop.close()
    blocking(consumer.send_json)(1)
    blocking(socket.push)("news", 1)
    blocking(socket.join)("room")
    blocking(socket.leave)("room")
    blocking(socket.broadcast)("room", "news", 1)
    blocking(socket.close)(409)
    assert [message["type"] for message in client.sent] == ["websocket.accept"]


@BOTH
async def test_a_thread_waits_while_the_client_does_not_read(caller: type) -> None:
    """Each thread has one frame in the queue, which ends the socket when it holds too many."""
    with override_settings(ROUTESOCK={"MAX_OUTGOING": 3}):
        async with of(caller) as client:
            consumer = client.scope["consumers"][0]
            client.writable.clear()
            ended: list[int] = []

            def work(number: int) -> None:
                with suppress(SocketEnded):
                    for frame in range(100):
                        blocking(consumer.send_json)({"thread": number, "frame": frame})
                ended.append(number)

            for number in range(3):
                in_thread(lambda number=number: work(number))  # type: ignore[misc]
            queue = consumer._routesock_connection._send_queue
            await until(lambda: queue._frames == 2)
            client.writable.set()
            await until(lambda: len(ended) == 3)
            assert len(client.frames) == 300
            client.writable.clear()
            for number in range(5):
                in_thread(lambda number=number: work(number))  # type: ignore[misc]
            await until(lambda: consumer._routesock_connection._state.is_closing)
            client.writable.set()
            assert await client.ending() is None
            await until(lambda: len(ended) == 8)
            assert client.closed is not None
            assert client.closed["code"] == 1013
