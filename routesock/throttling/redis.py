"""The Redis store: one script per decision, pipelined over one connection per event loop."""

from __future__ import annotations

import asyncio
import contextvars
import hashlib
import inspect
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
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
from redis.exceptions import ConnectionError, NoScriptError, ReadOnlyError, RedisError, ResponseError
from redis.sentinel import SentinelConnectionPool as BlockingSentinelConnectionPool

from .base import MICROSECONDS, Bucket, Decision, FairTimeout, Quota, StoreError, digest

OPEN_WITHIN: Final = 5.0
"""Seconds for a connection to be made. Who asks may have less patience, but the next one finds it ready."""

Open = Callable[[], Awaitable[AbstractConnection]]


class Link:
    """Asks a Redis through one connection at a time; ``open`` gives a connected one.

    A command is written at once, whatever is not answered yet. A connection that breaks is replaced when somebody asks
    next, and so is one that was given up.
    """

    def __init__(self, open: Open) -> None:
        self._open = open
        self._line: _Line | None = None
        self._opening: asyncio.Task[_Line] | None = None
        self.answers: int = 0
        """How many there were so far."""

    async def ask(self, *command: Any) -> Any:
        """The reply to ``command``. Raises what redis-py raises. Who has no more patience cancels it."""
        line = self._line
        if line is None or not line.is_open:
            line = await self._opened()
        try:
            answer = await line.ask(*command)
        except ReadOnlyError:  # it is a replica by now: its name may lead to another server
            line.give_up()
            raise
        self.answers += 1
        return answer

    def give_up(self) -> None:
        """Use the connection no more, since it may never say anything again."""
        if self._line is not None:
            self._line.give_up()
            self._line = None

    async def _opened(self) -> _Line:
        if self._opening is None:
            # A task: who asked first may leave, and others wait for the same.
            self._opening = _apart(self._open_line())
            self._opening.add_done_callback(self._opening_ended)
        return await asyncio.shield(self._opening)

    async def _open_line(self) -> _Line:
        async with asyncio.timeout(OPEN_WITHIN):
            self._line = _Line(await self._open())
        return self._line

    def _opening_ended(self, task: asyncio.Task[_Line]) -> None:
        self._opening = None
        if not task.cancelled():
            task.exception()  # or it would be logged where everybody has left


class _Line:
    """A connection, and who waits for an answer on it."""

    def __init__(self, connection: AbstractConnection) -> None:
        self._connection = connection
        self._unanswered: deque[asyncio.Future[Any]] = deque()
        self._reading = _apart(self._read())

    @property
    def is_open(self) -> bool:
        return self._connection.is_connected and not self._reading.done()

    async def ask(self, *command: Any) -> Any:
        if not self.is_open:
            raise ConnectionError("The connection is closed.")
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._unanswered.append(answer)
        try:
            # Written before it may wait, so in the order of the line.
            await self._connection.send_command(*command, check_health=False)
            return await answer
        finally:
            answer.cancel()

    def give_up(self) -> None:
        self._reading.cancel()

    async def _read(self) -> None:
        why: Exception = ConnectionError("The connection was given up.")
        try:
            while True:
                try:
                    answer = await self._connection.read_response()
                except ResponseError as exc:
                    answer = exc
                self._settle(answer)
        except Exception as exc:
            why = exc
        finally:
            while self._unanswered:
                self._settle(why)
            await self._connection.disconnect(nowait=True)

    def _settle(self, answer: Any) -> None:
        waiting = self._unanswered.popleft()
        if waiting.done():  # nobody waits any more
            return
        if isinstance(answer, Exception):
            waiting.set_exception(answer)
        else:
            waiting.set_result(answer)


def _apart(coroutine: Any) -> asyncio.Task[Any]:
    """A task in an empty context: it lives longer than the socket that happens to begin it."""
    return asyncio.get_running_loop().create_task(coroutine, context=contextvars.Context())


SCRIPT: Final = Path(__file__).with_name("take.lua").read_text(encoding="utf-8")

SHA: Final = hashlib.sha1(SCRIPT.encode(), usedforsecurity=False).hexdigest()


class RedisStore:
    """Logs in Redis: one script takes from them, by the clock of the server.

    ``prefix`` stands in front of its keys. ``links`` are its servers by name, and ``name_for`` gives that of a key.
    """

    def __init__(self, prefix: str, links: Mapping[str, Link], name_for: Callable[[str], str]) -> None:
        self._prefix = prefix
        self._links = links
        self._name_for = name_for

    def close(self) -> None:
        """Close the connections; who still asks has others opened."""
        for link in self._links.values():
            link.give_up()

    async def take(self, buckets: Sequence[Bucket], timeout: float, *, quotas: bool) -> Decision:
        """As :meth:`Store.take <routesock.throttling.base.Store.take>`, in one round trip."""
        keys: list[str] = []
        arguments: list[int] = []
        for window, caller, cost in buckets:
            keys.append(self._key(window.tag, window.key, digest(caller)))
            arguments += (window.limit, window.period, window.grain, cost)
        link = self._links[self._name_for(keys[0])]
        before = link.answers
        try:
            async with FairTimeout(timeout):
                wait, *pairs = await _run(link, len(keys), *keys, *arguments)
        except TimeoutError:
            if link.answers == before:
                link.give_up()
            raise StoreError(f"Redis did not answer within {timeout} s") from None
        except (RedisError, OSError) as exc:
            raise StoreError(f"{type(exc).__name__}: {exc}") from exc
        return Decision(wait / MICROSECONDS, [Quota(*pair) for pair in zip(pairs[::2], pairs[1::2], strict=True)])

    def _key(self, tag: str, window: str, caller: str) -> str:
        """What stands in braces decides where a key lies: those of one call lie together."""
        return f"{self._prefix}:{{{tag}}}:{window}:{caller}" if tag else f"{self._prefix}:{{{caller}}}:{window}"


async def _run(link: Link, *arguments: Any) -> list[int]:
    try:
        return await _evaluate(link, *arguments)
    except ConnectionError:  # perhaps one that was idle while the server restarted
        return await _evaluate(link, *arguments)


async def _evaluate(link: Link, *arguments: Any) -> list[int]:
    try:
        reply: list[int] = await link.ask("EVALSHA", SHA, *arguments)
    except NoScriptError:
        reply = await link.ask("EVAL", SCRIPT, *arguments)
    return reply


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
    within: dict[str, Any] = {"socket_timeout": SENTINEL_WITHIN, "socket_connect_timeout": SENTINEL_WITHIN}
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
