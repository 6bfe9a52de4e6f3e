"""What can go wrong, each with the status that a client reads.

::

    RoutesockError                     any status, raised by handlers too
        BadRequest             400     bad_request
            ParseError         400     parse_error
            InvalidEnvelope    400     invalid_envelope
        NotAuthenticated       401     not_authenticated
        PermissionDenied       403     permission_denied
        NotFound               404     not_found
            UnknownRoute       404     unknown_route
            UnknownTopic       404     unknown_topic
            NotSubscribed      404     not_subscribed
        Conflict               409     conflict
            DuplicateRequest   409     duplicate_id
            AlreadySubscribed  409     already_subscribed
        TooLarge               413     too_large
        Invalid                422     invalid
        Throttled              429     throttled
        TooManyInFlight        429     too_many_in_flight
        TooManySubscriptions   429     too_many_subscriptions
        Cancelled              499     cancelled
        InternalError          500     internal_error
        Unavailable            503     unavailable
        DeadlineExceeded       504     timeout
    RouteSetupError                    raised at import or class creation, never sent
    InvalidPush                        raised to whoever pushes, a ValueError

An error's reply carries a problem object with the members of RFC 9457.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from django.core.exceptions import ImproperlyConfigured

from .status import title_of


class RoutesockError(Exception):
    """An error that the client may see: its status, its code and a sentence.

    Raise it, or a subclass, from a handler, a hook or a middleware. ``detail`` is sent as it is, ``errors`` holds
    messages by field, ``headers`` go into the reply, and ``extra`` adds members to the problem object (RFC 9457,
    section 3.2); they cannot replace the standard ones.
    """

    status: int = 500
    code: str = "internal_error"
    detail: str = "The server could not answer this request."

    def __init__(
        self,
        detail: str | None = None,
        *,
        status: int | None = None,
        code: str | None = None,
        errors: Any = None,
        headers: Mapping[str, Any] | None = None,
        **extra: Any,
    ) -> None:
        super().__init__(detail if detail is not None else self.detail)
        if detail is not None:
            self.detail = str(detail)
        if status is not None:
            if not 400 <= status <= 599:
                raise ValueError(f"An error's status is from 400 to 599, not {status!r}.")
            self.status = status
        if code is not None:
            self.code = code
        self.errors = errors
        self.headers: dict[str, Any] = dict(headers or {})
        self.extra = extra

    def problem(self) -> dict[str, Any]:
        """The payload of the reply: ``extra``, then ``code``, ``title``, ``detail``, and ``errors`` if any."""
        problem: dict[str, Any] = {"code": self.code, "title": title_of(self.status), "detail": self.detail}
        if self.errors is not None:
            problem["errors"] = self.errors
        return {**self.extra, **problem}


class BadRequest(RoutesockError):
    """400: the request makes no sense to this route."""

    status = 400
    code = "bad_request"
    detail = "The request could not be understood."


class ParseError(BadRequest):
    """400: the frame is not strict JSON (RFC 8259) in a text frame."""

    code = "parse_error"
    detail = "The frame is not valid JSON."


class InvalidEnvelope(BadRequest):
    """400: the frame is JSON, but not a request. ``id`` is the request's, where it could be read."""

    code = "invalid_envelope"
    detail = "The frame is not a request."

    def __init__(self, detail: str | None = None, *, id: str | int | None = None) -> None:
        super().__init__(detail)
        self.id = id


class NotAuthenticated(RoutesockError):
    """401: nobody is signed in on this socket, or not any more."""

    status = 401
    code = "not_authenticated"
    detail = "Authentication is required."


class PermissionDenied(RoutesockError):
    """403: the user may not do this."""

    status = 403
    code = "permission_denied"
    detail = "You do not have permission to do this."


class NotFound(RoutesockError):
    """404: the object that the request names does not exist."""

    status = 404
    code = "not_found"
    detail = "Not found."


class UnknownRoute(NotFound):
    """404: the consumer has no such route."""

    code = "unknown_route"
    detail = "There is no such route."


class UnknownTopic(NotFound):
    """404: the consumer has no such topic."""

    code = "unknown_topic"
    detail = "There is no such topic."


class NotSubscribed(NotFound):
    """404: the socket is not subscribed to this topic, or not any more."""

    code = "not_subscribed"
    detail = "This socket is not subscribed to this topic."


class Conflict(RoutesockError):
    """409: the request does not fit the state that the object is in."""

    status = 409
    code = "conflict"
    detail = "The request conflicts with the current state."


class DuplicateRequest(Conflict):
    """409: a request with this id is still running on this socket."""

    code = "duplicate_id"
    detail = "A request with this id is still in flight."


class AlreadySubscribed(Conflict):
    """409: the socket is subscribed to this topic."""

    code = "already_subscribed"
    detail = "This socket is already subscribed to this topic."


class TooLarge(RoutesockError):
    """413: the frame is over the size limit."""

    status = 413
    code = "too_large"
    detail = "The frame is too large."


class Invalid(RoutesockError):
    """422: the schema refuses the payload; ``errors`` is what the schema library says.

    The status is the setting ``VALIDATION_STATUS`` where the pipeline raises it for a schema.
    """

    status = 422
    code = "invalid"
    detail = "The payload is not valid."


class _TryLater(RoutesockError):
    """``wait`` is in seconds; the header ``Retry-After`` carries it rounded up (RFC 9110, section 10.2.3)."""

    def __init__(self, detail: str | None = None, *, wait: float | None = None, **extra: Any) -> None:
        super().__init__(detail, **extra)
        if wait is not None:
            self.headers["Retry-After"] = max(0, math.ceil(wait))


class Throttled(_TryLater):
    """429: too many requests; ``wait`` seconds become ``Retry-After``."""

    status = 429
    code = "throttled"
    detail = "Too many requests."


class TooManyInFlight(RoutesockError):
    """429: as many requests as the socket may have are running or waiting."""

    status = 429
    code = "too_many_in_flight"
    detail = "Too many requests are in flight on this socket."


class TooManySubscriptions(RoutesockError):
    """429: the socket has as many subscriptions as it may have."""

    status = 429
    code = "too_many_subscriptions"
    detail = "This socket has too many subscriptions."


class Cancelled(RoutesockError):
    """499: the client cancelled the request."""

    status = 499
    code = "cancelled"
    detail = "The request was cancelled."


class InternalError(RoutesockError):
    """500: the server's own fault; the log holds the traceback under the same ``error_id``."""


class Unavailable(_TryLater):
    """503: something that the server needs is down; ``wait`` seconds become ``Retry-After``."""

    status = 503
    code = "unavailable"
    detail = "The service is unavailable for the moment."


class DeadlineExceeded(RoutesockError):
    """504: the handler did not end within its time. What it began may still finish."""

    status = 504
    code = "timeout"
    detail = "The request took too long; it may still finish."


class RouteSetupError(ImproperlyConfigured, TypeError):
    """A route or a consumer is declared wrongly: raised at import or class creation, with what to write instead."""


class InvalidPush(ValueError):
    """What is to be sent does not fit the schema of its :class:`~routesock.Push`: nothing was sent.

    ``push`` is the name, ``errors`` what the schema library says. It is the server's mistake: of a handler, the client
    reads a 500.
    """

    def __init__(self, push: str, errors: Any) -> None:
        super().__init__(push, errors)
        self.push = push
        self.errors = errors

    def __str__(self) -> str:
        return f"The payload does not fit the push {self.push!r}: {self.errors}"
