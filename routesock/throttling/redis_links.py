"""From a cache of django-redis to a store at the same server: its blocking connections become links."""

from __future__ import annotations

import inspect
from functools import partial
from typing import Any, Final

from django.core.exceptions import ImproperlyConfigured
from redis.asyncio import Redis
from redis.asyncio.connection import (
    AbstractConnection,
    Connection,
    ConnectionPool,
    SSLConnection,
    UnixDomainSocketConnection,
)
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import (
    Sentinel,
    SentinelConnectionPool,
    SentinelManagedConnection,
    SentinelManagedSSLConnection,
)
from redis.backoff import NoBackoff
from redis.connection import SSLConnection as BlockingSSLConnection
from redis.connection import UnixDomainSocketConnection as BlockingUnixDomainSocketConnection
from redis.sentinel import SentinelConnectionPool as BlockingSentinelConnectionPool

from .link import Link
from .redis import RedisStore

SENTINEL_WITHIN: Final = 0.5
"""Seconds for a sentinel to answer; then the next one is asked."""

_SAME: Final = (
    "client_name", "credential_provider", "db", "host", "password", "path", "port", "socket_keepalive",
    "socket_keepalive_options", "socket_type", "username",
)  # fmt: skip
"""Options that both kinds of connections have. Timeouts and retries are ours: who asks has patience, or has not."""

_SSL: Final = frozenset(name for name in inspect.signature(SSLConnection).parameters if name.startswith("ssl_"))


def open_store(cache: Any) -> RedisStore:
    """A store where ``cache`` has its data. Its client is django-redis' default, herd, sentinel or sharded one.

    ``ImproperlyConfigured`` for options that redis-py has for blocking connections only.
    """
    client = cache.client
    prefix = str(client.make_key("routesock.throttle"))
    if hasattr(client, "get_server_name"):
        links = {name: link_to(server.connection_pool) for name, server in client.connect().items()}
        return RedisStore(prefix, links, client.get_server_name)
    return RedisStore(prefix, {"": link_to(client.connect(0).connection_pool)}, lambda key: "")


def link_to(blocking: Any) -> Link:
    """A link to the server of a pool of blocking connections."""
    options = _options(blocking)
    if isinstance(blocking, BlockingSentinelConnectionPool):
        return Link(partial(_open_managed, _sentinel_pool(blocking, options)))
    return Link(partial(_open, ConnectionPool(connection_class=_kind(blocking.connection_class), **options)))


def _sentinel_pool(blocking: Any, options: dict[str, Any]) -> SentinelConnectionPool:
    manager = blocking.sentinel_manager
    sentinel = Sentinel([], min_other_sentinels=manager.min_other_sentinels)  # type: ignore[no-untyped-call]
    sentinel._force_master_ip = getattr(manager, "_force_master_ip", None)
    within = {"socket_timeout": SENTINEL_WITHIN, "socket_connect_timeout": SENTINEL_WITHIN}
    for one in manager.sentinels:
        pool = one.connection_pool
        kind = _kind(pool.connection_class)
        sentinel.sentinels.append(
            Redis(connection_pool=ConnectionPool(connection_class=kind, **{**_options(pool), **within}))
        )
    secure = issubclass(blocking.connection_class, BlockingSSLConnection)
    return SentinelConnectionPool(  # type: ignore[no-untyped-call]
        blocking.service_name,
        sentinel,
        is_master=blocking.is_master,
        connection_class=SentinelManagedSSLConnection if secure else SentinelManagedConnection,
        **options,
    )


def _kind(blocking: type) -> type[AbstractConnection]:
    if issubclass(blocking, BlockingUnixDomainSocketConnection):
        return UnixDomainSocketConnection
    return SSLConnection if issubclass(blocking, BlockingSSLConnection) else Connection


def _options(blocking: Any) -> dict[str, Any]:
    given = blocking.connection_kwargs
    options = {name: given[name] for name in _SAME if name in given}
    for name, value in given.items():
        if name in _SSL:
            options[name] = value
        elif name.startswith("ssl_") and value:
            raise ImproperlyConfigured(
                f"redis-py has no {name} for connections that do not block, so throttles cannot use this cache. "
                'Name another one: ROUTESOCK = {"THROTTLE_CACHE": ...}.'
            )
    never = Retry(NoBackoff(), 0)  # redis-py's own would try for seconds
    return {**options, "protocol": 2, "retry": never, "socket_timeout": None, "socket_connect_timeout": None}


async def _open(pool: ConnectionPool) -> AbstractConnection:
    connection: AbstractConnection = pool.make_connection()  # type: ignore[no-untyped-call]
    try:
        await connection.connect()  # type: ignore[no-untyped-call]
    except BaseException:
        await connection.disconnect(nowait=True)
        raise
    return connection


async def _open_managed(pool: SentinelConnectionPool) -> AbstractConnection:
    try:
        return await _open(pool)
    finally:
        for sentinel in pool.sentinel_manager.sentinels:
            await sentinel.connection_pool.disconnect()
