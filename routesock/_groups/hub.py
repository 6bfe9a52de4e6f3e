"""One hub per channel layer and event loop: receives the process's messages and delivers them to its sockets."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import os
import threading
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from contextlib import suppress
from functools import partial
from math import inf
from typing import Any, Final, Protocol

from .._compat import ensure_capacity, hub_channel, reaches_other_processes
from .._runtime.instrumentation import printable
from ..auth._login.revocation import TYPE as REVOCATION
from ..auth._login.revocation import received
from . import losses
from .envelopes import EVENT, PUSH, Broadcast, EventMessage, Message
from .layer_membership import Membership
from .layer_recovery import CALL_LIMIT
from .losses import Arrivals, Stay

logger: Final = logging.getLogger("routesock.socket")

MAX_PENDING: Final = 64
"""Messages that wait until those before them are written; then whoever brings more waits, too."""

MAX_BACKLOG: Final = 10_000
"""Messages that wait at most where other threads bring them, who do not wait; then more of those are dropped."""

FAIR_SHARE: Final = 64
"""Sockets that are written to before the loop has a turn."""

SEND_LIMIT: Final = 5.0
"""Seconds for a channel layer to take a broadcast."""


class Member(Protocol):
    """A socket in some groups."""

    id: str | None
    """What it calls itself, if that was asked for."""

    def deliver(self, broadcast: Broadcast | EventMessage) -> None:
        """Write it, or begin to; have an event told in its turn. Raises nothing, and does not wait."""


class _Group:
    __slots__ = ("joined", "lock", "members", "stay")

    def __init__(self) -> None:
        self.members: dict[Member, None] = {}
        self.lock = asyncio.Lock()  # for what the layer is told
        self.joined = False
        self.stay = Stay(inf)


class Hub:
    """Hands what a channel layer delivers, once, to the members of this event loop.

    Where the layer reaches no other process (the in-memory one, or none at all) it is not asked for anything. A hub
    ends with its last member; all of its methods but :meth:`take` are called on its loop.
    """

    def __init__(self, layer: Any, loop: asyncio.AbstractEventLoop, ended: Callable[[Hub], None]) -> None:
        """``ended`` is called when the last member has left: nobody is to join any more."""
        self.layer = layer
        self._ended = ended
        self.loop = loop
        self._groups: dict[str, _Group] = {}
        self._membership: Membership | None = None
        self._arrivals = Arrivals(layer, loop)
        self._opening = asyncio.Lock()
        self._reader: asyncio.Task[None] | None = None
        self._writer: asyncio.Task[None] | None = None
        self._tidying: set[asyncio.Task[None]] = set()
        self._pending: deque[Broadcast | EventMessage] = deque()
        self._has_room = asyncio.Event()
        self._has_room.set()

    async def join(self, group: str, member: Member) -> None:
        """Let ``member`` have what is sent to ``group``. Raises what the layer raises; then it is not in it."""
        entry = self._groups.setdefault(group, _Group())
        entry.members[member] = None
        if not reaches_other_processes(self.layer):
            return
        try:
            async with asyncio.timeout(SEND_LIMIT), entry.lock:
                if not entry.joined:
                    membership = await self._open()
                    await membership.group_add(group, membership.channel)
                    entry.joined = True
                    entry.stay = Stay(self.loop.time())
                entry.members[member] = None  # another call of the member's may have failed meanwhile, and left
        except BaseException:
            await self.leave(group, member)
            raise

    async def leave(self, group: str, member: Member) -> None:
        """The opposite. Raises nothing: a group that the layer does not let go is left when it works again."""
        entry = self._groups.get(group)
        if entry is None:
            return
        entry.members.pop(member, None)
        if not entry.members:
            task = self._start(self._tidy(group, entry))
            self._tidying.add(task)
            task.add_done_callback(self._tidying.discard)
            await asyncio.wait({task}, timeout=CALL_LIMIT)

    async def accept(self, message: Message) -> None:
        """Write what ``message`` carries to the members of its group, in the order of the calls."""
        await self._has_room.wait()
        self._take(message)

    def take(self, message: Message) -> None:
        """As :meth:`accept`, but without waiting for room: where far too much waits, it is dropped."""
        group = message["group"]
        if len(self._pending) < MAX_BACKLOG:
            self._take(message)
        elif group in self._groups:
            self._arrivals.overflow(group, len(self._groups[group].members))

    def _take(self, message: Message) -> None:
        try:
            carried = EventMessage(message) if message["type"] == EVENT else Broadcast(message)
        except (KeyError, TypeError, ValueError, RecursionError):  # of another version of routesock, maybe
            logger.warning("A broadcast that cannot be read was ignored.", exc_info=True)
            return
        if carried.group not in self._groups:
            return
        self._pending.append(carried)
        if len(self._pending) >= MAX_PENDING:
            self._has_room.clear()
        if self._writer is None:
            self._writer = self._start(self._write())

    async def _write(self) -> None:
        try:
            while self._pending:
                broadcast = self._pending.popleft()
                self._has_room.set()
                entry = self._groups.get(broadcast.group)
                members = () if entry is None else entry.members
                excluded = broadcast.excluded
                for count, member in enumerate([*members], 1):
                    if member in members and (excluded is None or member.id != excluded):
                        member.deliver(broadcast)
                    if count % FAIR_SHARE == 0:
                        await asyncio.sleep(0)
        finally:
            self._writer = None

    async def _open(self) -> Membership:
        async with self._opening:
            if self._membership is None:
                self._membership = Membership(self.layer, hub_channel(self.layer, await self.layer.new_channel()))
                self._reader = self._start(self._read(self._membership))
            return self._membership

    async def _read(self, membership: Membership) -> None:
        receive = partial(self.layer.receive, membership.channel)
        while True:
            message = await membership.receive(receive)
            kind = message.get("type")
            if kind in (PUSH, EVENT):
                if self._is_new(message):
                    await self.accept(message)
            elif kind == REVOCATION:
                received(message)
            else:
                logger.warning("A channel-layer message of type %s is none of routesock's.", printable(kind))

    def _is_new(self, message: Message) -> bool:
        group = message.get("group")
        entry = self._groups.get(group) if isinstance(group, str) else None
        return entry is None or self._arrivals.is_new(entry.stay, message)

    async def _tidy(self, group: str, entry: _Group) -> None:
        """Leave ``group`` if it has no member here any more, and end with the last group."""
        async with entry.lock:
            if entry.members or self._groups.get(group) is not entry:
                return
            if entry.joined and self._membership is not None:
                with suppress(Exception):  # the membership has logged it, and goes on trying
                    async with asyncio.timeout(CALL_LIMIT):
                        await self._membership.group_discard(group, self._membership.channel)
                entry.joined = False
            if not entry.members:
                del self._groups[group]
        if not self._groups:
            await self._end()

    def _start(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        # In a context of its own: what a server's send() finds there must not be some sender's.
        return self.loop.create_task(coroutine, context=contextvars.Context())

    async def _end(self) -> None:
        self._ended(self)
        self._arrivals.end()
        membership, self._membership = self._membership, None
        reader, self._reader = self._reader, None
        if membership is not None and reader is not None:
            membership.leaving()
            reader.cancel()
            await asyncio.wait({reader})
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


async def send(layer: Any, message: Message) -> None:
    """Bring ``message`` to its group, in all processes that ``layer`` reaches.

    Raises what the layer raises, and ``TimeoutError`` when it takes longer than ``SEND_LIMIT``: the message may have
    arrived then, or not.
    """
    if reaches_other_processes(layer):
        ensure_capacity(layer)
        counter, number = losses.number(layer, message["group"])
        try:
            async with asyncio.timeout(SEND_LIMIT):
                await layer.group_send(message["group"], {**message, "from": counter, "seq": number})
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


def _begin_anew() -> None:
    global _lock
    _lock = threading.Lock()
    _hubs.clear()


if hasattr(os, "register_at_fork"):
    # Its loops are its parent's, and do not run here; nor does a thread that may have the lock.
    os.register_at_fork(after_in_child=_begin_anew)
