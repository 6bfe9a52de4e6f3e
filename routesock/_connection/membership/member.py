"""The groups of one socket: joins and leaves them, and delivers what is broadcast."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Coroutine, Iterator, Mapping
from typing import Any, Final, Protocol, TypeGuard
from uuid import uuid4

from ... import conf
from ..._groups import losses
from ..._groups.envelopes import Broadcast, EventMessage, layer_group, message_of
from ..._groups.hub import Hub, hub_of, publish
from ..._pipeline.compiler import ConsumerPlan
from ..._runtime import instrumentation
from ..._runtime.callables import is_from_outside
from ..._runtime.layer_calls import DEFECTS
from ..._runtime.supervision import safe_logger
from ..._store.opening import Outage
from ...auth._login import revocation
from ...exceptions import Unavailable
from ..queue.job_queue import JobQueue
from ..queue.jobs import MAX_QUEUED_EVENTS
from ..readers import EventReader
from ..sending.frame_writer import FrameWriter
from ..sending.send_queue import KEPT_PUSH, PUSH, FrameKind
from ..state import SocketState
from ..tasks import Tasks

logger: Final = safe_logger("routesock.socket")

_DROPPED: Final = {
    "connect": "%s dropped that came before a socket was ready for them.",
    "client": "%s dropped, since the client reads too slowly.",
    "busy": "%s dropped because the consumer's own sending code was busy.",
}

_outage: Final = Outage()
"""Whether topics can be subscribed to, for the log."""

_FIRST_RETRY: Final = 0.1

_LAST_RETRY: Final = 5.0
"""Seconds between two tries to join the group of a user. Each wait is twice the last."""


def _is_frame(data: str | bytes | None) -> TypeGuard[str | bytes]:
    return data is not None


class PushBacklog:
    """Broadcasts in the order in which they came, of at most ``MAX_OUTGOING_BYTES`` in total."""

    __slots__ = ("_bytes", "_max_bytes", "_waiting", "dropped")

    def __init__(self) -> None:
        self._waiting: deque[Broadcast] = deque()
        self._bytes = 0
        self._max_bytes: int = conf.get("MAX_OUTGOING_BYTES")
        self.dropped: dict[str, int] = {}
        """The number of dropped pushes, by reason."""

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, broadcast: Broadcast, most: int) -> bool:
        """Append ``broadcast``; ``False`` if ``most`` wait already or it is too large. One alone may be of any size."""
        if self._waiting and (len(self._waiting) >= most or self._bytes + broadcast.size > self._max_bytes):
            return False
        self._waiting.append(broadcast)
        self._bytes += broadcast.size
        return True

    def take(self) -> Broadcast:
        """Remove and return the oldest."""
        broadcast = self._waiting.popleft()
        self._bytes -= broadcast.size
        return broadcast

    def drop(self, reason: str) -> None:
        """Count one that is dropped."""
        self.dropped[reason] = self.dropped.get(reason, 0) + 1

    def clear(self) -> None:
        """Remove all."""
        self._waiting.clear()
        self._bytes = 0


class Taker(Protocol):
    """Gets the pushes of one subscription in place of the socket."""

    def take(self, broadcast: Broadcast) -> None:
        """Write ``broadcast``, perhaps later. Never raises, and does not wait."""

    def skip(self, broadcast: Broadcast) -> None:
        """Note that ``broadcast``, which has a position, is not for this socket."""


class _Joining:
    """The calls of :meth:`Member.join` for one name that wait for the layer, and whether it was left since the last."""

    __slots__ = ("calls", "is_left")

    def __init__(self) -> None:
        self.calls = 0
        self.is_left = False


class Member:
    """The groups of one socket in ``layer``.

    What is broadcast before ``connect()`` has returned is delivered then, as Channels does with channel-layer messages.
    Later it is delivered at once, whatever the socket is busy with.
    """

    __slots__ = (
        "_belongs", "_compiled", "_consumer", "_events", "_following", "_groups", "_held", "_joining", "_layer",
        "_queue", "_state", "_takers", "_tasks", "_topic_of", "_topics", "_user_group", "_writer", "id",
    )  # fmt: skip

    def __init__(
        self,
        consumer: Any,
        compiled: ConsumerPlan,
        layer: Any,
        writer: FrameWriter,
        state: SocketState,
        tasks: Tasks,
        queue: JobQueue,
    ) -> None:
        self._consumer = consumer
        self._compiled = compiled
        self._layer = layer
        self._writer = writer
        self._state = state
        self._tasks = tasks
        self._queue = queue
        self._events: EventReader | None = None  # once one has come
        self._held = None if state.connected else PushBacklog()
        self._groups: dict[str, str] = {}  # by name, what the layer calls them
        self._joining: dict[str, _Joining] | None = None  # by name, while the layer is asked
        self._topics: dict[str, str] | None = None  # the same for what the client has subscribed to
        self._topic_of: dict[str, str] | None = None  # their names, by what the layer calls their group
        self._takers: dict[str, Taker] | None = None  # by what the layer calls their group
        self._belongs: str | None = None  # the group of a user that the socket is in
        self._user_group: str | None = None  # the group of a user that it should be in
        self._following: asyncio.Task[Any] | None = None  # joins and leaves groups of users
        self.id: str | None = None
        """The id by which broadcasts exclude this socket; ``None`` until one does."""

    @property
    def group_count(self) -> int:
        """How many groups and topics it has joined. May be read in any thread."""
        return len(self._groups) + len(self._topics or ())

    def connected(self) -> None:
        """Deliver what waits, since ``connect()`` has returned."""
        if self._events is not None:
            self._events.start()
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
                logger.warning(_DROPPED[reason], instrumentation.pushes_were(number))
                losses.dropped(type(self._consumer), number, reason)

    # Called by the hub

    def deliver(self, broadcast: Broadcast | EventMessage) -> None:
        if self._state.is_closing:
            return
        if type(broadcast) is EventMessage:
            if broadcast.name in self._compiled.events:
                self._deliver_event(broadcast)
        elif self._takers is not None and broadcast.group in self._takers:
            self._takers[broadcast.group].take(broadcast)
        elif broadcast.group != self._belongs or self._belongs == _group_of_user(self._consumer):
            self.write(broadcast)

    def skip(self, broadcast: Broadcast) -> None:
        if self._takers is not None and broadcast.group in self._takers:
            self._takers[broadcast.group].skip(broadcast)

    def write(self, broadcast: Broadcast) -> None:
        """Send ``broadcast`` behind what is held. Never raises, and does not wait."""
        held = self._held
        if held is not None:
            self._hold(held, broadcast)
        elif self._writer.is_plain:
            self._tasks.start_now(self._write(broadcast))
        else:  # the consumer's own code may wait, and then the next has to wait for it
            self._held = held = PushBacklog()
            held.put(broadcast, 1)
            self._tasks.start(self._release(held))

    def _hold(self, held: PushBacklog, broadcast: Broadcast) -> None:
        most: int = conf.get("MAX_OUTGOING")
        if not self._state.connected:
            reason = "connect"
        elif self._state.sending:
            reason = "client"
        else:
            reason, most = "busy", max(most, MAX_QUEUED_EVENTS)
        while not held.put(broadcast, most):
            if reason != "client":
                held.drop(reason)
                return
            if not self._writer.may_drop_push():
                return
            held.take()
            held.drop(reason)

    def write_kept(self, broadcast: Broadcast) -> None:
        """Send ``broadcast``, which the client may resume behind. Only where the consumer sends plainly."""
        self._tasks.start_now(self._write_kept(broadcast))

    async def write_in_turn(self, broadcasts: Iterator[Broadcast]) -> None:
        """As :meth:`write_kept` for each of ``broadcasts``. Takes the next one when the server has taken the last."""
        if not self._writer.is_plain or self._writer.completes:
            for broadcast in broadcasts:
                await self._write_kept(broadcast)
            return
        # A generator would end with the first push that cannot be encoded.
        frames = filter(_is_frame, map(self._kept_data, broadcasts))
        is_done = False
        while not is_done:
            try:
                await self._writer.write_each(frames, KEPT_PUSH)
                is_done = True
            except Exception as exc:  # the next ones follow
                instrumentation.internal_error(exc, "A push", self._consumer)
            except asyncio.CancelledError as exc:
                if is_from_outside(exc, asyncio.current_task()):
                    raise
                instrumentation.internal_error(exc, "A push", self._consumer)

    def _kept_data(self, broadcast: Broadcast) -> str | bytes | None:
        topic = None if self._topic_of is None else self._topic_of.get(broadcast.group)
        return broadcast.data(self._compiled.dialect, topic, broadcast.position is not None)

    def _write_kept(self, broadcast: Broadcast) -> Coroutine[Any, Any, None]:
        return self._write(broadcast, KEPT_PUSH, broadcast.position is not None)

    async def _write(self, broadcast: Broadcast, kind: FrameKind = PUSH, positioned: bool = False) -> None:
        topic = None if self._topic_of is None else self._topic_of.get(broadcast.group)
        try:
            if self._writer.is_plain:
                data = broadcast.data(self._compiled.dialect, topic, positioned)
                if data is not None:
                    await self._writer.write_data(data, kind)
            else:  # through the consumer's own methods, which may change the frame
                frame = broadcast.frame(self._compiled.dialect, topic, positioned)
                await self._writer.write(frame, kind)
            if self._writer.completes:
                await self._writer.after_broadcast(broadcast.headers(topic))
        except Exception as exc:
            instrumentation.internal_error(exc, "A push", self._consumer)
        except asyncio.CancelledError as exc:
            if is_from_outside(exc, asyncio.current_task()):
                raise
            instrumentation.internal_error(
                exc, "A push", self._consumer
            )  # a server's send() may wait for what was cancelled

    def _deliver_event(self, event: EventMessage) -> None:
        if self._events is None:
            self._events = EventReader(self._consumer, self._queue, self._state, self._tasks)
        self._events.put(event)
        current = self._queue.current
        # While connect() runs, the queue itself holds what comes, in front of the requests that come after it.
        if self._state.connected or (current is not None and current.message.get("type") == "websocket.connect"):
            self._events.start()

    def hub(self) -> Hub:
        """Return the hub that delivers to this socket."""
        return hub_of(self._layer)

    @property
    def writes_plainly(self) -> bool:
        """Whether no method of the consumer sees what is sent."""
        return self._writer.is_plain

    # Called by the consumer's code and by the connection

    @property
    def groups(self) -> frozenset[str]:
        return frozenset(self._groups).union(self._topics or ())

    async def join(self, name: str) -> None:
        """Join the group ``name``, unless the socket has ended. Raises what the layer raises."""
        group = layer_group(name)
        if not self._state.may_join or name in self._groups:
            return
        if self._joining is None:
            self._joining = {}
        joining = self._joining.setdefault(name, _Joining())
        joining.calls += 1
        joining.is_left = False
        try:
            await hub_of(self._layer).join(group, self)
        finally:
            joining.calls -= 1
            if not joining.calls and self._joining.get(name) is joining:
                del self._joining[name]
        if self._state.may_join and not joining.is_left:
            self._groups[name] = group
        elif name not in (self._topics or ()):
            await hub_of(self._layer).leave(group, self)

    async def leave(self, name: str) -> None:
        """Leave the group ``name``. Never raises."""
        group = self._groups.pop(name, None)
        joining = None if self._joining is None else self._joining.get(name)
        if joining is not None:
            joining.is_left = True
            group = layer_group(name)
        if group is not None and name not in (self._topics or ()):
            await hub_of(self._layer).leave(group, self)

    async def subscribe(self, name: str, taker: Taker | None) -> None:
        """Join the group ``name`` for a subscription, whether the socket has joined it otherwise or not.

        ``taker`` gets its broadcasts in place of :meth:`write`. From the first step on :meth:`leave` does not
        take the socket out of the group; :meth:`unsubscribe` does, and has to be called also if this raises something.

        Raises:
            Unavailable: The channel layer does not answer. That is logged once, and then once a minute.
        """
        if not self._state.may_join:
            return
        group = layer_group(name)
        if self._topics is None or self._topic_of is None:
            self._topics, self._topic_of = {}, {}
        self._topics[name] = group
        self._topic_of[group] = name
        if taker is not None:
            if self._takers is None:
                self._takers = {}
            self._takers[group] = taker
        try:
            await hub_of(self._layer).join(group, self)
        except DEFECTS:
            raise
        except Exception as exc:
            if _outage.failed():
                logger.warning("Topics cannot be subscribed to, since the channel layer fails.", exc_info=True)
            raise Unavailable("The topic cannot be subscribed to at the moment.", wait=1) from exc
        _outage.answered()
        if not self._state.may_join or not (name in self._topics or name in self._groups):  # or it was left meanwhile
            await hub_of(self._layer).leave(group, self)

    async def unsubscribe(self, name: str) -> None:
        """Leave the group of a subscription. Nothing more is delivered, unless the socket has joined it otherwise."""
        group = None if self._topics is None else self._topics.pop(name, None)
        if group is None:
            return
        if self._topic_of is not None:
            self._topic_of.pop(group, None)
        if self._takers is not None:
            self._takers.pop(group, None)
        if name not in self._groups:
            await hub_of(self._layer).leave(group, self)

    async def leave_all(self) -> None:
        """Leave all groups, since the socket has ended."""
        if self._events is not None:
            self._events.report_dropped()
        leaving = [self.leave(name) for name in [*self._groups]]
        leaving += [self.unsubscribe(name) for name in [*(self._topics or ())]]
        if self._belongs is not None:
            leaving.append(hub_of(self._layer).leave(self._belongs, self))
        await asyncio.gather(*leaving)

    async def belong(self, group: str | None) -> None:
        """Be in ``group``, by the name that the layer has for it, and in no other group of a user.

        Returns when that is so, however long the layer fails. Has to be called in a separate task.
        """
        self._user_group = group
        if self._following is not None:  # two that join and leave at a time would not see what the other has joined
            await asyncio.wait({self._following})
            return
        self._following = asyncio.current_task()
        try:
            await self._follow()
        finally:
            self._following = None

    async def _follow(self) -> None:
        delay = 0.0
        while self._belongs != self._user_group and self._state.may_join:
            group, before = self._user_group, self._belongs
            try:
                if before is not None:
                    self._belongs = None
                    await hub_of(self._layer).leave(before, self)
                if group is not None:
                    await hub_of(self._layer).join(group, self)
                    self._belongs = group
            except Exception:
                if not delay:
                    logger.exception("A socket cannot be reached from other processes until its channel layer works.")
                delay = min(max(delay * 2, _FIRST_RETRY), _LAST_RETRY)
                await asyncio.sleep(delay)
        if not self._state.may_join and self._belongs is not None:  # a layer may ignore a cancellation
            await hub_of(self._layer).leave(self._belongs, self)

    async def broadcast(
        self, name: str, route: str, payload: Any, headers: Mapping[str, Any], *, exclude_self: bool
    ) -> None:
        """Send a frame to the group ``name``. Raises what encoding and what the layer raises."""
        if exclude_self and self.id is None:
            self.id = uuid4().hex
        excluded = self.id if exclude_self else None
        message = message_of(layer_group(name), route, payload, headers, excluded=excluded)
        await publish(self._layer, name, message)


class EndedMember:
    """Takes the place of :class:`Member` once the socket has ended: it is in no group and joins none."""

    __slots__ = ("_layer",)

    def __init__(self, layer: Any) -> None:
        self._layer = layer

    @property
    def groups(self) -> frozenset[str]:
        return frozenset()

    async def join(self, name: str) -> None:
        """Do nothing but check the name."""
        layer_group(name)

    async def leave(self, name: str) -> None:
        """Do nothing."""

    async def broadcast(
        self, name: str, route: str, payload: Any, headers: Mapping[str, Any], *, exclude_self: bool
    ) -> None:
        """Send a frame to the group ``name``. Raises what encoding and what the layer raises."""
        await publish(self._layer, name, message_of(layer_group(name), route, payload, headers, excluded=None))


def _group_of_user(consumer: Any) -> str | None:
    """Return the group of the user signed in now: Channels' ``logout()`` sends no signal when it is done."""
    name = revocation.name_in_scope(consumer.scope)
    return None if name is None else revocation.group_of(name)
