"""Counts in any other cache of Django's, through ``add()`` and ``incr()``."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Final

from django.core.cache import caches
from django.core.cache.backends.base import BaseCache
from django.core.cache.backends.redis import RedisCache

from .base import MICROSECONDS, PASSED, Bucket, Decision, FairTimeout, StoreError, Window, digest

CURSOR_LASTS: Final = 28 * 86_400
"""Seconds; memcached takes more than 30 days for a date."""

_threads: Final = ThreadPoolExecutor(8, "routesock-throttle")


def is_atomic(backend: type) -> bool:
    """Whether ``incr()`` is one operation of this backend's own, and not a ``get()`` and a ``set()``."""
    return getattr(backend, "incr", None) is not BaseCache.incr


class CacheStore:
    """Places in the cache ``alias``: a key for each call that a window allows, which ``add()`` gives to one call only.

    A place is free again when its key has expired, by the clock of the cache; so never are more calls let through than
    there are places. ``incr()`` moves a cursor around them, to the place that was taken longest ago.

    A cache may block: it is asked in threads that do nothing else.
    """

    def __init__(self, alias: str) -> None:
        self._alias = alias

    async def take(self, buckets: Sequence[Bucket], timeout: float, *, quotas: bool) -> Decision:
        """As :meth:`Store.take <routesock.throttling.base.Store.take>`, in two or three round trips for each bucket.

        What is left is not known. A call that is refused has its places for a moment, in which others may be refused.
        """
        try:
            async with FairTimeout(timeout):
                wait = await asyncio.get_running_loop().run_in_executor(_threads, self._take, buckets)
        except TimeoutError:
            raise StoreError(f"the cache did not answer within {timeout} s") from None
        except Exception as exc:
            raise StoreError(f"{type(exc).__name__}: {exc}") from exc
        return Decision(wait) if wait else PASSED

    def close(self) -> None:
        """Caches look after their connections themselves."""

    def _take(self, buckets: Sequence[Bucket]) -> float:
        taking = _Taking(caches[self._alias])
        wait = 0.0
        for bucket in buckets:
            wait = max(wait, taking.take(*bucket))
        if wait:
            taking.undo()
        return wait


class _Taking:
    """What one call takes, until it is refused."""

    def __init__(self, cache: BaseCache) -> None:
        self._cache = cache
        self._moved: list[tuple[str, int]] = []
        self._taken: list[str] = []

    def take(self, window: Window, caller: str, cost: int) -> float:
        """Take ``cost`` places. Seconds until they may be free, if they are not."""
        name = f"routesock.throttle:{window.key}:{digest(caller)}"
        end = self._move(f"{name}:cursor", cost) if cost else 0
        period = window.period / MICROSECONDS
        # Caches keep time in whole seconds, and not all of them from the very moment.
        lasts = math.ceil(period) + (not isinstance(self._cache, RedisCache))
        for position in range(end - cost, end):
            place = f"{name}:{position % window.limit}"
            if not self._cache.add(place, time.time(), lasts):
                since = self._cache.get(place)
                return max(since + lasts - time.time(), 0.001) if since else 0.001
            self._taken.append(place)
        return 0

    def undo(self) -> None:
        """Give everything back."""
        self._cache.delete_many(self._taken)
        for cursor, count in self._moved:
            with suppress(ValueError):  # it has expired meanwhile
                self._cache.decr(cursor, count)

    def _move(self, cursor: str, count: int) -> int:
        position = self._moved_by(cursor, count)
        self._moved.append((cursor, count))
        return position

    def _moved_by(self, cursor: str, count: int) -> int:
        with suppress(ValueError):  # there is none yet
            return self._cache.incr(cursor, count)
        if self._cache.add(cursor, count, CURSOR_LASTS):
            return count
        return self._cache.incr(cursor, count)
