"""Follows the history of one group for a hub, so that its members get each push once and in order."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, Protocol

from .. import conf
from .._store.histories import Histories, Position
from .._store.opening import StoreError
from . import losses
from .envelopes import Broadcast
from .history import broadcasts_of, store_answered, store_failed

CHECKSUMS: Final = 64
"""Pushes of which a stream keeps a checksum, to notice other data under a known offset."""


class Follower(Protocol):
    """What is notified when pushes of a group are lost for good."""

    def lost(self, top: Position) -> None:
        """Pushes of the group in front of ``top`` are missing, and the hub cannot read them."""


class Stream:
    """The position of a hub in the history of one group.

    What comes through the channel layer is a hint: it is delivered if it is the next push. A gap is read from the
    history instead. Nothing here waits but :meth:`check`.

    Args:
        group: The layer's name of the group.
        histories: Opens the histories.
        deliver: Delivers a push to the members of the group.
        check_soon: Has :meth:`check` called in a task.
    """

    __slots__ = (
        "_again", "_certain", "_check_soon", "_checking", "_checksums", "_deliver", "_early", "_group", "_histories",
        "followers", "position",
    )  # fmt: skip

    def __init__(
        self,
        group: str,
        histories: Callable[[], Awaitable[Histories]],
        deliver: Callable[[Broadcast], None],
        check_soon: Callable[[Stream], None],
    ) -> None:
        self._group = group
        self._histories = histories
        self._deliver = deliver
        self._check_soon = check_soon
        self._checking = False
        self._again = False
        self._certain = False  # another push was given a known offset
        self._checksums: dict[int, int] = {}
        self.followers: dict[Follower, None] = {}
        self._early: Position | None = None  # of the last push that came before the history was read
        self.position: Position | None = None
        """That of the last push that was delivered; ``None`` until the history was read for the first time."""

    def found(self, top: Position) -> None:
        """Note that a follower has read ``top``."""
        if self.position is None:
            early = self._early
            self.position = top if early is None or early.epoch != top.epoch else max(top, early)
        elif top.epoch != self.position.epoch or top.offset > self.position.offset:
            self._check_soon(self)

    def accept(self, broadcast: Broadcast) -> bool:
        """Whether to deliver ``broadcast``, which has come through the channel layer."""
        at, position = broadcast.position, self.position
        if at is None:
            return True
        if position is None:
            self._early = at
            return True
        if at.epoch == position.epoch:
            if at.offset == position.offset + 1:
                self._advance(broadcast)
                return True
            if at.offset <= position.offset:
                losses.count("repeated")
                if self._checksums.get(at.offset, broadcast.checksum) == broadcast.checksum:
                    return False
                self._certain = True
        self._again = True
        self._check_soon(self)
        return False

    async def check(self) -> None:
        """Read what is missing and deliver it. If it cannot be read, the followers are notified."""
        self._again = True
        if self._checking or self.position is None:
            return
        self._checking = True
        try:
            histories = await self._histories()
            while self._again:
                self._again = False
                await self._heal(histories, self.position)
        except StoreError as exc:  # the next check tries again
            store_failed(exc)
        else:
            store_answered()
        finally:
            self._checking = False

    async def _heal(self, histories: Histories, since: Position) -> None:
        read = await histories.read(self._group, since, conf.get("MAX_OUTGOING_BYTES"))
        if self._certain or (read.top.epoch == since.epoch and read.top.offset < since.offset):
            await histories.renew(self._group, since, certain=self._certain)
            self._certain = False
            read = await histories.latest(self._group, 0)
            self._lose(read.top)
            return
        missed = broadcasts_of(self._group, read)
        if missed is None:
            self._lose(read.top)
            return
        for broadcast in missed:
            position = self.position
            if position is not None and broadcast.offset == position.offset + 1:  # else it has come meanwhile
                self._advance(broadcast)
                losses.count("healed")
                self._deliver(broadcast)

    def _advance(self, broadcast: Broadcast) -> None:
        self.position = broadcast.position
        self._checksums[broadcast.offset] = broadcast.checksum
        self._checksums.pop(broadcast.offset - CHECKSUMS, None)

    def _lose(self, top: Position) -> None:
        self.position = top
        self._checksums.clear()
        for follower in [*self.followers]:
            follower.lost(top)
