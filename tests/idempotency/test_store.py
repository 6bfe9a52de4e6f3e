"""The store of keys: one contract for memory and Redis, its bounds, and what happens when it fails."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from django.contrib.auth.models import User
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings

from routesock import Request, RouteMixin, route
from routesock._pipeline import idempotency
from routesock._store import opening
from routesock._store.idempotency import (
    RECORD_SIZE,
    Claimed,
    Found,
    Keys,
    MemoryKeys,
    Outcome,
    get_keys,
)
from routesock._store.opening import StoreError
from routesock.testing import ClientReply, RouteClient
from tests.throttling.redis_server import RedisServer, cache_at

CLAIMED = Found(Outcome.CLAIMED)
RUNNING = Found(Outcome.RUNNING)
UNKNOWN = Found(Outcome.UNKNOWN)
MISMATCH = Found(Outcome.MISMATCH)

LEASE = 50.0


def claimed(number: int = 1, *, key: str = "key", fingerprint: str = "f", ttl: float = 100) -> Claimed:
    """Of a request with this number."""
    return Claimed(key, f"{number:032}", fingerprint * 32, ttl)


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.servers)])
async def keys(request: pytest.FixtureRequest) -> AsyncIterator[Keys]:
    if request.param == "memory":
        yield MemoryKeys(Clock())
        return
    server: RedisServer = request.getfixturevalue("redis_server")
    with override_settings(CACHES=cache_at(server.url), ROUTESOCK={"STORE_TIMEOUT": 20}):
        yield await get_keys()


class TestContract:
    async def test_one_request_claims_a_key(self, keys: Keys) -> None:
        assert await keys.claim(claimed(1), LEASE) == CLAIMED
        assert await keys.claim(claimed(2), LEASE) == RUNNING
        assert await keys.claim(claimed(2, key="other"), LEASE) == CLAIMED

    async def test_reply(self, keys: Keys) -> None:
        await keys.claim(claimed(1), LEASE)
        await keys.keep(claimed(1), '["reply"]')
        assert await keys.claim(claimed(2), LEASE) == Found(Outcome.FINISHED, '["reply"]')

    async def test_unknown_end(self, keys: Keys) -> None:
        await keys.claim(claimed(1), LEASE)
        await keys.keep(claimed(1), None)
        assert await keys.claim(claimed(2), LEASE) == UNKNOWN

    async def test_given_up(self, keys: Keys) -> None:
        await keys.claim(claimed(1), LEASE)
        await keys.give_up(claimed(1))
        assert await keys.claim(claimed(2), LEASE) == CLAIMED

    async def test_fingerprint_is_compared_first(self, keys: Keys) -> None:
        other = claimed(2, fingerprint="g")
        await keys.claim(claimed(1), LEASE)
        assert await keys.claim(other, LEASE) == MISMATCH
        await keys.keep(claimed(1), "[]")
        assert await keys.claim(other, LEASE) == MISMATCH
        await keys.claim(claimed(1, key="lost"), LEASE)
        await keys.keep(claimed(1, key="lost"), None)
        assert await keys.claim(claimed(2, key="lost", fingerprint="g"), LEASE) == MISMATCH

    async def test_outcome_is_kept_once(self, keys: Keys) -> None:
        """The first one counts."""
        await keys.claim(claimed(1), LEASE)
        await keys.keep(claimed(1), None)
        await keys.keep(claimed(1), "[]")
        await keys.give_up(claimed(1))
        assert await keys.claim(claimed(2), LEASE) == UNKNOWN

    async def test_other_requests_change_nothing(self, keys: Keys) -> None:
        await keys.claim(claimed(1), LEASE)
        await keys.keep(claimed(2), "[]")
        await keys.give_up(claimed(2))
        assert await keys.claim(claimed(3), LEASE) == RUNNING

    async def test_giving_up_nothing(self, keys: Keys) -> None:
        await keys.give_up(claimed(1))
        assert await keys.claim(claimed(2), LEASE) == CLAIMED


class TestMemory:
    """With a clock that is set."""

    async def test_lease_ends(self) -> None:
        clock = Clock()
        keys = MemoryKeys(clock)
        await keys.claim(claimed(1), LEASE)
        clock.now += LEASE - 0.1
        assert await keys.claim(claimed(2), LEASE) == RUNNING
        clock.now += 0.1
        assert await keys.claim(claimed(2), LEASE) == UNKNOWN
        await keys.keep(claimed(1), "[]")
        assert await keys.claim(claimed(2), LEASE) == Found(Outcome.FINISHED, "[]")

    async def test_replies_expire(self) -> None:
        """``ttl`` seconds after they were kept."""
        clock = Clock()
        keys = MemoryKeys(clock)
        await keys.claim(claimed(1), LEASE)
        clock.now += 10
        await keys.keep(claimed(1), "[]")
        clock.now += 99.9
        assert await keys.claim(claimed(2), LEASE) == Found(Outcome.FINISHED, "[]")
        clock.now += 0.1
        assert await keys.claim(claimed(2), LEASE) == CLAIMED

    async def test_claims_outlive_a_short_ttl(self) -> None:
        """Or the request would run a second time beside the first."""
        clock = Clock()
        keys = MemoryKeys(clock)
        await keys.claim(claimed(1, ttl=1), LEASE)
        clock.now += LEASE - 0.1
        assert await keys.claim(claimed(2, ttl=1), LEASE) == RUNNING

    async def test_reply_after_all_was_forgotten(self) -> None:
        """The test client forgets keys while requests still run."""
        keys = MemoryKeys(Clock())
        await keys.keep(claimed(1), "[]")
        assert await keys.claim(claimed(2), LEASE) == CLAIMED

    @override_settings(ROUTESOCK={"IDEMPOTENCY_MAX_KEYS": 2})
    async def test_full_of_keys(self) -> None:
        """None is dropped for a new one. One that expires makes room."""
        clock = Clock()
        keys = MemoryKeys(clock)
        await keys.claim(claimed(1, key="a", ttl=10), 5)
        await keys.claim(claimed(1, key="b"), LEASE)
        for _ in range(2):
            with pytest.raises(StoreError, match="2 keys"):
                await keys.claim(claimed(1, key="c"), LEASE)
            assert await keys.claim(claimed(2, key="a"), LEASE) == RUNNING
        clock.now += 10
        assert await keys.claim(claimed(1, key="c"), LEASE) == CLAIMED
        with pytest.raises(StoreError):
            await keys.claim(claimed(1, key="d"), LEASE)

    @override_settings(ROUTESOCK={"IDEMPOTENCY_MAX_BYTES": 2 * RECORD_SIZE + 100})
    async def test_full_of_replies(self) -> None:
        """A reply for which there is no room is not known, so its request does not run again."""
        clock = Clock()
        keys = MemoryKeys(clock)
        await keys.claim(claimed(1, key="a"), LEASE)
        await keys.claim(claimed(1, key="b"), LEASE)
        await keys.keep(claimed(1, key="a"), "x" * 60)
        with pytest.raises(StoreError, match="MAX_BYTES"):
            await keys.keep(claimed(1, key="b"), "x" * 60)
        assert await keys.claim(claimed(2, key="b"), LEASE) == UNKNOWN
        with pytest.raises(StoreError, match=f"{2 * RECORD_SIZE + 60} bytes"):
            await keys.claim(claimed(1, key="c"), LEASE)

    @override_settings(ROUTESOCK={"IDEMPOTENCY_MAX_BYTES": RECORD_SIZE + 100})
    async def test_bytes_are_given_back(self) -> None:
        clock = Clock()
        keys = MemoryKeys(clock)
        for number in range(100):
            assert await keys.claim(claimed(number, key=f"{number}"), LEASE) == CLAIMED
            if number % 2:
                await keys.give_up(claimed(number, key=f"{number}"))
            else:
                await keys.keep(claimed(number, key=f"{number}"), "x" * 100)
                clock.now += 100

    async def test_expired_keys_are_swept(self) -> None:
        """Each minute, though there is room."""
        clock = Clock()
        keys = MemoryKeys(clock)
        for number in range(10):
            await keys.claim(claimed(number, key=f"{number}", ttl=1), 1)
        clock.now += 61
        await keys.claim(claimed(1, key="last"), LEASE)
        assert list(keys._records) == ["last"]

    async def test_threads_share_it(self) -> None:
        """Of those that claim a key at the same time, one gets it."""
        keys = MemoryKeys()
        won: list[int] = []

        def claim(number: int) -> None:
            for key in range(200):
                found = asyncio.run(keys.claim(claimed(number, key=f"{key}"), LEASE))
                won.extend([key] if found == CLAIMED else [])

        threads = [threading.Thread(target=claim, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(won) == list(range(200))


@pytest.mark.servers
class TestRedis:
    async def test_what_is_kept(self, redis_server: RedisServer) -> None:
        """One key, with digests for its name, and a time to live."""
        with override_settings(CACHES=cache_at(redis_server.url), ROUTESOCK={"STORE_TIMEOUT": 20}):
            keys = await get_keys()
            await keys.claim(claimed(1, ttl=100), LEASE)
            (name,) = redis_server.key_names()
            assert name == "shop:1:routesock:i:{key}:k"
            assert 99_000 < redis_server.execute("PTTL", name) <= 100_000
            await keys.claim(claimed(1, key="short", ttl=1), LEASE)
            assert 49_000 < redis_server.execute("PTTL", name.replace("key", "short")) <= 50_000
            await keys.keep(claimed(1, ttl=100), '["reply"]')
            assert redis_server.execute("GET", name).startswith("R")

    async def test_sent_again(self, redis_server: RedisServer) -> None:
        """A command whose connection breaks may have run already."""
        with override_settings(CACHES=cache_at(redis_server.url), ROUTESOCK={"STORE_TIMEOUT": 20}):
            keys = await get_keys()
            assert [await keys.claim(claimed(1), LEASE) for _ in range(2)] == [CLAIMED, CLAIMED]

    async def test_lost_record(self, redis_server: RedisServer) -> None:
        """A server that has lost the claim keeps the reply all the same."""
        with override_settings(CACHES=cache_at(redis_server.url), ROUTESOCK={"STORE_TIMEOUT": 20}):
            keys = await get_keys()
            await keys.claim(claimed(1), LEASE)
            redis_server.execute("FLUSHALL")
            await keys.keep(claimed(1), "[]")
            assert await keys.claim(claimed(2), LEASE) == Found(Outcome.FINISHED, "[]")

    async def test_lease_ends(self, redis_server: RedisServer) -> None:
        """By the clock of the server."""
        with override_settings(CACHES=cache_at(redis_server.url), ROUTESOCK={"STORE_TIMEOUT": 20}):
            keys = await get_keys()
            await keys.claim(claimed(1), 0.001)
            async with asyncio.timeout(20):
                while True:
                    found = await keys.claim(claimed(2), LEASE)
                    if found != RUNNING:
                        break
                    await asyncio.sleep(0.001)
            assert found == UNKNOWN


class Shop(RouteMixin, AsyncJsonWebsocketConsumer):
    ran = 0

    @route("pay", idempotent=True)
    async def pay(self, request: Request) -> int:
        type(self).ran += 1
        return type(self).ran


async def pay(client: RouteClient, key: str = "k1", payload: Any = None) -> ClientReply:
    return await client.call("pay", payload, headers={"Idempotency-Key": key})


@pytest.fixture
async def client() -> AsyncIterator[RouteClient]:
    Shop.ran = 0
    async with RouteClient(Shop, as_user=User(pk=1), timeout=20, raise_exceptions=False) as client:
        yield client


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    found = [(record.name, record.levelno) == ("routesock.idempotency", logging.WARNING) for record in caplog.records]
    return [record.getMessage() for record, is_one in zip(caplog.records, found, strict=True) if is_one]


class Failing(MemoryKeys):
    """Fails in these methods."""

    fails: frozenset[str] = frozenset()

    async def claim(self, claimed: Claimed, lease: float) -> Found:
        if "claim" in self.fails:
            raise StoreError("It is down.")
        return await super().claim(claimed, lease)

    async def keep(self, claimed: Claimed, reply: str | None) -> None:
        if "keep" in self.fails:
            raise StoreError("It is down.")
        await super().keep(claimed, reply)

    async def give_up(self, claimed: Claimed) -> None:
        if "claim" in self.fails:
            raise StoreError("It is down.")
        await super().give_up(claimed)


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Failing:
    keys = Failing()

    async def get() -> Keys:
        return keys

    monkeypatch.setattr(idempotency, "get_keys", get)
    return keys


class TestFailures:
    async def test_refuses(self, client: RouteClient, failing: Failing, caplog: pytest.LogCaptureFixture) -> None:
        """503, with the time to wait. Requests without a key run. It is in the log once."""
        failing.fails = frozenset({"claim"})
        for _ in range(2):
            reply = await pay(client)
            assert (reply.status, reply.payload["code"], reply.headers["Retry-After"]) == (503, "unavailable", 1)
        assert (await client.call("pay")).payload == 1
        assert [message.partition(":")[0] for message in warnings(caplog)] == [
            "Idempotency keys cannot be checked, so requests are refused"
        ]
        failing.fails = frozenset()
        assert (await pay(client)).payload == 2

    @override_settings(ROUTESOCK={"IDEMPOTENCY_FAIL": "open"})
    async def test_runs(self, client: RouteClient, failing: Failing, caplog: pytest.LogCaptureFixture) -> None:
        failing.fails = frozenset({"claim"})
        assert [(await pay(client)).payload for _ in range(2)] == [1, 2]
        assert "so requests run without them" in warnings(caplog)[0]

    async def test_end_of_an_outage(
        self, client: RouteClient, failing: Failing, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        failing.fails = frozenset({"claim"})
        await pay(client)
        failing.fails = frozenset()
        monkeypatch.setattr(opening, "RECOVERY_TIME", 0)
        for _ in range(2):
            assert (await pay(client)).status == 200
        assert warnings(caplog)[1:] == ["Idempotency keys can be checked again."]

    async def test_reply_cannot_be_kept(
        self, client: RouteClient, failing: Failing, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The client gets it. A second request does not run: it is in progress until the claim ends."""
        failing.fails = frozenset({"keep"})
        assert (await pay(client)).payload == 1
        assert (await pay(client)).payload["code"] == "idempotency_in_progress"
        assert "The outcome of a request with an idempotency key cannot be kept: It is down." in warnings(caplog)
        assert Shop.ran == 1

    @override_settings(ROUTESOCK={"IDEMPOTENCY_MAX_KEYS": 2})
    async def test_full_memory(self, client: RouteClient) -> None:
        """503, and the keys that are there go on."""
        assert [(await pay(client, key)).status for key in ("a", "b", "c", "a", "c", "b")] == [
            200, 200, 503, 200, 503, 200,
        ]  # fmt: skip
        assert Shop.ran == 2

    @override_settings(CACHES={"default": {"BACKEND": "django.core.cache.backends.dummy.DummyCache"}})
    async def test_cache_that_cannot_be_the_store(self, client: RouteClient, caplog: pytest.LogCaptureFixture) -> None:
        """A 500, and the reason in the log; a system check says it before."""
        assert (await pay(client)).status == 500
        assert any(record.exc_info and record.exc_info[0] is ImproperlyConfigured for record in caplog.records)
        assert (await client.call("pay")).status == 200

    @pytest.mark.servers
    async def test_redis_that_is_down(self, client: RouteClient, own_redis: RedisServer) -> None:
        """503 while it is. Afterwards requests go on where it was."""
        with override_settings(CACHES=cache_at(own_redis.url), ROUTESOCK={"STORE_TIMEOUT": 20}):
            assert (await pay(client)).payload == 1
            own_redis.stop()
            assert (await pay(client)).status == 503
            own_redis.start()
            assert (await pay(client)).payload == 2  # the server has forgotten the first

    @pytest.mark.servers
    async def test_redis_that_hangs(self, client: RouteClient, own_redis: RedisServer) -> None:
        """503. The claim may have arrived nevertheless, and is taken back: the request has not begun."""
        with override_settings(CACHES=cache_at(own_redis.url), ROUTESOCK={"STORE_TIMEOUT": 0.1}):
            await pay(client, "other")
            own_redis.pause()
            assert (await pay(client)).status == 503
            own_redis.resume()
            with override_settings(ROUTESOCK={"STORE_TIMEOUT": 20}):
                async with asyncio.timeout(20):
                    while True:
                        reply = await pay(client)
                        if reply.status == 200:
                            break
                        assert reply.payload["code"] == "idempotency_in_progress"
                        await asyncio.sleep(0.01)
        assert Shop.ran == 2
