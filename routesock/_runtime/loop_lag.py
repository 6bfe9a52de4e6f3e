"""Measures how late an event loop runs what is due, for the health view and the metrics."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections import deque
from contextlib import suppress
from typing import Final

from .supervision import reset_after_fork

BEAT: Final = 0.5
"""Seconds between two measurements."""

WINDOW: Final = 10.0
"""Seconds for which the largest lag is remembered."""

KEEP: Final = 300.0
"""Seconds after which the measuring ends if nothing has asked for the lag."""


class LoopLag:
    """Measures one event loop with a timer that notes how late it is called.

    It ends :data:`KEEP` seconds after the last call of :meth:`keep`. Only :meth:`value` may be called in other threads.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._lags: deque[float] = deque(maxlen=round(WINDOW / BEAT))
        self._timer: asyncio.TimerHandle | None = None
        self._wanted_until = 0.0

    def keep(self) -> None:
        """Measure from now on."""
        self._wanted_until = self._loop.time() + KEEP
        if self._timer is None:
            self._lags.clear()
            self._schedule()

    def value(self) -> float:
        """The largest lag of the last :data:`WINDOW` seconds, in seconds; 0 if nothing was measured."""
        timer = self._timer
        overdue = 0.0 if timer is None else self._loop.time() - timer.when()  # the loop may be blocked at this moment
        return max(0.0, overdue, *self._lags.copy())

    def _schedule(self) -> None:
        # In an empty context: the current one, of some socket or view, would be kept alive.
        self._timer = self._loop.call_later(BEAT, self._beat, context=contextvars.Context())

    def _beat(self) -> None:
        assert self._timer is not None
        now = self._loop.time()
        self._lags.append(now - self._timer.when())
        self._timer = None
        if now < self._wanted_until:
            self._schedule()


_measured: Final[dict[asyncio.AbstractEventLoop, LoopLag]] = {}

_lock = threading.Lock()  # loops of several threads share the dict


def measure() -> LoopLag:
    """Measure the running loop from now on, for at least :data:`KEEP` seconds."""
    loop = asyncio.get_running_loop()
    with _lock:
        lag = _measured.get(loop)
        if lag is None:
            for other in [other for other in _measured if other.is_closed()]:
                del _measured[other]
            lag = _measured[loop] = LoopLag(loop)
    lag.keep()
    return lag


def largest() -> float:
    """The largest lag of the loops that are measured, in seconds. May be called in any thread."""
    with _lock:
        lags = [lag for loop, lag in _measured.items() if not loop.is_closed()]
    return max((lag.value() for lag in lags), default=0.0)


def keep_measuring() -> None:
    """Go on measuring the loops that were measured. May be called in any thread."""
    with _lock:
        lags = [(loop, lag) for loop, lag in _measured.items() if not loop.is_closed()]
    for loop, lag in lags:
        with suppress(RuntimeError):  # it has been closed meanwhile
            loop.call_soon_threadsafe(lag.keep)


@reset_after_fork
def _forget_all() -> None:
    global _lock
    _lock = threading.Lock()
    _measured.clear()
