"""The throttle store for Django caches without a store of their own; it uses ``add()`` and ``incr()``."""

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
from django.core.exceptions import ImproperlyConfigured

from .._runtime.fair_timeout import FairTimeout
from .._store.opening import NO_CLUSTER, StoreError
from .base import ALLOWED, MICROSECONDS, Bucket, Decision, Window, digest

CURSOR_TIMEOUT: Final = 28 * 86_400
"""Seconds until a cursor expires. memcached takes more than 30 days for a date."""

THREADS: Final = 8

MAX_CALLS: Final = 2 * THREADS
"""Calls of one store that the threads run or have queued: each thread finds its next one. Further calls wait outside of
the queue, which would keep the calls of a cache that hangs after their callers have given up."""

_threads: Final = ThreadPoolExecutor(THREADS, "routesock-throttle")


def is_atomic(backend: type) -> bool:
    """Whether ``incr()`` of this cache backend is atomic, and not Django's default ``get()`` and ``set()``."""
    return getattr(backend, "incr", None) is not BaseCache.incr


class CacheStore:
    """Counts calls in the cache ``alias``, with one slot for each call that a window allows.

    A slot is a key. ``add()`` gives it to one call only, and it is free again when the key has expired, by the clock of
    the cache. So there are never more calls than slots. ``incr()`` moves a cursor around the slots, to the one that was
    taken first.

    Caches may block, so they are called in separate threads.
    """

    def __init__(self, alias: str) -> None:
        self._alias = alias
        self._slots = asyncio.Semaphore(MAX_CALLS)

    async def take(self, buckets: Sequence[Bucket], timeout: float, *, quotas: bool) -> Decision:
        """Take from the buckets, in two or three round trips each. The decision has no quotas.

        A refused call holds its slots for a moment, in which other calls may be refused.
        """
        try:
            async with FairTimeout(timeout):
                await self._slots.acquire()
                call = asyncio.get_running_loop().run_in_executor(_threads, self._take, buckets)
                call.add_done_callback(self._called)
                wait = await asyncio.shield(call)  # a thread cannot be interrupted, and has the slot until it is free
        except TimeoutError:
            raise StoreError(f"The cache did not answer within {timeout} s.") from None
        except Exception as exc:
            if any(cls.__name__ == "MovedError" for cls in type(exc).__mro__):  # redis-py is optional
                raise ImproperlyConfigured(NO_CLUSTER) from exc
            raise StoreError(f"{type(exc).__name__}: {exc}") from exc
        return Decision(wait) if wait else ALLOWED

    def close(self) -> None:
        """Do nothing: Django closes the connections of caches."""

    def _called(self, call: asyncio.Future[float]) -> None:
        self._slots.release()
        if not call.cancelled():
            call.exception()  # or asyncio would log it as never retrieved where the caller has given up

    def _take(self, buckets: Sequence[Bucket]) -> float:
        transaction = _Transaction(caches[self._alias])
        wait = 0.0
        for bucket in buckets:
            wait = max(wait, transaction.take(*bucket))
        if wait:
            transaction.roll_back()
        return wait


class _Transaction:
    """The slots that one call takes, so that they can be given back if it is refused."""

    def __init__(self, cache: BaseCache) -> None:
        self._cache = cache
        self._cursor_moves: list[tuple[str, int]] = []
        self._slots: list[str] = []

    def take(self, window: Window, caller: str, cost: int) -> float:
        """Take ``cost`` slots. Return 0, or the seconds until they may be free."""
        name = f"routesock.throttle:{window.key}:{digest(caller)}"
        end = self._move(f"{name}:cursor", cost) if cost else 0
        period = window.period / MICROSECONDS
        # Caches take whole seconds. All but Redis may count from the start of the current second.
        timeout = math.ceil(period) + (not isinstance(self._cache, RedisCache))
        for position in range(end - cost, end):
            slot = f"{name}:{position % window.limit}"
            if not self._cache.add(slot, time.time(), timeout):
                since = self._cache.get(slot)
                return max(since + timeout - time.time(), 0.001) if since else 0.001
            self._slots.append(slot)
        return 0

    def roll_back(self) -> None:
        """Give all slots back."""
        self._cache.delete_many(self._slots)
        for cursor, count in self._cursor_moves:
            with suppress(ValueError):  # the cursor has expired
                self._cache.decr(cursor, count)

    def _move(self, cursor: str, count: int) -> int:
        position = self._increment(cursor, count)
        self._cursor_moves.append((cursor, count))
        return position

    def _increment(self, cursor: str, count: int) -> int:
        with suppress(ValueError):  # there is no cursor yet
            return self._cache.incr(cursor, count)
        if self._cache.add(cursor, count, CURSOR_TIMEOUT):
            return count
        return self._cache.incr(cursor, count)
