"""Which store counts, and what is said when it cannot."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from django.core.cache.backends.base import InvalidCacheBackendError
from django.core.cache.backends.locmem import LocMemCache
from django.test import override_settings

from routesock.testing import forget_throttles
from routesock.throttling import stores
from routesock.throttling.base import Bucket, Decision, StoreError
from routesock.throttling.cache import CacheStore
from routesock.throttling.memory import MemoryStore
from routesock.throttling.stores import LOG_INTERVAL, RECOVERY_TIME, MonitoredStore, get_store
from tests.throttling.model import window

LOCAL = "django.core.cache.backends.locmem.LocMemCache"


class Derived(LocMemCache):
    """A project's own."""


class Files:
    """No cache at all."""

    def __init__(self, *args: Any) -> None:
        raise OSError("the disk is gone")


def caches(backend: str = LOCAL, location: str = "") -> override_settings:
    return override_settings(CACHES={"default": {"BACKEND": backend, "LOCATION": location}})


async def store() -> Any:
    return (await get_store("default")).store


class TestChoice:
    @pytest.mark.parametrize("backend", [LOCAL, f"{__name__}.Derived"])
    async def test_local_memory_is_the_process(self, backend: str) -> None:
        """And what derives from it."""
        with caches(backend):
            assert isinstance(await store(), MemoryStore)

    async def test_other_caches(self) -> None:
        with caches("django.core.cache.backends.filebased.FileBasedCache", "/nowhere"):
            assert isinstance(await store(), CacheStore)

    async def test_store_is_kept(self) -> None:
        """One for all sockets of a loop."""
        with caches():
            assert await get_store("default") is await get_store("default")

    async def test_caches_of_one_place_are_one(self) -> None:
        """As their data is."""
        with caches(location="a"):
            first = await store()
        with caches(location="b"):
            assert await store() is not first
        with caches(location="a"):
            assert await store() is first

    def test_loops_share_what_is_counted_in_the_process(self) -> None:
        """They may run in several threads."""
        with caches(location="shared"):
            assert asyncio.run(store()) is asyncio.run(store())

    def test_ended_loops_are_forgotten(self) -> None:
        """A process may have many, one after the other."""
        with caches():
            for _ in range(5):
                asyncio.run(store())
        assert sum(loop.is_closed() for loop in stores._openings) <= 1

    async def test_cache_that_does_not_exist(self) -> None:
        """An error for who asks, each time."""
        for _ in range(2):
            with pytest.raises(InvalidCacheBackendError):
                await get_store("nowhere")

    async def test_cache_that_cannot_be_opened_is_tried_again(self) -> None:
        """By who asks next."""
        with caches(f"{__name__}.Files"):
            for _ in range(2):
                with pytest.raises(OSError, match="the disk is gone"):
                    await store()
        with caches():
            assert isinstance(await store(), MemoryStore)

    async def test_sockets_that_ask_at_once_get_the_same(self) -> None:
        """Although the first of them leaves."""
        with caches(f"{__name__}.Derived", "slow"):
            tasks = [asyncio.create_task(get_store("default")) for _ in range(3)]
            await asyncio.sleep(0)
            tasks[0].cancel()
            assert await tasks[1] is await tasks[2]
            with pytest.raises(asyncio.CancelledError):
                await tasks[0]


async def test_forgetting_is_for_tests() -> None:
    """What was counted in the process is gone; nobody has to wait for a minute."""
    with caches():
        memory = await store()
        assert memory.decide([(window(1), "a", 1)], False).wait == 0
        assert memory.decide([(window(1), "a", 1)], False).wait > 0
        forget_throttles()
        assert memory.decide([(window(1), "a", 1)], False).wait == 0


class Never:
    """A store that cannot decide."""

    async def take(self, buckets: Sequence[Bucket], timeout: float, *, quotas: bool) -> Decision:
        raise StoreError("never")

    def close(self) -> None: ...


class TestOutage:
    @pytest.fixture
    def clock(self, monkeypatch: pytest.MonkeyPatch) -> list[float]:
        """Seconds, which only the test changes."""
        now = [1000.0]
        monkeypatch.setattr(stores, "time", SimpleNamespace(monotonic=lambda: now[0]))
        return now

    def texts(self, caplog: pytest.LogCaptureFixture) -> list[tuple[int, str]]:
        return [(record.levelno, record.getMessage()) for record in caplog.records]

    def test_is_logged_at_its_beginning_and_now_and_then(
        self, clock: list[float], caplog: pytest.LogCaptureFixture
    ) -> None:
        """Not at each of ten thousand calls."""
        monitored = MonitoredStore(Never())
        warning = (logging.WARNING, "Throttles cannot be checked, so calls are allowed: down")
        for _ in range(3):
            monitored.record_failure(StoreError("down"), fail_closed=False)
        assert self.texts(caplog) == [warning]
        clock[0] += LOG_INTERVAL - 1
        monitored.record_failure(StoreError("down"), fail_closed=False)
        assert self.texts(caplog) == [warning]
        clock[0] += 1
        monitored.record_failure(StoreError("down"), fail_closed=False)
        assert self.texts(caplog) == [warning] * 2

    def test_end_is_logged_and_the_next_one_too(self, clock: list[float], caplog: pytest.LogCaptureFixture) -> None:
        """Each burst by itself."""
        caplog.set_level(logging.INFO, "routesock.throttle")
        monitored = MonitoredStore(Never())
        monitored.record_failure(StoreError("down"), fail_closed=True)
        clock[0] += RECOVERY_TIME
        monitored.record_success()
        assert not monitored.is_failing
        monitored.record_failure(StoreError("slow"), fail_closed=True)
        assert self.texts(caplog) == [
            (logging.WARNING, "Throttles cannot be checked, so calls are refused: down"),
            (logging.INFO, "Throttles can be checked again."),
            (logging.WARNING, "Throttles cannot be checked, so calls are refused: slow"),
        ]

    def test_store_that_fails_some_callers_only_is_one_outage(
        self, clock: list[float], caplog: pytest.LogCaptureFixture
    ) -> None:
        """One of several servers may be down: not every second call is worth a line."""
        monitored = MonitoredStore(Never())
        for _ in range(50):
            monitored.record_failure(StoreError("down"), fail_closed=True)
            clock[0] += RECOVERY_TIME * 0.9
            monitored.record_success()
        assert len(caplog.records) == 1
