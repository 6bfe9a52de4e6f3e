"""Log records and signals of requests, sockets and internal errors."""

from __future__ import annotations

import re
import traceback
import uuid
from logging import ERROR, INFO, WARNING
from time import perf_counter
from typing import Any, Final

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured, SuspiciousOperation
from django.core.validators import ProhibitNullCharactersValidator
from django.db import DatabaseError
from django.utils.functional import LazyObject, empty

from .. import conf
from .._wire import problems
from .._wire.messages import Request, RequestId, Scope
from ..exceptions import InternalError, RoutesockError
from ..signals import request_finished, request_started, socket_closed, socket_opened
from ..status import CLIENT_CLOSED_REQUEST
from . import counters, loop_lag
from .clients import client_address
from .cures import cure_for
from .supervision import safe_logger

logger: Final = safe_logger("routesock.request")

socket_logger: Final = safe_logger("routesock.socket")

auth_logger: Final = safe_logger("routesock.auth")
"""Authentications by a token: those that succeeded at ``INFO``, those that were refused at ``WARNING``."""

MAX_LOGGED_CHARS: Final = 200


def printable(text: object) -> str:
    """Text from a client for a log message: escaped, so that it cannot forge a line, and cut."""
    return repr(str(text)[:MAX_LOGGED_CHARS])[: MAX_LOGGED_CHARS + 2]


def counted(number: int, noun: str, plural: str = "") -> str:
    """A number with its noun: "1 group", "2 groups"."""
    return f"{number} {noun if number == 1 else plural or noun + 's'}"


def pushes_were(number: int) -> str:
    """The beginning of a message about pushes: "1 push was", "2 pushes were"."""
    return f"{counted(number, 'push', 'pushes')} {'was' if number == 1 else 'were'}"


def client_extras(consumer: Any) -> dict[str, Any]:
    """The ``extra`` that every record about a socket has: its consumer, its user's pk and its client's address."""
    scope: Scope = getattr(consumer, "scope", None) or {}
    return {
        "routesock_consumer": type(consumer).__qualname__,
        "routesock_user": _pk_in(scope),
        "routesock_client": _address_in(scope),
    }


def _pk_in(scope: Scope) -> Any:
    """The pk of the signed-in user; ``None`` for anonymous users, and for a user who is not loaded yet."""
    user = scope.get("user")
    if isinstance(user, LazyObject) and vars(user).get("_wrapped", empty) is empty:
        return None
    try:
        pk = getattr(user, "pk", None)
    except Exception:  # of the project's own class; this record is about something else
        return None
    return pk if pk is None or type(pk) is int else printable(pk)[1:-1]


def _address_in(scope: Scope) -> str | None:
    try:
        address = client_address(scope, conf.get("NUM_PROXIES"))
    except ImproperlyConfigured:  # a system check reports it
        address = client_address(scope, 0)
    return None if address is None else printable(address)[1:-1]


def _described(extra: dict[str, Any]) -> str:
    """The extras of a socket in few words: ``Shop, user 7, 10.0.0.9``."""
    user, address = extra["routesock_user"], extra["routesock_client"]
    parts = [extra["routesock_consumer"], "anonymous" if user is None else f"user {user}"]
    return ", ".join(parts if address is None else [*parts, address])


def log_socket(level: int, consumer: Any, message: str, *args: object) -> None:
    """Log ``message`` about the socket of ``consumer``, with its extras."""
    if socket_logger.isEnabledFor(level):
        extra = client_extras(consumer)
        text = message % args if args else message
        socket_logger.log(level, "%s (%s)", text, _described(extra), extra=extra, stacklevel=2)


