"""Heartbeat, idle and anonymous timeouts of a socket."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Final

from .. import conf
from .._routing.class_options import Heartbeat, Limits
from .._runtime.timers import SECOND_LOOKS, Alarm, Timer, running_timer
from ..status import ANONYMOUS, Ending
from ..typing import UNSET

SILENT: Final = Ending(4408, "The client was silent for too long.", reconnect=True)

IDLE: Final = Ending(4408, "The socket was idle for too long.", reconnect=False)


class Liveness:
    """The time limits of one socket. Times are those of the loop.

    The reader reports to it. A client can only be heard while its socket is read, so a wait of the reader for anything
    else is no silence of the client.

    Args:
        ping: Sends a PING and then calls :meth:`pinged`.
        close: Closes the socket.
        is_busy: Whether a request of the client runs.
        is_signed_in: Whether its user is signed in.
    """

    __slots__ = (
        "_accepted", "_alarm", "_anonymous", "_close", "_heartbeat", "_idle", "_idle_since", "_is_busy",
        "_is_signed_in", "_looks", "_opened", "_ping", "_pinged", "_silent_since",
    )  # fmt: skip

    def __init__(
        self,
        now: float,
        heartbeat: Heartbeat | None,
        idle: float | None,
        anonymous: float | None,
        *,
        ping: Callable[[], None],
        close: Callable[[Ending], None],
        is_busy: Callable[[], bool],
        is_signed_in: Callable[[], bool],
    ) -> None:
        self._heartbeat = heartbeat
        self._idle = idle
        self._anonymous = anonymous
        self._ping = ping
        self._close = close
        self._is_busy = is_busy
        self._is_signed_in = is_signed_in
        self._alarm: Alarm | None = None
        self._opened = now
        self._accepted: float | None = None
        self._silent_since: float | None = None  # None: the socket is not being read
        self._idle_since: float | None = None
        self._pinged: float | None = None  # inf: on its way
        self._looks = 0

    def begin(self, timer: Timer, now: float) -> None:
        """Let ``timer`` check the limits from now on, if there are any."""
        due = self.look(now)
        if due is not None:
            self._alarm = timer.set(self, due)

    def stop(self) -> None:
        """Stop checking."""
        if self._alarm is not None:
            self._alarm.cancel()

    # Reported by the connection

    def accepted(self, now: float) -> None:
        """The socket was accepted. Its client can send from now on."""
        self._accepted = now
        if self._silent_since is not None:
            self._silent_since = self._idle_since = now

    def reading(self, now: float) -> None:
        """The reader begins to wait for a frame."""
        self._silent_since = now
        if self._idle_since is None:
            self._idle_since = now

    def heard(self, *, heartbeat: bool) -> None:
        """A frame has arrived. A PING or PONG (``heartbeat``) does not end the idle time."""
        self._silent_since = None
        if not heartbeat:
            self._idle_since = None

    def pinged(self, now: float) -> None:
        """The PING was sent."""
        self._pinged = now

    # Called by the timer

    def look(self, now: float) -> float | None:
        """Send a PING or close the socket if it is time to. Returns when to look again, ``None`` for never."""
        anonymous = self._anonymous_until(now)
        silent = self._silent_until(now)
        idle = self._idle_until(now)
        until = min(anonymous, silent, idle)
        if until > now:
            self._looks = 0
            return until if until < inf else None
        self._looks += 1
        if self._looks <= SECOND_LOOKS:
            return now
        self._close(ANONYMOUS if anonymous <= now else SILENT if silent <= now else IDLE)
        return None

    def _anonymous_until(self, now: float) -> float:
        if self._anonymous is None:
            return inf
        until = (self._opened if self._accepted is None else self._accepted) + self._anonymous
        if until <= now and self._is_signed_in():
            self._anonymous = None
            return inf
        return until

    def _silent_until(self, now: float) -> float:
        heartbeat = self._heartbeat
        if heartbeat is None:
            return inf
        since = self._silent_since
        if self._accepted is None or since is None:
            return now + heartbeat.interval
        if since + heartbeat.interval > now:
            return since + heartbeat.interval
        if self._pinged is None or self._pinged <= since:
            self._pinged = inf
            self._ping()
        # While the PING waits behind other frames, the client cannot answer it. The interval counts as well: a frame
        # that comes meanwhile begins a new silence, whose PING may be due first.
        return min(min(self._pinged, now) + heartbeat.timeout, now + heartbeat.interval)

    def _idle_until(self, now: float) -> float:
        if self._idle is None:
            return inf
        if self._accepted is None or self._silent_since is None or self._idle_since is None:
            self._idle_since = None
            return now + self._idle
        if self._is_busy():
            self._idle_since = now
        return self._idle_since + self._idle


def watch(
    limits: Limits,
    *,
    ping: Callable[[], None],
    close: Callable[[Ending], None],
    is_busy: Callable[[], bool],
    is_signed_in: Callable[[], bool],
) -> Liveness | None:
    """Watch the time limits of a socket from now on; ``None`` if neither its class nor the settings have any."""
    idle: float | None = conf.get("IDLE_TIMEOUT") if limits.idle is UNSET else limits.idle
    anonymous: float | None = conf.get("ANONYMOUS_TIMEOUT") if limits.anonymous is UNSET else limits.anonymous
    if limits.heartbeat is None and idle is None and anonymous is None:
        return None
    timer = running_timer()
    now = timer.now()
    liveness = Liveness(
        now, limits.heartbeat, idle, anonymous, ping=ping, close=close, is_busy=is_busy, is_signed_in=is_signed_in
    )
    liveness.begin(timer, now)
    return liveness
