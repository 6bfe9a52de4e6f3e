"""Resumes one topic of one socket: what the client has missed, then what comes, each push once and in order."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from enum import Enum
from typing import TYPE_CHECKING, Any, Final

from ... import conf
from ..._groups.envelopes import Broadcast, layer_group
from ..._groups.history import broadcasts_of, policy_of, store_answered, store_failed
from ..._runtime import counters
from ..._store.histories import Position, Read, open_histories
from ..._store.opening import StoreError
from ..._wire.messages import Reply, Request
from ...dialects.base import POSITION_HEADER, RECOVERED_HEADER
from ...exceptions import HistoryLost

if TYPE_CHECKING:
    from ..._groups.hub import Hub
    from .subscriptions import Subscription

MAX_WAITING: Final = 64
"""Pushes that wait in memory until those before them are written. Further ones are read from the history."""

RETRY: Final = 1.0
"""Seconds until the history is read again after the store has failed."""

MAX_RETRY_AFTER: Final = 5.0
"""Seconds within which the clients of a topic whose history is lost come back, each at another time."""


class Stage(Enum):
    """What a follower does with a push."""

    WAITING = "nothing yet: the reply to SUBSCRIBE comes first"
    UNKNOWN = "writes it without a position, since the store did not say where it is, until it does"
    FOLLOWING = "writes it if it is the next one"
    ENDED = "nothing any longer"


def follower_of(subscription: Subscription) -> Follower | None:
    """Return a follower for ``subscription``; ``None`` if its group has no history."""
    return None if policy_of(subscription.name) is None else Follower(subscription)


class Follower:
    """Writes the pushes of a subscription behind a position.

    The pushes come from the hub, or, where the hub was not in time or too many wait, from the history.
    """

    __slots__ = (
        "_early", "_group", "_hub", "_is_lost", "_known", "_member", "_newest", "_offset", "_position", "_recovered",
        "_stage", "_subscription", "_task", "_waiting",
    )  # fmt: skip

    def __init__(self, subscription: Subscription) -> None:
        self._subscription = subscription
        self._member = subscription.subscriptions.member
        self._group = layer_group(subscription.name)
        self._hub: Hub | None = None
        self._stage = Stage.WAITING
        self._early: Position | None = None  # of the last push that came before the history was read
        self._position: Position | None = None  # that the reply names
        self._recovered: bool | None = None
        self._known: list[Broadcast] = []  # pushes behind it that have been read already
        self._offset = 0  # of the last push that was written
        self._newest = 0  # the largest offset that has come
        self._waiting: deque[Broadcast] = deque()
        self._task: asyncio.Task[None] | None = None
        self._is_lost = False

    # Called by the subscription

    async def begin(self, request: Request) -> Reply | None:
        """Join the group and read where it is. Returns the reply if the client can go on where it was."""
        await self._member.subscribe(self._subscription.name, self)
        self._hub = hub = self._member.hub()
        if not hub.follow(self._group, self):  # the socket has ended meanwhile
            return None
        since: Position | None = getattr(request, "_since", None)
        try:
            read = await self._first_read(since)
        except StoreError as exc:
            store_failed(exc)
            if self._stage is Stage.WAITING:
                self._stage = Stage.UNKNOWN
                hub.unfollow(self._group, self)
            self._recovered = None if since is None else False
            return None
        store_answered()
        if self._stage is not Stage.WAITING:  # it has ended meanwhile
            return None
        hub.found(self._group, read.top)
        self._position = read.top
        if self._early is not None and self._early.epoch == read.top.epoch:
            self._newest = self._early.offset
        missed = broadcasts_of(self._group, read)
        if since is not None:
            self._recovered = missed is not None and since.epoch == read.top.epoch
            counters.count_recovery("recovered" if self._recovered else "not_recovered")
            if self._recovered:
                self._position = since
        if self._subscription.plan.recover == "last" and not self._recovered:
            missed = broadcasts_of(self._group, await self._last(read))
        self._known = missed or []
        self._offset = self._position.offset
        if not self._recovered:
            return None
        limits: Mapping[str, Any] | None = getattr(request, "_rate_limits", None)
        return Reply(None, 204, limits)

    def headers(self) -> Mapping[str, Any]:
        """Return the headers of the reply."""
        found: dict[str, Any] = {} if self._position is None else {POSITION_HEADER: str(self._position)}
        if self._recovered is not None:
            found[RECOVERED_HEADER] = self._recovered
        return found

    def start(self) -> None:
        """Write what the client has missed, since it has the reply."""
        if self._stage is Stage.UNKNOWN:
            self._task = self._subscription.subscriptions.tasks.start_task(self._wait_for_store())
            return
        if self._stage is not Stage.WAITING:
            return
        self._stage = Stage.FOLLOWING
        if self._is_lost:
            self._end_subscription()
        else:
            self._waiting.extendleft(reversed(self._known))
            self._known = []
            self._go_on()

    def stop(self) -> None:
        """Write nothing more, since the subscription has ended."""
        self._stage = Stage.ENDED
        self._waiting.clear()
        self._known = []
        if self._hub is not None:
            self._hub.unfollow(self._group, self)

    # Called by the hub

    def take(self, broadcast: Broadcast) -> None:
        if self._stage is Stage.ENDED:
            return
        if self._stage is Stage.UNKNOWN or broadcast.position is None:
            recheck = self._subscription.recheck
            self._member.write(broadcast) if recheck is None else recheck.take(broadcast)
            return
        offset = broadcast.offset
        if self._position is None:
            self._early = broadcast.position
            return
        if broadcast.position.epoch != self._position.epoch or offset <= self._newest:
            return
        self._newest = offset
        if self._stage is Stage.WAITING or offset <= self._offset:
            return
        if self._task is None and offset == self._offset + 1 and self._writes_at_once:
            self._offset = offset
            self._member.write_kept(broadcast)
            return
        if len(self._waiting) < MAX_WAITING:
            self._waiting.append(broadcast)
        self._go_on()

    def skip(self, broadcast: Broadcast) -> None:
        if self._stage is Stage.FOLLOWING and self._task is None and broadcast.offset == self._offset + 1:
            self._offset = self._newest = broadcast.offset

    def lost(self, top: Position) -> None:
        if self._position is not None and self._position.epoch == top.epoch:  # then the hub has missed more than this
            self._newest = max(self._newest, top.offset)
            if self._stage is Stage.FOLLOWING:
                self._go_on()
        else:
            self._lose()

    def _lose(self) -> None:
        self._is_lost = True
        if self._stage is Stage.FOLLOWING:
            self._end_subscription()

    @property
    def _writes_at_once(self) -> bool:
        return self._subscription.recheck is None and self._member.writes_plainly

    def _end_subscription(self) -> None:
        if self._subscription.ending is None and self._stage is not Stage.ENDED:
            self.stop()
            error = HistoryLost(wait=random.uniform(0, MAX_RETRY_AFTER))
            subscriptions = self._subscription.subscriptions
            subscriptions.tasks.start(subscriptions.deny(self._subscription, error))

    # Its task

    def _go_on(self) -> None:
        if self._task is None and (self._waiting or self._newest > self._offset):
            self._task = self._subscription.subscriptions.tasks.start_task(self._work())

    async def _work(self) -> None:
        try:
            while self._stage is Stage.FOLLOWING and (self._waiting or self._newest > self._offset):
                if self._waiting:
                    batch = [*self._waiting]
                    self._waiting.clear()
                else:
                    batch = await self._missing()
                await self._write(batch)
        finally:
            self._task = None

    async def _wait_for_store(self) -> None:
        """End the subscription when the store answers: what was missed is unknown until then."""
        while self._stage is Stage.UNKNOWN:
            await asyncio.sleep(RETRY * random.uniform(1, 2))
            try:
                await self._first_read(None)
            except StoreError as exc:
                store_failed(exc)
            else:
                store_answered()
                self._end_subscription()

    async def _write(self, batch: list[Broadcast]) -> None:
        if not any(broadcast.offset > self._offset for broadcast in batch):
            return
        recheck = self._subscription.recheck
        if recheck is not None and not await recheck.allows():
            self._lose()  # unless the client was denied it, when the subscription has ended already
            return
        await self._member.write_in_turn(self._in_order(batch))

    def _in_order(self, batch: Iterable[Broadcast]) -> Iterator[Broadcast]:
        """Yield the pushes of ``batch`` that are to be written, as long as the subscription goes on."""
        for broadcast in batch:
            if self._stage is not Stage.FOLLOWING:
                return
            if broadcast.offset == self._offset + 1:
                self._offset = broadcast.offset
                if broadcast.excluded is None or broadcast.excluded != self._member.id:
                    yield broadcast
            # Else one in front of it was not kept in memory, and is read from the history.

    async def _missing(self) -> list[Broadcast]:
        """Read the pushes behind the last one. If they are gone, the subscription ends."""
        assert self._position is not None
        since = Position(self._position.epoch, self._offset)
        try:
            read = await self._read_since(since)
        except StoreError as exc:
            store_failed(exc)
            await asyncio.sleep(RETRY)
            return []
        store_answered()
        missed = broadcasts_of(self._group, read)
        if missed is None or read.top.offset < self._newest:  # the history was set back
            self._lose()
            return []
        self._newest = max(self._newest, read.top.offset)
        return missed

    async def _first_read(self, since: Position | None) -> Read:
        if since is not None:
            return await self._read_since(since)
        histories = await open_histories()
        return await histories.latest(self._group, 0)

    async def _last(self, read: Read) -> Read:
        """Return the last push, so that it follows the reply, and let the position be in front of it."""
        histories = await open_histories()
        try:
            read = await histories.latest(self._group, 1)
        except StoreError as exc:  # then without it
            store_failed(exc)
            return Read(read.top, ())
        last = read.entries[-1].offset if read.entries else read.top.offset + 1
        self._position = Position(read.top.epoch, last - 1)
        return read

    async def _read_since(self, since: Position) -> Read:
        histories = await open_histories()
        return await histories.read(self._group, since, conf.get("MAX_OUTGOING_BYTES"))
