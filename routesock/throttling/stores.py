"""The store behind the cache that the setting ``THROTTLE_CACHE`` names."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import time
from typing import Any, Final

from django.core.cache import caches
from django.core.cache.backends.locmem import LocMemCache

from .base import Store, StoreError
from .cache import CacheStore
from .memory import MemoryStore

logger: Final = logging.getLogger("routesock.throttle")

SAID_AGAIN: Final = 60.0
"""Seconds after which a store that still fails is logged once more."""

CALM: Final = 1.0
"""Seconds without a failure after which an outage is over: a store may fail some callers only, again and again."""

_LOCAL: Final = "django.core.cache.backends.locmem.LocMemCache"

_DJANGO_REDIS: Final = "django_redis.cache.RedisCache"


class Counter:
    """A store, and what is said about its outages."""

    __slots__ = ("_failed", "_said", "failing", "memory", "store")

    def __init__(self, store: Store) -> None:
        self.store: Store = store
        self.memory: MemoryStore | None = store if isinstance(store, MemoryStore) else None
        self.failing: bool = False
        self._failed = self._said = 0.0

    def failed(self, why: StoreError, *, closed: bool) -> None:
        """The store cannot decide. Logged at the beginning of an outage, and now and then while it lasts."""
        self._failed = time.monotonic()
        if not self.failing or self._failed - self._said >= SAID_AGAIN:
            self._said = self._failed
            logger.warning("Throttles cannot be checked, so calls %s: %s", "are refused" if closed else "pass", why)
        self.failing = True

    def answered(self) -> None:
        """The store has decided again; perhaps the outage is over."""
        if time.monotonic() - self._failed >= CALM:
            self.failing = False
            logger.info("Throttles can be checked again.")


class _Opened:
    """The counter of a cache with this configuration, and the task that opens it."""

    def __init__(self, config: Any, counter: asyncio.Task[Counter]) -> None:
        self._config = config
        self.counter = counter

    def is_for(self, config: Any) -> bool:
        """Whether it may be used, or waited for."""
        failed = self.counter.done() and (self.counter.cancelled() or self.counter.exception() is not None)
        return not failed and self._config == config

    def close(self) -> None:
        """It is used no more."""
        if self.counter.done() and not self.counter.cancelled() and self.counter.exception() is None:
            self.counter.result().store.close()


_local: Final[dict[str, MemoryStore]] = {}
"""By ``LOCATION``: as the caches, they belong to the process."""

_opened: Final[dict[asyncio.AbstractEventLoop, dict[str, _Opened]]] = {}


async def counter_of(alias: str) -> Counter:
    """The counter of the running event loop for the cache ``alias``. Raises what Django raises for a wrong one."""
    loop = asyncio.get_running_loop()
    if loop not in _opened:
        for other in [other for other in list(_opened) if other.is_closed()]:
            del _opened[other]
    stores = _opened.setdefault(loop, {})
    config = caches.settings.get(alias)
    opened = stores.get(alias)
    if opened is None or not opened.is_for(config):
        if opened is not None:
            opened.close()
        # A task: the socket that asks first may leave, and others wait for the same.
        opened = _Opened(config, loop.create_task(_open(alias, config), context=contextvars.Context()))
        stores[alias] = opened
    return await asyncio.shield(opened.counter)


def forget_throttles() -> None:
    """Forget all calls that throttles have counted in this process, as a test does that is not the first.

    What is counted in a cache outside the process is left alone: ``cache.clear()``.
    """
    for store in list(_local.values()):
        store.clear()


async def _open(alias: str, config: Any) -> Counter:
    if config is not None and config.get("BACKEND") == _LOCAL:
        return Counter(_make(alias))
    # Importing a client library takes longer than an event loop may stand still.
    return Counter(await asyncio.get_running_loop().run_in_executor(None, _make, alias))


def _make(alias: str) -> Store:
    cache = caches[alias]
    if isinstance(cache, LocMemCache):
        return _local.setdefault(caches.settings[alias].get("LOCATION", ""), MemoryStore())
    if is_of_django_redis(type(cache)):
        from .redis import open_store  # redis-py is optional

        return open_store(cache)
    return CacheStore(alias)


def is_of_django_redis(backend: type) -> bool:
    """Whether a cache's class is django-redis', or derives from it; by name, so that nothing is imported to compare."""
    return any(f"{cls.__module__}.{cls.__qualname__}" == _DJANGO_REDIS for cls in backend.__mro__)
