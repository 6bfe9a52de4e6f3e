"""One socket as a member of groups, from its first group to its end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any, Final
from uuid import uuid4

from .broadcasts import message_of
from .deliveries import Deliveries, Gate
from .dialects import Dialect
from .groups import layer_group
from .hubs import hub_of, send
from .lane import Lane
from .outgoing import Outgoing
from .room import Progress
from .tasks import Tasks

logger: Final = logging.getLogger("routesock.socket")

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
        outgoing: Outgoing,
        progress: Progress,
        tasks: Tasks,
        lane: Lane,
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

    async def subscribe(self, name: str, gate: Gate | None) -> None:
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
