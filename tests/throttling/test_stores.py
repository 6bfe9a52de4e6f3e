"""The choice of the throttle store, and the log of its outages."""

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

from routesock._store import opening
from routesock._store.opening import LOG_INTERVAL, RECOVERY_TIME, StoreError
from routesock.testing import forget_throttles
from routesock.throttling import stores
from routesock.throttling.base import Bucket, Decision
from routesock.throttling.cache import CacheStore
from routesock.throttling.memory import MemoryStore
from routesock.throttling.stores import MonitoredStore, get_store
from tests.throttling.model import window

LOCAL = "django.core.cache.backends.locmem.LocMemCache"


class Derived(LocMemCache):
    """A subclass in a project."""


class Files:
    """A cache that cannot be created."""

    def __init__(self, *args: Any) -> None:
        raise OSError("the disk is gone")


def caches(backend: str = LOCAL, location: str = "") -> override_settings:
    return override_settings(CACHES={"default": {"BACKEND": backend, "LOCATION": location}})


async def store() -> Any:
    return (await get_store("default")).store


class TestChoice:
    @pytest.mark.parametrize("backend", [LOCAL, f"{__name__}.Derived"])
    async def test_local_memory_cache(self, backend: str) -> None:
        """And subclasses of it."""
        with caches(backend):
            assert isinstance(await store(), MemoryStore)

    async def test_other_caches(self) -> None:
        with caches("django.core.cache.backends.filebased.FileBasedCache", "/nowhere"):
            assert isinstance(await store(), CacheStore)

    async def test_store_is_kept(self) -> None:
        """All sockets of an event loop share one."""
        with caches():
            assert await get_store("default") is await get_store("default")

    async def test_caches_with_the_same_location_share_a_store(self) -> None:
        """They share their data too."""
        with caches(location="a"):
            first = await store()
        with caches(location="b"):
            assert await store() is not first
        with caches(location="a"):
            assert await store() is first

    def test_event_loops_share_the_memory_store(self) -> None:
        """They may run in several threads."""
        with caches(location="shared"):
            assert asyncio.run(store()) is asyncio.run(store())

    def test_ended_loops_are_forgotten(self) -> None:
        """A process may have many, one after the other."""
        with caches():
            for _ in range(5):
                asyncio.run(store())
        assert sum(loop.is_closed() for loop in stores._openings.by_loop) <= 1

    async def test_cache_that_does_not_exist(self) -> None:
        """Every call raises."""
        for _ in range(2):
            with pytest.raises(InvalidCacheBackendError):
                await get_store("nowhere")

    async def test_cache_that_cannot_be_opened_is_tried_again(self) -> None:
        """The next call opens it again."""
        with caches(f"{__name__}.Files"):
            for _ in range(2):
                with pytest.raises(OSError, match="the disk is gone"):
                    await store()
        with caches():
            assert isinstance(await store(), MemoryStore)

    async def test_concurrent_calls_get_the_same_store(self) -> None:
        """Even if the first of them is cancelled."""
        with caches(f"{__name__}.Derived", "slow"):
            tasks = [asyncio.create_task(get_store("default")) for _ in range(3)]
            await asyncio.sleep(0)
            tasks[0].cancel()
            assert await tasks[1] is await tasks[2]
            with pytest.raises(asyncio.CancelledError):
                await tasks[0]


async def test_forget_throttles() -> None:
    """It clears all counts in the process."""
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
        """The monotonic clock, in seconds; only the test advances it."""
        now = [1000.0]
        monkeypatch.setattr(opening, "time", SimpleNamespace(monotonic=lambda: now[0]))
        return now

    def texts(self, caplog: pytest.LogCaptureFixture) -> list[tuple[int, str]]:
        return [(record.levelno, record.getMessage()) for record in caplog.records]

    def test_outage_is_logged_when_it_begins_and_every_interval(
        self, clock: list[float], caplog: pytest.LogCaptureFixture
    ) -> None:
        """But not for each call."""
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

    def test_end_of_an_outage_is_logged(self, clock: list[float], caplog: pytest.LogCaptureFixture) -> None:
        """The next outage is logged again."""
        caplog.set_level(logging.INFO, "routesock.throttle")
        monitored = MonitoredStore(Never())
        monitored.record_failure(StoreError("down"), fail_closed=True)
        clock[0] += RECOVERY_TIME
        monitored.record_success()
        assert not monitored.is_failing
        monitored.record_failure(StoreError("slow"), fail_closed=True)
        assert self.texts(caplog) == [
            (logging.WARNING, "Throttles cannot be checked, so calls are refused: down"),
            (logging.WARNING, "Throttles can be checked again."),
            (logging.WARNING, "Throttles cannot be checked, so calls are refused: slow"),
        ]

    def test_store_that_fails_for_some_callers_is_one_outage(
        self, clock: list[float], caplog: pytest.LogCaptureFixture
    ) -> None:
        """One of several servers may be down."""
        monitored = MonitoredStore(Never())
        for _ in range(50):
            monitored.record_failure(StoreError("down"), fail_closed=True)
            clock[0] += RECOVERY_TIME * 0.9
            monitored.record_success()
        assert len(caplog.records) == 1
