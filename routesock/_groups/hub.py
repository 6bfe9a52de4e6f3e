"""One hub per channel layer and event loop: receives the process's messages and delivers them to its sockets."""

from __future__ import annotations

import asyncio
import random
import threading
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from contextlib import suppress
from functools import cache, partial
from math import inf
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final, Protocol

from .. import conf
from .._compat import django_setting, ensure_capacity, hub_channel, reaches_other_processes
from .._runtime.fair_timeout import FairTimeout, wait_fairly
from .._runtime.instrumentation import printable
from .._runtime.layer_calls import call, is_known_outage
from .._runtime.supervision import Guard, Supervisor, plain_task, reset_after_fork, safe_logger
from .._store.opening import Outage
from ..auth._login.revocation import TYPE as REVOCATION
from ..auth._login.revocation import received
from . import losses
from .channel_reader import new_channel
from .envelopes import EVENT, PUSH, Broadcast, EventMessage, Message, layer_group
from .layer_membership import Membership
from .layer_recovery import CALL_LIMIT, groups_of
from .losses import Arrivals, Period

if TYPE_CHECKING:
    from .._store.histories import Position
    from .history import Policy
    from .stream import Follower, Stream

logger: Final = safe_logger("routesock.socket")

MAX_PENDING: Final = 64
"""Messages that wait until those before them are written. Above that, :meth:`Hub.accept` waits too."""

MAX_BACKLOG: Final = 10_000
"""Messages that wait at most where other threads send them, which cannot wait. Further ones are dropped."""

FAIR_SHARE: Final = 64
"""Sockets that are written to, and messages that are read, before the loop has a turn."""

CHECK_INTERVAL: Final = 10.0
"""Seconds between two checks of the histories that are followed, give or take a half."""

CHECKED_AT_A_TIME: Final = 100

SEND_LIMIT: Final = 5.0
"""Seconds for a channel layer to take a broadcast."""

_MESSAGE: Final = Guard("The handling of a channel-layer message")

_DELIVERY: Final = Guard("The delivery of a push or an event to a socket")

_LEAVING: Final = Guard("Leaving a group of the channel layer")


handlers: Final[dict[str, Callable[[Any, Message], None]]] = {}
"""Called on the loop with the layer and each message of another type, by that type."""


class Member(Protocol):
    """A socket in some groups."""

    id: str | None
    """Excludes it from its own broadcasts; ``None`` until it has sent one that does so."""

    def deliver(self, broadcast: Broadcast | EventMessage) -> None:
        """Write a push, or begin to; queue an event. Does not wait."""

    def skip(self, broadcast: Broadcast) -> None:
        """Note that a push with a position was not delivered to the member, which is excluded from it."""


class _Group:
    __slots__ = ("joined", "lock", "members", "period", "stream")

    def __init__(self) -> None:
        self.members: dict[Member, None] = {}
        self.lock = asyncio.Lock()  # around calls to the layer
        self.joined = False
        self.period = Period(inf)
        self.stream: Stream | None = None  # while a member follows the history of the group


