"""Chooses and opens what keeps data for a cache of the project: this process, or the servers of django-redis."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, Final, Generic, Protocol, TypeVar

from django.core.cache import caches
from django.core.cache.backends.locmem import LocMemCache
from django.core.exceptions import ImproperlyConfigured

from .. import conf
from .._runtime.supervision import plain_task, safe_logger

logger: Final = safe_logger("routesock.store")

LOG_INTERVAL: Final = 60.0
"""Seconds between two log records of the same outage."""

RECOVERY_TIME: Final = 1.0
"""Seconds without a failure after which an outage is over. One of several servers may fail while the others answer."""

_LOCAL: Final = "django.core.cache.backends.locmem.LocMemCache"

_DJANGO_REDIS: Final = "django_redis.cache.RedisCache"

NO_CLUSTER: Final = (
    "routesock cannot use a Redis Cluster, each node of which answers for a part of the keys only. Use another cache, "
    'such as one Redis or a sharded client: ROUTESOCK = {"THROTTLE_CACHE": ..., "STORE": ...}.'
)


class StoreError(Exception):
    """A store does not answer, since it is down, slow or full, or answers with an error."""


class Closable(Protocol):
    """What can be opened for a cache."""

    def close(self) -> None:
        """Close the connections, when another one replaces this one."""


Opened = TypeVar("Opened", bound=Closable)


class _Opening(Generic[Opened]):
    """The task that opens something for a cache, and the configuration that it uses."""

    def __init__(self, config: Any, task: asyncio.Task[Opened]) -> None:
        self._config = config
        self.task = task

    def is_usable(self, config: Any) -> bool:
        """Whether the task runs or has succeeded, with the same configuration."""
        failed = self.task.done() and (self.task.cancelled() or self.task.exception() is not None)
        return not failed and self._config == config

    def close(self) -> None:
        """Close what was opened, if it is open."""
        if self.task.done() and not self.task.cancelled() and self.task.exception() is None:
            self.task.result().close()


class Openings(Generic[Opened]):
    """What is open in each event loop, by the alias of its cache. ``make`` opens it; it may block."""

    def __init__(self, make: Callable[[str], Opened]) -> None:
        self._make = make
        self.by_loop: dict[asyncio.AbstractEventLoop, dict[str, _Opening[Opened]]] = {}

    async def get(self, alias: str) -> Opened:
        """Return what the running event loop uses for the cache ``alias``.

        Raises:
            InvalidCacheBackendError: If there is no such cache. What the cache raises when it is created is raised as
                well.
        """
        loop = asyncio.get_running_loop()
        if loop not in self.by_loop:
            for other in [other for other in list(self.by_loop) if other.is_closed()]:
                del self.by_loop[other]
        by_alias = self.by_loop.setdefault(loop, {})
        config = caches.settings.get(alias)
        opening = by_alias.get(alias)
        if opening is None or not opening.is_usable(config):
            if opening is not None:
                opening.close()
            # Opened in a separate task: several sockets may wait for it, and the first of them may leave.
            opening = _Opening(config, plain_task(self._open(alias, config), loop))
            by_alias[alias] = opening
        return await asyncio.shield(opening.task)

    async def _open(self, alias: str, config: Any) -> Opened:
        if config is not None and config.get("BACKEND") == _LOCAL:
            return self._make(alias)
        # In a thread, since importing a client library would block the event loop for too long.
        return await asyncio.get_running_loop().run_in_executor(None, self._make, alias)


def is_of_django_redis(backend: type) -> bool:
    """Whether a cache class is django-redis' or a subclass of it. Compares names, so that nothing is imported."""
    return any(f"{cls.__module__}.{cls.__qualname__}" == _DJANGO_REDIS for cls in backend.__mro__)


def is_local(backend: type) -> bool:
    """Whether a cache class keeps its data in the memory of the process."""
    return issubclass(backend, LocMemCache)


class Outage:
    """The state of a store, for the log.

    Attributes:
        is_on: Whether the store fails.
    """

    __slots__ = ("_last_failure", "_last_logged", "is_on")

    def __init__(self) -> None:
        self.is_on: bool = False
        self._last_failure = self._last_logged = 0.0

    def failed(self) -> bool:
        """Record a failure. Returns whether to log it: when an outage begins and every :data:`LOG_INTERVAL`."""
        self._last_failure = time.monotonic()
        logs = not self.is_on or self._last_failure - self._last_logged >= LOG_INTERVAL
        if logs:
            self._last_logged = self._last_failure
        self.is_on = True
        return logs

    def answered(self) -> bool:
        """Record an answer. Returns whether the outage ends with it, :data:`RECOVERY_TIME` after its last failure."""
        if self.is_on and time.monotonic() - self._last_failure >= RECOVERY_TIME:
            self.is_on = False
            return True
        return False


# The store: what routesock keeps for longer than a socket, and where


class LocalStore:
    """Data in the memory of this process, of any kind. All its threads share it."""

    def __init__(self) -> None:
        self._parts: dict[str, Any] = {}

    @property
    def local(self) -> LocalStore:
        return self

    def part(self, kind: str, make: Callable[[], Any]) -> Any:
        """Return the data of one kind. ``make`` is called for the first time."""
        part = self._parts.get(kind)
        return self._parts.setdefault(kind, make()) if part is None else part

    def clear(self) -> None:
        """Forget everything."""
        self._parts.clear()

    def close(self) -> None:
        """Do nothing: there are no connections."""


_local_stores: Final[dict[str, LocalStore]] = {}
"""``LOCATION`` to store. Like the local-memory caches, they are shared by all threads of the process."""


def store_alias() -> str:
    """Return the alias of the cache that is the store."""
    alias: str | None = conf.get("STORE")
    return conf.get("THROTTLE_CACHE") if alias is None else alias


def _make_store(alias: str) -> Any:
    cache = caches[alias]
    if is_local(type(cache)):
        return _local_stores.setdefault(caches.settings[alias].get("LOCATION", ""), LocalStore())
    if is_of_django_redis(type(cache)):
        from .redis import open_servers  # redis-py is optional

        return open_servers(cache, "routesock")
    raise ImproperlyConfigured(
        f"routesock cannot use the cache {alias!r} ({type(cache).__qualname__}) as its store. Set "
        "ROUTESOCK['STORE'] to a cache of django-redis, or of local memory if there is one process only."
    )


_stores: Final = Openings[Any](_make_store)


def is_open(alias: str) -> bool:
    """Whether this process has used the cache ``alias`` as its store."""
    return any(alias in by_alias for by_alias in [*_stores.by_loop.values()])


async def get_store() -> Any:
    """Return the store of the running event loop: a :class:`LocalStore` or a :class:`~.redis.RedisServers`.

    ``store.local`` is the :class:`LocalStore`, or ``None``.

    Raises:
        ImproperlyConfigured: The cache is of another kind. What the cache raises when it is created is raised as well.
    """
    return await _stores.get(store_alias())


def forget_stores() -> None:
    """Forget what this process keeps for its local-memory caches. Call it between tests."""
    for store in list(_local_stores.values()):
        store.clear()