def log_authentication(consumer: Any, source: str, refused: str | None = None) -> None:
    """Log that the client has authenticated, or why its token was ``refused``. The token is in no record.

    Args:
        consumer: The consumer, or what stands for it while there is none. Its scope has the user if there is one.
        source: Where the token was: "header", "frame" and so on.
        refused: The reason of a refusal.
    """
    level = INFO if refused is None else WARNING
    if not auth_logger.isEnabledFor(level):
        return
    extra = client_extras(consumer)
    origin = next((value for name, value in consumer.scope.get("headers", ()) if name.lower() == b"origin"), None)
    extra["routesock_origin"] = None if origin is None else printable(origin.decode("latin-1"))[1:-1]
    extra["routesock_source"] = source
    about = f"{_described(extra)}, origin {extra['routesock_origin']}, {source}"
    if refused is None:
        auth_logger.log(level, "Authenticated (%s).", about, extra=extra)
    else:
        auth_logger.log(level, "Authentication refused: %s (%s)", refused, about, extra=extra)


def extras(
    consumer: Any,
    request: Request | None = None,
    *,
    route: str | None = None,
    id: RequestId = None,
    status: int | None = None,
    error_id: str | None = None,
) -> dict[str, Any]:
    """The ``extra`` of every record of the logger; ``None`` for values that do not apply.

    All of them can be used in a format string: text from clients is escaped and cut.
    """
    trace_id = duration = None
    if request is not None:
        route, id, trace_id = request.route, request.id, request.trace_id
        began = getattr(request, "_began", None)
        duration = None if began is None else round((perf_counter() - began) * 1000, 3)
    return {
        **client_extras(consumer),
        "routesock_route": None if route is None else printable(route)[1:-1],
        "routesock_request_id": id if id is None or type(id) is int else printable(id)[1:-1],
        "routesock_status": status,
        "routesock_duration_ms": duration,
        "routesock_trace_id": trace_id,
        "routesock_error_id": error_id,
    }


def error_for(exc: BaseException, consumer: Any, request: Request) -> RoutesockError:
    """The error reply for ``exc``: the one that it maps to, otherwise a 500 whose traceback is logged."""
    try:
        error = problems.error_of(exc) or _null_error(exc, request)
    except BaseException as broken:  # an exception whose message or status raises
        exc, error = broken, None
    if isinstance(exc, SuspiciousOperation) and error is not None:
        _log_suspicious(exc, extras(consumer, request, status=error.status))
    return error or internal_error(exc, f"Route {printable(request.route)}", consumer, request.id, request)


def _log_suspicious(exc: SuspiciousOperation, extra: dict[str, Any]) -> None:
    """Log ``exc`` as Django does: by the logger ``django.security.<name of the class>``."""
    security = safe_logger(f"django.security.{type(exc).__name__}")
    text = printable(exc)[1:-1]
    security.error("%s (%s)", text, _described(extra), exc_info=exc, extra={**extra, "status_code": 400})


_NULL: Final = re.compile(r"(?<!\\)(?:\\\\)*\\x00")
"""A null character in a ``repr()``, and no backslash in front of ``x00``."""


def _null_error(exc: BaseException, request: Request) -> RoutesockError | None:
    """The error for a null character in what the client sent, which PostgreSQL does not store; ``None`` otherwise.

    Django's form fields refuse such a text, and schemas of other libraries accept it.
    """
    if not isinstance(exc, ValueError | DatabaseError) or "NUL (0x00)" not in str(exc):
        return None
    if not _NULL.search(repr(request.data)):
        return None
    return problems.invalid({"_schema": [str(ProhibitNullCharactersValidator.message)]})


def internal_error(
    exc: BaseException,
    what: str,
    consumer: Any,
    id: RequestId = None,
    request: Request | None = None,
) -> InternalError:
    """Log ``exc`` under a new ``error_id``, with a hint if the mistake is a common one, and return a 500 with the id.

    Under ``DEBUG`` the 500 has the traceback and the hint, too.
    """
    error_id = uuid.uuid4().hex
    extra = extras(consumer, request, id=id, status=500, error_id=error_id)
    cure = _cure_for(exc)
    hint = "" if cure is None else f" {cure}"
    logger.error("%s failed (error %s, %s).%s", what, error_id, _described(extra), hint, exc_info=exc, extra=extra)
    if request is not None:
        request._logged = True
    collect = consumer.scope.get("routesock.on_error")
    if collect is not None:  # the test client raises it where the test made the call
        collect(id, exc)
    if not settings.DEBUG:
        return InternalError(error_id=error_id)
    lines = traceback.format_exception(exc)
    members: dict[str, Any] = {} if cure is None else {"hint": cure}
    return InternalError(lines[-1].strip(), error_id=error_id, traceback="".join(lines), **members)


