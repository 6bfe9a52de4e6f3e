"""Encodes replies, pushes and errors and writes them to the socket."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from collections.abc import Callable, Coroutine, Iterator, Mapping
from functools import partial
from logging import INFO
from time import perf_counter
from typing import Any, Final, TypeVar

from django.conf import settings

from ... import conf
from ..._compat import is_sync_call
from ..._pipeline.compiler import ConsumerPlan
from ..._routing.topic import UNSUBSCRIBE
from ..._runtime import counters, database, instrumentation
from ..._runtime.closing import means_gone, send_message
from ..._runtime.supervision import own_task
from ..._wire import codec, problems
from ..._wire.codec import EncodeError, FrameTooLarge, serialise
from ..._wire.frames import Refusal
from ..._wire.messages import NO_HEADERS, NO_REPLY, Reply, ReplyBatch, Request, reply_with
from ...dialects import Dialect, Problem
from ...dialects.base import has_own_encode
from ...dialects.keys import is_plain as is_plain_dialect
from ...exceptions import RoutesockError
from ...signals import request_finished
from ..state import SocketState
from .send_queue import CONTROL, PUSH, REPLY, SYNC_PUSH, FrameKind, SendQueue

_is_logged: Final = instrumentation.logger.logger.isEnabledFor

MAX_ERROR_REPLY: Final = 4096
"""Bytes of an error reply, whatever the client sent."""

MIN_PROBLEM: Final = 400
"""Bytes that a problem object is not cut below."""

Data = TypeVar("Data", str, bytes, str | bytes)


async def _nothing() -> None:
    """Do nothing."""


def is_plain(compiled: ConsumerPlan) -> bool:
    """Whether no method of the class itself sees what is sent."""
    if has_own_encode(compiled.dialect):
        return not compiled.send
    return not (compiled.encode or compiled.send or compiled.send_json)


def encoded(frame: Any, max_bytes: int) -> str:
    """Return ``frame`` as JSON. Raises what encoding raises, and ``FrameTooLarge`` for more than ``max_bytes``."""
    text = serialise(frame)
    if len(text) > max_bytes:  # it is ASCII: a byte for each character
        raise _too_large(len(text), max_bytes)
    return text


def encoder_of(dialect: Dialect) -> Callable[[Any, int], str | bytes]:
    """Return a function like :func:`encoded` that encodes as ``dialect`` does."""
    if not has_own_encode(dialect):
        return encoded

    def encode(frame: Any, max_bytes: int) -> str | bytes:
        try:
            data = dialect.encode(frame)
        except (SystemExit, KeyboardInterrupt) as exc:
            raise EncodeError(f"{type(dialect).__name__}.encode() raised {exc!r}.") from exc
        if not isinstance(data, str | bytes):
            raise TypeError(f"{type(dialect).__name__}.encode() must return a str or bytes; got {data!r}.")
        return _checked(data, max_bytes)

    return encode


def _checked(data: Data, max_bytes: int) -> Data:
    size = codec.size_of(data)
    if size > max_bytes:
        raise _too_large(size, max_bytes)
    return data


def _too_large(size: int, max_bytes: int) -> FrameTooLarge:
    return FrameTooLarge(f"A frame of {size} bytes is over MAX_REPLY ({max_bytes}): send it in parts.")


class FrameWriter:
    """Writes the frames of one socket, through those of the consumer's own methods that override Channels'.

    A reply that cannot be encoded is answered as a 500. Only the methods that say so raise.
    """

    __slots__ = (
        "_consumer", "_dialect", "_encode", "_encodes", "_is_fast", "_max_bytes", "_own", "_queue", "_state",
        "completes", "is_plain",
    )  # fmt: skip

    def __init__(self, consumer: Any, compiled: ConsumerPlan, queue: SendQueue, state: SocketState) -> None:
        self._consumer = consumer
        self._own = compiled
        self._dialect = dialect = compiled.dialect
        self._encode = encoder_of(dialect)
        self._encodes = has_own_encode(dialect)
        self._queue = queue
        self._state = state
        self._max_bytes: int = conf.get("MAX_REPLY")
        self.completes = dialect.completes
        """The dialect sends a frame after others."""
        self.is_plain = is_plain(compiled)
        """No method of the consumer sees what is sent."""
        self._is_fast = self.is_plain and is_plain_dialect(dialect)

    def write(self, frame: Any, kind: FrameKind = REPLY) -> Coroutine[Any, Any, None]:
        """Encode ``frame`` and send it; ``None`` is not sent. Raises what encoding raises."""
        if frame is None:
            return _nothing()
        if self.is_plain:
            return self.write_data(self._encode(frame, self._max_bytes), kind)
        return self._write_as_consumer(frame, kind)

    def write_data(self, data: str | bytes, kind: FrameKind) -> Coroutine[Any, Any, None]:
        """Send a frame that is encoded already, past the consumer's own methods. Never raises."""
        return self._queue.write(send_message(data), kind, self._log_not_sent)

    def write_each(self, data: Iterator[str | bytes], kind: FrameKind) -> Coroutine[Any, Any, None]:
        """As :meth:`write_data` for each of ``data``, in turn. Raises only what ``data`` raises."""
        return self._queue.write_all(map(send_message, data), kind, self._log_not_sent)

    def _answer(self, request: Request, frame: Any, kind: FrameKind) -> Coroutine[Any, Any, None]:
        """Send the final reply to ``request``, or keep it until all requests of its message are answered."""
        batch: ReplyBatch | None = getattr(request, "_batch", None)
        if batch is None:
            return self.write(frame, kind)
        if frame is not None:
            size = codec.size_of(self._encode(frame, self._max_bytes - batch.bytes))
            batch.add(frame, size)
        return self.write(batch.finish_one(), kind)

    def may_drop_push(self) -> bool:
        """As :meth:`SendQueue.may_drop_push`."""
        return self._queue.may_drop_push()

    def reply(self, request: Request, reply: Reply, kind: FrameKind) -> Coroutine[Any, Any, None]:
        """Answer ``request``, unless it is a notification that succeeded."""
        status = reply.status
        if not self._is_fast or status >= 400 or request_finished.receivers or _is_logged(INFO):
            return self._reply_and_finish(request, reply, kind)
        if request.id is None and not self._dialect.answers_without_id:
            return self._not_sent(request, status)
        payload = reply.payload
        if status == 204:
            if reply is NO_REPLY:
                return self._not_sent(request, status)
            payload = None
        try:  # as nearly always: encode here, and leave only the sending to a coroutine
            text = serialise(self._dialect.reply(request, status, payload, reply.headers))
            if len(text) > self._max_bytes:  # this is encoded(), without a call
                raise _too_large(len(text), self._max_bytes)
        except Exception as exc:
            return self._fail_reply(exc, request, kind)
        recorder = counters.recorder
        if recorder is not None:
            began = request._began
            if self._state.is_closing:
                recorder.finished(request, None)
            elif began is not None:
                # This is finished(), without calls: a request may take one microsecond longer with metrics.
                request._began = None
                try:
                    pending = recorder.pending[request.route][status]
                except KeyError:
                    pending = recorder.pending_of(request.route, status)
                pending.append(perf_counter() - began)
                if len(pending) >= counters.MAX_PENDING:
                    recorder.count(request.route, status, pending)
        return self._queue.write({"type": "websocket.send", "text": text}, kind, self._log_not_sent)

    def _not_sent(self, request: Request, status: int) -> Coroutine[Any, Any, None]:
        """Finish ``request``, which has succeeded without a reply."""
        if counters.recorder is not None:
            counters.recorder.finished(request, None if self._state.is_closing else status)
        return _nothing()

    async def item(self, request: Request, payload: Any) -> None:
        """Send one item of a stream. Raises what encoding raises."""
        await self.write(self._dialect.reply(request, 206, payload, NO_HEADERS))

    async def push(self, route: str, payload: Any, headers: Mapping[str, Any]) -> None:
        """Send an unsolicited frame. Raises what encoding raises. Sync code does not wait for the client."""
        frame = self._dialect.push(route, payload, headers)
        await self.write(frame, SYNC_PUSH if is_sync_call() else PUSH)

    async def ask(self, route: str, id: str, payload: Any, headers: Mapping[str, Any]) -> None:
        """Send a frame that the client is to answer. Raises what encoding raises."""
        await self.write(self._dialect.request(route, id, self._dialect.dumped(payload), headers))

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
        error, route, id, about = refusal
        status = error.status
        answered = request or about or Request(route or "", id, consumer=self._consumer)
        try:
            await self._answer(answered, self._error_frame(error, answered), kind)
            if self.completes and (request is not None or about is not None):
                await self._complete(answered)
        except Exception as exc:
            status = 500
            await self._fail(exc, answered, kind, request)
        finally:
            if request is not None:
                self._finished(request, status)
            else:
                instrumentation.refused(self._consumer, error, route, id)
                if counters.recorder is not None:
                    counters.recorder.refused(self._declared(route), status)

    def _declared(self, route: str | None) -> str:
        """``route`` if the consumer declares it: what clients write besides must not become a label of metrics."""
        return route if route is not None and route in self._own.current_plans() else counters.UNKNOWN

    async def granted(self, request: Request, payload: dict[str, Any]) -> None:
        """Answer a control frame with success, if it wants an answer."""
        try:
            reply = reply_with(payload, 200)
            if self._dialect.answers_auth:
                frame = self._dialect.reply(request, reply.status, reply.payload, reply.headers)
            else:
                frame = self._reply_frame(request, reply)
            await self._answer(request, frame, REPLY)
        except Exception as exc:
            await self._fail(exc, request)

    async def pong(self, request: Request) -> None:
        """Answer a heartbeat."""
        try:
            await self._answer(request, self._dialect.pong(request), REPLY)
            if self.completes:
                await self._complete(request)
        except Exception as exc:
            await self._fail(exc, Request("", request.id, consumer=self._consumer))

    async def after_broadcast(self, headers: Mapping[str, Any]) -> None:
        """Send what the dialect sends after a push that came through a group. Raises what encoding raises."""
        await self.write(self._dialect.after_broadcast(headers), PUSH)

    async def after_event(self, name: str) -> None:
        """Send what the dialect sends after an event. Never raises."""
        try:
            await self.write(self._dialect.after_event(name), PUSH)
        except Exception as exc:
            instrumentation.internal_error(exc, "The frame after an event", self._consumer)

    async def ping(self) -> None:
        """Send a PING."""
        try:
            await self.write(self._dialect.push("PING", None))
        except Exception as exc:
            instrumentation.internal_error(exc, "A PING", self._consumer)

    async def hello(self, payload: dict[str, Any]) -> None:
        """Send a HELLO."""
        try:
            await self.write(self._dialect.push("HELLO", payload))
        except Exception as exc:
            instrumentation.internal_error(exc, "The HELLO", self._consumer)

    async def _reply_and_finish(self, request: Request, reply: Reply, kind: FrameKind) -> None:
        status = reply.status
        try:
            await self._answer(request, self._reply_frame(request, reply), kind)
            if self.completes:
                await self._complete(request)
        except Exception as exc:
            await self._fail_reply(exc, request, kind)
        finally:  # of several calls for one request the first counts
            if status >= 400 or request_finished.receivers or _is_logged(INFO) or counters.recorder is not None:
                self._finished(request, status)

    def _reply_frame(self, request: Request, reply: Reply) -> Any:
        """Return the frame of ``reply``; ``None`` where nothing is to be sent."""
        if reply is NO_REPLY:
            return None
        status = reply.status
        if request.id is None and status < 400 and not self._dialect.answers_without_id:
            return None
        return self._dialect.reply(request, status, None if status == 204 else reply.payload, reply.headers)

    async def _fail_reply(self, exc: Exception, request: Request, kind: FrameKind) -> None:
        """Answer 500 in place of a reply that could not be encoded."""
        try:
            if hasattr(request, "_undo"):  # for the client it has failed
                await request._undo()
            await self._fail(exc, request, kind, request)
        finally:
            self._finished(request, 500)

    async def _complete(self, request: Request) -> None:
        """Send what the dialect sends after the answer to ``request``. Never raises: the request is answered."""
        try:
            await self.write(self._dialect.after_request(request))
        except Exception as exc:
            instrumentation.internal_error(exc, "The frame after an answer", self._consumer)

    def _finished(self, request: Request, status: int) -> None:
        instrumentation.finished(request, None if self._state.is_closing else status)

    async def _fail(
        self, exc: Exception, answered: Request, kind: FrameKind = REPLY, request: Request | None = None
    ) -> None:
        """Log ``exc`` and answer 500. ``answered`` is what the dialect gets, ``request`` the request, if it is one."""
        route, id = answered.route or None, answered.id
        what = f"The reply of route {instrumentation.printable(route)}"
        error = instrumentation.internal_error(exc, what, self._consumer, id, request)
        try:
            await self._answer(answered, self._error_frame(error, answered), kind)
        except Exception:
            about = instrumentation.extras(self._consumer, request, route=route, id=id)
            instrumentation.logger.exception("Nor could the error be sent.", extra=about)
            await self._answer(answered, None, kind)  # the other replies of its message do not wait for it

    def _error_frame(self, error: RoutesockError, answered: Request) -> Any:
        """Return the frame of ``error``; ``None`` where nothing is to be sent."""
        members = error.problem()
        frame = self._dialect.error(Problem(error.status, members, error.headers, error.native_errors), answered)
        if frame is None or settings.DEBUG:  # which adds a traceback
            return frame
        size = len(serialise(members))
        excess = codec.size_of(self._encode(frame, sys.maxsize)) - MAX_ERROR_REPLY
        if excess <= 0:
            return frame
        members = problems.fitted(members, max(size - excess, MIN_PROBLEM))
        return self._dialect.error(Problem(error.status, members, error.headers, error.native_errors), answered)

    async def _write_as_consumer(self, frame: Any, kind: FrameKind) -> None:
        if asyncio.current_task() is self._state.current_task:
            await self._write_own(frame, kind)
        else:
            # In a separate context, not that of the current job: asgiref takes a call of the thread beside the job's
            # for one from inside it, and restores the context's variables after each call.
            await own_task(self._write_own(frame, kind))

    async def _write_own(self, frame: Any, kind: FrameKind) -> None:
        if self._state.is_closing and kind is not CONTROL:
            return
        try:
            await self._write_through(frame, kind)
        except (SystemExit, KeyboardInterrupt, asyncio.CancelledError) as exc:
            task = asyncio.current_task()
            if isinstance(exc, asyncio.CancelledError) and task is not None and task.cancelling():
                raise
            raise EncodeError(f"The consumer's own code raised {exc!r}.") from exc

    async def _write_through(self, frame: Any, kind: FrameKind) -> None:
        if self._encodes:
            data = self._encode(frame, self._max_bytes)
            await self._send_own({"text_data" if isinstance(data, str) else "bytes_data": data})
            return
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
        if self._own.send:
            await self._send_own({"text_data": text})
        else:
            await self.write_data(text, kind)

    async def _send_own(self, data: dict[str, Any]) -> None:
        try:
            await self._call(partial(self._consumer.send, **data))
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
