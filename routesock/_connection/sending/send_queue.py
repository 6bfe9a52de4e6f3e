"""Frames of one socket on their way to the server: one after the other, and a bounded number of those that wait."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from enum import Enum
from typing import Any, Final, Protocol

from ... import conf
from ..._wire.codec import size_of
from ..queue.jobs import Progress

logger: Final = logging.getLogger("routesock.socket")

Send = Callable[[dict[str, Any]], Awaitable[None]]


class FrameKind(Enum):
    """What becomes of a frame where too many wait."""

    ANSWER = "the reply to the request whose turn it is: waits, and the reading with it"
    REPLY = "waits: somebody asked for it, and how many ask is bounded"
    OWN = "the consumer's own: counts, and is never dropped while the socket lives"
    PUSH = "counts, and may be dropped"
    CONTROL = "what opens or closes the socket, and the notice of a close: waits"


# Looking a member up costs more than the comparison, for each message.
ANSWER: Final = FrameKind.ANSWER

REPLY: Final = FrameKind.REPLY

PUSH: Final = FrameKind.PUSH

CONTROL: Final = FrameKind.CONTROL

_OURS: Final = (ANSWER, REPLY, PUSH)

_COUNTED: Final = (FrameKind.OWN, FrameKind.PUSH)


class SendQueueOwner(Protocol):
    """Whose frames these are."""

    def overflow(self) -> None:
        """Too many wait."""

    def dropped(self, number: int) -> None:
        """So many pushes were dropped in a burst that is over."""


class _Waiting:
    __slots__ = ("kind", "size", "turn")

    def __init__(self, turn: asyncio.Future[bool], kind: FrameKind, size: int) -> None:
        self.turn = turn  # True: send it; False: it was dropped
        self.kind = kind
        self.size = size


class SendQueue:
    """Hands frames to the server's ``send``, which waits while the client does not read: one at a time, in order.

    So the frames that wait do so here, where they can be counted. When those that nobody asked for come to more than
    ``MAX_OUTGOING`` frames or ``MAX_OUTGOING_BYTES`` bytes, the oldest push is dropped if ``drops`` says so; where that
    is not wanted or does not help, ``owner.overflow()`` is called, once, and has to end the socket.
    """

    __slots__ = (
        "_bytes", "_dropped", "_drops", "_frames", "_max_bytes", "_max_frames", "_overflown", "_owner", "_progress",
        "_send", "_waiting",
    )  # fmt: skip

    def __init__(self, send: Send, progress: Progress, drops: bool, owner: SendQueueOwner) -> None:
        self._send = send
        self._progress = progress
        self._drops = drops
        self._owner = owner
        self._overflown = False
        self._max_frames: int = conf.get("MAX_OUTGOING")
        self._max_bytes: int = conf.get("MAX_OUTGOING_BYTES")
        self._frames = 0
        self._bytes = 0
        self._dropped = 0
        self._waiting: deque[_Waiting] | None = None  # most sockets never need one

    async def write(self, message: dict[str, Any], kind: FrameKind) -> None:
        """Send ``message`` when the frames in front of it are sent; with what the server's ``send`` raises.

        Returns without having sent a frame that was dropped, or one of ours when a close has begun.
        """
        progress = self._progress
        if progress.closing and kind in _OURS:
            return
        # Who waits here in the task of the job whose turn it is holds the reading; what other tasks send holds nothing.
        holds = kind is ANSWER or (kind is not REPLY and progress.task is asyncio.current_task())
        if holds:
            progress.in_send = True
        try:
            if progress.sending and not await self._turn(message, kind):
                return
            progress.sending = True
            try:
                await self._send(message)
            finally:
                if self._waiting or self._dropped:
                    self._next()
                else:
                    progress.sending = False
        finally:
            if holds:
                progress.in_send = False

    def may_drop(self) -> bool:
        """Too many pushes wait in front of this for the client: whether the oldest is to be dropped, since the socket
        is not to end.
        """
        if not self._drops:
            self._overflow()
        return self._drops

    def close(self) -> None:
        """Drop what waits: the socket has ended."""
        while self._waiting:
            self._leave_out(self._waiting[0])

    async def _turn(self, message: dict[str, Any], kind: FrameKind) -> bool:
        size = size_of(message.get("text") or message.get("bytes"))
        if kind in _COUNTED and not self._has_room(size, kind):
            return False
        waiting = _Waiting(asyncio.get_running_loop().create_future(), kind, size)
        if self._waiting is None:
            self._waiting = deque()
        self._waiting.append(waiting)
        self._count(waiting, 1)
        try:
            return await waiting.turn
        except asyncio.CancelledError:
            if waiting in self._waiting:
                self._remove(waiting)
            elif not waiting.turn.cancelled() and waiting.turn.result():
                self._next()
            raise

    def _next(self) -> None:
        while self._waiting:
            waiting = self._waiting[0]
            self._remove(waiting)
            if not waiting.turn.done():
                waiting.turn.set_result(True)
                return
        self._progress.sending = False
        if self._dropped:
            logger.warning("%s pushes to a client that reads too slowly were dropped.", self._dropped)
            number, self._dropped = self._dropped, 0
            self._owner.dropped(number)

    def _has_room(self, size: int, kind: FrameKind) -> bool:
        while self._frames >= self._max_frames or (self._frames and self._bytes + size > self._max_bytes):
            oldest = self._oldest_push() if self._drops else None
            if oldest is not None:
                self._dropped += 1
                self._leave_out(oldest)
            elif self._drops and kind is PUSH:
                self._dropped += 1
                return False
            else:
                self._overflow()
                return False
        return True

    def _overflow(self) -> None:
        if not self._overflown:
            self._overflown = True
            self._owner.overflow()

    def _oldest_push(self) -> _Waiting | None:
        return next((waiting for waiting in self._waiting or () if waiting.kind is PUSH), None)

    def _leave_out(self, waiting: _Waiting) -> None:
        self._remove(waiting)
        if not waiting.turn.done():
            waiting.turn.set_result(False)

    def _remove(self, waiting: _Waiting) -> None:
        assert self._waiting is not None
        self._waiting.remove(waiting)
        self._count(waiting, -1)

    def _count(self, waiting: _Waiting, sign: int) -> None:
        if waiting.kind in _COUNTED:
            self._frames += sign
            self._bytes += sign * waiting.size