def _cure_for(exc: BaseException) -> str | None:
    try:
        return cure_for(exc)
    except Exception:  # an exception whose own methods raise
        return None


def announce(request: Request) -> None:
    """Send ``request_started``; called if it has receivers."""
    request_started.notify(type(request.consumer), request=request, trace_id=request.trace_id)


def finished(request: Request, status: int | None) -> None:
    """Log ``request``, count it and send ``request_finished``: it has its final reply, or will have none (``None``).

    For a request that never started, ``request_started`` is sent first. Only the first call for a request counts. For a
    request that succeeded no call is needed if ``request_finished`` has no receivers, ``INFO`` is not logged, and
    metrics are not registered or have counted it.
    """
    if not hasattr(request, "_began"):
        request._began = perf_counter()
        if request_started.receivers:
            announce(request)
    if request._began is None:
        return
    duration = perf_counter() - request._began
    if counters.recorder is not None:
        counters.recorder.add(request.route, status, duration)
    level = _level(status)
    if logger.isEnabledFor(level) and not getattr(request, "_logged", False) and not _is_excluded(request, status):
        answer = "no reply" if status is None else status
        about = extras(request.consumer, request, status=status)
        route, socket = printable(request.route), _described(about)
        logger.log(level, "Route %s: %s in %.1f ms (%s).", route, answer, duration * 1000, socket, extra=about)
    request._began = None
    if request_finished.receivers:
        request_finished.notify(
            type(request.consumer),
            request=request,
            trace_id=request.trace_id,
            route=request.route,
            status=status,
            duration=duration,
        )


def _is_excluded(request: Request, status: int | None) -> bool:
    """Whether ``LOG_EXCLUDE`` names the route of ``request``, which has succeeded."""
    return status is not None and status < 400 and request.route in conf.get("LOG_EXCLUDE")


def refused(consumer: Any, error: RoutesockError, route: str | None, id: RequestId) -> None:
    """Log a frame that was answered with ``error`` and is no request of a route of ``consumer``."""
    level = _level(error.status)
    if logger.isEnabledFor(level) and not isinstance(error, InternalError):  # which is in the log already
        what = "A frame" if route is None else f"Route {printable(route)}"
        about = extras(consumer, route=route, id=id, status=error.status)
        logger.log(level, "%s: %d (%s).", what, error.status, _described(about), extra=about)


def socket_is_open(consumer: Any) -> None:
    """Send ``socket_opened``: the socket was accepted, and ``connect()`` has returned."""
    if counters.recorder is not None:
        counters.recorder.opened(type(consumer).__qualname__)
        loop_lag.measure()
    if socket_opened.receivers:
        socket_opened.notify(type(consumer), consumer=consumer, scope=consumer.scope)


def socket_is_refused(code: int) -> None:
    """Count a socket that the server closes before it has opened; ``code`` is 4000 + status for an HTTP response."""
    if counters.recorder is not None:
        counters.recorder.socket_refused(code)


def socket_has_ended(consumer: Any, code: int, opened_at: float) -> None:
    """Send ``socket_closed`` with the close ``code``; ``opened_at`` is in terms of ``time.perf_counter()``."""
    if counters.recorder is not None:
        counters.recorder.closed(code)
    if socket_closed.receivers:
        duration = perf_counter() - opened_at
        socket_closed.notify(type(consumer), consumer=consumer, code=code, duration=duration)


def _level(status: int | None) -> int:
    """The levels of Django's log of responses; lower for requests that the client has left or is to try again."""
    if status is None or status < 400 or status == CLIENT_CLOSED_REQUEST:
        return INFO
    return WARNING if status < 500 or status == 503 else ERROR