class Hub:
    """Delivers what a channel layer brings, once, to the members of this event loop.

    Where the layer reaches no other process (the in-memory one, or none at all) it is not called. A hub ends with its
    last member. All of its methods but :meth:`take` are called on its loop.
    """

    def __init__(self, layer: Any, loop: asyncio.AbstractEventLoop, ended: Callable[[Hub], None]) -> None:
        """``ended`` is called when the last member has left. No member may join afterwards."""
        self.layer = layer
        self._ended = ended
        self.loop = loop
        self._groups: dict[str, _Group] = {}
        self._membership: Membership | None = None
        self._arrivals = Arrivals(layer, loop)
        self._opening = asyncio.Lock()
        self._reader: Supervisor | None = None
        self._writer = Supervisor("The writer of broadcasts", self._write, loop)
        self._tidying: set[asyncio.Task[None]] = set()
        self._pending: deque[Broadcast | EventMessage] = deque()
        # The one that is being written, its group, and the members that have not got it yet.
        self._current: tuple[Broadcast | EventMessage, _Group, Iterator[Member]] | None = None
        self._has_room = asyncio.Event()
        self._has_room.set()
        self._streams: dict[str, Stream] = {}
        self._checks = Supervisor("The check of histories", self._check_streams, loop)
        self._checking: set[asyncio.Task[None]] = set()

    async def join(self, group: str, member: Member) -> None:
        """Deliver to ``member`` what is sent to ``group``. Raises what the layer raises; then it is not in it."""
        entry = self._groups.setdefault(group, _Group())
        entry.members[member] = None
        if not reaches_other_processes(self.layer):
            return
        try:
            async with FairTimeout(SEND_LIMIT), entry.lock:
                if not entry.joined:
                    membership = await self._open()
                    await membership.group_add(group, membership.channel)
                    entry.joined = True
                    entry.period = Period(self.loop.time())
                entry.members[member] = None  # another call of the member may have failed meanwhile, and left
        except BaseException:
            await self.leave(group, member)
            raise

    async def leave(self, group: str, member: Member) -> None:
        """Undo :meth:`join`. Never raises: a group that the layer fails to leave is left when it works again."""
        entry = self._groups.get(group)
        if entry is None:
            return
        entry.members.pop(member, None)
        if not entry.members:
            task = plain_task(self._tidy(group, entry), self.loop)
            self._tidying.add(task)
            task.add_done_callback(self._tidying.discard)
            if not is_known_outage(self.layer):
                await wait_fairly({task}, CALL_LIMIT)

    def follow(self, group: str, follower: Follower) -> bool:
        """Deliver the pushes of ``group`` in the order of its history, once :meth:`found` says where that is.

        Until :meth:`unfollow` is called, none is left out without ``follower.lost()`` being called. Returns ``False``
        for a group that no member has joined.
        """
        from .._store.histories import open_histories  # most projects need neither
        from .stream import Stream

        entry = self._groups.get(group)
        if entry is None:
            return False
        if entry.stream is None:
            entry.stream = self._streams[group] = Stream(group, open_histories, self._append, self._check_soon)
            self._checks.start()
        entry.stream.followers[follower] = None
        return True

    def found(self, group: str, top: Position) -> None:
        """Note where the history of a group that is followed is."""
        stream = self._streams.get(group)
        if stream is not None:
            stream.found(top)

    def unfollow(self, group: str, follower: Follower) -> None:
        """Undo :meth:`follow`."""
        stream = self._streams.get(group)
        if stream is None:
            return
        stream.followers.pop(follower, None)
        if not stream.followers:
            del self._streams[group]
            entry = self._groups.get(group)
            if entry is not None and entry.stream is stream:
                entry.stream = None
                entry.period = Period(self.loop.time())  # numbers that came meanwhile were not looked at

    def _check_soon(self, stream: Stream) -> None:
        task = plain_task(stream.check(), self.loop)
        self._checking.add(task)
        task.add_done_callback(self._checking.discard)

    async def check_streams(self) -> None:
        """Compare all groups that are followed with their histories, some at a time."""
        streams = [*self._streams.values()]
        for start in range(0, len(streams), CHECKED_AT_A_TIME):
            batch = streams[start : start + CHECKED_AT_A_TIME]
            for failure in await asyncio.gather(*(stream.check() for stream in batch), return_exceptions=True):
                if isinstance(failure, Exception):
                    logger.error("A history cannot be checked.", exc_info=failure)

    async def _check_streams(self) -> None:
        from .._store.histories import open_histories

        connected = 0
        wait = 0.0
        while self._streams:
            wait = wait or CHECK_INTERVAL * random.uniform(0.5, 1.5)
            await asyncio.sleep(min(wait, 1.0))
            wait -= min(wait, 1.0)
            count = (await open_histories()).reconnect_count
            if not wait or count != connected:
                connected = count
                await self.check_streams()

    async def accept(self, message: Message) -> None:
        """Write what ``message`` carries to the members of its group, in the order of the calls."""
        await self._has_room.wait()
        self._take(message)

    def take(self, message: Message) -> None:
        """As :meth:`accept`, but without waiting for room: above ``MAX_BACKLOG`` the message is dropped."""
        group = message["group"]
        if len(self._pending) < MAX_BACKLOG:
            self._take(message)
        elif group in self._groups:
            self._arrivals.overflow(group, len(self._groups[group].members))

    def _take(self, message: Message) -> None:
        try:
            carried = EventMessage(message) if message["type"] == EVENT else Broadcast(message)
        except (KeyError, TypeError, ValueError, RecursionError):  # perhaps sent by another version of routesock
            logger.warning("A broadcast that cannot be read was ignored.", exc_info=True)
            return
        entry = self._groups.get(carried.group)
        if entry is None:
            return
        if entry.stream is not None and type(carried) is Broadcast and not entry.stream.accept(carried):
            return
        self._append(carried)

    def _append(self, carried: Broadcast | EventMessage) -> None:
        self._pending.append(carried)
        if len(self._pending) >= MAX_PENDING:
            self._has_room.clear()
        self._writer.start()

    async def _write(self) -> None:
        """Deliver what is pending. Goes on where it was if it was cancelled: no member gets a message twice, or misses
        it.
        """
        while (current := self._current or self._next()) is not None:
            self._current = broadcast, entry, waiting = current
            excluded = broadcast.excluded
            for count, member in enumerate(waiting, 1):
                try:  # without a context manager, which is a tenth of the cost of a push
                    if member in entry.members:
                        if excluded is None or member.id != excluded:
                            member.deliver(broadcast)
                        elif type(broadcast) is Broadcast and broadcast.position is not None:
                            member.skip(broadcast)
                except BaseException as exc:
                    _DELIVERY.caught(exc)
                if count % FAIR_SHARE == 0:
                    await asyncio.sleep(0)
            self._current = None

    def _next(self) -> tuple[Broadcast | EventMessage, _Group, Iterator[Member]] | None:
        while self._pending:
            broadcast = self._pending.popleft()
            self._has_room.set()
            entry = self._groups.get(broadcast.group)
            if entry is not None:
                return broadcast, entry, iter([*entry.members])
        return None

    async def _open(self) -> Membership:
        async with self._opening:
            if self._membership is None:
                membership = Membership(self.layer, hub_channel(self.layer, await new_channel(self.layer)))
                self._reader = Supervisor("The reader of a channel layer", partial(self._read, membership), self.loop)
                self._reader.start()
                self._membership = membership
            return self._membership

    async def _read(self, membership: Membership) -> None:
        receive = partial(self.layer.receive, membership.channel)
        while True:
            for _ in range(FAIR_SHARE):
                message = await membership.receive(receive)
                with _MESSAGE:
                    await self._handle(message)
            await asyncio.sleep(0)  # a layer may return what it has at once

    async def _handle(self, message: Message) -> None:
        kind = message.get("type")
        if kind in (PUSH, EVENT):
            if self._is_new(message):
                await self.accept(message)
        elif kind == REVOCATION:
            received(message)
        elif kind in handlers:
            handlers[kind](self.layer, message)
        else:
            logger.warning("A channel-layer message of the unknown type %s was ignored.", printable(kind))

    def _is_new(self, message: Message) -> bool:
        group = message.get("group")
        entry = self._groups.get(group) if isinstance(group, str) else None
        if entry is not None and entry.stream is not None and "at" in message:
            losses.count("received")  # the stream knows what is new
            return True
        return entry is None or self._arrivals.is_new(entry.period, message)

    async def _tidy(self, group: str, entry: _Group) -> None:
        """Leave ``group`` if it has no member here, and end with the last group."""
        async with entry.lock:
            if entry.members or self._groups.get(group) is not entry:
                return
            if entry.joined and self._membership is not None:
                with _LEAVING, suppress(Exception):  # the membership has logged it, and goes on trying
                    await self._membership.group_discard(group, self._membership.channel, limit=CALL_LIMIT)
                entry.joined = False
            if not entry.members:
                del self._groups[group]
        if not self._groups:
            await self._end()

    async def _end(self) -> None:
        self._ended(self)
        self._arrivals.end()
        self._pending.clear()  # none of it is for a member
        self._has_room.set()
        await self._writer.end()
        await self._checks.end()
        membership, self._membership = self._membership, None
        reader, self._reader = self._reader, None
        if membership is not None and reader is not None:
            membership.leaving()
            await reader.end()
            await membership.leave_all()


