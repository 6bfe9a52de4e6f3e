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
from ..._wire import codec, problems
from ..._wire.codec import EncodeError, FrameTooLarge, serialise
from ..._wire.frames import Ping, Refusal
from ..._wire.messages import NO_HEADERS, Reply, Request, RequestId
from ...dialects import Dialect, Frame
from ...exceptions import RoutesockError
from ...signals import request_finished
from ..queue.jobs import Progress
from .send_queue import CONTROL, REPLY, FrameKind, SendQueue


class FrameWriter:
    """Writes the frames of one socket, through those of the consumer's own methods that override Channels'."""

    __slots__ = ("_consumer", "_max_bytes", "_outbox", "_own", "_progress", "plain")

    def __init__(self, consumer: Any, compiled: ConsumerPlan, outbox: SendQueue, progress: Progress) -> None:
        self._consumer = consumer
        self._own = compiled
        self._outbox = outbox
        self._progress = progress
        self._max_bytes: int = conf.get("MAX_REPLY")
        self.plain = not (compiled.encode or compiled.send or compiled.send_json)
        """None of the consumer's own methods sees what is sent."""

    def write(self, frame: Frame, kind: FrameKind = REPLY) -> Coroutine[Any, Any, None]:
        """Encode ``frame`` and send it. Raises what encoding raises, nothing for a socket that takes no more frames."""
        if self.plain:
            return self.write_text(self._checked(serialise(frame)), kind)
        return self._write_elsewhere(frame, kind)

    def may_drop(self) -> bool:
        """As :meth:`Outbox.may_drop`."""
        return self._outbox.may_drop()

    async def write_text(self, text: str, kind: FrameKind) -> None:
        """Send a frame that is spelt already, past the consumer's own methods. Raises nothing."""
        try:
            await self._outbox.write({"type": "websocket.send", "text": text}, kind)
        except Exception as exc:
            self._log_not_sent(exc)

    async def _write_elsewhere(self, frame: Frame, kind: FrameKind) -> None:
        if asyncio.current_task() is self._progress.task:
            await self._write_own(frame, kind)
        else:
            # With a context of its own, not that of the job whose turn it is: asgiref takes a call of the thread beside
            # the job's for one from inside it, and after each call puts back what the context held before.
            await asyncio.get_running_loop().create_task(self._write_own(frame, kind))

    async def _write_own(self, frame: Frame, kind: FrameKind) -> None:
        if self._progress.closing and kind is not CONTROL:
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
                # What Channels' encode_json will spell then: strict, with dates and the like, and of a bounded size.
                frame = json.loads(self._checked(serialise(frame)))
            await self._call(partial(self._consumer.send_json, frame))
            return
        encode = partial(self._consumer.encode_json, frame)
        text = self._checked(await self._call(encode) if self._own.encode else serialise(frame))
        try:
            if self._own.send:
                await self._call(partial(self._consumer.send, text_data=text))
            else:
                await self._outbox.write({"type": "websocket.send", "text": text}, kind)
        except Exception as exc:
            self._log_not_sent(exc)

    async def _call(self, method: Callable[[], Any]) -> Any:
        if self._own.sync:
            return await database.in_thread(method)
        database.forget_waiting()
        return await method()

    def _checked(self, text: str) -> str:
        size = codec.size_of(text)
        if size > self._max_bytes:
            raise FrameTooLarge(f"A frame of {size} bytes is over MAX_REPLY ({self._max_bytes}): send it in parts.")
        return text

    def _log_not_sent(self, exc: Exception) -> None:
        # The disconnect that follows says all about a client that has left.
        level = logging.DEBUG if means_gone(exc) else logging.WARNING
        instrumentation.logger.log(
            level, "A frame could not be sent.", exc_info=exc, extra=instrumentation.extras(self._consumer)
        )


def means_gone(exc: Exception) -> bool:
    """Whether a server says with ``exc`` that the client has left: an ``OSError`` (ASGI 2.4), or what daphne raises."""
    return isinstance(exc, OSError) or any(
        f"{cls.__module__}.{cls.__qualname__}" == "autobahn.exception.Disconnected" for cls in type(exc).__mro__
    )


_is_logged: Final = instrumentation.logger.isEnabledFor

