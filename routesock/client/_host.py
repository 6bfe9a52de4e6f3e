"""The parts of a connection that calls, topics, tokens and the heartbeat use."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Final, Protocol

from ._codec import Dialect
from ._types import Clock, OutgoingFrame, Timer, Why

logger: Final = logging.getLogger("routesock.client")


class Host(Protocol):
    """A connection, seen from its parts. Times are in seconds."""

    clock: Clock
    dialect: Dialect

    @property
    def ready(self) -> bool:
        """Whether calls can be sent: the socket is authenticated, and no close has begun."""
        ...

    @property
    def over(self) -> Why | None:
        """Why there will be no connection until ``connect()`` is called, or ``None``."""
        ...

    @property
    def why(self) -> Why | None:
        """Why the last connection has ended."""
        ...

    def backoff(self, n: int) -> float:
        """Returns the seconds before retry ``n``, counted from 0: longer each time, and spread."""
        ...

    def transmit(self, data: str | bytes) -> None:
        """Writes to the WebSocket, whatever the state."""
        ...

    def write(self, frame: OutgoingFrame) -> bool:
        """Encodes and writes a frame if the WebSocket is open, and returns whether it is."""
        ...

    def lost(self, why: Why, delay: float | None = None) -> None:
        """Ends the connection. ``delay``: the seconds before the next try, instead of the back-off."""
        ...


class Alarm:
    """A timer that can be set again and again; at most one is set at a time."""

    LONGEST: Final = 2.0**31 / 1000

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._timer: Timer | None = None

    def set(self, delay: float, callback: Callable[[], object]) -> None:
        self.stop()
        self._timer = self._clock.call_later(min(delay, self.LONGEST), callback)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def safely(callback: Callable[..., object], *args: Any) -> None:
    """Calls a callback of the application. An exception is logged, and harms nothing else."""
    try:
        callback(*args)
    except Exception:
        logger.exception("A callback of the application failed: %r", callback)
