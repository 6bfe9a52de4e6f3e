"""The log of requests, and unexpected exceptions: logged with their traceback, and answered without a word of it."""

from __future__ import annotations

import logging
import traceback
import uuid
from time import perf_counter
from typing import Any, Final

from django.conf import settings

from . import problems
from .exceptions import InternalError, RoutesockError
from .messages import Request, RequestId

logger: Final = logging.getLogger("routesock.request")

MAX_LOGGED_CHARS: Final = 200


def printable(text: object) -> str:
    """A client's text for a log line: escaped, so that it cannot forge a line, and cut."""
    return repr(str(text)[:MAX_LOGGED_CHARS])[: MAX_LOGGED_CHARS + 2]


def extras(
    consumer: Any,
    request: Request | None = None,
    *,
    route: str | None = None,
    id: RequestId = None,
    status: int | None = None,
    error_id: str | None = None,
) -> dict[str, Any]:
    """What every record of the logger has beside its text, ``None`` where there is nothing to say.

    All of it may stand in a format string: a client's text is escaped and cut.
    """
    trace_id = duration = None
    if request is not None:
        route, id, trace_id = request.route, request.id, request.trace_id
        began = getattr(request, "_began", None)
        duration = None if began is None else round((perf_counter() - began) * 1000, 3)
    return {
        "routesock_consumer": type(consumer).__qualname__,
        "routesock_route": None if route is None else printable(route)[1:-1],
        "routesock_request_id": id if id is None or type(id) is int else printable(id)[1:-1],
        "routesock_status": status,
        "routesock_duration_ms": duration,
        "routesock_trace_id": trace_id,
        "routesock_error_id": error_id,
    }


def error_for(exc: BaseException, consumer: Any, request: Request) -> RoutesockError:
    """The error that answers ``exc``: the one that it stands for, else a 500 whose traceback is in the log."""
    try:
        error = problems.error_of(exc)
    except BaseException as broken:  # an exception whose own text or status cannot be read
        exc, error = broken, None
    return error or internal_error(exc, f"Route {printable(request.route)}", consumer, request.id, request)


def internal_error(
    exc: BaseException,
    what: str,
    consumer: Any,
    id: RequestId = None,
    request: Request | None = None,
) -> InternalError:
    """Log ``exc`` under a new ``error_id`` and give the 500 that carries the id; under ``DEBUG`` also the traceback."""
    error_id = uuid.uuid4().hex
    logger.error(
        "%s failed (error %s).",
        what,
        error_id,
        exc_info=exc,
        extra=extras(consumer, request, id=id, status=500, error_id=error_id),
    )
    if request is not None:
        request._logged = True
    collect = consumer.scope.get("routesock.on_error")
    if collect is not None:  # the testing kit raises it where the test made the call
        collect(id, exc)
    if not settings.DEBUG:
        return InternalError(error_id=error_id)
    lines = traceback.format_exception(exc)
    return InternalError(lines[-1].strip(), error_id=error_id, traceback="".join(lines))
