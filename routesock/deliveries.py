"""What one socket is sent of its groups: frames past whatever it is busy with, events in their turn."""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Final, Protocol

from . import conf, faults, logins, losses, revocation
from .backlog import Backlog
from .broadcasts import Broadcast, Occurrence
from .dialects import Dialect
from .lane import Lane
from .occurrences import Occurrences
from .outbox import PUSH
from .outgoing import Outgoing
from .room import MAX_QUEUED_EVENTS, Progress
from .running import is_from_outside
from .tasks import Tasks

logger: Final = logging.getLogger("routesock.socket")

_DROPPED: Final = {
    "connect": "%d pushes were dropped that came before a socket was ready for them.",
    "client": "%d pushes to a client that reads too slowly were dropped.",
    "busy": "%d pushes were dropped since the consumer's own code for what is sent was busy.",
}


class Gate(Protocol):
    """Decides what a socket is sent of a group."""

    def take(self, broadcast: Broadcast) -> None:
        """Hand it to :meth:`Deliveries.write`, at once, later or never. Raises nothing, and does not wait."""


class Deliveries:
    """What comes for the socket of ``consumer``.

    What comes before ``connect()`` has returned waits until then, as channel-layer messages do under Channels; later it
    passes whatever the socket is busy with.
    """

    __slots__ = (
        "_belongs", "_connected", "_consumer", "_dialect", "_events", "_held", "_lane", "_outgoing", "_progress",
        "_tasks", "gates",
    )  # fmt: skip

    def __init__(
        self,
        consumer: Any,
        dialect: Dialect,
        outgoing: Outgoing,
        progress: Progress,
        tasks: Tasks,
        lane: Lane,
        *,
        connected: bool,
    ) -> None:
        self._consumer = consumer
        self._dialect = dialect
        self._outgoing = outgoing
        self._progress = progress
        self._tasks = tasks
        self._lane = lane
        self._connected = connected
        self._events: Occurrences | None = None  # once one has come
        self._held = None if connected else Backlog()
        self._belongs: str | None = None  # the group of a user that it is in
        self.gates: dict[str, Gate] | None = None
        """By what the layer calls them, the groups whose broadcasts are not for everybody who has joined."""

    def connected(self) -> None:
        """``connect()`` has returned."""
        self._connected = True
        if self._events is not None:
            self._events.begin()
        if self._held:
            self._tasks.start(self._release(self._held))
        else:
            self._held = None

    async def _release(self, held: Backlog) -> None:
        try:
            while held:
                await self._write(held.take())
        finally:
            self._held = None
            for reason, number in held.dropped.items():
                logger.warning(_DROPPED[reason], number)
                losses.dropped(type(self._consumer), number, reason)

    # What the hub calls

    def deliver(self, broadcast: Broadcast | Occurrence) -> None:
        if self._progress.closing:
            return
        if type(broadcast) is Occurrence:
            if broadcast.name in type(self._consumer)._routesock.events:
                self._happened(broadcast)
        elif self.gates is not None and broadcast.group in self.gates:
            self.gates[broadcast.group].take(broadcast)
        elif broadcast.group != self._belongs or self._belongs == _group_of_user(self._consumer):
            self.write(broadcast)

    def write(self, broadcast: Broadcast) -> None:
        """Send it, or begin to, behind what is held. Raises nothing."""
        held = self._held
        if held is not None:
            self._hold(held, broadcast)
        elif self._outgoing.plain:
            self._tasks.start_now(self._write(broadcast))
        else:  # the consumer's own code may wait, and the next has to wait for it
            self._held = held = Backlog()
            held.put(broadcast, 1)
            self._tasks.start(self._release(held))

    def _hold(self, held: Backlog, broadcast: Broadcast) -> None:
        most: int = conf.get("MAX_OUTGOING")
        if not self._connected:
            reason = "connect"
        elif self._progress.sending:
            reason = "client"
        else:
            reason, most = "busy", max(most, MAX_QUEUED_EVENTS)
        while not held.put(broadcast, most):
            if reason != "client":
                held.drop(reason)
                return
            if not self._outgoing.may_drop():
                return
            held.take()
            held.drop(reason)

    async def _write(self, broadcast: Broadcast) -> None:
        try:
            if self._outgoing.plain:
                await self._outgoing.write_text(broadcast.text(self._dialect), PUSH)
            else:  # through the methods of the consumer's own, which may change the frame
                await self._outgoing.write(broadcast.frame(self._dialect), PUSH)
        except Exception as exc:
            faults.internal_error(exc, "A push", self._consumer)
        except asyncio.CancelledError as exc:
            if is_from_outside(exc, asyncio.current_task()):
                raise
            faults.internal_error(exc, "A push", self._consumer)  # a server's send() may wait for what was cancelled

    def _happened(self, occurrence: Occurrence) -> None:
        if self._events is None:
            self._events = Occurrences(self._consumer, self._lane, self._progress, self._tasks)
        self._events.put(occurrence)
        running = self._lane.running
        # While connect() runs, the lane itself holds what comes, in front of the requests that come after it.
        if self._connected or (running is not None and running.message.get("type") == "websocket.connect"):
            self._events.begin()


def _group_of_user(consumer: Any) -> str | None:
    """The group of whoever is signed in at this moment: Channels' ``logout()`` tells nobody that it has ended."""
    name = logins.name_in_scope(consumer.scope)
    return None if name is None else revocation.group_of(name)