_hubs: Final[dict[tuple[int, int], Hub]] = {}

# Loops of several threads share them.
_lock = threading.Lock()


def hub_of(layer: Any) -> Hub:
    """The hub of ``layer`` in the running loop."""
    loop = asyncio.get_running_loop()
    key = (id(layer), id(loop))
    with _lock:
        if key not in _hubs:
            for other, hub in [*_hubs.items()]:
                if hub.loop.is_closed():  # and its sockets were thrown away with it
                    del _hubs[other]
            _hubs[key] = Hub(layer, loop, _forget)
        return _hubs[key]


def _forget(hub: Hub) -> None:
    with _lock:
        if _hubs.get((id(hub.layer), id(hub.loop))) is hub:
            del _hubs[id(hub.layer), id(hub.loop)]


def _hubs_of(layer: Any) -> Iterator[Hub]:
    with _lock:
        hubs = [hub for hub in _hubs.values() if hub.layer is layer]
    yield from hubs


_late: Final = Outage()


_NO_HISTORY: Final = conf.SETTINGS["HISTORY"].default


@cache
def _history() -> ModuleType:
    """Return the module that keeps pushes, which most projects do not need."""
    from . import history

    return history


def publish(layer: Any, name: str, message: Message) -> Coroutine[Any, Any, None]:
    """Send ``message`` to the group ``name``, behind what its history has if there is one.

    Raises what :func:`send` raises; for a group with a history ``Unavailable`` instead, if the store does not answer.
    What the layer then fails to deliver, hubs read from the history. That is logged once, and then once a minute.
    """
    setting = conf.project_settings().get("HISTORY", _NO_HISTORY)
    policy = None if setting is _NO_HISTORY else _history().policy_in(setting, name)
    return send(layer, message) if policy is None else _publish_kept(layer, message, policy)


