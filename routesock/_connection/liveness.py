"""How long a socket may be silent, idle or anonymous: the rules, without a clock or a socket of their own."""

from __future__ import annotations

from math import inf
from typing import Final, Protocol

from .. import conf
from .._routing.class_options import Heartbeat, Limits
from .._runtime.timers import SECOND_LOOKS, Alarm, Timer, running_timer
from ..status import ANONYMOUS, Ending
from ..typing import UNSET

SILENT: Final = Ending(4408, "The client was silent for too long.", reconnect=True)

IDLE: Final = Ending(4408, "The socket was idle for too long.", reconnect=False)


class Socket(Protocol):
    """What the rules ask of a socket, and what they tell it. Nothing waits: it starts what takes time."""

    def ping(self) -> None:
        """Send a PING, then call :meth:`Liveness.pinged`."""

    def end(self, ending: Ending) -> None:
        """Close it, or refuse it if it is not accepted yet."""

    def is_busy(self) -> bool:
        """Whether something runs for the client."""
        ...

    def is_signed_in(self) -> bool:
        """Whether its user is signed in."""
        ...


class Liveness:
    """What is known of one socket. Times are those of the loop.

    The reading reports to it. A client can only be heard while its socket is read from, so whatever else the reading
    waits for, it is no silence of the client's.
    """

    __slots__ = (
        "_accepted",
        "_alarm",
        "_anonymous",
        "_heartbeat",
        "_idle",
        "_idle_since",
        "_looks",
        "_opened",
        "_pinged",
        "_silent_since",
        "_socket",
    )

    def __init__(
        self, socket: Socket, now: float, heartbeat: Heartbeat | None, idle: float | None, anonymous: float | None
    ) -> None:
        self._socket = socket
        self._heartbeat = heartbeat
        self._idle = idle
        self._anonymous = anonymous
        self._alarm: Alarm | None = None
        self._opened = now
        self._accepted: float | None = None
        self._silent_since: float | None = None  # None: nobody listens
        self._idle_since: float | None = None
        self._pinged: float | None = None  # inf: on its way
        self._looks = 0

    def begin(self, timer: Timer, now: float) -> None:
        """Be looked at by ``timer`` from now on, where there is anything to look for."""
        due = self.look(now)
        if due is not None:
            self._alarm = timer.set(self, due)

    def end(self) -> None:
        """Be looked at no more."""
        if self._alarm is not None:
            self._alarm.cancel()

    # What the connection reports

    def accepted(self, now: float) -> None:
        """The socket was accepted: only now can its client send anything."""
        self._accepted = now
        if self._silent_since is not None:
            self._silent_since = self._idle_since = now

    def listens(self, now: float) -> None:
        """The reading begins to wait for a frame."""
        self._silent_since = now
        if self._idle_since is None:
            self._idle_since = now

    def heard(self, *, heartbeat: bool) -> None:
        """A frame arrived; ``heartbeat``: a PING or PONG, which says nothing but that the client is there."""
        self._silent_since = None
        if not heartbeat:
            self._idle_since = None

    def pinged(self, now: float) -> None:
        """The PING was sent."""
        self._pinged = now

    # What the timer asks

    def look(self, now: float) -> float | None:
        """Ping or end the socket if it is time to; when to look again, ``None``: never."""
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
        self._socket.end(ANONYMOUS if anonymous <= now else SILENT if silent <= now else IDLE)
        return None

    def _anonymous_until(self, now: float) -> float:
        if self._anonymous is None:
            return inf
        until = (self._opened if self._accepted is None else self._accepted) + self._anonymous
        if until <= now and self._socket.is_signed_in():
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
            self._socket.ping()
        # While the PING waits for its turn behind other frames, the client cannot answer it. The interval: a frame that
        # comes meanwhile begins a new silence, whose PING may be due first.
        return min(min(self._pinged, now) + heartbeat.timeout, now + heartbeat.interval)

    def _idle_until(self, now: float) -> float:
        if self._idle is None:
            return inf
        if self._accepted is None or self._silent_since is None or self._idle_since is None:
            self._idle_since = None
            return now + self._idle
        if self._socket.is_busy():
            self._idle_since = now
        return self._idle_since + self._idle


def watched(socket: Socket, limits: Limits) -> Liveness | None:
    """What looks after ``socket`` from now on; ``None`` where neither its class nor the settings limit anything."""
    idle: float | None = conf.get("IDLE_TIMEOUT") if limits.idle is UNSET else limits.idle
    anonymous: float | None = conf.get("ANONYMOUS_TIMEOUT") if limits.anonymous is UNSET else limits.anonymous
    if limits.heartbeat is None and idle is None and anonymous is None:
        return None
    timer = running_timer()
    now = timer.now()
    liveness = Liveness(socket, now, limits.heartbeat, idle, anonymous)
    liveness.begin(timer, now)
    return liveness