MAX_ERROR_REPLY: Final = 4096
"""Bytes of an error's reply, whatever the client sent."""


class Replies:
    """Writes what one socket answers. What cannot be spelt is answered as a 500; nothing is raised."""

    __slots__ = ("_consumer", "_dialect", "_outgoing", "_progress")

    def __init__(self, consumer: Any, dialect: Dialect, outgoing: FrameWriter, progress: Progress) -> None:
        self._consumer = consumer
        self._dialect = dialect
        self._outgoing = outgoing
        self._progress = progress

    async def reply(self, request: Request, reply: Reply, kind: FrameKind) -> None:
        """Answer ``request``, unless it is a notification that succeeded."""
        status = reply.status
        try:
            if request.id is not None or status >= 400:
                payload = None if status == 204 else reply.payload
                await self._outgoing.write(
                    self._dialect.reply(request.route, request.id, status, payload, reply.headers), kind
                )
        except Exception as exc:
            status = 500
            if hasattr(request, "_undo"):  # to the client it has failed
                await request._undo()
            await self._fail(exc, request.route, request.id, kind, request)
        finally:
            if status >= 400 or request_finished.receivers or _is_logged(INFO):
                self._finished(request, status)

    async def item(self, request: Request, payload: Any) -> None:
        """One item of a stream. Raises what encoding raises."""
        await self._outgoing.write(self._dialect.reply(request.route, request.id, 206, payload, NO_HEADERS))

    async def push(self, route: str, payload: Any, headers: Mapping[str, Any]) -> None:
        """A frame that nobody asked for. Raises what encoding raises."""
        await self._outgoing.write(self._dialect.push(route, payload, headers), FrameKind.PUSH)

    async def close_notice(self, payload: dict[str, Any]) -> None:
        """Say that the socket is about to be closed, and why: some servers do not send a close frame's reason."""
        try:
            await self._outgoing.write(self._dialect.push("CLOSE", payload), FrameKind.CONTROL)
        except Exception as exc:
            instrumentation.internal_error(exc, "The notice of a close", self._consumer)

    async def unsubscribed(self, topic: str, error: RoutesockError) -> None:
        """Say that a subscription has ended, and why, though nobody asked for that."""
        instrumentation.refused(self._consumer, error, UNSUBSCRIBE, None)
        try:
            problem = problems.fitted(error.problem(), MAX_ERROR_REPLY - len(serialise(topic)))
            await self._outgoing.write(self._dialect.push(UNSUBSCRIBE, {**problem, "topic": topic}), REPLY)
        except Exception as exc:
            instrumentation.internal_error(exc, "The notice of a subscription's end", self._consumer)

    async def refuse(self, refusal: Refusal, request: Request | None = None, kind: FrameKind = REPLY) -> None:
        """Answer an error; ``request`` is what it ends, ``None`` for a frame that is none."""
        status = refusal.error.status
        try:
            await self._outgoing.write(self._error_frame(*refusal), kind)
        except Exception as exc:
            status = 500
            await self._fail(exc, refusal.route, refusal.id, kind, request)
        finally:
            if request is not None:
                self._finished(request, status)
            else:
                instrumentation.refused(self._consumer, *refusal)

    async def granted(self, route: str, id: RequestId, payload: dict[str, Any]) -> None:
        """Answer a frame that is no request, and was done."""
        try:
            await self._outgoing.write(self._dialect.reply(route, id, 200, payload, NO_HEADERS))
        except Exception as exc:
            await self._fail(exc, route, id)

    async def pong(self, ping: Ping) -> None:
        """Answer a heartbeat."""
        try:
            await self._outgoing.write(self._dialect.pong(ping.id, ping.payload))
        except Exception as exc:
            await self._fail(exc, None, ping.id)

    async def ping(self) -> None:
        """Ask whether the client is there."""
        try:
            await self._outgoing.write(self._dialect.push("PING", None))
        except Exception as exc:
            instrumentation.internal_error(exc, "A PING", self._consumer)

    def _finished(self, request: Request, status: int) -> None:
        instrumentation.finished(request, None if self._progress.closing else status)

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
            await self._outgoing.write(self._error_frame(error, route, id), kind)
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
