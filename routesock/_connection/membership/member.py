"""One socket as a member of groups: joins, leaves, and receives what is broadcast."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any, Final, Protocol
from uuid import uuid4

from ... import conf
from ..._groups import losses
from ..._groups.envelopes import Broadcast, EventMessage, layer_group, message_of
from ..._groups.hub import hub_of, send
from ..._runtime import instrumentation
from ..._runtime.callables import is_from_outside
from ...auth._login import revocation
from ...dialects import Dialect
from ..queue.jobs import MAX_QUEUED_EVENTS, Progress
from ..queue.ordered import OrderedQueue
from ..sending.frame_writer import FrameWriter
from ..sending.send_queue import PUSH
from ..tasks import Tasks
from .pending import EventQueue, PushBacklog

logger: Final = logging.getLogger("routesock.socket")

_DROPPED: Final = {
    "connect": "%d pushes were dropped that came before a socket was ready for them.",
    "client": "%d pushes to a client that reads too slowly were dropped.",
    "busy": "%d pushes were dropped since the consumer's own code for what is sent was busy.",
}


class PushGate(Protocol):
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
        outgoing: FrameWriter,
        progress: Progress,
        tasks: Tasks,
        lane: OrderedQueue,
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
        self._events: EventQueue | None = None  # once one has come
        self._held = None if connected else PushBacklog()
        self._belongs: str | None = None  # the group of a user that it is in
        self.gates: dict[str, PushGate] | None = None
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

    async def _release(self, held: PushBacklog) -> None:
        try:
            while held:
                await self._write(held.take())
        finally:
            self._held = None
            for reason, number in held.dropped.items():
                logger.warning(_DROPPED[reason], number)
                losses.dropped(type(self._consumer), number, reason)

    # What the hub calls

    def deliver(self, broadcast: Broadcast | EventMessage) -> None:
        if self._progress.closing:
            return
        if type(broadcast) is EventMessage:
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
            self._held = held = PushBacklog()
            held.put(broadcast, 1)
            self._tasks.start(self._release(held))

    def _hold(self, held: PushBacklog, broadcast: Broadcast) -> None:
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
            instrumentation.internal_error(exc, "A push", self._consumer)
        except asyncio.CancelledError as exc:
            if is_from_outside(exc, asyncio.current_task()):
                raise
            instrumentation.internal_error(
                exc, "A push", self._consumer
            )  # a server's send() may wait for what was cancelled

    def _happened(self, occurrence: EventMessage) -> None:
        if self._events is None:
            self._events = EventQueue(self._consumer, self._lane, self._progress, self._tasks)
        self._events.put(occurrence)
        running = self._lane.running
        # While connect() runs, the lane itself holds what comes, in front of the requests that come after it.
        if self._connected or (running is not None and running.message.get("type") == "websocket.connect"):
            self._events.begin()


def _group_of_user(consumer: Any) -> str | None:
    """The group of whoever is signed in at this moment: Channels' ``logout()`` tells nobody that it has ended."""
    name = revocation.name_in_scope(consumer.scope)
    return None if name is None else revocation.group_of(name)


_FIRST_RETRY: Final = 0.1

_LAST_RETRY: Final = 5.0
"""Seconds between two tries to join the group of a user; each wait is twice the last."""


