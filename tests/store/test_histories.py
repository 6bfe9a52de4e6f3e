"""Histories of groups: one contract for those in memory and in Redis."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from django.test import override_settings

from routesock._store.histories import (
    ENTRY_OVERHEAD,
    Histories,
    MemoryHistories,
    Position,
    Read,
    open_histories,
    parse_position,
)
from routesock._store.opening import StoreError, forget_stores
from tests.servers import HOST
from tests.throttling.conftest import redis_server, session_redis  # noqa: F401
from tests.throttling.redis_server import RedisServer, cache_at, run_redis_server

GROUP = "routesock.group.room.5"
MOST = 10_000


@pytest.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.servers)])
async def histories(request: pytest.FixtureRequest) -> AsyncIterator[Histories]:
    if request.param == "memory":
        yield MemoryHistories()
        return
    server: RedisServer = request.getfixturevalue("redis_server")
    with override_settings(CACHES=cache_at(server.url), ROUTESOCK={"STORE_TIMEOUT": 20}):
        yield await open_histories()


async def append(histories: Histories, *data: str, size: int = 5, ttl: float = 60, group: str = GROUP) -> Position:
    position = Position("", 0)
    for each in data:
        position = await histories.append(group, each, None, size, ttl)
    return position


def data_of(read: Read) -> list[str] | None:
    return None if read.entries is None else [entry.data for entry in read.entries]


class TestContract:
    async def test_offsets_count_up(self, histories: Histories) -> None:
        """In one epoch, from 1."""
        start = (await histories.latest(GROUP, 0)).top
        assert start.offset == 0
        assert await append(histories, "a") == Position(start.epoch, 1)
        assert await append(histories, "b") == Position(start.epoch, 2)
        assert (await histories.latest(GROUP, 0)).top == Position(start.epoch, 2)

    async def test_groups_are_apart(self, histories: Histories) -> None:
        one, two = await append(histories, "a", "b"), await append(histories, "a", group="other")
        assert (one.offset, two.offset) == (2, 1)
        assert one.epoch != two.epoch

    @pytest.mark.parametrize(("since", "expected"), [(2, [*"cde"]), (4, ["e"]), (5, []), (0, [*"abcde"])])
    async def test_reading_behind_a_position(self, histories: Histories, since: int, expected: list[str]) -> None:
        top = await append(histories, *"abcde")
        read = await histories.read(GROUP, Position(top.epoch, since), MOST)
        assert (read.top, data_of(read)) == (top, expected)
        assert [entry.offset for entry in read.entries or ()] == [*range(since + 1, 6)]

    async def test_only_the_last_are_kept(self, histories: Histories) -> None:
        """What is no longer there is never given in part."""
        top = await append(histories, *"abcdefg")
        assert data_of(await histories.read(GROUP, Position(top.epoch, 2), MOST)) == [*"cdefg"]
        assert data_of(await histories.read(GROUP, Position(top.epoch, 1), MOST)) is None
        assert data_of(await histories.latest(GROUP, 1000)) == [*"cdefg"]
        assert data_of(await histories.latest(GROUP, 2)) == [*"fg"]

    @pytest.mark.parametrize("since", [Position("other", 1), Position("other", 0), Position("", 0)])
    async def test_another_epoch(self, histories: Histories, since: Position) -> None:
        top = await append(histories, "a")
        assert await histories.read(GROUP, since, MOST) == (top, None)

    @pytest.mark.parametrize("offset", [2, 2**53 + 1, 2**63 - 1])
    async def test_beyond_the_end(self, histories: Histories, offset: int) -> None:
        """A claim changes nothing."""
        top = await append(histories, "a")
        assert await histories.read(GROUP, Position(top.epoch, offset), MOST) == (top, None)
        assert (await histories.latest(GROUP, 0)).top == top

    async def test_too_many_bytes(self, histories: Histories) -> None:
        top = await append(histories, "aaaa", "bbbb")
        start = Position(top.epoch, 0)
        assert data_of(await histories.read(GROUP, start, 8)) == ["aaaa", "bbbb"]
        assert data_of(await histories.read(GROUP, start, 7)) is None

    async def test_many_entries(self, histories: Histories) -> None:
        """More than are read in one go."""
        texts = [str(number) for number in range(350)]
        top = await append(histories, *texts, size=300)
        assert data_of(await histories.read(GROUP, Position(top.epoch, 50), MOST)) == texts[50:]

    async def test_excluded_member(self, histories: Histories) -> None:
        top = await histories.append(GROUP, "a", "socket", 5, 60)
        [entry] = (await histories.read(GROUP, Position(top.epoch, 0), MOST)).entries or ()
        assert entry == (1, "a", "socket")

    async def test_renewing(self, histories: Histories) -> None:
        """Only a history that is behind what was seen gets another epoch, or one that is known to be another."""
        top = await append(histories, "a", "b")
        await histories.renew(GROUP, top)
        await histories.renew(GROUP, Position("other", 9))
        assert (await histories.latest(GROUP, 0)).top == top
        await histories.renew(GROUP, Position(top.epoch, 3))
        renewed = await histories.latest(GROUP, 9)
        assert renewed.top.epoch != top.epoch
        assert (renewed.top.offset, data_of(renewed)) == (0, [])
        later = await append(histories, "c")
        assert later == Position(renewed.top.epoch, 1)
        await histories.renew(GROUP, later, certain=True)
        assert (await histories.latest(GROUP, 0)).top.epoch != later.epoch


class TestMemory:
    async def test_entries_expire_together(self) -> None:
        """After the last one. The epoch and the offset stay."""
        now = [0.0]
        histories = MemoryHistories(lambda: now[0])
        top = await append(histories, "a", ttl=10)
        now[0] = 9
        await append(histories, "b", ttl=10)
        now[0] = 18
        assert data_of(await histories.latest(GROUP, 9)) == ["a", "b"]
        now[0] = 19
        assert data_of(await histories.latest(GROUP, 9)) == []
        assert data_of(await histories.read(GROUP, top, MOST)) is None
        assert await append(histories, "c") == Position(top.epoch, 3)
        assert histories._size == 1 + ENTRY_OVERHEAD

    async def test_number_of_groups_is_bounded(self) -> None:
        """The oldest is dropped, and has another epoch when it is used again."""
        histories = MemoryHistories(max_groups=2)
        first, second = await append(histories, "a", group="1"), await append(histories, "a", group="2")
        for name in "abcdef":  # groups that are only read drop none with pushes
            await histories.latest(name, 0)
        assert len(histories._empty) == 2
        assert (await histories.latest("1", 0)).top == first
        await append(histories, "b", group="1")
        await append(histories, "a", group="3")
        assert (await histories.latest("2", 0)).top.epoch != second.epoch
        assert (await histories.latest("1", 0)).top == Position(first.epoch, 2)

    async def test_bytes_are_bounded(self) -> None:
        """One group alone may have more."""
        histories = MemoryHistories(max_bytes=3 * (ENTRY_OVERHEAD + 10))
        for group in ("1", "2", "3", "4"):
            await append(histories, "x" * 10, group=group)
        assert [*histories._filled] == ["2", "3", "4"]
        await append(histories, "x" * 2000, group="5")
        assert [*histories._filled] == ["5"]
        assert histories._size == 2000 + ENTRY_OVERHEAD


@pytest.mark.servers
class TestRedis:
    @pytest.fixture
    async def redis(self, redis_server: RedisServer) -> AsyncIterator[Histories]:  # noqa: F811
        with override_settings(CACHES=cache_at(redis_server.url), ROUTESOCK={"STORE_TIMEOUT": 20}):
            yield await open_histories()

    async def test_keys(self, redis: Histories, redis_server: RedisServer) -> None:  # noqa: F811
        """Both are in one slot of a cluster, and expire."""
        await append(redis, "a", ttl=100)
        keys = sorted(redis_server.key_names())
        assert keys == [f"shop:1:routesock:h:{{{GROUP}}}:{part}" for part in "ms"]
        meta, stream = (redis_server.execute("PTTL", key) for key in keys)
        assert 0 < stream <= 100_000 < meta <= 7 * 86_400_000

    @pytest.mark.parametrize("use", ["append", "read", "renew"])
    async def test_epoch_outlives_its_last_use(
        self,
        redis: Histories,
        redis_server: RedisServer,  # noqa: F811
        use: str,
    ) -> None:
        """By a week. The entries do not."""
        top = await append(redis, "a")
        meta, stream = sorted(redis_server.key_names())
        redis_server.execute("PEXPIRE", meta, "5000")
        if use == "append":
            await append(redis, "b")
        elif use == "read":
            await redis.read(GROUP, top, MOST)
            assert redis_server.execute("PTTL", stream) <= 60_000
        else:
            await redis.renew(GROUP, top, certain=True)
        assert 6 * 86_400_000 < redis_server.execute("PTTL", meta) <= 7 * 86_400_000

    async def test_offset_that_is_gone(self, redis: Histories, redis_server: RedisServer) -> None:  # noqa: F811
        """Its epoch is over."""
        top = await append(redis, "a", "b")
        redis_server.execute("HDEL", sorted(redis_server.key_names())[0], "o")
        read = await redis.read(GROUP, Position(top.epoch, 0), MOST)
        assert (read.top.epoch != top.epoch, read.top.offset, read.entries) == (True, 0, None)
        assert await append(redis, "c") == Position(read.top.epoch, 1)

    @pytest.mark.parametrize("damage", ["both", "meta", "stream", "trimmed", "set back", "wrong type"])
    async def test_keys_that_are_damaged(
        self,
        redis: Histories,
        redis_server: RedisServer,  # noqa: F811
        damage: str,
    ) -> None:
        """Nothing is silently missed: the epoch is another one, or the entries are not complete."""
        top = await append(redis, *"abcd")
        meta, stream = sorted(redis_server.key_names())
        if damage in ("both", "meta"):
            redis_server.execute("DEL", meta)
        if damage in ("both", "stream"):
            redis_server.execute("DEL", stream)
        if damage == "trimmed":
            redis_server.execute("XTRIM", stream, "MAXLEN", "1")
        if damage == "set back":
            redis_server.execute("HSET", meta, "o", "2")
        if damage == "wrong type":
            redis_server.execute("SET", stream, "x")
            with pytest.raises(StoreError):
                await redis.read(GROUP, Position(top.epoch, 2), MOST)
            redis_server.execute("DEL", stream)
        assert (await redis.read(GROUP, Position(top.epoch, 2), MOST)).entries in (None, [])
        later = await append(redis, "e")
        read = await redis.read(GROUP, Position(top.epoch, 3), MOST)
        assert read.entries is None or later == Position(top.epoch, 5)
        assert (later.epoch == top.epoch) == (damage in ("stream", "trimmed", "wrong type"))

    @pytest.mark.parametrize("first", ["append", "read"])
    async def test_another_server_begins_a_new_epoch(
        self,
        redis: Histories,
        redis_server: RedisServer,  # noqa: F811
        first: str,
    ) -> None:
        """It may lack writes, and may give their offsets to others. A replica is promoted without the last two."""
        redis_server.execute("CONFIG", "SET", "repl-diskless-sync-delay", "0")
        with run_redis_server("--replicaof", f"{HOST} {redis_server.port}") as replica:
            await append(redis, "a", "b")
            redis_server.execute("WAIT", 1, 20_000)
            replica.execute("REPLICAOF", "NO", "ONE")
            top = await append(redis, "c", "d")
            with override_settings(CACHES=cache_at(replica.url), ROUTESOCK={"STORE_TIMEOUT": 20}):
                promoted = await open_histories()
                if first == "append":
                    later = await append(promoted, *"CDE")
                    assert (later.epoch != top.epoch, later.offset) == (True, 3)
                read = await promoted.read(GROUP, top, MOST)
                assert (read.top.epoch != top.epoch, read.entries) == (True, None)
                again = await promoted.read(GROUP, read.top, MOST)
                assert again == (read.top, [])

    @pytest.mark.parametrize("overlap", [False, True])
    async def test_two_primaries(self, redis: Histories, redis_server: RedisServer, overlap: bool) -> None:  # noqa: F811
        """What was appended to one of them is lost, and clients of the other are to be notified."""
        redis_server.execute("CONFIG", "SET", "repl-diskless-sync-delay", "0")
        with run_redis_server("--replicaof", f"{HOST} {redis_server.port}") as replica:
            await append(redis, "a")
            redis_server.execute("WAIT", 1, 20_000)
            replica.execute("REPLICAOF", "NO", "ONE")
            with override_settings(CACHES=cache_at(replica.url), ROUTESOCK={"STORE_TIMEOUT": 20}):
                promoted = await open_histories()
                await asyncio.sleep(0.01)  # the clocks count milliseconds
                client = (await promoted.latest(GROUP, 0)).top
                if overlap:
                    await append(redis, "b")
                later = await append(promoted, "c")
                assert (later.epoch != client.epoch, later.offset) == (overlap, 1)
                assert await append(promoted, "d") == Position(later.epoch, 2)

    async def test_primary_that_was_a_replica_meanwhile(
        self,
        redis: Histories,
        redis_server: RedisServer,  # noqa: F811
    ) -> None:
        """It may have lost what it had written before, although it was not restarted."""
        redis_server.execute("CONFIG", "SET", "repl-diskless-sync-delay", "0")
        with run_redis_server("--replicaof", f"{HOST} {redis_server.port}", "--repl-diskless-sync-delay", "0") as other:
            await append(redis, "a")
            redis_server.execute("WAIT", 1, 20_000)
            other.execute("REPLICAOF", "NO", "ONE")
            top = await append(redis, "b", "c")
            redis_server.execute("REPLICAOF", HOST, other.port)
            other.execute("SET", "any", "write")
            other.execute("WAIT", 1, 20_000)
            redis_server.execute("REPLICAOF", "NO", "ONE")
            read = await redis.read(GROUP, Position(top.epoch, 1), MOST)
            assert (read.top.epoch != top.epoch, read.entries) == (True, None)

    async def test_first_append_over_each_connection_asks_for_the_server(
        self,
        redis: Any,
        redis_server: RedisServer,  # noqa: F811
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """Further ones do not, since that would double what they cost."""
        asked: list[Any] = []
        run = redis._servers.run

        async def note(script: Any, keys: Any, *arguments: Any, **options: Any) -> Any:
            asked.append(arguments[-3])
            return await run(script, keys, *arguments, **options)

        monkeypatch.setattr(redis._servers, "run", note)
        await append(redis, *"abc")
        await append(redis, "a", group="other")
        assert asked == [1, 0, 0, 1]
        [client] = redis._servers._clients.values()
        client.disconnect()
        await append(redis, "d", "e")
        assert asked[4:] == [1, 0]
        monkeypatch.setattr("routesock._store.histories.MAX_GROUPS", 2)
        await append(redis, "a", group="third")
        assert redis._connections == {redis._servers.key("h", "third", "m"): client.next_connection}

    @pytest.mark.parametrize("begins", ["append", "read", "renew"])
    async def test_server_is_known_from_the_beginning(
        self,
        redis: Histories,
        redis_server: RedisServer,  # noqa: F811
        begins: str,
    ) -> None:
        if begins == "append":
            await append(redis, "a")
        else:
            top = (await redis.latest(GROUP, 0)).top
        if begins == "renew":
            await redis.renew(GROUP, top, certain=True)
        [meta] = [key for key in redis_server.key_names() if key.endswith(":m")]
        found = {**redis_server.execute("INFO", "server"), **redis_server.execute("INFO", "replication")}
        assert redis_server.execute("HGET", meta, "r") == found["run_id"] + found["master_replid"]

    async def test_user_who_may_not_ask_which_server_it_is(
        self,
        redis: Histories,
        redis_server: RedisServer,  # noqa: F811
    ) -> None:
        """Their reads change nothing, and others may read as well."""
        redis_server.execute("ACL", "SETUSER", "limited", "on", ">secret", "~*", "+@all", "-info")
        url = redis_server.url.replace("redis://", "redis://limited:secret@")
        with override_settings(CACHES=cache_at(url), ROUTESOCK={"STORE_TIMEOUT": 20}):
            limited = await open_histories()
            top = await append(limited, "a", "b")
            start = Position(top.epoch, 0)
            assert data_of(await limited.read(GROUP, start, MOST)) == ["a", "b"]
        with override_settings(CACHES=cache_at(redis_server.url), ROUTESOCK={"STORE_TIMEOUT": 20}):
            assert data_of(await (await open_histories()).read(GROUP, start, MOST)) == ["a", "b"]
        assert data_of(await limited.read(GROUP, start, MOST)) == ["a", "b"]

    async def test_store_that_is_gone(self, redis: Any, redis_server: RedisServer) -> None:  # noqa: F811
        """A ``StoreError``, which the callers expect."""

        async def refuse() -> Any:
            raise ConnectionError("gone")

        [client] = redis._servers._clients.values()
        client.disconnect()
        client._connect = refuse
        with pytest.raises(StoreError, match="gone"):
            await redis.latest(GROUP, 0)


@pytest.mark.parametrize("text", [None, 5, "", "a", "a:", ":1", "a:9223372036854775808", "a b:1", "a:1:1"])
def test_no_position(text: Any) -> None:
    assert parse_position(text) is None


def test_position() -> None:
    assert parse_position("aZ-_09:9223372036854775807") == Position("aZ-_09", 2**63 - 1)
    assert str(Position("a", 1)) == "a:1"
    forget_stores()
