"""``route_thread_context`` on PostgreSQL: no socket reads the rows of another tenant, whichever way it reads them."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import AsyncExitStack
from typing import Any

import psycopg
import pytest
from websockets.asyncio.client import ClientConnection

from tests.database.tenants import TENANTS, WAYS
from tests.servers import Postgres, Server, connect, receive, send

pytestmark = [pytest.mark.servers, pytest.mark.postgresql]

ROUTES = {
    "async": ["sync", "hydrate", "thread.parallel", "async", "channels", "async.hydrate"],
    "sync": ["sync", "hydrate", "thread.parallel", "nested"],
}
STREAMS = {"async": ["stream", "async.stream"], "sync": ["stream"]}

ROUNDS = 2


@pytest.fixture(scope="module")
def tables(postgres: Postgres) -> Iterator[None]:
    """A schema with notes for each tenant, and a table of secrets with row-level security and a role for each."""
    with psycopg.connect(postgres.conninfo, autocommit=True) as database:
        database.execute("CREATE TABLE note (id serial PRIMARY KEY, text text)")
        database.execute("INSERT INTO note (text) VALUES ('public')")
        database.execute("CREATE TABLE secret (id serial PRIMARY KEY, text text, owner text)")
        database.execute("ALTER TABLE secret ENABLE ROW LEVEL SECURITY")
        database.execute("CREATE POLICY own_rows ON secret USING (owner = current_user)")
        for tenant in TENANTS:
            database.execute(f"CREATE SCHEMA tenant_{tenant}")
            database.execute(f"CREATE TABLE tenant_{tenant}.note (id serial PRIMARY KEY, text text)")
            database.execute(f"INSERT INTO tenant_{tenant}.note (text) VALUES ('{tenant}1'), ('{tenant}2')")
            database.execute(f"CREATE ROLE tenant_{tenant}")
            database.execute(f"GRANT SELECT ON secret TO tenant_{tenant}")
            database.execute(
                f"INSERT INTO secret (text, owner) SELECT text, 'tenant_{tenant}' FROM tenant_{tenant}.note ORDER BY id"
            )
        yield
        for table in ("note", "secret", *(f"tenant_{tenant}.note" for tenant in TENANTS)):
            database.execute(f"DROP TABLE {table}")
        for tenant in TENANTS:
            database.execute(f"DROP SCHEMA tenant_{tenant}")
            database.execute(f"DROP ROLE tenant_{tenant}")


async def read_everything(connection: ClientConnection, kind: str) -> list[Any]:
    """What one socket reads through each of its ways; several requests are under way at the same time."""
    expected = 0
    for number in range(ROUNDS):
        for name in ROUTES[kind]:
            await send(connection, {"route": name, "uuid": f"{number}.{name}"})
            expected += 1
        for name in STREAMS[kind]:
            await send(connection, {"route": name, "uuid": f"{number}.{name}"})
            expected += 4
        await send(connection, {"route": "messages", "uuid": f"{number}.messages"})
        expected += 3
        if kind == "sync":
            await send(connection, {"command": "list"})
            expected += 1
    return [await receive(connection) for _ in range(expected)]


@pytest.mark.usefixtures("tables")
@pytest.mark.parametrize(("threads", "alias"), [("shared", "tenant.0"), ("dedicated", "tenant.60")])
@pytest.mark.parametrize("kind", ["async", "sync"])
@pytest.mark.parametrize("way", [*WAYS])
async def test_no_socket_reads_the_rows_of_another_tenant(
    server: Server, way: str, kind: str, threads: str, alias: str
) -> None:
    async with AsyncExitStack() as stack:
        tenants = [*TENANTS] * 2
        sockets = [
            await stack.enter_async_context(connect(server, f"/{way}/{kind}-{threads}/{alias}/{tenant}/"))
            for tenant in tenants
        ]
        everything = await asyncio.gather(*(read_everything(socket, kind) for socket in sockets))
        for tenant, frames in zip(tenants, everything, strict=True):
            own = [tenant] if way == "user" else [f"{tenant}1", f"{tenant}2"]
            statuses = Counter(frame.get("status") for frame in frames)
            streams, quick, foreign = len(STREAMS[kind]), len(ROUTES[kind]), 3 if kind == "sync" else 2
            assert statuses == {
                200: ROUNDS * (quick + streams), 206: ROUNDS * streams * 3, 204: ROUNDS, None: ROUNDS * foreign
            }  # fmt: skip
            rows = [frame["rows"] if "rows" in frame else frame["payload"] for frame in frames]
            assert [read for read in rows if read is not None and read != own] == []
            assert len([read for read in rows if read == own]) == ROUNDS * (quick + streams * 3 + foreign)