class Member(Deliveries):
    """The groups of the socket of ``consumer``, in ``layer``."""

    __slots__ = ("_belonging", "_groups", "_layer", "_left", "_topics", "_user", "id", "subscriptions")

    def __init__(
        self,
        consumer: Any,
        layer: Any,
        dialect: Dialect,
        outgoing: FrameWriter,
        progress: Progress,
        tasks: Tasks,
        lane: OrderedQueue,
        *,
        connected: bool,
    ) -> None:
        super().__init__(consumer, dialect, outgoing, progress, tasks, lane, connected=connected)
        self._layer = layer
        self._groups: dict[str, str] = {}  # what the layer calls them
        self._left = tasks.finishing  # some task of its consumer's may outlive it
        self._user: str | None = None  # the group of whoever is signed in, which it is to be in
        self._belonging: asyncio.Task[Any] | None = None  # who joins and leaves groups of users
        self._topics: dict[str, str] | None = None  # as _groups, of what the client has subscribed to
        self.id: str | None = None
        self.subscriptions: Any = None
        """The connection's own, kept here since most sockets have none."""

    @property
    def groups(self) -> frozenset[str]:
        return frozenset(self._groups).union(self._topics or ())

    async def join(self, name: str) -> None:
        """Be in the group ``name``, unless the socket is at its end. Raises what the layer raises."""
        if self._tasks.is_elsewhere():
            await self._tasks.bring(self.join(name))
            return
        group = layer_group(name)
        if self._left or name in self._groups:
            return
        await hub_of(self._layer).join(group, self)
        self._groups[name] = group
        if self._left:
            await self.leave(name)

    async def leave(self, name: str) -> None:
        """The opposite."""
        if self._tasks.is_elsewhere():
            await self._tasks.bring(self.leave(name))
            return
        group = self._groups.pop(name, None)
        if group is not None and name not in (self._topics or ()):
            await hub_of(self._layer).leave(group, self)

    async def subscribe(self, name: str, gate: PushGate | None) -> None:
        """As :meth:`join`, whether the socket has joined by itself or not. Broadcasts go to ``gate``, if there is one.

        From its first step on :meth:`leave` does not take the socket out of the group, but :meth:`unsubscribe` does,
        which is to be called also if this raises what the layer raises.
        """
        if self._left:
            return
        group = layer_group(name)
        if self._topics is None:
            self._topics = {}
        self._topics[name] = group
        if gate is not None:
            if self.gates is None:
                self.gates = {}
            self.gates[group] = gate
        await hub_of(self._layer).join(group, self)
        if self._left:
            await hub_of(self._layer).leave(group, self)

    async def unsubscribe(self, name: str) -> None:
        """The opposite. With its first step nothing more is delivered, unless the socket has joined by itself."""
        group = None if self._topics is None else self._topics.pop(name, None)
        if group is None:
            return
        if self.gates is not None:
            self.gates.pop(group, None)
        if name not in self._groups:
            await hub_of(self._layer).leave(group, self)

    async def leave_all(self) -> None:
        """The socket has ended."""
        if self._events is not None:
            self._events.report()
        self._left = True
        leaving = [self.leave(name) for name in [*self._groups]]
        leaving += [self.unsubscribe(name) for name in [*(self._topics or ())]]
        if self._belongs is not None:
            leaving.append(hub_of(self._layer).leave(self._belongs, self))
        await asyncio.gather(*leaving)

    async def belong(self, user: str | None) -> None:
        """Be in the group of ``user``, by the name that a layer has for it, and in that of nobody else.

        Returns when that is so, however long the layer fails. To be called in a task of its own.
        """
        self._user = user
        if self._belonging is not None:  # two that join and leave at a time would lose sight of what the other joined
            await asyncio.wait({self._belonging})
            return
        self._belonging = asyncio.current_task()
        try:
            await self._follow()
        finally:
            self._belonging = None

    async def _follow(self) -> None:
        delay = 0.0
        while self._belongs != self._user and not self._left:
            user, before = self._user, self._belongs
            try:
                if before is not None:
                    self._belongs = None
                    await hub_of(self._layer).leave(before, self)
                if user is not None:
                    await hub_of(self._layer).join(user, self)
                    self._belongs = user
            except Exception:
                if not delay:
                    logger.exception("A socket cannot be reached from other processes until its channel layer works.")
                delay = min(max(delay * 2, _FIRST_RETRY), _LAST_RETRY)
                await asyncio.sleep(delay)
        if self._left and self._belongs is not None:  # a layer may take no notice of a cancellation
            await hub_of(self._layer).leave(self._belongs, self)

    async def broadcast(
        self, name: str, route: str, payload: Any, headers: Mapping[str, Any], *, exclude_self: bool
    ) -> None:
        """Send a frame to the group ``name``. Raises what encoding and what the layer raises."""
        if exclude_self and self.id is None:
            self.id = uuid4().hex
        excluded = self.id if exclude_self else None
        await send(self._layer, message_of(layer_group(name), route, payload, headers, excluded=excluded))
