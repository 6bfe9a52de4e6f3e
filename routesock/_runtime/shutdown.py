"""Graceful shutdown: on SIGTERM, sockets finish their requests and are closed before the server stops."""

from __future__ import annotations

import asyncio
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from os import getpid
from socket import gethostname
from types import FrameType
from typing import Any, Final, NamedTuple, Protocol

from .. import conf
from ..status import Ending
from .instrumentation import counted
from .supervision import Guard, plain_task, safe_logger

logger: Final = safe_logger("routesock.socket")

_SOCKET: Final = Guard("The shutdown of a socket")

SAME_SIGNAL: Final = 1.0
"""Seconds within which a second SIGTERM is ignored: systemd signals each process of a service, and a parent of workers
then signals them once more."""

CLOSE_LIMIT: Final = 2.0
"""Seconds after the grace: ``finally`` blocks of cancelled handlers, the notice, the close, ``disconnect()``."""

RETURNS_PER_SECOND: Final = 100
"""Clients of one process that reconnect in a second; ``retry_after`` is spread accordingly."""

FIRST_RETURN: Final = 1.0
"""Seconds before which no client reconnects."""

MAX_SPREAD: Final = 60.0
"""Seconds at most between the first client and the last one."""

Handler = Callable[[int, FrameType | None], Any]


class Load(NamedTuple):
    """The pending work of one socket."""

    consumer: str
    """The name of its consumer."""
    running: int
    """Requests and messages that run."""
    queued: int
    """Requests and messages that wait for their turn."""
    outgoing: int
    """Bytes of unsolicited frames that wait for the client."""


class SocketReport(NamedTuple):
    """One socket as operators see it, without tokens, headers, query or payloads."""

    consumer: str
    """The name of its consumer."""
    user: int | str | None
    """The primary key of the signed-in user."""
    address: str | None
    """The address of its client."""
    age: float
    """Seconds since it opened."""
    groups: int
    """The number of groups joined and of topics that its client has subscribed to."""
    queued: int
    """Requests and messages that wait for their turn."""
    bytes: int
    """Bytes of unsolicited frames that wait for the client."""


class Drainable(Protocol):
    """A socket that can be shut down gracefully."""

    @property
    def grace(self) -> float:
        """Seconds that running handlers have to end."""
        ...

    def drain(self, retry_after: float) -> None:
        """Begin to end: accept no requests, let running ones end, then send ``retry_after`` and close."""

    def end_grace(self) -> None:
        """End the grace period."""

    def load(self) -> Load | None:
        """Return its pending work; ``None`` if it has not opened or has ended. May be called in any thread."""
        ...

    def report(self) -> SocketReport | None:
        """Return it as operators see it; ``None`` if it has not opened or has ended. May be called in any thread."""
        ...

    def close_soon(self, ending: Ending) -> None:
        """Close it as ``ending`` says, and log that. May be called in any thread."""

    def drain_soon(self, retry_after: float) -> None:
        """As :meth:`drain`, in any thread."""

    def signed_in(self, user: object) -> None:
        """Follow the login of ``user`` if the socket's scope has this very object. May be called in any thread."""


class Sockets:
    """The routed sockets of one event loop."""

    def __init__(self) -> None:
        self.draining = False
        """The process shuts down: a socket that opens now is closed at once, with :meth:`retry_after`."""
        self._open: set[Drainable] = set()
        self._spread = FIRST_RETURN
        self._wait_over: asyncio.Future[None] | None = None
        self.presences: dict[tuple[int, int], tuple[Any, Callable[[], None]]] = {}
        """By the ids of a channel layer and a loop: the layer, and what ends the answering of operators' questions."""

    def add(self, socket: Drainable) -> None:
        """Drain ``socket``, which has opened, when the process shuts down."""
        self._open.add(socket)

    def discard(self, socket: Drainable) -> None:
        """Forget ``socket``, which has ended; ``disconnect()`` has run."""
        self._open.discard(socket)
        if not self._open:
            self.end_wait()
            presences, self.presences = self.presences, {}
            for _, leave in presences.values():
                leave()

    def retry_after(self) -> float:
        """Seconds after which one client may reconnect, random so that clients do not come together."""
        return round(FIRST_RETURN + random.uniform(0, self._spread), 1)

    def __iter__(self) -> Iterator[Drainable]:
        return iter(tuple(self._open))

    def __len__(self) -> int:
        return len(self._open)

    async def drain(self) -> None:
        """Drain all sockets; return when they have ended or their time is over."""
        if not self._open:
            return
        self._announce_drain("SIGTERM")
        grace = 0.0
        for socket in tuple(self._open):
            with _SOCKET:
                grace = max(grace, socket.grace)
                socket.drain(self.retry_after())
        await self._ended(grace)
        for socket in tuple(self._open):
            with _SOCKET:
                socket.end_grace()
        await self._ended(CLOSE_LIMIT)

    def begin_drain(self) -> int:
        """Begin to drain all sockets, since an operator wants it. Returns how many. May be called in any thread."""
        self.draining = True
        sockets = tuple(self._open)
        if sockets:
            self._announce_drain("An operator drains the process")
        for socket in sockets:
            with _SOCKET:
                socket.drain_soon(self.retry_after())
        return len(sockets)

    def _announce_drain(self, cause: str) -> None:
        logger.info("%s: closing %s, whose clients reconnect later.", cause, counted(len(self._open), "socket"))
        self._spread = min(max(len(self._open) / RETURNS_PER_SECOND, FIRST_RETURN), MAX_SPREAD)

    def end_wait(self) -> None:
        """End the current wait of :meth:`drain`: first the grace period, then that for the closes."""
        if self._wait_over is not None and not self._wait_over.done():
            self._wait_over.set_result(None)

    async def _ended(self, within: float) -> None:
        if self._open:
            self._wait_over = asyncio.get_running_loop().create_future()
            # No FairTimeout: the process manager that stops the server counts the server's lateness, too.
            await asyncio.wait({self._wait_over}, timeout=within)


