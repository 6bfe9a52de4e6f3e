"""The throttle store for other caches: slots that one call can take, and that expire by the clock of the cache."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.core.cache import caches
from django.core.cache.backends.base import BaseCache
from django.core.cache.backends.locmem import LocMemCache
from django.core.cache.backends.memcached import PyMemcacheCache
from django.core.cache.backends.redis import RedisCache
from django.test import override_settings
from django.utils.module_loading import import_string

from routesock._store.opening import StoreError
from routesock.throttling import cache
from routesock.throttling.base import ALLOWED, Bucket
from routesock.throttling.cache import CacheStore, is_atomic
from tests.takeover.driver import until
from tests.throttling.model import window
from tests.throttling.redis_server import RedisServer

LOCAL = "django.core.cache.backends.locmem.LocMemCache"


class Counting(ThreadPoolExecutor):
    """Threads that count the calls they were given."""

    submitted = 0

    def submit(self, *args: Any, **kwargs: Any) -> Any:
        self.submitted += 1
        return super().submit(*args, **kwargs)


class Watched(LocMemCache):
    """A cache that records its calls and has the clock of a test."""

    asked: list[str] = []
    failing = False
    hung: threading.Event | None = None

    def add(self, key: Any, value: Any, timeout: Any = 0, version: Any = None) -> bool:
        self.note("add", timeout)
        return super().add(key, value, timeout, version)

    def incr(self, key: Any, delta: int = 1, version: Any = None) -> int:
        self.note("incr")
        return super().incr(key, delta, version)

    def note(self, what: str, timeout: Any = None) -> None:
        self.asked.append(what if timeout is None else f"{what} {timeout}")
        if self.hung is not None:
            self.hung.wait()
        if self.failing:
            raise ConnectionError("no cache today")


@pytest.fixture(params=["local", "redis"])
def store(request: pytest.FixtureRequest) -> Iterator[CacheStore]:
    """Stores in a local-memory cache and in Django's own Redis cache."""
    if request.param == "local":
        config = {"BACKEND": LOCAL, "LOCATION": "throttled"}
    else:
        server: RedisServer = request.getfixturevalue("redis_server")
        config = {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": server.url}
    with override_settings(CACHES={"default": config}):
        caches["default"].clear()
        yield CacheStore("default")


@pytest.fixture
def watched() -> Iterator[type[Watched]]:
    with override_settings(CACHES={"default": {"BACKEND": f"{__name__}.Watched", "LOCATION": "watched"}}):
        caches["default"].clear()
        Watched.asked.clear()
        yield Watched
        Watched.failing, Watched.hung = False, None


async def passes(store: CacheStore, *buckets: Bucket) -> bool:
    decision = await store.take(buckets, 20, quotas=True)
    assert decision.quotas == ()
    return decision.wait == 0


@pytest.mark.servers
class TestCounting:
    async def test_as_many_calls_as_the_rate_allows(self, store: CacheStore) -> None:
        """One after the other, and all at once."""
        one = window(5)
        assert [await passes(store, (one, "a", 1)) for _ in range(8)] == [True] * 5 + [False] * 3
        at_once = await asyncio.gather(*(passes(store, (one, "b", 1)) for _ in range(40)))
        assert sum(at_once) == 5

    async def test_callers_and_windows_are_independent(self, store: CacheStore) -> None:
        one, other = window(1), window(1, name="other")
        taken = [await passes(store, (which, caller, 1)) for which in (one, other) for caller in "aabb"]
        assert taken == [True, False] * 4

    async def test_costs(self, store: CacheStore) -> None:
        """A call takes as many slots as it costs."""
        one = window(5)
        assert [await passes(store, (one, "a", cost)) for cost in (3, 3, 2, 1, 0)] == [True, False, True, False, True]

    async def test_of_several_windows_a_call_takes_from_all_or_none(self, store: CacheStore) -> None:
        """What was taken is given back."""
        one, other = window(2), window(1, name="other")
        assert await passes(store, (one, "a", 1), (other, "a", 1))
        assert not await passes(store, (one, "a", 1), (other, "a", 1))
        assert await passes(store, (one, "a", 1))
        assert not await passes(store, (one, "a", 1))

    async def test_wait_is_at_most_the_period(self, store: CacheStore) -> None:
        """And the second that a cache may keep a key longer."""
        one = window(1, period=100)
        assert await store.take([(one, "a", 1)], 20, quotas=False) is ALLOWED
        assert 98 < (await store.take([(one, "a", 1)], 20, quotas=False)).wait <= 101

    async def test_slots_are_free_again(self, store: CacheStore) -> None:
        """When their keys have expired."""
        one = window(1, period=0.5)
        assert await passes(store, (one, "a", 1))
        async with asyncio.timeout(20):
            refused = 0
            while not await passes(store, (one, "a", 1)):
                refused += 1
        assert refused > 0


async def test_oldest_slot_is_tried(watched: type[Watched], monkeypatch: pytest.MonkeyPatch) -> None:
    """Each slot is free again a period after its own call."""
    clock = [0]
    monkeypatch.setattr(time, "time", lambda: clock[0])
    store, one = CacheStore("default"), window(2, period=9)
    through = []
    for second in range(25):
        clock[0] = 1_700_000_000 + second
        through.append(await passes(store, (one, "a", 1)))
    assert [second for second in range(25) if through[second]] == [0, 1, 10, 11, 20, 21]


async def test_lost_cursor_does_not_allow_more_calls(watched: type[Watched]) -> None:
    """A cache may evict any key; then it may refuse calls that would fit."""
    store, one = CacheStore("default"), window(3)
    assert [await passes(store, (one, "a", 1)) for _ in range(2)] == [True, True]
    caches["default"].delete(next(iter(key for key in caches["default"]._cache if "cursor" in key)).split(":", 2)[2])
    assert sum([await passes(store, (one, "a", 1)) for _ in range(10)]) <= 1


async def test_slots_expire_after_whole_seconds(watched: type[Watched]) -> None:
    """One second later than the period, since memcached may drop them up to a second early."""
    await passes(CacheStore("default"), (window(1, period=2.5), "a", 1))
    assert [asked for asked in watched.asked if asked.startswith("add")][-1] == "add 4"


async def test_keys_do_not_contain_text_of_clients(watched: type[Watched]) -> None:
    """They are valid for memcached: no spaces, and less than 250 characters."""
    await passes(CacheStore("default"), (window(1), "ip:203.0.113.7 \n" * 100, 1))
    for key in caches["default"]._cache:
        assert "203" not in key
        assert key.isprintable()
        assert len(key) < 200


class TestOutage:
    async def test_error_of_the_cache(self, watched: type[Watched]) -> None:
        """Any exception of its client becomes a ``StoreError``."""
        watched.failing = True
        with pytest.raises(StoreError, match="ConnectionError: no cache today"):
            await CacheStore("default").take([(window(1), "a", 1)], 20, quotas=False)

    async def test_dummy_cache_allows_every_call(self) -> None:
        """A system check reports it."""
        with override_settings(CACHES={"default": {"BACKEND": "django.core.cache.backends.dummy.DummyCache"}}):
            assert all([await passes(CacheStore("default"), (window(1), "a", 1)) for _ in range(3)])

    async def test_calls_of_a_hung_cache_are_bounded(
        self, watched: type[Watched], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The threads have no longer queue than one call each, however many callers have given up."""
        watched.hung = threading.Event()
        threads = Counting(cache.THREADS)
        monkeypatch.setattr(cache, "_threads", threads)
        store = CacheStore("default")
        one = window(5)
        takes = (store.take([(one, str(number), 1)], 0.05, quotas=True) for number in range(1_000))
        refused = await asyncio.gather(*takes, return_exceptions=True)
        assert {type(error) for error in refused} == {StoreError}
        assert threads.submitted == cache.MAX_CALLS
        watched.hung.set()
        assert await passes(store, (one, "later", 1))
        assert threads.submitted == cache.MAX_CALLS + 1
        threads.shutdown()

    async def test_hung_cache_blocks_neither_the_loop_nor_the_orm(self, watched: type[Watched]) -> None:
        """It is called in separate threads."""
        watched.hung = threading.Event()
        waiting = asyncio.create_task(CacheStore("default").take([(window(1), "a", 1)], 0.2, quotas=False))
        await until(lambda: watched.asked)
        assert await sync_to_async(lambda: "of the ORM")() == "of the ORM"
        assert not waiting.done()
        with pytest.raises(StoreError, match=r"0\.2 s"):
            await waiting
        watched.hung.set()


@pytest.mark.parametrize("backend", [LocMemCache, RedisCache, PyMemcacheCache, Watched])
def test_backends_with_an_atomic_incr(backend: type) -> None:
    assert is_atomic(backend)


@pytest.mark.parametrize("backend", ["db.DatabaseCache", "dummy.DummyCache", "filebased.FileBasedCache"])
def test_backends_without_an_atomic_incr(backend: str) -> None:
    """Their ``incr()`` is a ``get()`` and a ``set()``."""
    assert not is_atomic(import_string(f"django.core.cache.backends.{backend}"))


def test_class_without_incr_is_not_atomic() -> None:
    assert not is_atomic(BaseCache)
