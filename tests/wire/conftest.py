from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import pytest
from websockets.asyncio.client import ClientConnection

from tests.servers import (  # noqa: F401  (a hook, which pytest finds by name)
    ASGI_SERVERS,
    Server,
    connect,
    pytest_runtest_makereport,
    receive,
    run_server,
    send,
)

Release = Callable[[str], Awaitable[None]]


@pytest.fixture(scope="session", params=ASGI_SERVERS)
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """``tests.wire.application`` under each server."""
    with run_server(request.param, "tests.wire.asgi:application") as server:
        yield server


@pytest.fixture(params=["/ws/", "/sync/"], ids=["async", "sync"])
async def either(request: pytest.FixtureRequest, server: Server) -> AsyncIterator[ClientConnection]:
    """A socket to the async consumer, and one to the sync consumer."""
    async with connect(server, request.param) as connection:
        yield connection


@pytest.fixture
async def connection(server: Server) -> AsyncIterator[ClientConnection]:
    """A socket to the async consumer."""
    async with connect(server, "/ws/") as connection:
        yield connection


@pytest.fixture
def release(server: Server) -> Release:
    """Ends the request ``held`` with this payload."""

    async def release(name: str) -> None:
        async with connect(server, "/ws/") as other:
            await send(other, {"route": "release", "uuid": 1, "payload": name})
            assert (await receive(other))["status"] == 204

    return release
