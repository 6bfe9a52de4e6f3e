"""Queues the frames of one socket for the server: one is sent at a time, and the number that waits is bounded."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from enum import Enum
from typing import Any, Final

from ... import conf
from ..._runtime.supervision import safe_logger
from ..._wire.codec import size_of
from ..state import SocketState

logger: Final = safe_logger("routesock.socket")

Send = Callable[[dict[str, Any]], Awaitable[None]]


class FrameKind(Enum):
    """What happens to a frame when too many wait."""

    ANSWER = "the reply to the current request: waits, and the socket is not read meanwhile"
    REPLY = "waits: a client asked for it, and the number of requests is bounded"
    OWN = "the consumer's own: counts, and is never dropped while the socket is open"
    PUSH = "counts, and may be dropped"
    CONTROL = "accept, close and the CLOSE notice: waits"


# A module's name is found faster than a member of an enum, and these are needed for each message.
ANSWER: Final = FrameKind.ANSWER

REPLY: Final = FrameKind.REPLY

PUSH: Final = FrameKind.PUSH

CONTROL: Final = FrameKind.CONTROL

_NOT_SENT_WHEN_CLOSING: Final = (ANSWER, REPLY, PUSH)

_COUNTED: Final = (FrameKind.OWN, FrameKind.PUSH)


class _Waiting:
    __slots__ = ("kind", "may_send", "size")

    def __init__(self, may_send: asyncio.Future[bool], kind: FrameKind, size: int) -> None:
        self.may_send = may_send  # False: it was dropped
        self.kind = kind
        self.size = size


class SendQueue:
    """Passes frames to the server's ``send``, which waits while the client does not read: one at a time, in order.

    So the frames that wait do so here, where they can be counted. When unsolicited frames come to more than
    ``MAX_OUTGOING`` frames or ``MAX_OUTGOING_BYTES`` bytes, the oldest push is dropped if ``drops`` is set. If it is
    not, or if that does not help, ``overflow`` is called, once, and has to close the socket. ``report_dropped`` is
    called with the number of pushes that were dropped since the queue was last empty.
    """

    __slots__ = (
        "_bytes", "_dropped", "_drops", "_frames", "_max_bytes", "_max_frames", "_overflow", "_overflown",
        "_report_dropped", "_send", "_state", "_waiting",
    )  # fmt: skip

    def __init__(
        self,
        send: Send,
        state: SocketState,
        *,
        drops: bool,
        overflow: Callable[[], None],
        report_dropped: Callable[[int], None],
    ) -> None:
        self._send = send
        self._state = state
        self._drops = drops
        self._overflow = overflow
        self._report_dropped = report_dropped
        self._overflown = False
        self._max_frames: int = conf.get("MAX_OUTGOING")
        self._max_bytes: int = conf.get("MAX_OUTGOING_BYTES")
        self._frames = 0
        self._bytes = 0
        self._dropped = 0
        self._waiting: deque[_Waiting] | None = None  # most sockets never need one

    async def write(
        self, message: dict[str, Any], kind: FrameKind, failed: Callable[[Exception], None] | None = None
    ) -> None:
        """Send ``message`` when the frames in front of it are sent.

        What the server's ``send`` raises is raised here, or passed to ``failed``. Returns without sending a frame that
        was dropped, and one of routesock's when a close has begun.
        """
        state = self._state
        if state.is_closing and kind in _NOT_SENT_WHEN_CLOSING:
            return
        # The socket is not read while the current job waits here. What other tasks send does not hold up the reader.
        holds = kind is ANSWER or (kind is not REPLY and state.current_task is asyncio.current_task())
        if holds:
            state.in_send = True
        try:
            if state.sending and not await self._wait_in_queue(message, kind):
                return
            state.sending = True
            try:
                await self._send(message)
            except Exception as exc:
                if failed is None:
                    raise
                failed(exc)
            finally:
                if self._waiting or self._dropped:
                    self._let_next()
                else:
                    state.sending = False
        finally:
            if holds:
                state.in_send = False

    def may_drop_push(self) -> bool:
        """Whether to drop the oldest of too many pushes that wait elsewhere. If not, the queue overflows."""
        if not self._drops:
            self._overflow_once()
        return self._drops

    def drop_all(self) -> None:
        """Drop what waits, since the client is gone."""
        while self._waiting:
            self._drop(self._waiting[0])

    async def _wait_in_queue(self, message: dict[str, Any], kind: FrameKind) -> bool:
        size = size_of(message.get("text") or message.get("bytes"))
        if kind in _COUNTED and not self._make_space(size, kind):
            return False
        waiting = _Waiting(asyncio.get_running_loop().create_future(), kind, size)
        if self._waiting is None:
            self._waiting = deque()
        self._waiting.append(waiting)
        self._count(waiting, 1)
        try:
            return await waiting.may_send
        except asyncio.CancelledError:
            if waiting in self._waiting:
                self._remove(waiting)
            elif not waiting.may_send.cancelled() and waiting.may_send.result():
                self._let_next()
            raise

    def _let_next(self) -> None:
        while self._waiting:
            waiting = self._waiting[0]
            self._remove(waiting)
            if not waiting.may_send.done():
                waiting.may_send.set_result(True)
                return
        self._state.sending = False
        if self._dropped:
            logger.warning("%s pushes to a client that reads too slowly were dropped.", self._dropped)
            number, self._dropped = self._dropped, 0
            self._report_dropped(number)

    def _make_space(self, size: int, kind: FrameKind) -> bool:
        while self._frames >= self._max_frames or (self._frames and self._bytes + size > self._max_bytes):
            oldest = self._oldest_push() if self._drops else None
            if oldest is not None:
                self._dropped += 1
                self._drop(oldest)
            elif self._drops and kind is PUSH:
                self._dropped += 1
                return False
            else:
                self._overflow_once()
                return False
        return True

    def _overflow_once(self) -> None:
        if not self._overflown:
            self._overflown = True
            self._overflow()

    def _oldest_push(self) -> _Waiting | None:
        return next((waiting for waiting in self._waiting or () if waiting.kind is PUSH), None)

    def _drop(self, waiting: _Waiting) -> None:
        self._remove(waiting)
        if not waiting.may_send.done():
            waiting.may_send.set_result(False)

    def _remove(self, waiting: _Waiting) -> None:
        assert self._waiting is not None
        self._waiting.remove(waiting)
        self._count(waiting, -1)

    def _count(self, waiting: _Waiting, sign: int) -> None:
        if waiting.kind in _COUNTED:
            self._frames += sign
            self._bytes += sign * waiting.size
