"""Chooses and opens the throttle store for a cache, and logs its outages."""

from __future__ import annotations

import asyncio
import time
from typing import Any, Final

from django.core.cache import caches
from django.core.cache.backends.locmem import LocMemCache

from .._runtime.counters import count_store_error
from .._runtime.shutdown import process_name
from .._runtime.supervision import plain_task, safe_logger
from .base import Rate, Store, StoreError, Window
from .cache import CacheStore
from .memory import MemoryStore

logger: Final = safe_logger("routesock.throttle")

LOG_INTERVAL: Final = 60.0
"""Seconds between two log records of the same outage."""

RECOVERY_TIME: Final = 1.0
"""Seconds without a failure after which an outage is over. One of several servers may fail while the others answer."""

_LOCAL: Final = "django.core.cache.backends.locmem.LocMemCache"

_DJANGO_REDIS: Final = "django_redis.cache.RedisCache"


class MonitoredStore:
    """A store, and the state of its outage, for the log.

    Attributes:
        store: The store.
        memory: The store if it is a :class:`~routesock.throttling.memory.MemoryStore`, else ``None``.
        is_failing: Whether there is an outage.
    """

    __slots__ = ("_last_failure", "_last_logged", "is_failing", "memory", "store")

    def __init__(self, store: Store) -> None:
        self.store: Store = store
        self.memory: MemoryStore | None = store if isinstance(store, MemoryStore) else None
        self.is_failing: bool = False
        self._last_failure = self._last_logged = 0.0

    def record_failure(self, error: StoreError, *, fail_closed: bool) -> None:
        """Record that the store could not decide. Log it when an outage begins and every :data:`LOG_INTERVAL`."""
        count_store_error()
        self._last_failure = time.monotonic()
        if not self.is_failing or self._last_failure - self._last_logged >= LOG_INTERVAL:
            self._last_logged = self._last_failure
            outcome = "refused" if fail_closed else "allowed"
            logger.warning("Throttles cannot be checked, so calls are %s: %s", outcome, error)
        self.is_failing = True

    def record_success(self) -> None:
        """Record that the store decided. The outage ends :data:`RECOVERY_TIME` after its last failure."""
        if time.monotonic() - self._last_failure >= RECOVERY_TIME:
            self.is_failing = False
            logger.warning("Throttles can be checked again.")  # the level of the alarm


class _Opening:
    """The task that opens the store of a cache, and the configuration that it uses."""

    def __init__(self, config: Any, task: asyncio.Task[MonitoredStore]) -> None:
        self._config = config
        self.task = task

    def is_usable(self, config: Any) -> bool:
        """Whether the task runs or has succeeded, with the same configuration."""
        failed = self.task.done() and (self.task.cancelled() or self.task.exception() is not None)
        return not failed and self._config == config

    def close(self) -> None:
        """Close the store if it is open."""
        if self.task.done() and not self.task.cancelled() and self.task.exception() is None:
            self.task.result().store.close()


_memory_stores: Final[dict[str, MemoryStore]] = {}
"""``LOCATION`` to store. Like the local-memory caches, they are shared by all threads of the process."""

_openings: Final[dict[asyncio.AbstractEventLoop, dict[str, _Opening]]] = {}


async def get_store(alias: str) -> MonitoredStore:
    """Return the store of the running event loop for the cache ``alias``.

    Raises:
        InvalidCacheBackendError: If there is no such cache. What the cache raises when it is created is raised as well.
    """
    loop = asyncio.get_running_loop()
    if loop not in _openings:
        for other in [other for other in list(_openings) if other.is_closed()]:
            del _openings[other]
    by_alias = _openings.setdefault(loop, {})
    config = caches.settings.get(alias)
    opening = by_alias.get(alias)
    if opening is None or not opening.is_usable(config):
        if opening is not None:
            opening.close()
        # Opened in a task of its own: several sockets may wait for it, and the first of them may leave.
        opening = _Opening(config, plain_task(_open(alias, config), loop))
        by_alias[alias] = opening
    return await asyncio.shield(opening.task)


def is_in_use(alias: str) -> bool:
    """Whether a throttle of this process has opened the store of the cache ``alias``."""
    return any(alias in by_alias for by_alias in [*_openings.values()])


PROBE: Final = Window("routesock.health", "probe", Rate(1000, 1))


async def probe(alias: str, timeout: float) -> None:
    """Count one call in the store of the cache ``alias``, which shows that it can be read and written.

    Raises:
        StoreError: The store is down, slow or full. What :func:`get_store` raises is raised as well.
    """
    monitored = await get_store(alias)
    if monitored.memory is None:
        await monitored.store.take([(PROBE, process_name(), 1)], timeout, quotas=False)


def forget_throttles() -> None:
    """Forget all calls that throttles have counted in this process. Call it between tests.

    It does not clear caches outside the process, such as Redis. Use ``cache.clear()`` for those.
    """
    for store in list(_memory_stores.values()):
        store.clear()


async def _open(alias: str, config: Any) -> MonitoredStore:
    if config is not None and config.get("BACKEND") == _LOCAL:
        return MonitoredStore(_make_store(alias))
    # In a thread, since importing a client library would block the event loop for too long.
    return MonitoredStore(await asyncio.get_running_loop().run_in_executor(None, _make_store, alias))


def _make_store(alias: str) -> Store:
    cache = caches[alias]
    if isinstance(cache, LocMemCache):
        return _memory_stores.setdefault(caches.settings[alias].get("LOCATION", ""), MemoryStore())
    if is_of_django_redis(type(cache)):
        from .redis import open_store  # redis-py is optional

        return open_store(cache)
    return CacheStore(alias)


def is_of_django_redis(backend: type) -> bool:
    """Whether a cache class is django-redis' or a subclass of it. Compares names, so that nothing is imported."""
    return any(f"{cls.__module__}.{cls.__qualname__}" == _DJANGO_REDIS for cls in backend.__mro__)
