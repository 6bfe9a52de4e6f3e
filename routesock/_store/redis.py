"""The servers of a django-redis cache: commands and Lua scripts, pipelined over one connection per event loop."""

from __future__ import annotations

import asyncio
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
from redis.exceptions import ConnectionError, MovedError, NoScriptError, ReadOnlyError, RedisError, ResponseError
from redis.sentinel import SentinelConnectionPool as BlockingSentinelConnectionPool

from .._runtime.fair_timeout import FairTimeout
from .._runtime.supervision import plain_task, safe_logger
from .opening import NO_CLUSTER, StoreError

logger: Final = safe_logger("routesock.store")

CONNECT_TIMEOUT: Final = 5.0
"""Seconds to connect. A caller may give up earlier; the connection is then ready for the next one."""

MAX_UNANSWERED: Final = 1024
"""Commands on one connection without a reply. Further ones wait: a server that answers more slowly than calls arrive
would have an ever longer queue of commands whose callers have given up."""

_READ_ONLY: Final = " -READONLY "
"""In the error of a script that writes to a replica, with Redis before 7."""

Connect = Callable[[], Awaitable[AbstractConnection]]


class PipelinedClient:
    """Sends commands to one Redis server over one connection, without waiting for the replies to earlier commands.

    A connection that breaks, or that :meth:`disconnect` closed, is replaced by the next command.

    Args:
        connect: Returns a connected connection.
    """

    def __init__(self, connect: Connect) -> None:
        self._connect = connect
        self._connection: _PipelinedConnection | None = None
        self._connecting: asyncio.Task[_PipelinedConnection] | None = None
        self._mistake: ImproperlyConfigured | None = None
        self.reply_count: int = 0
        """The number of replies so far."""
        self.connection_count: int = 0
        """The number of connections so far."""

    async def execute(self, *command: Any) -> Any:
        """Send a command and return its reply. Raises what redis-py raises. May be cancelled at any time."""
        connection = self._connection
        if connection is None or not connection.is_open:
            connection = await self._connected()
        try:
            reply = await connection.execute(*command)
        except ResponseError as exc:
            if isinstance(exc, ReadOnlyError) or _READ_ONLY in str(exc):
                connection.close()  # the server has become a replica; a new connection may reach the primary
            raise
        self.reply_count += 1
        return reply

    @property
    def next_connection(self) -> int:
        """The number of the connection that the next command is sent over."""
        is_open = self._connection is not None and self._connection.is_open
        return self.connection_count if is_open else self.connection_count + 1

    def disconnect(self) -> None:
        """Close the connection. Commands without a reply fail."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    async def _connected(self) -> _PipelinedConnection:
        if self._mistake is not None:
            raise ImproperlyConfigured(str(self._mistake))
        if self._connecting is None:
            # In a separate task: several callers may wait for it, and the first of them may be cancelled.
            self._connecting = _create_detached_task(self._new_connection())
            self._connecting.add_done_callback(self._connecting_done)
        return await asyncio.shield(self._connecting)

    async def _new_connection(self) -> _PipelinedConnection:
        async with FairTimeout(CONNECT_TIMEOUT):
            self._connection = _PipelinedConnection(await self._connect())
        self.connection_count += 1
        return self._connection

    def _connecting_done(self, task: asyncio.Task[_PipelinedConnection]) -> None:
        self._connecting = None
        if not task.cancelled():
            error = task.exception()  # or asyncio would log it as never retrieved if all callers were cancelled
            if isinstance(error, ImproperlyConfigured):
                self._mistake = error


async def _refuse_cluster(connection: AbstractConnection) -> None:
    """Raise ``ImproperlyConfigured`` for a node of a Redis Cluster, which answers for a part of the keys only."""
    await connection.send_command("INFO", "cluster", check_health=False)
    try:
        answer = await connection.read_response()
    except ResponseError:  # the user may not ask that; MOVED will show it
        return
    text = answer.decode("latin-1") if isinstance(answer, bytes) else str(answer)
    if "cluster_enabled:1" in text:
        raise ImproperlyConfigured(NO_CLUSTER)


class _PipelinedConnection:
    """A connection, and the commands on it that wait for a reply.

    The first command in a turn of the loop is sent at once. Those that follow in the same turn are sent together in the
    next one: Redis takes half of the time for a command that it does not read alone.
    """

    def __init__(self, connection: AbstractConnection) -> None:
        self._connection = connection
        self._is_closing = False
        self._is_first = True
        self._unsent: list[bytes] = []
        self._sending: asyncio.Task[None] | None = None
        self._pending: deque[asyncio.Future[Any]] = deque()
        self._slots = asyncio.Semaphore(MAX_UNANSWERED)
        self._reader = _create_detached_task(self._read())

    @property
    def is_open(self) -> bool:
        return not self._is_closing and self._connection.is_connected and not self._reader.done()

    async def execute(self, *command: Any) -> Any:
        await self._slots.acquire()
        if not self.is_open:
            self._slots.release()
            raise ConnectionError("The connection is closed.")
        reply: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._pending.append(reply)
        try:
            # In either case commands are sent in the order of self._pending.
            if self._is_first:
                self._is_first = False
                asyncio.get_running_loop().call_soon(self._end_turn)
                # This writes before it awaits anything.
                await self._connection.send_command(*command, check_health=False)
            else:
                self._unsent += self._connection.pack_command(*command)
            return await reply
        finally:
            reply.cancel()

    def close(self) -> None:
        self._is_closing = True
        self._reader.cancel()

    def _end_turn(self) -> None:
        if self._unsent:
            self._sending = _create_detached_task(self._send_together())
        else:
            self._is_first = True

    async def _send_together(self) -> None:
        try:
            while self._unsent and self.is_open:  # else redis-py would connect anew, and the commands have failed
                commands, self._unsent = b"".join(self._unsent), []
                await self._connection.send_packed_command(commands, check_health=False)
        except Exception:  # the reader fails the commands
            logger.debug("Commands cannot be sent to Redis.", exc_info=True)
            self.close()
        finally:
            self._sending = None
            self._is_first = True

    async def _read(self) -> None:
        error: Exception = ConnectionError("The connection was closed.")
        try:
            while True:
                try:
                    reply = await self._connection.read_response()
                except ResponseError as exc:
                    reply = exc
                self._resolve_first(reply)
        except Exception as exc:
            error = exc
        finally:
            while self._pending:
                self._resolve_first(error)
            await self._connection.disconnect(nowait=True)

    def _resolve_first(self, reply: Any) -> None:
        future = self._pending.popleft()
        self._slots.release()
        if future.done():  # the caller was cancelled
            return
        if isinstance(reply, Exception):
            future.set_exception(reply)
        else:
            future.set_result(reply)


def _create_detached_task(coroutine: Any) -> asyncio.Task[Any]:
    """Create a task that outlives the socket that starts it."""
    return plain_task(coroutine, asyncio.get_running_loop())


class Script:
    """A Lua script, sent by its hash where the server knows it. Several files are one after the other."""

    __slots__ = ("sha", "text")

    def __init__(self, *paths: Path) -> None:
        self.text: str = "".join(path.read_text(encoding="utf-8") for path in paths)
        self.sha: str = hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()


class RedisServers:
    """The servers of a django-redis cache: one, or several with the keys shared out among them.

    Args:
        prefix: The prefix of all keys.
        clients: Server name to client.
        server_for: Returns the name of the server that has a key.
    """

    local: Final = None

    def __init__(self, prefix: str, clients: Mapping[str, PipelinedClient], server_for: Callable[[str], str]) -> None:
        self.prefix = prefix
        self._clients = clients
        self._server_for = server_for
        self._parts: dict[str, Any] = {}

    def part(self, kind: str, make: Callable[[], Any]) -> Any:
        """Return what is kept of one kind beside the servers. ``make`` is called for the first time."""
        if kind not in self._parts:
            self._parts[kind] = make()
        return self._parts[kind]

    def close(self) -> None:
        """Close the connections. A later command opens new ones."""
        for client in self._clients.values():
            client.disconnect()

    @property
    def reconnect_count(self) -> int:
        """How often a connection was replaced, on all servers together."""
        return sum(max(client.connection_count - 1, 0) for client in self._clients.values())

    def connection_for(self, key: str) -> int:
        """Return the number of the connection that the next command for ``key`` is sent over."""
        return self._clients[self._server_for(key)].next_connection

    def key(self, kind: str, name: str, part: str) -> str:
        """Return a key. All keys of one ``kind`` and ``name`` are on one server, whatever their ``part``.

        Args:
            kind: What the key is for, such as ``"h"`` for histories.
            name: The part in braces that decides on the server. It must not have braces itself.
            part: Tells the keys of one name apart.
        """
        return f"{self.prefix}:{kind}:{{{name}}}:{part}"

    async def run(
        self, script: Script, keys: Sequence[str], *arguments: Any, timeout: float, retry: bool = True
    ) -> Any:
        """Run a script in one round trip and return its reply.

        Args:
            script: The script.
            keys: Its keys, all on the server of the first.
            arguments: Its other arguments.
            timeout: Seconds that the server may take.
            retry: Whether to run it once more if the connection breaks before the reply, as that of a server does that
                was restarted. The script may have run by then.

        Raises:
            StoreError: The server does not answer in time, or with an error.
            ImproperlyConfigured: It never will.
        """
        client = self._clients[self._server_for(keys[0])]
        replies_before = client.reply_count
        try:
            async with FairTimeout(timeout):
                return await _run_script(client, script, len(keys), *keys, *arguments, retry=retry)
        except TimeoutError:
            if client.reply_count == replies_before:  # the connection may be dead
                client.disconnect()
            raise StoreError(f"Redis did not answer within {timeout} s.") from None
        except MovedError as exc:
            raise ImproperlyConfigured(NO_CLUSTER) from exc
        except (RedisError, OSError) as exc:
            raise StoreError(f"{type(exc).__name__}: {exc}") from exc


async def _run_script(client: PipelinedClient, script: Script, *arguments: Any, retry: bool) -> Any:
    try:
        return await _evaluate(client, script, *arguments)
    except ConnectionError:  # the server may have restarted while the connection was idle
        if not retry:
            raise
        return await _evaluate(client, script, *arguments)


async def _evaluate(client: PipelinedClient, script: Script, *arguments: Any) -> Any:
    try:
        return await client.execute("EVALSHA", script.sha, *arguments)
    except NoScriptError:
        return await client.execute("EVAL", script.text, *arguments)


SENTINEL_TIMEOUT: Final = 0.5
"""Seconds to wait for a sentinel before asking the next one."""

_SHARED_OPTIONS: Final = (
    "client_name", "credential_provider", "db", "host", "password", "path", "port", "socket_keepalive",
    "socket_keepalive_options", "socket_type", "username",
)  # fmt: skip
"""Options of blocking connections that asynchronous ones have too. Timeouts and retries are not taken from the cache,
since ``THROTTLE_TIMEOUT`` or ``STORE_TIMEOUT`` limits each call."""

_SSL_OPTIONS: Final = frozenset(name for name in inspect.signature(SSLConnection).parameters if name.startswith("ssl_"))


def open_servers(cache: Any, name: str) -> RedisServers:
    """Return the servers of a django-redis cache, with its default, herd, sentinel or sharded client.

    Args:
        cache: The cache.
        name: What the prefix of all keys ends with, behind that of the cache.

    Raises:
        ImproperlyConfigured: If the cache has an option that redis-py supports for blocking connections only. The first
            call raises it for a node of a Redis Cluster.
    """
    client = cache.client
    prefix = str(client.make_key(name))
    if hasattr(client, "get_server_name"):
        clients = {name: client_for(server.connection_pool) for name, server in client.connect().items()}
        return RedisServers(prefix, clients, client.get_server_name)
    return RedisServers(prefix, {"": client_for(client.connect(0).connection_pool)}, lambda key: "")


def client_for(blocking: Any) -> PipelinedClient:
    """Return a client for the server of a pool of blocking connections."""
    options = _options(blocking)
    if isinstance(blocking, BlockingSentinelConnectionPool):
        return PipelinedClient(partial(_connect_by_sentinel, _sentinel_pool(blocking, options)))
    pool = ConnectionPool(connection_class=_async_class(blocking.connection_class), **options)
    return PipelinedClient(partial(_connect, pool))


def _sentinel_pool(blocking: Any, options: dict[str, Any]) -> SentinelConnectionPool:
    manager = blocking.sentinel_manager
    sentinel = Sentinel([], min_other_sentinels=manager.min_other_sentinels)  # type: ignore[no-untyped-call]
    sentinel._force_master_ip = getattr(manager, "_force_master_ip", None)
    timeouts: dict[str, Any] = {"socket_timeout": SENTINEL_TIMEOUT, "socket_connect_timeout": SENTINEL_TIMEOUT}
    for blocking_sentinel in manager.sentinels:
        pool = blocking_sentinel.connection_pool
        options_with_timeouts = {**_options(pool), **timeouts}
        sentinel.sentinels.append(
            Redis(
                connection_pool=ConnectionPool(
                    connection_class=_async_class(pool.connection_class), **options_with_timeouts
                )
            )
        )
    is_tls = issubclass(blocking.connection_class, BlockingSSLConnection)
    return SentinelConnectionPool(  # type: ignore[no-untyped-call]
        blocking.service_name,
        sentinel,
        is_master=blocking.is_master,
        connection_class=SentinelManagedSSLConnection if is_tls else SentinelManagedConnection,
        **options,
    )


def _async_class(blocking: type) -> type[AbstractConnection]:
    if issubclass(blocking, BlockingUnixDomainSocketConnection):
        return UnixDomainSocketConnection
    return SSLConnection if issubclass(blocking, BlockingSSLConnection) else Connection


def _options(blocking: Any) -> dict[str, Any]:
    given = blocking.connection_kwargs
    options = {name: given[name] for name in _SHARED_OPTIONS if name in given}
    for name, value in given.items():
        if name in _SSL_OPTIONS:
            options[name] = value
        elif name.startswith("ssl_") and value:
            raise ImproperlyConfigured(
                f"routesock cannot use this cache: redis-py does not support {name} for asynchronous connections. "
                'Use another cache: ROUTESOCK = {"THROTTLE_CACHE": ..., "STORE": ...}.'
            )
    no_retries = Retry(NoBackoff(), 0)  # redis-py would retry for seconds
    return {**options, "protocol": 2, "retry": no_retries, "socket_timeout": None, "socket_connect_timeout": None}


async def _connect(pool: ConnectionPool) -> AbstractConnection:
    connection: AbstractConnection = pool.make_connection()  # type: ignore[no-untyped-call]
    try:
        await connection.connect()  # type: ignore[no-untyped-call]
        await _refuse_cluster(connection)
    except BaseException:
        await connection.disconnect(nowait=True)
        raise
    return connection


async def _connect_by_sentinel(pool: SentinelConnectionPool) -> AbstractConnection:
    try:
        return await _connect(pool)
    finally:
        for sentinel in pool.sentinel_manager.sentinels:
            await sentinel.connection_pool.disconnect()
