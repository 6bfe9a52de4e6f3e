"""Finds out whether the server is still there."""

from __future__ import annotations

from typing import Final

from ._host import Alarm, Host
from ._types import OutgoingFrame, Why

IDLE: Final = 25.0
"""Seconds of silence after which a PING is sent."""
DEAD: Final = 10.0
"""Seconds after a PING, without any frame, after which the connection counts as dead."""
LATE: Final = 5.0
"""A timer that is later than this was held up: the loop was blocked, or the machine slept."""
MAX_LATE: Final = 3
"""PINGs in a row that may stay without an answer because timers were held up."""


class Heartbeat:
    """The PINGs of one client."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._alarm = Alarm(host.clock)
        self._heard = 0.0
        self._due = 0.0
        self._pings = 0
        """PINGs since the last frame."""

    def start(self) -> None:
        self.heard()
        self._arm(IDLE)

    def stop(self) -> None:
        self._alarm.stop()

    def heard(self) -> None:
        """A frame has come."""
        self._heard = self._host.clock.now()
        self._pings = 0

    def _arm(self, delay: float) -> None:
        self._due = self._host.clock.now() + delay
        self._alarm.set(delay, self._fired)

    def _fired(self) -> None:
        now = self._host.clock.now()
        late = now - self._due > LATE
        silence = now - self._heard
        if self._pings and not (late and self._pings < MAX_LATE):
            self._host.lost(Why(code=1006, reason="The server does not answer."))
        elif self._pings or silence >= IDLE:
            self._pings += 1
            self._host.write(OutgoingFrame(route="PING"))
            self._arm(DEAD)
        else:
            self._arm(min(IDLE, IDLE - silence))  # the clock may have been set back
