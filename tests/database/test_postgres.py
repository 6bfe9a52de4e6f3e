"""Connections to a real PostgreSQL, under real servers: how long they are kept, and what a restart does to them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import psycopg
import pytest
from websockets.asyncio.client import ClientConnection

from tests.database.settings import KINDS, ROUTESOCK, WAYS
from tests.servers import Postgres, Server, connect, receive, send

pytestmark = [pytest.mark.servers, pytest.mark.postgresql]

Statuses = dict[str, list[int]]


async def reply_to(connection: ClientConnection, route: str, payload: Any = None) -> Any:
    await send(connection, {"route": route, "uuid": 1, "payload": payload})
    return await receive(connection)


class Sockets:
    """One socket to the async consumer and one to the sync one, kept over all requests."""

    def __init__(self, to_async: ClientConnection, to_sync: ClientConnection) -> None:
        self._by_way = {"async": to_async, "sync": to_async, "sync-consumer": to_sync}

    async def replies(self, times: int) -> dict[str, list[Any]]:
        """What each way to the database answers, over each kind of connection, to so many requests."""
        return {
            f"{kind}.{way}": [await reply_to(self._by_way[way], way, f"{kind}.{way}") for _ in range(times)]
            for kind in KINDS
            for way in WAYS
        }

    async def statuses(self, times: int) -> Statuses:
        return {alias: [reply["status"] for reply in replies] for alias, replies in (await self.replies(times)).items()}


@pytest.fixture(params=["shared", "isolated"])
async def sockets(request: pytest.FixtureRequest, server: Server) -> AsyncIterator[Sockets]:
    async with connect(server, f"/{request.param}/") as to_async, connect(server, f"/{request.param}/sync/") as to_sync:
        sockets = Sockets(to_async, to_sync)
        await sockets.statuses(1)  # the shared thread keeps connections that an earlier test has broken
        yield sockets


def everywhere(statuses: list[int]) -> Statuses:
    return {f"{kind}.{way}": statuses for kind in KINDS for way in WAYS}


async def restart(postgres: Postgres) -> None:
    await asyncio.to_thread(postgres.stop)
    await asyncio.to_thread(postgres.start)


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(30):
        while not await condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_a_connection_is_kept_between_two_requests_as_long_as_its_settings_say(sockets: Sockets) -> None:
    replies = await sockets.replies(3)
    connections = {alias: len({reply["payload"] for reply in replies[alias]}) for alias in replies}
    assert connections == {alias: 3 if alias.startswith("0.") else 1 for alias in replies}


@pytest.mark.parametrize("threads", ["shared", "isolated"])
async def test_no_request_closes_the_cursor_of_another(server: Server, threads: str) -> None:
    """Each socket reads rows over many hops, while the others' requests are to close the connection behind them."""

    async def stream(connection: ClientConnection, number: int) -> list[int]:
        await send(connection, {"route": "cursor", "uuid": number, "payload": "0.sync"})
        await send(connection, {"route": "async-cursor", "uuid": -number, "payload": "0.sync"})
        await send(connection, {"route": "sync", "uuid": f"{number}", "payload": "0.sync"})
        return [(await receive(connection))["status"] for _ in range(20 + 1 + 1 + 1)]

    async with AsyncExitStack() as stack:
        connections = [await stack.enter_async_context(connect(server, f"/{threads}/")) for _ in range(4)]
        for number in range(1, 4):
            statuses = await asyncio.gather(*(stream(connection, number) for connection in connections))
            assert [sorted(each) for each in statuses] == [[200] * 3 + [206] * 20] * 4


async def test_after_a_restart_no_request_meets_a_connection_that_could_be_known_to_be_broken(
    sockets: Sockets, postgres: Postgres
) -> None:
    """Without health checks one request finds out; on the same socket, the next one is answered."""
    assert await sockets.statuses(1) == everywhere([200])
    await restart(postgres)
    found_out = {f"{kind}.{way}": [500, 200, 200] for kind in ("60", "none") for way in WAYS}
    assert await sockets.statuses(3) == {**everywhere([200, 200, 200]), **found_out}


async def test_a_socket_outlives_a_database_that_is_down(sockets: Sockets, postgres: Postgres) -> None:
    assert await sockets.statuses(1) == everywhere([200])
    await asyncio.to_thread(postgres.stop)
    try:
        assert await sockets.statuses(2) == everywhere([500, 500])
    finally:
        await asyncio.to_thread(postgres.start)
    assert await sockets.statuses(2) == everywhere([200, 200])


async def test_isolated_sockets_leave_no_connection_and_no_thread(server: Server, postgres: Postgres) -> None:
    limit = ROUTESOCK["DB_THREADS"]
    async with AsyncExitStack() as stack:
        watcher = await stack.enter_async_context(connect(server, "/shared/"))
        database = await psycopg.AsyncConnection.connect(postgres.conninfo, autocommit=True)
        await stack.enter_async_context(database)

        async def connections() -> int:
            cursor = await database.execute("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'default'")
            row = await cursor.fetchone()
            assert row is not None
            return int(row[0])

        async def threads() -> int:
            names = (await reply_to(watcher, "threads"))["payload"]
            return sum(name.startswith("routesock-db") for name in names)

        async def none_left() -> bool:
            return await connections() == await threads() == 0

        async with AsyncExitStack() as isolated:
            for _ in range(limit * 2 + 1):
                connection = await isolated.enter_async_context(connect(server, "/isolated/"))
                assert (await reply_to(connection, "async", "default"))["status"] == 200
            assert (await connections(), await threads()) == (limit, limit)
        await until(none_left)


async def test_a_server_stops_with_isolated_sockets_open(server: Server) -> None:
    before = len(server.output())
    async with connect(server, "/isolated/") as connection:
        assert (await reply_to(connection, "async", "default"))["status"] == 200
        await asyncio.to_thread(server.stop)
    said = server.output()[before:]
    await asyncio.to_thread(server.start)
    assert "Traceback" not in said
    assert "ignored" not in said
