"""Queues the frames of one socket for the server: one is sent at a time, and the number that waits is bounded."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from enum import Enum
from typing import Any, Final

from ... import conf
from ..._runtime.closing import means_gone
from ..._runtime.instrumentation import pushes_were
from ..._runtime.supervision import safe_logger
from ..._wire.codec import size_of
from ..state import SocketState

logger: Final = safe_logger("routesock.socket")

Send = Callable[[dict[str, Any]], Awaitable[None]]

Start = Callable[[Coroutine[Any, Any, None]], None]


class FrameKind(Enum):
    """What happens to a frame when too many wait."""

    ANSWER = "the reply to the current request: waits, and the socket is not read meanwhile"
    REPLY = "waits: a client asked for it, and the number of requests is bounded"
    OWN = "the consumer's own: counts, and is never dropped while the socket is open"
    PUSH = "counts, and may be dropped"
    KEPT_PUSH = "a push that the client would miss: counts, and is never dropped while the socket is open"
    SYNC_PUSH = "a push of sync code, which is posted"
    CONTROL = "accept, close and the CLOSE notice: waits"


# A module's name is found faster than a member of an enum, and these are needed for each message.
ANSWER: Final = FrameKind.ANSWER

REPLY: Final = FrameKind.REPLY

PUSH: Final = FrameKind.PUSH

KEPT_PUSH: Final = FrameKind.KEPT_PUSH

SYNC_PUSH: Final = FrameKind.SYNC_PUSH

CONTROL: Final = FrameKind.CONTROL

_NOT_SENT_WHEN_CLOSING: Final = (ANSWER, REPLY, PUSH, KEPT_PUSH)

_COUNTED: Final = (FrameKind.OWN, FrameKind.PUSH, FrameKind.KEPT_PUSH)


POSTED_OVERHEAD: Final = 256
"""Bytes that a frame which nothing waits for counts for beside its text, so that small ones are bounded, too."""


class _Waiting:
    __slots__ = ("frames", "kind", "may_send", "message", "size")

    def __init__(
        self,
        kind: FrameKind,
        size: int,
        *,
        may_send: asyncio.Future[bool] | None = None,
        message: dict[str, Any] | None = None,
    ) -> None:
        self.kind = kind
        self.size = size
        self.frames = 1 if message is None else 0  # what was posted is bounded in bytes alone
        self.may_send = may_send  # False: it was dropped. None for one that was posted
        self.message = message  # of one that was posted


class SendQueue:
    """Passes frames to the server's ``send``, which waits while the client does not read: one at a time, in order.

    So the frames that wait do so here, where they can be counted. When unsolicited frames come to more than
    ``MAX_OUTGOING`` frames or ``MAX_OUTGOING_BYTES`` bytes, the oldest push is dropped if ``drops`` is set. If it is
    not, or if that does not help, ``overflow`` is called, once, and has to close the socket. ``report_dropped`` is
    called with the number of pushes that were dropped since the queue was last empty.

    ``start`` starts a task of the socket. ``start_now`` does so too, but runs its first steps at once.
    """

    __slots__ = (
        "_bytes", "_dropped", "_drops", "_frames", "_max_bytes", "_max_frames", "_overflow", "_overflown",
        "_report_dropped", "_send", "_start", "_start_now", "_state", "_waiting",
    )  # fmt: skip

    def __init__(
        self,
        send: Send,
        state: SocketState,
        *,
        drops: bool,
        overflow: Callable[[], None],
        report_dropped: Callable[[int], None],
        start: Start,
        start_now: Start,
    ) -> None:
        self._send = send
        self._start = start
        self._start_now = start_now
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

    @property
    def waiting_bytes(self) -> int:
        """The bytes of unsolicited frames that wait for the client. May be read in any thread."""
        return self._bytes

    async def write(
        self, message: dict[str, Any], kind: FrameKind, failed: Callable[[Exception], None] | None = None
    ) -> None:
        """Send ``message`` when the frames in front of it are sent.

        What the server's ``send`` raises is raised here, or passed to ``failed``. Returns without sending a frame that
        was dropped, and one of routesock's when a close has begun.
        """
        state = self._state
        # The socket is not read while the current job waits here. What other tasks send does not hold up the reader.
        if kind is ANSWER:
            holds = True
        elif kind is SYNC_PUSH:
            self.post(message, PUSH, failed)
            return
        else:
            holds = kind is not REPLY and state.current_task is asyncio.current_task()
        if state.is_closing and kind in _NOT_SENT_WHEN_CLOSING:
            return
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

    async def write_all(
        self, messages: Iterator[dict[str, Any]], kind: FrameKind, failed: Callable[[Exception], None]
    ) -> None:
        """As :meth:`write` for each of ``messages``. The next one is made when the server has taken the last."""
        state, send, task = self._state, self._send, asyncio.current_task()
        for message in messages:
            if state.sending or state.is_closing or state.current_task is task:
                await self.write(message, kind, failed)
                continue
            # This is the rest of write(), without a coroutine for each frame.
            state.sending = True
            try:
                await send(message)
            except Exception as exc:
                failed(exc)
            finally:
                if self._waiting or self._dropped:
                    self._let_next()
                else:
                    state.sending = False

    def post(self, message: dict[str, Any], kind: FrameKind, failed: Callable[[Exception], None] | None = None) -> None:
        """As :meth:`write`, but never wait: for sync code, whose thread does the database work of other sockets, too.

        A frame that waits is bounded in bytes alone, as a handler may send many small ones. What the server's ``send``
        raises at once is raised here or passed to ``failed``. What it raises later is logged.
        """
        state = self._state
        if not state.sending:
            self._start_now(self._send_now(message, kind, failed))
            return
        if state.is_closing and kind in _NOT_SENT_WHEN_CLOSING:
            return
        size = size_of(message.get("text") or message.get("bytes")) + POSTED_OVERHEAD
        if kind in _COUNTED and not self._make_space(size, kind, frames=0):
            return
        self._append(_Waiting(kind, size, message=message))

    async def _send_now(
        self, message: dict[str, Any], kind: FrameKind, failed: Callable[[Exception], None] | None
    ) -> None:
        caller = asyncio.current_task()  # a placeholder until the server's send waits, and the caller goes on
        try:
            await self.write(message, kind)
        except Exception as exc:
            if asyncio.current_task() is not caller:
                _log_not_sent(exc)
            elif failed is None:
                raise
            else:
                failed(exc)

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
        if kind in _COUNTED and not self._make_space(size, kind, frames=1):
            return False
        may_send: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        waiting = _Waiting(kind, size, may_send=may_send)
        queue = self._append(waiting)
        try:
            return await may_send
        except asyncio.CancelledError:
            if waiting in queue:
                self._remove(waiting)
            elif not may_send.cancelled() and may_send.result():
                self._let_next()
            raise

    def _append(self, waiting: _Waiting) -> deque[_Waiting]:
        if self._waiting is None:
            self._waiting = deque()
        self._waiting.append(waiting)
        self._count(waiting, 1)
        return self._waiting

    def _let_next(self) -> None:
        message = self._next_posted()
        if message is not None:
            self._start(self._send_posted(message))

    async def _send_posted(self, message: dict[str, Any] | None) -> None:
        """Send ``message``, and what was posted behind it, up to a frame that a task waits with."""
        while message is not None:
            try:
                await self._send(message)
            except Exception as exc:
                _log_not_sent(exc)
            except BaseException:
                self._let_next()
                raise
            message = self._next_posted()

    def _next_posted(self) -> dict[str, Any] | None:
        """Let the next frame be sent: return it if it was posted, else wake the task that waits with it."""
        while self._waiting:
            waiting = self._waiting[0]
            self._remove(waiting)
            if waiting.may_send is None:
                return waiting.message
            if not waiting.may_send.done():
                waiting.may_send.set_result(True)
                return None
        self._state.sending = False
        if self._dropped:
            logger.warning("%s dropped, since the client reads too slowly.", pushes_were(self._dropped))
            number, self._dropped = self._dropped, 0
            self._report_dropped(number)
        return None

    def _make_space(self, size: int, kind: FrameKind, *, frames: int) -> bool:
        # One alone may be of any size.
        while (frames and self._frames >= self._max_frames) or (self._bytes and self._bytes + size > self._max_bytes):
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
        if waiting.may_send is not None and not waiting.may_send.done():
            waiting.may_send.set_result(False)

    def _remove(self, waiting: _Waiting) -> None:
        assert self._waiting is not None
        self._waiting.remove(waiting)
        self._count(waiting, -1)

    def _count(self, waiting: _Waiting, sign: int) -> None:
        if waiting.kind in _COUNTED:
            self._frames += sign * waiting.frames
            self._bytes += sign * waiting.size


def _log_not_sent(exc: Exception) -> None:
    level = logging.DEBUG if means_gone(exc) else logging.WARNING
    logger.log(level, "A frame could not be sent.", exc_info=exc)
