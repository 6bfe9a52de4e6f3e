"""A socket's life over real servers: the reader never waits, nothing ends it by accident, nothing outlives it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection

from tests.servers import ANSWER_WITHIN, ASGI_SERVERS, Server, connect, receive, run_server, send

pytestmark = pytest.mark.servers


@pytest.fixture
async def life(server: Server) -> AsyncIterator[ClientConnection]:
    async with connect(server, "/life/") as connection:
        yield connection


def is_final(frame: Any) -> bool:
    return frame.get("status", 206) != 206


async def ping(connection: ClientConnection) -> list[Any]:
    """What came before the PONG, read as JSON."""
    before: list[Any] = []
    await send(connection, {"route": "PING", "uuid": "ping"})

    def is_pong(frame: Any) -> bool:
        if frame["route"] == "PONG":
            return True
        before.append(frame)
        return False

    await receive(connection, is_pong)
    return before


async def test_a_heartbeat_is_answered_while_a_handler_waits(life: ClientConnection) -> None:
    await send(life, {"route": "held", "uuid": 1})
    assert await ping(life) == []
    await send(life, {"route": "release"})
    assert (await receive(life))["payload"] == "released"


async def test_a_heartbeat_is_answered_while_other_sockets_block_the_database_thread(server: Server) -> None:
    others = [await connect(server, "/life/") for _ in range(10)]
    async with connect(server, "/life/") as connection:
        for other in others:
            await send(other, {"route": "query", "uuid": 1, "payload": 300_000})
        replies = [asyncio.ensure_future(receive(other)) for other in others]
        assert await ping(connection) == []
        assert not all(reply.done() for reply in replies)
        assert {reply["payload"] for reply in await asyncio.gather(*replies)} == {300_000}
    for other in others:
        await other.close()


async def test_a_heartbeat_is_answered_during_a_stream(life: ClientConnection) -> None:
    await send(life, {"route": "ticks", "uuid": 1, "payload": "pinged"})
    await receive(life)
    assert all(frame["status"] == 206 for frame in await ping(life))
    await send(life, {"route": "CANCEL", "uuid": 1})
    assert (await receive(life, is_final))["status"] == 499


async def test_pipelined_requests_are_answered_in_order(life: ClientConnection) -> None:
    for number in range(200):
        await send(life, {"route": "echo", "uuid": number, "payload": number})
    assert [(await receive(life))["payload"] for _ in range(200)] == [*range(200)]


async def test_ten_thousand_quick_requests_are_ten_thousand_replies(life: ClientConnection) -> None:
    async def write() -> None:
        for number in range(10_000):
            await send(life, {"route": "echo", "uuid": number, "payload": number})

    writing = asyncio.create_task(write())
    replies = [json.loads(await life.recv()) for _ in range(10_000)]
    await writing
    assert [(reply["status"], reply["payload"]) for reply in replies] == [(200, number) for number in range(10_000)]


async def test_parallel_requests_are_each_answered_once(life: ClientConnection) -> None:
    for number in range(60):
        await send(life, {"route": "beside", "uuid": number, "payload": number})
    replies = [await receive(life) for _ in range(60)]
    assert {(reply["uuid"], reply["payload"], reply["status"]) for reply in replies} == {(n, n, 200) for n in range(60)}
    await send(life, {"route": "echo", "uuid": "last"})
    assert (await receive(life))["uuid"] == "last"


async def test_streams_of_both_kinds_reach_their_end(life: ClientConnection) -> None:
    await send(life, {"route": "pages", "uuid": 1, "payload": 3})
    frames = [await receive(life) for _ in range(4)]
    assert [(frame["status"], frame["payload"]) for frame in frames] == [(206, 0), (206, 1), (206, 2), (200, None)]


@pytest.mark.parametrize(
    ("name", "route", "says"),
    [
        ("graced", "wait", "cancelled"),
        ("cancellable", "wait.cancellable", "cancelled"),
        ("streaming", "ticks", "closed"),
    ],
)
@pytest.mark.parametrize("how", ["close", "vanish"])
async def test_a_client_that_leaves_takes_its_handlers_with_it(
    server: Server, life: ClientConnection, name: str, route: str, says: str, how: str
) -> None:
    """After the grace, or at once; then ``disconnect()`` runs, and no task is left."""

    async def tasks() -> Any:
        await send(life, {"route": "tasks", "uuid": "tasks"})
        return (await receive(life))["payload"]

    name = f"{name}-{how}"
    idle = await tasks()
    async with connect(server, f"/life/?{name}") as leaving:
        await send(leaving, {"route": route, "uuid": 1, "payload": name if route == "ticks" else [name, 60]})
        await send(leaving, {"route": "PING", "uuid": 1})
        await receive(leaving)
        if how == "vanish":
            leaving.transport.abort()
        else:
            await leaving.close()
    await asyncio.to_thread(server.wait_for_output, f"disconnect of {name}")
    output = server.output()
    assert output.index(f"{says} {name}") < output.index(f"disconnect of {name}")
    assert output.count(f"disconnect of {name}") == 1
    async with asyncio.timeout(ANSWER_WITHIN):
        while await tasks() > idle:
            await ping(life)


async def test_a_handler_that_ends_in_its_grace_loses_nothing(server: Server) -> None:
    async with connect(server, "/life/?sends-and-leaves") as leaving:
        await send(leaving, {"route": "wait", "uuid": 1, "payload": ["a message", 0.1]})
    await asyncio.to_thread(server.wait_for_output, "disconnect of sends-and-leaves")
    assert server.output().index("finished a message") < server.output().index("disconnect of sends-and-leaves")


async def test_stop_consumer_in_a_handler_is_a_500(life: ClientConnection) -> None:
    await send(life, {"route": "stop", "uuid": 1})
    assert (await receive(life))["status"] == 500
    await send(life, {"route": "echo", "uuid": 2, "payload": "still here"})
    assert (await receive(life))["payload"] == "still here"


@pytest.mark.parametrize("route", ["flood.stream", "flood.push"])
async def test_a_client_that_never_reads_leaves_uvicorn_bounded(route: str) -> None:
    """200 MB are on their way to it. daphne takes them all into its own buffer, which no application can see."""
    with run_server("uvicorn", "tests.wire.asgi:application") as server:
        async with connect(server, "/life/") as other, connect(server, "/life/", max_queue=1) as connection:
            await ping(other)
            before = server.memory()
            await send(connection, {"route": route, "uuid": 1, "payload": 200})
            await receive(connection)
            async with asyncio.timeout(ANSWER_WITHIN):
                while True:
                    grown = server.memory() - before
                    await asyncio.sleep(0.1)
                    if server.memory() - before == grown:
                        break
            assert grown < 30_000_000
            assert await ping(other) == []
            connection.transport.abort()


def test_every_server_is_tested() -> None:
    assert ASGI_SERVERS == ("daphne", "uvicorn")
