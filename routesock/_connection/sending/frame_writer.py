"""Encodes replies, pushes and errors and writes them to the socket."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from logging import INFO
from typing import Any, Final

from django.conf import settings

from ... import conf
from ..._pipeline.compiler import ConsumerPlan
from ..._routing.topic import UNSUBSCRIBE
from ..._runtime import database, instrumentation
from ..._runtime.closing import means_gone
from ..._runtime.supervision import own_task
from ..._wire import codec, problems
from ..._wire.codec import EncodeError, FrameTooLarge, serialise
from ..._wire.frames import Ping, Refusal
from ..._wire.messages import NO_HEADERS, Reply, Request, RequestId
from ...dialects import Frame
from ...exceptions import RoutesockError
from ...signals import request_finished
from ..state import SocketState
from .send_queue import CONTROL, PUSH, REPLY, FrameKind, SendQueue

_is_logged: Final = instrumentation.logger.logger.isEnabledFor

MAX_ERROR_REPLY: Final = 4096
"""Bytes of an error reply, whatever the client sent."""


async def _nothing() -> None:
    """Do nothing."""


def is_plain(compiled: ConsumerPlan) -> bool:
    """Whether no method of the class itself sees what is sent."""
    return not (compiled.encode or compiled.send or compiled.send_json)


def encoded(frame: Frame, max_bytes: int) -> str:
    """Return ``frame`` as JSON. Raises what encoding raises, and ``FrameTooLarge`` for more than ``max_bytes``."""
    text = serialise(frame)
    if len(text) > max_bytes:  # it is ASCII: a byte for each character
        raise _too_large(len(text), max_bytes)
    return text


def _checked(text: str, max_bytes: int) -> str:
    size = codec.size_of(text)
    if size > max_bytes:
        raise _too_large(size, max_bytes)
    return text


def _too_large(size: int, max_bytes: int) -> FrameTooLarge:
    return FrameTooLarge(f"A frame of {size} bytes is over MAX_REPLY ({max_bytes}): send it in parts.")


class FrameWriter:
    """Writes the frames of one socket, through those of the consumer's own methods that override Channels'.

    A reply that cannot be encoded is answered as a 500. Only the methods that say so raise.
    """

    __slots__ = ("_consumer", "_dialect", "_max_bytes", "_own", "_queue", "_state", "is_plain")

    def __init__(self, consumer: Any, compiled: ConsumerPlan, queue: SendQueue, state: SocketState) -> None:
        self._consumer = consumer
        self._own = compiled
        self._dialect = compiled.dialect
        self._queue = queue
        self._state = state
        self._max_bytes: int = conf.get("MAX_REPLY")
        self.is_plain = is_plain(compiled)
        """No method of the consumer sees what is sent."""

    def write(self, frame: Frame, kind: FrameKind = REPLY) -> Coroutine[Any, Any, None]:
        """Encode ``frame`` and send it. Raises what encoding raises."""
        if self.is_plain:
            return self.write_text(encoded(frame, self._max_bytes), kind)
        return self._write_as_consumer(frame, kind)

    def write_text(self, text: str, kind: FrameKind) -> Coroutine[Any, Any, None]:
        """Send a frame that is encoded already, past the consumer's own methods. Never raises."""
        return self._queue.write({"type": "websocket.send", "text": text}, kind, self._log_not_sent)

    def may_drop_push(self) -> bool:
        """As :meth:`SendQueue.may_drop_push`."""
        return self._queue.may_drop_push()

    def reply(self, request: Request, reply: Reply, kind: FrameKind) -> Coroutine[Any, Any, None]:
        """Answer ``request``, unless it is a notification that succeeded."""
        status = reply.status
        if not self.is_plain or status >= 400 or request_finished.receivers or _is_logged(INFO):
            return self._reply_and_finish(request, reply, kind)
        if request.id is None:
            return _nothing()
        try:  # as nearly always: encode here, and leave only the sending to a coroutine
            payload = None if status == 204 else reply.payload
            frame = self._dialect.reply(request.route, request.id, status, payload, reply.headers)
            text = encoded(frame, self._max_bytes)
        except Exception as exc:
            return self._fail_reply(exc, request, kind)
        return self._queue.write({"type": "websocket.send", "text": text}, kind, self._log_not_sent)

    async def item(self, request: Request, payload: Any) -> None:
        """Send one item of a stream. Raises what encoding raises."""
        await self.write(self._dialect.reply(request.route, request.id, 206, payload, NO_HEADERS))

    async def push(self, route: str, payload: Any, headers: Mapping[str, Any]) -> None:
        """Send an unsolicited frame. Raises what encoding raises."""
        await self.write(self._dialect.push(route, payload, headers), PUSH)

    async def close_notice(self, payload: dict[str, Any]) -> None:
        """Send the CLOSE notice: some servers do not send the reason of a close frame."""
        try:
            await self.write(self._dialect.push("CLOSE", payload), CONTROL)
        except Exception as exc:
            instrumentation.internal_error(exc, "The notice of a close", self._consumer)

    async def unsubscribed(self, topic: str, error: RoutesockError) -> None:
        """Notify the client that a subscription has ended, and why."""
        instrumentation.refused(self._consumer, error, UNSUBSCRIBE, None)
        try:
            problem = problems.fitted(error.problem(), MAX_ERROR_REPLY - len(serialise(topic)))
            await self.write(self._dialect.push(UNSUBSCRIBE, {**problem, "topic": topic}), REPLY)
        except Exception as exc:
            instrumentation.internal_error(exc, "The notice of a subscription's end", self._consumer)

    async def refuse(self, refusal: Refusal, request: Request | None = None, kind: FrameKind = REPLY) -> None:
        """Answer with an error. ``request`` is the request that it ends, ``None`` for a frame that is none."""
        status = refusal.error.status
        try:
            await self.write(self._error_frame(*refusal), kind)
        except Exception as exc:
            status = 500
            await self._fail(exc, refusal.route, refusal.id, kind, request)
        finally:
            if request is not None:
                self._finished(request, status)
            else:
                instrumentation.refused(self._consumer, *refusal)

    async def granted(self, route: str, id: RequestId, payload: dict[str, Any]) -> None:
        """Answer a frame with success that is no request."""
        try:
            await self.write(self._dialect.reply(route, id, 200, payload, NO_HEADERS))
        except Exception as exc:
            await self._fail(exc, route, id)

    async def pong(self, ping: Ping) -> None:
        """Answer a heartbeat."""
        try:
            await self.write(self._dialect.pong(ping.id, ping.payload))
        except Exception as exc:
            await self._fail(exc, None, ping.id)

    async def ping(self) -> None:
        """Send a PING."""
        try:
            await self.write(self._dialect.push("PING", None))
        except Exception as exc:
            instrumentation.internal_error(exc, "A PING", self._consumer)

    async def _reply_and_finish(self, request: Request, reply: Reply, kind: FrameKind) -> None:
        status = reply.status
        try:
            if request.id is not None or status >= 400:
                payload = None if status == 204 else reply.payload
                await self.write(self._dialect.reply(request.route, request.id, status, payload, reply.headers), kind)
        except Exception as exc:
            await self._fail_reply(exc, request, kind)
        finally:  # of several calls for one request the first counts
            if status >= 400 or request_finished.receivers or _is_logged(INFO):
                self._finished(request, status)

    async def _fail_reply(self, exc: Exception, request: Request, kind: FrameKind) -> None:
        """Answer 500 in place of a reply that could not be encoded."""
        try:
            if hasattr(request, "_undo"):  # for the client it has failed
                await request._undo()
            await self._fail(exc, request.route, request.id, kind, request)
        finally:
            self._finished(request, 500)

    def _finished(self, request: Request, status: int) -> None:
        instrumentation.finished(request, None if self._state.is_closing else status)

    async def _fail(
        self,
        exc: Exception,
        route: str | None,
        id: RequestId,
        kind: FrameKind = REPLY,
        request: Request | None = None,
    ) -> None:
        what = f"The reply of route {instrumentation.printable(route)}"
        error = instrumentation.internal_error(exc, what, self._consumer, id, request)
        try:
            await self.write(self._error_frame(error, route, id), kind)
        except Exception:
            about = instrumentation.extras(self._consumer, request, route=route, id=id)
            instrumentation.logger.exception("Nor could the error be sent.", extra=about)

    def _error_frame(self, error: RoutesockError, route: str | None, id: RequestId) -> Frame:
        problem = error.problem()
        if not settings.DEBUG:  # which adds a traceback
            serialise(problem)
            envelope = self._dialect.reply(route, id, error.status, {}, error.headers)
            problem = problems.fitted(problem, MAX_ERROR_REPLY - len(serialise(envelope)))
        return self._dialect.reply(route, id, error.status, problem, error.headers)

    async def _write_as_consumer(self, frame: Frame, kind: FrameKind) -> None:
        if asyncio.current_task() is self._state.current_task:
            await self._write_own(frame, kind)
        else:
            # In a separate context, not that of the current job: asgiref takes a call of the thread beside the job's
            # for one from inside it, and restores the context's variables after each call.
            await own_task(self._write_own(frame, kind))

    async def _write_own(self, frame: Frame, kind: FrameKind) -> None:
        if self._state.is_closing and kind is not CONTROL:
            return
        try:
            await self._write_through(frame, kind)
        except (SystemExit, KeyboardInterrupt, asyncio.CancelledError) as exc:
            task = asyncio.current_task()
            if isinstance(exc, asyncio.CancelledError) and task is not None and task.cancelling():
                raise
            raise EncodeError(f"The consumer's own code raised {exc!r}.") from exc

    async def _write_through(self, frame: Frame, kind: FrameKind) -> None:
        if self._own.send_json:
            if not self._own.encode:
                # So that Channels' encode_json can encode it: strict, with dates and the like, and of a bounded size.
                frame = json.loads(encoded(frame, self._max_bytes))
            await self._call(partial(self._consumer.send_json, frame))
            return
        if self._own.encode:
            text = await self._call(partial(self._consumer.encode_json, frame))
        else:
            text = serialise(frame)
        text = _checked(text, self._max_bytes)
        try:
            if self._own.send:
                await self._call(partial(self._consumer.send, text_data=text))
            else:
                await self._queue.write({"type": "websocket.send", "text": text}, kind)
        except Exception as exc:
            self._log_not_sent(exc)

    async def _call(self, method: Callable[[], Any]) -> Any:
        if self._own.sync:
            return await database.in_thread(method)
        database.forget_waiting()
        return await method()

    def _log_not_sent(self, exc: Exception) -> None:
        # If the client has left, the disconnect that follows says so.
        level = logging.DEBUG if means_gone(exc) else logging.WARNING
        instrumentation.logger.log(
            level, "A frame could not be sent.", exc_info=exc, extra=instrumentation.extras(self._consumer)
        )
