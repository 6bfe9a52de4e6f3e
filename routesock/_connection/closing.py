"""The end of a socket that we begin: what the client is told, and that nothing follows."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Final

from .. import conf
from .._groups import losses
from .._pipeline.compiler import ConsumerPlan
from ..auth.refusals import can_respond, respond
from ..exceptions import NotAuthenticated, Unavailable
from ..status import PRIVATE_RESTART, RESTART, RESTART_REASON, Ending
from ..typing import UNSET
from .dispatch import Responder
from .liveness import Liveness
from .queue.jobs import Progress
from .readers import ClientReader, LayerReader, Receive
from .sending.frame_writer import means_gone
from .sending.send_queue import FrameKind, SendQueue
from .tasks import Tasks

logger: Final = logging.getLogger("routesock.socket")

CLOSE_WAIT: Final = 1.0
"""Seconds that a notice of ours has to get past a client that does not read, and a close frame as many again."""


class Closing:
    """The half of a :class:`~.connection.Connection` that closes it, and that sees all of what goes out."""

    __slots__ = (
        "__weakref__", "_consumer", "_ended", "_gone", "_layer", "_liveness", "_outbox", "_progress", "_reader",
        "_receive", "_responder", "_send", "_tasks", "grace",
    )  # fmt: skip
    _responder: Responder
    _reader: ClientReader
    _layer: LayerReader | None
    _liveness: Liveness | None

    def __init__(
        self,
        consumer: Any,
        compiled: ConsumerPlan,
        receive: Receive,
        send: Callable[[Any], Awaitable[None]],
        context: contextvars.Context,
    ) -> None:
        self._consumer = consumer
        self._receive = receive
        self._send = send
        self.grace: float = conf.get("DISCONNECT_GRACE") if compiled.grace is UNSET else compiled.grace
        self._gone = False
        self._ended: asyncio.Future[dict[str, Any] | None] = asyncio.get_running_loop().create_future()
        self._tasks = Tasks(context, self._end)
        overflow = conf.get("OVERFLOW") if compiled.overflow is UNSET else compiled.overflow
        self._progress = Progress()
        self._outbox = SendQueue(send, self._progress, overflow == "drop", self)

    async def send(self, message: dict[str, Any]) -> None:
        """The consumer's ``base_send``: passes everything on, and sees when a close begins.

        Once the client has left, nothing is sent and nothing raised: servers differ in what they do then, and a handler
        that saves, acknowledges and tells others must get to the end.
        """
        if self._gone:
            return
        kind = FrameKind.OWN
        if message["type"] != "websocket.send":
            kind = FrameKind.CONTROL
            self._responder.lane.opening = False
            if message["type"] == "websocket.close":
                self._close()
            elif self._liveness is not None:
                self._liveness.accepted(asyncio.get_running_loop().time())
        try:
            await self._outbox.write(message, kind)
            if message["type"] == "websocket.accept":
                self._responder.life.accepted()
        except Exception as exc:
            if not means_gone(exc):
                raise
            logger.debug("A frame could not be sent.", exc_info=True)

    async def turn_away(self, ending: Ending) -> None:
        """In place of :meth:`serve`: accept the socket, since a browser cannot tell why it is refused, and close it."""
        logger.info("A socket is closed with %d: %s", ending.code, ending.reason)
        offered = self._consumer.scope.get("subprotocols")
        try:
            await self._receive()
            # Browsers take no connection with none of the subprotocols that they offer.
            await self.send({"type": "websocket.accept", "subprotocol": offered[0] if offered else None})
            await self.close(ending.code, ending.reason, reconnect=ending.reconnect, retry_after=ending.retry_after)
        finally:
            self._close()

    async def reject(self, code: int, reason: str, *, reconnect: bool, retry_after: float | None = None) -> None:
        """As :meth:`close`, but a socket that is not accepted yet is, first."""
        if self._responder.lane.opening and not self._progress.closing:
            offered = self._consumer.scope.get("subprotocols")
            await self.send({"type": "websocket.accept", "subprotocol": offered[0] if offered else None})
        await self.close(code, reason, reconnect=reconnect, retry_after=retry_after)

    async def close(self, code: int, reason: str, *, reconnect: bool, retry_after: float | None = None) -> None:
        """End the socket: a CLOSE notice, the close itself, then all that follows a client's leaving.

        ``reconnect`` tells the client whether to come back, ``retry_after`` in how many seconds. Does nothing on a
        socket that is being closed, raises nothing, and does not wait for a client that does not read.
        """
        if self._progress.closing:
            return
        self._close()
        reason = fitted(reason)
        notice: dict[str, Any] = {"code": code, "reason": reason, "reconnect": reconnect}
        if retry_after is not None:
            notice["retry_after"] = retry_after
        try:
            if not self._responder.lane.opening:
                await _within(CLOSE_WAIT, self._responder.replies.close_notice(notice))
            await _within(CLOSE_WAIT, self._send_close(code, reason, retry_after))
        except Exception:
            logger.debug("A socket could not be closed.", exc_info=True)
        finally:
            self._end({"type": "websocket.disconnect", "code": code, "reason": reason})

    async def _send_close(self, code: int, reason: str, retry_after: float | None) -> None:
        if self._responder.lane.opening and 4300 <= code <= 4599 and can_respond(self._consumer.scope):
            await respond(self._send, code - 4000, reason, retry_after)
            return
        try:
            await self._send({"type": "websocket.close", "code": code, "reason": reason})
        except Exception as exc:
            if means_gone(exc) or code >= 3000:
                raise
            await self._send({"type": "websocket.close", "code": PRIVATE_RESTART, "reason": reason})

    def end(self, ending: Ending) -> None:
        logger.info("A socket is closed with %d: %s", ending.code, ending.reason)
        self._tasks.start(self.close(ending.code, ending.reason, reconnect=ending.reconnect))

    def drain(self, retry_after: float) -> None:
        """Begin to end, since the process does: what runs has its grace, then the client is told when to come back."""
        if not self._progress.closing:
            self._tasks.start(self._drain(retry_after))

    async def _drain(self, retry_after: float) -> None:
        error = Unavailable(RESTART_REASON, wait=retry_after)
        await self._tasks.wait([self._tasks.start_apart(self._responder.drain(error))], self.grace)
        await _within(CLOSE_WAIT, self._responder.revoke_all(error))
        await self.close(RESTART, RESTART_REASON, reconnect=True, retry_after=retry_after)

    def sign_out(self, ending: Ending) -> None:
        if self._progress.closing:  # what still runs has its grace, as if the client had only left
            return
        logger.info("A socket is closed with %d: %s", ending.code, ending.reason)
        self._tasks.start(self._sign_out(ending))

    async def _sign_out(self, ending: Ending) -> None:
        await _within(CLOSE_WAIT, self._responder.expel(NotAuthenticated(ending.reason)))
        await self.close(ending.code, ending.reason, reconnect=ending.reconnect)

    def hurry(self) -> None:
        """Cut the grace short."""
        self._tasks.hurry()

    # What its outbox asks

    def overflow(self) -> None:
        """End a socket whose client does not read."""
        logger.warning("A client does not read what is sent to it: its socket is closed (1013).")
        self._tasks.start(self.close(1013, "too slow", reconnect=True))

    def dropped(self, number: int) -> None:
        """Count pushes that the client was too slow for."""
        losses.dropped(type(self._consumer), number, "client")

    # The end itself

    def _close(self) -> None:
        """From here on nothing is dispatched and no reply sent."""
        self._progress.closing = True
        if self._liveness is not None:
            self._liveness.end()
        for job in self._responder.close():
            self._responder.write_off(job)
        self._reader.room.release()
        if self._layer is not None:
            self._layer.room.release()

    def _end(self, outcome: dict[str, Any] | BaseException | None) -> None:
        """Wake ``serve``: with the disconnect, with an exception for the server, or with neither (``StopConsumer``)."""
        self._close()
        self._gone = True
        self._outbox.close()
        if self._ended.done():
            if isinstance(outcome, Exception):
                logger.error("A socket that had ended failed once more.", exc_info=outcome)
        elif isinstance(outcome, BaseException):
            self._ended.set_exception(bearable(outcome))
        else:
            self._ended.set_result(outcome)


def bearable(exc: BaseException) -> BaseException:
    """``exc`` for the server; in place of what would end the whole process, an error with that as its cause."""
    if isinstance(exc, Exception | asyncio.CancelledError):
        return exc
    error = RuntimeError(f"A consumer raised {exc!r}.")
    error.__cause__ = exc
    return error


def fitted(reason: str) -> str:
    """``reason`` cut to what a close frame holds: 125 bytes with the code (RFC 6455, section 5.5)."""
    return reason.encode("utf-8", "replace")[:123].decode("utf-8", "ignore")


async def _within(seconds: float, doing: Awaitable[None]) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await doing
