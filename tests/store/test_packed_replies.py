"""Histories in Redis give exactly what was appended, whatever it is, although the texts of a reply are joined."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from routesock._store.histories import MemoryHistories, Position, Read, RedisHistories
from tests.throttling.conftest import redis_server, session_redis  # noqa: F401
from tests.throttling.redis_server import RedisServer

pytestmark = pytest.mark.servers

GROUP = "room"

MOST = 10**9

# As on the wire, a surrogate alone is no text. What looks like a part of a reply is tried more often than by chance.
TEXT = st.text(st.characters(exclude_categories=["Cs"])) | st.sampled_from(
    ["", " ", "1 1 0", "\0", "\r\n", "€", "\U0001f600"]
)

ENTRIES = st.lists(st.tuples(TEXT, st.none() | TEXT.filter(bool)), max_size=12)


class Servers:
    """Runs the scripts of histories through a blocking client."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def key(self, kind: str, name: str, part: str) -> str:
        return f"packed:{kind}:{{{name}}}:{part}"

    def connection_for(self, key: str) -> int:
        return 1

    async def run(self, script: Any, keys: list[str], *arguments: Any, timeout: float, retry: bool = True) -> Any:
        return self._client.eval(script.text, len(keys), *keys, *arguments)


def without_epoch(read: Read) -> Any:
    return read.top.offset, None if read.entries is None else [*read.entries]


@given(ENTRIES, st.integers(1, 10), st.integers(0, 12), st.integers(1, 12))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_was_appended_is_read(
    redis_server: RedisServer,  # noqa: F811
    appended: list[tuple[str, str | None]],
    size: int,
    since: int,
    limit: int,
) -> None:
    """The same as in memory: all texts and excluded members, in order, and nothing where a part is missing."""

    async def check(client: Any) -> None:
        memory, in_redis = MemoryHistories(), RedisHistories(Servers(client))
        for data, excluded in appended:
            await memory.append(GROUP, data, excluded, size, 60)
            await in_redis.append(GROUP, data, excluded, size, 60)
        found = []
        for histories in (memory, in_redis):
            latest = await histories.latest(GROUP, limit)
            behind = await histories.read(GROUP, Position(latest.top.epoch, since), MOST)
            found.append((without_epoch(latest), without_epoch(behind)))
        assert found[0] == found[1]
        kept = [(offset, *entry) for offset, entry in enumerate(appended, 1)][-size:]
        assert found[1][0] == (len(appended), kept[-limit:])

    with redis.Redis.from_url(redis_server.url) as client:
        client.flushdb()
        asyncio.run(check(client))


@pytest.mark.parametrize("most", [7, 8])
def test_bytes_are_counted_and_not_characters(redis_server: RedisServer, most: int) -> None:  # noqa: F811
    async def check(client: Any) -> None:
        histories = RedisHistories(Servers(client))
        top = await histories.append(GROUP, "\U0001f600\U0001f600", None, 5, 60)
        read = await histories.read(GROUP, Position(top.epoch, 0), most)
        assert (read.entries is not None) == (most == 8)

    with redis.Redis.from_url(redis_server.url) as client:
        client.flushdb()
        asyncio.run(check(client))