class DrainingHandler:
    """A SIGTERM handler that drains the sockets first, then calls ``server``, the handler of the server.

    Servers notify an application of their end too late: uvicorn after it has sent the close frame, daphne not at all.
    """

    def __init__(self, server: Handler, loop: asyncio.AbstractEventLoop, sockets: Sockets) -> None:
        self.server = server
        self._loop = loop
        self._sockets = sockets
        self._since: float | None = None
        self._task: asyncio.Task[None] | None = None

    def __call__(self, signum: int, frame: FrameType | None) -> None:
        # A signal arrives between any two instructions of the main thread: the rest is left to the event loop.
        if not self._loop.is_running() or (self._task is not None and self._task.done()):
            self.server(signum, frame)
        elif self._since is None:  # an operator may have begun to drain the process before
            self._sockets.draining = True
            self._since = time.monotonic()
            self._loop.call_soon_threadsafe(self._begin, signum)
        elif time.monotonic() - self._since > SAME_SIGNAL:
            self._loop.call_soon_threadsafe(self._sockets.end_wait)

    def _begin(self, signum: int) -> None:
        self._task = plain_task(self._drain(signum), self._loop)

    async def _drain(self, signum: int) -> None:
        try:
            await self._sockets.drain()
        finally:
            # Not from a task: what the handler raises, SystemExit above all, reaches the server as usual.
            self._loop.call_soon(self.server, signum, None)


_elsewhere: Final = Sockets()
"""The sockets of all other threads. Python runs signal handlers in the main thread, so no server there has one."""

_main = Sockets()

_main_loop: asyncio.AbstractEventLoop | None = None


def sockets() -> Sockets:
    """The sockets of the running event loop.

    The first call of a loop in the main thread installs a :class:`DrainingHandler`, if the server has a SIGTERM handler
    in Python and ``DRAIN_ON_SIGTERM`` is on.
    """
    global _main, _main_loop
    if threading.current_thread() is not threading.main_thread():
        return _elsewhere
    loop = asyncio.get_running_loop()
    if _main_loop is not loop:
        main = Sockets()
        _install_handler(loop, main)
        _main, _main_loop = main, loop
    return _main


def open_sockets() -> Iterator[Drainable]:
    """The routed sockets of this process."""
    yield from _main
    yield from _elsewhere


def socket_count() -> int:
    """The number of routed sockets of this process. May be called in any thread."""
    return len(_main) + len(_elsewhere)


def begin_drain() -> int:
    """Close the sockets of this process within their grace, and take no others. Returns how many there are."""
    return _main.begin_drain() + _elsewhere.begin_drain()


def is_draining() -> bool:
    """Whether this process shuts down and takes no sockets. May be called in any thread."""
    return _main.draining or _elsewhere.draining


def process_name() -> str:
    """The name of this process for operators: its machine and its process id."""
    return f"{gethostname()}:{getpid()}"


def _install_handler(loop: asyncio.AbstractEventLoop, sockets: Sockets) -> None:
    if not conf.get("DRAIN_ON_SIGTERM"):
        return
    server: Any = signal.getsignal(signal.SIGTERM)
    if isinstance(server, DrainingHandler):  # of a loop that has ended
        server = server.server
    if callable(server):  # SIG_DFL, SIG_IGN and None are not
        signal.signal(signal.SIGTERM, DrainingHandler(server, loop, sockets))
