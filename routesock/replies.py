"""Outcomes to frames: replies, errors of a bounded size, and the answer to a heartbeat."""

from __future__ import annotations

from collections.abc import Mapping
from logging import INFO
from typing import Any, Final

from django.conf import settings

from . import faults, observing, problems
from .dialects import Dialect, Frame
from .exceptions import RoutesockError
from .intake import Ping, Refusal
from .messages import NO_HEADERS, Reply, Request, RequestId
from .outbox import REPLY, Kind
from .outgoing import Outgoing, spelt
from .room import Progress
from .signals import request_finished
from .topics import UNSUBSCRIBE

_is_logged: Final = faults.logger.isEnabledFor

MAX_ERROR_REPLY: Final = 4096
"""Bytes of an error's reply, whatever the client sent."""


class Replies:
    """Writes what one socket answers. What cannot be spelt is answered as a 500; nothing is raised."""

    __slots__ = ("_consumer", "_dialect", "_outgoing", "_progress")

    def __init__(self, consumer: Any, dialect: Dialect, outgoing: Outgoing, progress: Progress) -> None:
        self._consumer = consumer
        self._dialect = dialect
        self._outgoing = outgoing
        self._progress = progress

    async def reply(self, request: Request, reply: Reply, kind: Kind) -> None:
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
        await self._outgoing.write(self._dialect.push(route, payload, headers), Kind.PUSH)

    async def close_notice(self, payload: dict[str, Any]) -> None:
        """Say that the socket is about to be closed, and why: some servers do not send a close frame's reason."""
        try:
            await self._outgoing.write(self._dialect.push("CLOSE", payload), Kind.CONTROL)
        except Exception as exc:
            faults.internal_error(exc, "The notice of a close", self._consumer)

    async def unsubscribed(self, topic: str, error: RoutesockError) -> None:
        """Say that a subscription has ended, and why, though nobody asked for that."""
        observing.refused(self._consumer, error, UNSUBSCRIBE, None)
        try:
            problem = problems.fitted(error.problem(), MAX_ERROR_REPLY - len(spelt(topic)))
            await self._outgoing.write(self._dialect.push(UNSUBSCRIBE, {**problem, "topic": topic}), REPLY)
        except Exception as exc:
            faults.internal_error(exc, "The notice of a subscription's end", self._consumer)

    async def refuse(self, refusal: Refusal, request: Request | None = None, kind: Kind = REPLY) -> None:
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
                observing.refused(self._consumer, *refusal)

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
            faults.internal_error(exc, "A PING", self._consumer)

    def _finished(self, request: Request, status: int) -> None:
        observing.finished(request, None if self._progress.closing else status)

    async def _fail(
        self,
        exc: Exception,
        route: str | None,
        id: RequestId,
        kind: Kind = REPLY,
        request: Request | None = None,
    ) -> None:
        what = f"The reply of route {faults.printable(route)}"
        error = faults.internal_error(exc, what, self._consumer, id, request)
        try:
            await self._outgoing.write(self._error_frame(error, route, id), kind)
        except Exception:
            about = faults.extras(self._consumer, request, route=route, id=id)
            faults.logger.exception("Nor could the error be sent.", extra=about)

    def _error_frame(self, error: RoutesockError, route: str | None, id: RequestId) -> Frame:
        problem = error.problem()
        if not settings.DEBUG:  # which adds a traceback
            spelt(problem)
            envelope = self._dialect.reply(route, id, error.status, {}, error.headers)
            problem = problems.fitted(problem, MAX_ERROR_REPLY - len(spelt(envelope)))
        return self._dialect.reply(route, id, error.status, problem, error.headers)
