"""Exceptions: the errors that become replies to the client, and those raised for mistakes in the server's own code.

::

    RoutesockError                     any status, raised by handlers too
        BadRequest             400     bad_request
            ParseError         400     parse_error
            InvalidEnvelope    400     invalid_envelope
        NotAuthenticated       401     not_authenticated
        PermissionDenied       403     permission_denied
        AskRefused             403     ask_refused
        NotFound               404     not_found
            UnknownRoute       404     unknown_route
            UnknownTopic       404     unknown_topic
            NotSubscribed      404     not_subscribed
        NoAnswer               408     no_answer
        Conflict               409     conflict
            DuplicateRequest   409     duplicate_id
            AlreadySubscribed  409     already_subscribed
        TooLarge               413     too_large
        Invalid                422     invalid
        InvalidAnswer          422     invalid_answer
        Throttled              429     throttled
        TooManyInFlight        429     too_many_in_flight
        TooManySubscriptions   429     too_many_subscriptions
        TooManyAsks            429     too_many_asks
        Cancelled              499     cancelled
        InternalError          500     internal_error
        Unavailable            503     unavailable
        DeadlineExceeded       504     timeout
    RouteSetupError                    a wrong declaration, raised at import or class creation; never sent
    InvalidPush                        a payload that its Push does not allow, raised to the code that pushes
    SocketEnded                        raised to a task or thread that sends to a socket which has ended

The payload of an error reply is a problem object with the members of RFC 9457.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from django.core.exceptions import ImproperlyConfigured

from .status import title_of


class RoutesockError(Exception):
    """An error reply. Raise it, or a subclass, from a handler, a hook or a middleware.

    A subclass sets its defaults as class attributes: ``status``, ``code`` and ``detail``.

    Args:
        detail: A sentence for people. The client reads it unchanged.
        status: The status of the reply, from 400 to 599.
        code: A short name of the error, for programs.
        errors: Messages by field.
        headers: Headers of the reply.
        **extra: Further members of the problem object (RFC 9457, section 3.2). They cannot replace the standard ones.

    Raises:
        ValueError: If ``status`` is not from 400 to 599.
    """

    status: int = 500
    code: str = "internal_error"
    detail: str = "The server could not process the request."

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
                raise ValueError(f"The status of an error must be from 400 to 599, not {status!r}.")
            self.status = status
        if code is not None:
            self.code = code
        self.errors = errors
        self.native_errors: Any = None
        """What a schema library has reported, in its own shape."""
        self.headers: dict[str, Any] = dict(headers or {})
        self.extra = extra

    def problem(self) -> dict[str, Any]:
        """Return the payload of the reply: ``extra``, then ``code``, ``title``, ``detail``, and ``errors`` if any.

        With a header ``Retry-After`` it has ``retry_after`` as well, for dialects without headers.
        """
        problem: dict[str, Any] = {"code": self.code, "title": title_of(self.status), "detail": self.detail}
        if self.errors is not None:
            problem["errors"] = self.errors
        if "Retry-After" in self.headers:
            problem["retry_after"] = self.headers["Retry-After"]
        return {**self.extra, **problem}


class BadRequest(RoutesockError):
    """400: the route cannot process the request."""

    status = 400
    code = "bad_request"
    detail = "The request could not be understood."


class ParseError(BadRequest):
    """400: the frame is not strict JSON (RFC 8259) in a text frame."""

    code = "parse_error"
    detail = "The frame is not valid JSON."


class InvalidEnvelope(BadRequest):
    """400: the frame is JSON, but not a request.

    Args:
        detail: A sentence for people.
        id: The id of the request, if the frame has a valid one. The reply repeats it.
    """

    code = "invalid_envelope"
    detail = "The frame is not a request."

    def __init__(self, detail: str | None = None, *, id: str | int | None = None) -> None:
        super().__init__(detail)
        self.id = id


class NotAuthenticated(RoutesockError):
    """401: the user of the socket is anonymous, or has been logged out."""

    status = 401
    code = "not_authenticated"
    detail = "Authentication is required."


class PermissionDenied(RoutesockError):
    """403: the user does not have permission for the request."""

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
    """404: the socket is not, or no longer, subscribed to the topic."""

    code = "not_subscribed"
    detail = "This socket is not subscribed to this topic."


class Conflict(RoutesockError):
    """409: the request conflicts with the current state of the object."""

    status = 409
    code = "conflict"
    detail = "The request conflicts with the current state."


class DuplicateRequest(Conflict):
    """409: a request with the same id is still in flight on this socket."""

    code = "duplicate_id"
    detail = "A request with this id is still in flight."


class AlreadySubscribed(Conflict):
    """409: the socket is already subscribed to the topic."""

    code = "already_subscribed"
    detail = "This socket is already subscribed to this topic."


class _RetryableError(RoutesockError):
    """An error with the header ``Retry-After``, in whole seconds (RFC 9110, section 10.2.3)."""

    def __init__(self, detail: str | None = None, *, wait: float | None = None, **extra: Any) -> None:
        super().__init__(detail, **extra)
        if wait is not None:
            self.headers["Retry-After"] = max(0, math.ceil(wait))


class HistoryLost(_RetryableError):
    """410: pushes of the topic may be lost, so the subscription has ended. The client may subscribe again.

    Args:
        detail: A sentence for people.
        wait: Seconds until the client should do so. The header ``Retry-After`` has them, rounded up.
        **extra: What :class:`RoutesockError` takes.
    """

    status = 410
    code = "history_lost"
    detail = "Pushes of this topic may be lost. Subscribe again."


class TooLarge(RoutesockError):
    """413: the frame is larger than the limit."""

    status = 413
    code = "too_large"
    detail = "The frame is too large."


class Invalid(RoutesockError):
    """422: the payload does not match the schema. ``errors`` holds the messages of the schema library.

    An error that a schema raises has the status of the setting ``VALIDATION_STATUS``.
    """

    status = 422
    code = "invalid"
    detail = "The payload is not valid."


class Throttled(_RetryableError):
    """429: a throttle refused the request.

    Args:
        detail: A sentence for people.
        wait: Seconds until the client may try again. The header ``Retry-After`` has them, rounded up.
        **extra: What :class:`RoutesockError` takes.
    """

    status = 429
    code = "throttled"
    detail = "Too many requests."


class TooManyInFlight(RoutesockError):
    """429: the socket already has as many running and waiting requests as the limit allows."""

    status = 429
    code = "too_many_in_flight"
    detail = "Too many requests are in flight on this socket."


class TooManySubscriptions(RoutesockError):
    """429: the socket already has as many subscriptions as the limit allows."""

    status = 429
    code = "too_many_subscriptions"
    detail = "This socket has too many subscriptions."


class NoAnswer(RoutesockError, TimeoutError):
    """408: the client has not answered ``self.socket.ask()`` in time, or the socket has ended meanwhile."""

    status = 408
    code = "no_answer"
    detail = "The client did not answer in time."


class AskRefused(RoutesockError):
    """The client has answered ``self.socket.ask()`` with an error.

    A handler that does not catch it is answered with the same status.

    Args:
        status: The status of the client's answer, from 400 to 599.
        payload: The payload of the client's answer. It is not validated.
    """

    status = 403
    code = "ask_refused"
    detail = "The client refused what it was asked."

    def __init__(self, status: int, payload: Any = None) -> None:
        super().__init__(status=status)
        self.payload = payload


class InvalidAnswer(RoutesockError):
    """422: the schema of ``self.socket.ask()`` refuses the client's answer.

    Args:
        errors: The messages of the schema library.
    """

    status = 422
    code = "invalid_answer"
    detail = "The answer is not valid."

    def __init__(self, errors: Any = None) -> None:
        super().__init__(errors=errors)


class TooManyAsks(RoutesockError):
    """429: the socket already waits for ``MAX_ASKS`` answers of its client."""

    status = 429
    code = "too_many_asks"
    detail = "Too many answers of this client are awaited."


class Cancelled(RoutesockError):
    """499: the client cancelled the request."""

    status = 499
    code = "cancelled"
    detail = "The request was cancelled."


class InternalError(RoutesockError):
    """500: an unexpected exception in the server. The log has its traceback under the same ``error_id``."""


class Unavailable(_RetryableError):
    """503: a service that the request needs is down, or the server is stopping.

    Args:
        detail: A sentence for people.
        wait: Seconds until the client may try again. The header ``Retry-After`` has them, rounded up.
        **extra: What :class:`RoutesockError` takes.
    """

    status = 503
    code = "unavailable"
    detail = "The service is temporarily unavailable."


class DeadlineExceeded(RoutesockError):
    """504: the handler did not finish before its deadline. Work that it has started may still complete."""

    status = 504
    code = "timeout"
    detail = "The request took too long; it may still finish."


class RouteSetupError(ImproperlyConfigured, TypeError):
    """A wrong declaration of a route or a consumer, raised at import or class creation."""


class InvalidPush(ValueError):
    """A payload does not match the schema of its :class:`~routesock.Push`. Nothing was sent.

    This is a mistake in the server's code. If a handler does not catch the exception, its client gets a 500.

    Attributes:
        push: The name of the push.
        errors: The messages of the schema library.
    """

    def __init__(self, push: str, errors: Any) -> None:
        super().__init__(push, errors)
        self.push = push
        self.errors = errors

    def __str__(self) -> str:
        return f"The payload does not match the schema of the push {self.push!r}: {self.errors}"


class SocketEnded(ConnectionError):
    """A task or thread has sent to a socket that has ended. Never sent to a client.

    The client has left, the grace period is over, and ``disconnect()`` has run. Before that, such a call does nothing.
    Cancel your own tasks in ``disconnect()``, or let this exception end them.
    """

    def __init__(self) -> None:
        super().__init__(
            "The socket has ended, and disconnect() has run. Cancel a task that sends in disconnect(), or let this "
            "exception end it."
        )
