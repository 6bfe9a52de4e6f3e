"""Chooses the throttle store for a cache, and logs its outages."""

from __future__ import annotations

from typing import Final

from django.core.cache import caches

from .._runtime.counters import count_store_error
from .._runtime.shutdown import process_name
from .._runtime.supervision import safe_logger
from .._store.opening import Openings, Outage, StoreError, is_local, is_of_django_redis
from .base import Rate, Store, Window
from .cache import CacheStore
from .memory import MemoryStore

logger: Final = safe_logger("routesock.throttle")


class MonitoredStore:
    """A store, and the state of its outage, for the log.

    Attributes:
        store: The store.
        outage: The state of its outage.
        memory: The store if it is a :class:`~routesock.throttling.memory.MemoryStore`, else ``None``.
    """

    __slots__ = ("memory", "outage", "store")

    def __init__(self, store: Store) -> None:
        self.store: Store = store
        self.memory: MemoryStore | None = store if isinstance(store, MemoryStore) else None
        self.outage: Outage = Outage()

    @property
    def is_failing(self) -> bool:
        """Whether there is an outage."""
        return self.outage.is_on

    def record_failure(self, error: StoreError, *, fail_closed: bool) -> None:
        """Record that the store could not decide. It is logged when an outage begins, and then once a minute."""
        count_store_error()
        if self.outage.failed():
            outcome = "refused" if fail_closed else "allowed"
            logger.warning("Throttles cannot be checked, so calls are %s: %s", outcome, error)

    def record_success(self) -> None:
        """Record that the store decided, which may end the outage."""
        if self.outage.answered():
            logger.warning("Throttles can be checked again.")  # the level of the alarm

    def close(self) -> None:
        """Close the connections of the store."""
        self.store.close()


_memory_stores: Final[dict[str, MemoryStore]] = {}
"""``LOCATION`` to store. Like the local-memory caches, they are shared by all threads of the process."""


def is_in_use(alias: str) -> bool:
    """Whether a throttle of this process has opened the store of the cache ``alias``."""
    return any(alias in by_alias for by_alias in [*_openings.by_loop.values()])


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


def _make_store(alias: str) -> Store:
    cache = caches[alias]
    if is_local(type(cache)):
        return _memory_stores.setdefault(caches.settings[alias].get("LOCATION", ""), MemoryStore())
    if is_of_django_redis(type(cache)):
        from .redis import open_store  # redis-py is optional

        return open_store(cache)
    return CacheStore(alias)


_openings: Final = Openings[MonitoredStore](lambda alias: MonitoredStore(_make_store(alias)))


async def get_store(alias: str) -> MonitoredStore:
    """Return the store of the running event loop for the cache ``alias``.

    Raises:
        InvalidCacheBackendError: If there is no such cache. What the cache raises when it is created is raised as well.
    """
    return await _openings.get(alias)
