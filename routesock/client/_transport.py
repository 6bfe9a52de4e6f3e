"""One WebSocket of the library ``websockets``, with a synchronous, ordered ``send()``."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeAlias
from urllib.parse import urlsplit

try:
    from websockets.asyncio.client import ClientConnection, connect
    from websockets.exceptions import ConnectionClosed
    from websockets.protocol import State
except ModuleNotFoundError as error:  # pragma: no cover  (the tests have it)
    raise ModuleNotFoundError("routesock.client needs websockets: pip install routesock[client]") from error

CLOSE_WITHIN: Final = 2.0
"""Seconds for what still has to be written and for the other side's close frame. Then the connection is cut."""

MAX_SIZE: Final = 16 * 1024 * 1024
"""Bytes of a frame from the server, unless you pass another ``max_size``."""

LOGGER: Final = logging.getLogger("routesock.client.websocket")
# At DEBUG, websockets logs headers and frames, and so the token. This keeps a level that is set for all loggers away.
LOGGER.setLevel(logging.INFO)


@dataclass(frozen=True, slots=True, kw_only=True)
class Events:
    """What a transport calls, in this order: ``opened`` at most once, ``closed`` once and last."""

    opened: Callable[[], object]
    received: Callable[[str | bytes], object]
    closed: Callable[[int, str, BaseException | None], object]


class Transport(Protocol):
    """A WebSocket. Replace it in tests."""

    @property
    def is_open(self) -> bool:
        """Whether it is open, and neither side has begun to close it."""
        ...

    @property
    def unsent(self) -> int:
        """How many characters or bytes wait to be written."""
        ...

    def send(self, data: str | bytes) -> None:
        """Writes behind what was sent before. Does nothing on a transport that is closed."""
        ...

    def close(self) -> None:
        """Writes what was sent, and closes. May be called in any state."""
        ...

    async def wait_closed(self) -> None:
        """Returns when it has ended, and all its tasks."""
        ...


Opener: TypeAlias = Callable[[str, Sequence[str], Events], Transport]
"""Opens a transport: URL, subprotocols to offer, and the callbacks."""


def opener(headers: Mapping[str, str], origin: str | None, options: Mapping[str, Any]) -> Opener:
    """Returns what opens WebSockets with these arguments of ``websockets.asyncio.client.connect``."""

    def open_transport(url: str, subprotocols: Sequence[str], events: Events) -> Transport:
        arguments = {
            "additional_headers": dict(headers),
            "origin": origin_of(url) if origin is None else origin,
            "subprotocols": [*subprotocols] or None,
            "open_timeout": None,  # the connection has its own
            "close_timeout": CLOSE_WITHIN,
            "max_size": MAX_SIZE,
            "logger": LOGGER,
            **options,
        }
        return WebSocketTransport(url, arguments, events)

    return open_transport


def origin_of(url: str) -> str:
    """The origin of pages on the server's host: ``AllowedHostsOriginValidator`` refuses a client without one."""
    parts = urlsplit(url)
    return f"{'https' if parts.scheme == 'wss' else 'http'}://{parts.netloc.rpartition('@')[2]}"


class WebSocketTransport:
    """A WebSocket of ``websockets``: one task reads, another one writes."""

    def __init__(self, url: str, arguments: Mapping[str, Any], events: Events) -> None:
        self._events = events
        self._connection: ClientConnection | None = None
        self._closing = False
        self._waiting: deque[str | bytes] = deque()
        self._wake = asyncio.Event()
        self.unsent = 0
        self._task = asyncio.get_running_loop().create_task(self._run(url, arguments), name="routesock client")

    @property
    def is_open(self) -> bool:
        connection = self._connection
        return connection is not None and not self._closing and connection.protocol.state is State.OPEN

    def send(self, data: str | bytes) -> None:
        if self.is_open:
            self._waiting.append(data)
            self.unsent += len(data)
            self._wake.set()

    def close(self) -> None:
        if self._closing:
            return
        self._closing = True
        self._wake.set()
        if self._connection is None:
            self._task.cancel()
        else:
            asyncio.get_running_loop().call_later(CLOSE_WITHIN, self._connection.transport.abort)

    async def wait_closed(self) -> None:
        await asyncio.wait([self._task])

    async def _run(self, url: str, arguments: Mapping[str, Any]) -> None:
        try:
            self._connection = connection = await connect(url, **arguments)
        except Exception as error:  # of the network, of TLS, of the URL, of a proxy, of the HTTP reply
            self._events.closed(1006, "Connecting failed.", error)
            return
        writer = asyncio.get_running_loop().create_task(self._write(connection), name="routesock client: writer")
        try:
            self._events.opened()
            while True:
                self._events.received(await connection.recv())
        except ConnectionClosed:
            protocol = connection.protocol
            self._events.closed(protocol.close_code or 1006, protocol.close_reason or "", None)
        finally:
            writer.cancel()
            connection.transport.abort()
            await asyncio.wait([writer])

    async def _write(self, connection: ClientConnection) -> None:
        try:
            while not self._closing or self._waiting:
                while self._waiting:
                    data = self._waiting.popleft()
                    self.unsent -= len(data)
                    await connection.send(data)
                self._wake.clear()
                if not self._closing:
                    await self._wake.wait()
            await connection.close()
        except ConnectionClosed:
            pass  # the reader notices it, too, and says so
