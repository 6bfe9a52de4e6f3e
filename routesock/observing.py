"""Who is told what happens to requests and sockets: receivers of the signals, and the log."""

from __future__ import annotations

from logging import ERROR, INFO, WARNING
from time import perf_counter
from typing import Any

from .exceptions import InternalError, RoutesockError
from .faults import extras, logger, printable
from .messages import Request, RequestId
from .signals import request_finished, request_started, socket_closed, socket_opened
from .status import CLIENT_CLOSED_REQUEST


def announce(request: Request) -> None:
    """The turn of ``request`` has come, and ``request_started`` has receivers."""
    request_started.tell(type(request.consumer), request=request, trace_id=request.trace_id)


def finished(request: Request, status: int | None) -> None:
    """``request`` has its final reply, or will never have one (``None``).

    One that had no turn is started first. Of several calls for one request the first counts. One that succeeded need
    not be passed where ``request_finished`` has no receivers and the logger is not enabled for ``INFO``.
    """
    if not hasattr(request, "_began"):
        request._began = perf_counter()
        if request_started.receivers:
            announce(request)
    if request._began is None:
        return
    duration = perf_counter() - request._began
    level = _level(status)
    if logger.isEnabledFor(level) and not getattr(request, "_logged", False):
        answer = "no reply" if status is None else status
        about = extras(request.consumer, request, status=status)
        logger.log(level, "Route %s: %s in %.1f ms.", printable(request.route), answer, duration * 1000, extra=about)
    request._began = None
    if request_finished.receivers:
        request_finished.tell(
            type(request.consumer),
            request=request,
            trace_id=request.trace_id,
            route=request.route,
            status=status,
            duration=duration,
        )


def refused(consumer: Any, error: RoutesockError, route: str | None, id: RequestId) -> None:
    """A frame was answered ``error`` that is no request of a route of ``consumer``."""
    level = _level(error.status)
    if logger.isEnabledFor(level) and not isinstance(error, InternalError):  # which is in the log already
        what = "A frame" if route is None else f"Route {printable(route)}"
        logger.log(
            level, "%s: %d.", what, error.status, extra=extras(consumer, route=route, id=id, status=error.status)
        )


class Life:
    """Tells when a socket of ``consumer`` has opened, and when it has closed."""

    __slots__ = ("_accepted", "_connected", "_consumer", "_opened_at")

    def __init__(self, consumer: Any) -> None:
        self._consumer = consumer
        self._accepted = False
        self._connected = False
        self._opened_at: float | None = None

    def accepted(self) -> None:
        """The server was told to accept it."""
        self._accepted = True
        self._opened()

    def connected(self) -> None:
        """``connect()`` has returned."""
        self._connected = True
        self._opened()

    def closed(self, code: int) -> None:
        """Nothing is left to be done for it; ``code`` is why it ended."""
        if self._opened_at is not None and socket_closed.receivers:
            duration = perf_counter() - self._opened_at
            socket_closed.tell(type(self._consumer), consumer=self._consumer, code=code, duration=duration)

    def _opened(self) -> None:
        if self._accepted and self._connected and self._opened_at is None:
            self._opened_at = perf_counter()
            if socket_opened.receivers:
                socket_opened.tell(type(self._consumer), consumer=self._consumer, scope=self._consumer.scope)


def _level(status: int | None) -> int:
    """As Django logs its responses, but for what a client does not wait for any more, and what it is to try again."""
    if status is None or status < 400 or status == CLIENT_CLOSED_REQUEST:
        return INFO
    return WARNING if status < 500 or status == 503 else ERROR
