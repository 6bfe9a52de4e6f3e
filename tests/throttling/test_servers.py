"""Throttles under real servers: two processes count together, and a client is told what it needs to know."""

from __future__ import annotations

import json

import pytest
from websockets.exceptions import ConnectionClosed

from tests.servers import ASGI_SERVERS, Server, connect, receive, run_server, send
from tests.throttling.redis_server import RedisServer, cache_at

pytestmark = pytest.mark.servers


@pytest.mark.parametrize("kind", ASGI_SERVERS)
async def test_processes_count_calls_and_sockets_together(kind: str, redis_server: RedisServer) -> None:
    """Two calls and three sockets in all; and nothing is left to complain about when a server stops."""
    caches = json.dumps(cache_at(redis_server.url))
    with (
        run_server(kind, "tests.throttling.asgi:application", CACHES_JSON=caches) as one,
        run_server(kind, "tests.throttling.asgi:application", CACHES_JSON=caches) as other,
    ):
        assert await statuses(one, 1) == [200]
        assert await statuses(other, 2) == [200, 429]
        assert await statuses(one, 1) == [429]
        async with connect(other, "/", subprotocols=["chat"]) as refused:
            notice = (await receive(refused))["payload"]
            assert notice.pop("retry_after") > 3500
            assert notice == {"code": 4429, "reason": "Too many requests.", "reconnect": True}
            with pytest.raises(ConnectionClosed):
                await receive(refused)
        assert refused.close_code == 4429
        for server in (one, other):
            server.stop()
            assert "Traceback" not in server.output()
            assert "destroyed" not in server.output()
            assert "unclosed" not in server.output()


async def statuses(server: Server, count: int) -> list[int]:
    found = []
    async with connect(server, "/") as connection:
        for number in range(count):
            await send(connection, {"route": "limited", "uuid": number})
            found.append((await receive(connection))["status"])
    return found
