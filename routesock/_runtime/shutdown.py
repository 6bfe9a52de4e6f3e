"""The end of a process: on SIGTERM its sockets finish, are told to come back and are closed before the server stops."""

from __future__ import annotations

import asyncio
import logging
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, Final, Protocol

from .. import conf

logger: Final = logging.getLogger("routesock.socket")

SAME_SIGNAL: Final = 1.0
"""Seconds within which a second SIGTERM says nothing new: systemd signals each process of a service, and the parent of
several workers then signals them once more."""

LAST_WORDS: Final = 2.0
"""Seconds behind the grace: ``finally`` blocks of what was cancelled then, the notice, the close, ``disconnect()``."""

RETURNS_PER_SECOND: Final = 100
"""How many clients of one process come back in a second: their times are spread so far."""

FIRST_RETURN: Final = 1.0

MAX_SPREAD: Final = 60.0
"""Seconds: nobody is to come back before the first, and the last comes at most so much later."""

Handler = Callable[[int, FrameType | None], Any]


class Drainable(Protocol):
    """A socket that can be told that the process ends."""

    @property
    def grace(self) -> float:
        """Seconds that what runs on it has to end."""
        ...

    def drain(self, retry_after: float) -> None:
        """Begin to end: take nothing more, let end what runs, then say when to come back, and close."""

    def hurry(self) -> None:
        """Cut the grace short."""

    def signed_in(self, user: object) -> None:
        """If ``user`` was put into its scope, the socket is theirs. Called in any thread."""


class Sockets:
    """The routed sockets of one event loop."""

    def __init__(self) -> None:
        self.draining = False
        """The process ends: a socket that opens now is closed at once, with :meth:`retry_after`."""
        self._open: set[Drainable] = set()
        self._spread = FIRST_RETURN
        self._over: asyncio.Future[None] | None = None

    def add(self, socket: Drainable) -> None:
        """``socket`` is served from now on."""
        self._open.add(socket)

    def discard(self, socket: Drainable) -> None:
        """``socket`` has ended, ``disconnect()`` and all."""
        self._open.discard(socket)
        if not self._open:
            self.hurry()

    def retry_after(self) -> float:
        """Seconds after which one client may come back; other ones for each, so that they do not come together."""
        return round(FIRST_RETURN + random.uniform(0, self._spread), 1)

    def __iter__(self) -> Iterator[Drainable]:
        return iter(tuple(self._open))

    async def drain(self) -> None:
        """Drain all, and return when they have ended or their time is over."""
        if not self._open:
            return
        logger.info("SIGTERM: %d sockets are told to come back.", len(self._open))
        self._spread = min(max(len(self._open) / RETURNS_PER_SECOND, FIRST_RETURN), MAX_SPREAD)
        grace = max(socket.grace for socket in self._open)
        for socket in tuple(self._open):
            socket.drain(self.retry_after())
        await self._ended(grace)
        for socket in tuple(self._open):
            socket.hurry()
        await self._ended(LAST_WORDS)

    def hurry(self) -> None:
        """Cut short what :meth:`drain` waits for: first the grace, then the last words."""
        if self._over is not None and not self._over.done():
            self._over.set_result(None)

    async def _ended(self, within: float) -> None:
        if self._open:
            self._over = asyncio.get_running_loop().create_future()
            await asyncio.wait({self._over}, timeout=within)


class StandIn:
    """A handler of SIGTERM in front of ``server``, the server's own, which it calls when the sockets are drained.

    Servers tell an application of their end too late: uvicorn with the close frame behind it, daphne not at all.
    """

    def __init__(self, server: Handler, loop: asyncio.AbstractEventLoop, sockets: Sockets) -> None:
        self.server = server
        self._loop = loop
        self._sockets = sockets
        self._since = 0.0
        self._task: asyncio.Task[None] | None = None

    def __call__(self, signum: int, frame: FrameType | None) -> None:
        # Between any two instructions of the main thread: only the event loop may do more than take note.
        if not self._loop.is_running() or (self._task is not None and self._task.done()):
            self.server(signum, frame)
        elif not self._sockets.draining:
            self._sockets.draining = True
            self._since = time.monotonic()
            self._loop.call_soon_threadsafe(self._begin, signum)
        elif time.monotonic() - self._since > SAME_SIGNAL:
            self._loop.call_soon_threadsafe(self._sockets.hurry)

    def _begin(self, signum: int) -> None:
        self._task = self._loop.create_task(self._drain(signum))

    async def _drain(self, signum: int) -> None:
        try:
            await self._sockets.drain()
        finally:
            # Not from a task: what a handler raises, SystemExit above all, reaches the server as it would have.
            self._loop.call_soon(self.server, signum, None)


_elsewhere: Final = Sockets()
"""Those of all other threads: Python runs signal handlers in the main thread, so no server waits for a signal there."""

_main = Sockets()

_main_loop: asyncio.AbstractEventLoop | None = None


def sockets() -> Sockets:
    """Those of the running event loop. The first call of a loop in the main thread stands in front of SIGTERM.

    That is: where the server has a handler of its own in Python, and ``DRAIN_ON_SIGTERM`` is on.
    """
    global _main, _main_loop
    if threading.current_thread() is not threading.main_thread():
        return _elsewhere
    loop = asyncio.get_running_loop()
    if _main_loop is not loop:
        main = Sockets()
        _stand_in(loop, main)
        _main, _main_loop = main, loop
    return _main


def open_sockets() -> Iterator[Drainable]:
    """The routed sockets of this process."""
    yield from _main
    yield from _elsewhere


def _stand_in(loop: asyncio.AbstractEventLoop, sockets: Sockets) -> None:
    if not conf.get("DRAIN_ON_SIGTERM"):
        return
    server: Any = signal.getsignal(signal.SIGTERM)
    if isinstance(server, StandIn):  # of a loop that has ended
        server = server.server
    if callable(server):  # SIG_DFL, SIG_IGN and None are not
        signal.signal(signal.SIGTERM, StandIn(server, loop, sockets))