async def _publish_kept(layer: Any, message: Message, policy: Policy) -> None:
    kept = await _history().keep(message, policy)
    try:
        await send(layer, kept)
    except Exception:  # it is counted
        if _late.failed():
            logger.warning("Broadcasts are late, since the channel layer does not take them.", exc_info=True)
    else:
        _late.answered()


async def send(layer: Any, message: Message) -> None:
    """Send ``message`` to its group, in all processes that ``layer`` reaches.

    Raises what the layer raises, and ``TimeoutError`` when it takes longer than ``SEND_LIMIT``: the message may have
    arrived then, or may arrive later, or not. While the layer is known not to answer, that is raised at once.
    """
    if django_setting("DEBUG", False):
        _warn_of_group(layer, message["group"])
    if reaches_other_processes(layer):
        ensure_capacity(layer)
        # What is kept is counted apart, since hubs that follow the history do not look at its numbers.
        counter, number = losses.number(layer, f"{message['group']}!" if "at" in message else message["group"])
        try:
            numbered = {**message, "from": counter, "seq": number}
            await call(layer, layer.group_send, message["group"], numbered, limit=SEND_LIMIT)
        except BaseException:
            losses.count("failed")
            raise
        losses.count("sent")
        return
    losses.count("sent")
    running = asyncio.get_running_loop()
    for hub in _hubs_of(layer):
        if hub.loop is running:
            await hub.accept(message)
        else:
            try:
                hub.loop.call_soon_threadsafe(hub.take, message)
            except RuntimeError:  # the loop was thrown away, and its sockets with it
                logger.debug("A hub's loop is closed.", exc_info=True)


@reset_after_fork
def _forget_all() -> None:
    global _lock
    _lock = threading.Lock()
    _hubs.clear()


_warned: Final[set[str]] = set()
"""The groups of Channels that a warning was logged for."""


def _warn_of_group(layer: Any, group: str) -> None:
    """Log a warning if only Channels' own group of this name has members in this process: they get nothing."""
    if any(group in hub._groups for hub in _hubs_of(layer)):
        return
    for name in groups_of(layer):
        if name not in _warned and layer_group(name) == group:
            _warned.add(name)
            logger.warning(
                "A message to the group %r reaches no socket of this process. Sockets have joined Channels' own group "
                "of that name, with group_add() or with `groups = [...]` on the class, which is another group. "
                "Write `await self.socket.join(%r)` in connect(), or send with channel_layer.group_send().",
                name,
                name,
            )
