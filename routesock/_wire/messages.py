"""Requests and replies, and the trace id that a request belongs to."""

from __future__ import annotations

import re
import uuid
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from contextvars import Context
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeAlias

_TRACE_HEADER: Final = "traceparent"

_TRACEPARENT: Final = re.compile(
    r"(?!ff)(?P<version>[0-9a-f]{2})"
    r"-(?!0{32})(?P<trace_id>[0-9a-f]{32})"
    r"-(?!0{16})[0-9a-f]{16}"
    r"-[0-9a-f]{2}(?P<rest>-.*)?",
    re.DOTALL,
)


def parse_traceparent(traceparent: str) -> str | None:
    """Return the trace id of a ``traceparent`` header (W3C Trace Context, section 3.2).

    Returns ``None`` for a value that has to be ignored. Version 00 ends after its flags. A higher version may continue
    after a dash and is read like version 00 up to there.
    """
    found = _TRACEPARENT.fullmatch(traceparent)
    if found is None or (found["version"] == "00" and found["rest"] is not None):
        return None
    return found["trace_id"]


def trace_id_for(headers: Any, scope: Mapping[str, Any]) -> str:
    """Return the trace id of a request: from its own ``headers``, else from the handshake's, else a new one."""
    return (
        _given(headers) or _given(scope.get("headers")) or uuid.uuid4().hex
    )  # a version 4 UUID is never 0, which the standard forbids


MAX_TRACE_STATE: Final = 512
"""Characters of a ``tracestate`` that is passed on (W3C Trace Context, section 3.3.1.5)."""


def trace_headers_of(headers: Any, scope: Mapping[str, Any]) -> dict[str, str]:
    """Return the headers ``traceparent`` and ``tracestate`` that a request belongs to; nothing without a valid one.

    They are its own, in ``headers``, else those of the handshake.
    """
    for given in (headers, scope.get("headers")):
        if _given(given) is not None:
            pairs: Any = given.items() if isinstance(given, Mapping) else given
            named = {_text(name).lower(): _text(value) for name, value in pairs}
            if len(named.get("tracestate", "")) > MAX_TRACE_STATE:
                del named["tracestate"]
            return {name: named[name] for name in (_TRACE_HEADER, "tracestate") if name in named}
    return {}


def _given(headers: Any) -> str | None:
    """Return the trace id in ``headers``, a mapping or ASGI's pairs of bytes.

    Returns ``None`` for several such headers and for malformed ones: a log record must not fail because of them.
    """
    try:
        pairs = headers.items() if isinstance(headers, Mapping) else headers or ()
        values = [value for name, value in pairs if _text(name).lower() == _TRACE_HEADER]
        return parse_traceparent(_text(values[0])) if len(values) == 1 else None
    except Exception:
        return None


def _text(part: Any) -> str:
    return part.decode("latin-1") if isinstance(part, bytes) else str(part)


if TYPE_CHECKING:
    from channels.consumer import AsyncConsumer

RequestId: TypeAlias = str | int | None
"""The client's id of a request; ``None`` for a notification, which gets no success reply."""

Scope: TypeAlias = MutableMapping[str, Any]

NO_HEADERS: Final[Mapping[str, Any]] = MappingProxyType({})


class Request:
    """One request on its way through the pipeline.

    ``route``
        The name that the client asked for.
    ``id``
        The client's own id of the request (``str``, ``int``, or ``None`` for a notification).
    ``payload``
        What the client sent; after ``schema=`` what the schema made of it; after ``hydrate=`` what that returned.
    ``data``
        As ``payload``, but never hydrated: where a route has both, the validated input beside the loaded object.
    ``headers``
        The request's own headers, a mapping; not those of the handshake, which are in ``scope["headers"]``.
    ``scope``
        The ASGI scope of the socket.
    ``consumer``
        The consumer instance that answers.
    ``started``
        When the handler began (``time.monotonic()``), where hooks may have waited before it; else ``None``.
    ``timeout``
        The deadline in seconds that the client asked for with the header ``Request-Timeout``; else ``None``.
    ``emit``
        Of a stream: sends one item. Handlers yield instead.
    ``frame``
        What the payload was taken from, as the dialect read it: the whole JSON object. ``None`` for a request that was
        made by hand.
    """

    # The private ones are set where they are needed: most requests end without them.
    __slots__ = (
        "_batch",
        "_began",
        "_claim",
        "_context",
        "_frame",
        "_logged",
        "_rate_limits",
        "_replied",
        "_revoked",
        "_since",
        "_topic",
        "_trace_id",
        "_undo",
        "_view",
        "consumer",
        "data",
        "emit",
        "headers",
        "id",
        "payload",
        "route",
        "started",
        "timeout",
    )
    _batch: ReplyBatch
    _began: float | None
    _claim: Any
    """The state of its idempotency key: a claim, or the reply to an earlier request."""
    _context: Context
    """The context inside of all middleware: errors and replies are encoded and records are written in it."""
    _frame: Any
    _logged: bool
    _rate_limits: Mapping[str, str] | None
    _replied: Callable[[], None]
    """Called when the reply was sent."""
    _revoked: bool
    _since: Any
    _topic: str
    _trace_id: str
    _undo: Callable[[], Awaitable[None]]
    _view: Any
    started: float | None
    timeout: float | None
    emit: Callable[[Any], Awaitable[None]] | None

    def __init__(
        self,
        route: str,
        id: RequestId = None,
        payload: Any = None,
        headers: Mapping[str, Any] = NO_HEADERS,
        consumer: AsyncConsumer | None = None,
    ) -> None:
        self.route: str = route
        self.id: RequestId = id
        self.payload: Any = payload
        self.data: Any = payload
        self.headers: Mapping[str, Any] = headers
        self.consumer: AsyncConsumer | None = consumer
        self.started = self.timeout = self.emit = None

    def __repr__(self) -> str:
        # The payload stays out: a request ends up in logs and tracebacks.
        return f"<Request {self.route[:200]!r} id={self.id!r}>"

    @property
    def scope(self) -> Scope:
        """The ASGI scope of the socket; empty for a request made by hand without a consumer."""
        return getattr(self.consumer, "scope", None) or {}

    @property
    def socket(self) -> Any:
        """The consumer's :class:`~routesock.socket.Socket`, also where the class has an attribute ``socket`` itself.

        On a sync consumer it is a :class:`~routesock.socket.SyncSocket`. Type checkers know which of them it is if the
        request is annotated as ``routesock.socket.AsyncRequest`` or ``SyncRequest``. ``AttributeError`` for a request
        made by hand without a consumer that is connected.
        """
        connection: Any = getattr(self.consumer, "_routesock_connection", None)
        if connection is None:
            raise AttributeError(f"{self!r} has no socket: its consumer is not connected.")
        return connection.socket_of(self.consumer)

    @property
    def user(self) -> Any:
        """The user in ``scope["user"]``, else an ``AnonymousUser`` instance, never its class or ``None``."""
        user = self.scope.get("user")
        if user is None or issubclass(type(user), type):  # isinstance() would ask a lazy user for its __class__
            # Importing it needs the app registry, which is not there when routesock itself is imported.
            from django.contrib.auth.models import AnonymousUser

            return AnonymousUser()
        return user

    @property
    def frame(self) -> Any:
        """The client's message as the dialect read it. In the default dialect that is the whole JSON object.

        ``None`` for a request that was made by hand.
        """
        return getattr(self, "_frame", None)

    @property
    def topic(self) -> str | None:
        """The name that a client subscribes to, or unsubscribes from, such as ``"room.5"``; of a route's ``None``."""
        return getattr(self, "_topic", None)

    @property
    def since(self) -> str | None:
        """The position from which a client resumes a topic with a history, such as ``"Zk3fQ1a9:17"``; else ``None``.

        It is only there when the handler runs, so when pushes behind it are no longer kept.
        """
        since = getattr(self, "_since", None)
        return None if since is None else str(since)

    @property
    def trace_id(self) -> str:
        """The trace that the request belongs to, 32 hexadecimal digits (W3C Trace Context).

        That of the header ``traceparent`` of the request, else of the handshake, else one that is made when it is first
        asked for.
        """
        try:
            return self._trace_id
        except AttributeError:
            self._trace_id = trace_id_for(self.headers, self.scope)
            return self._trace_id


_new_request: Final[Callable[[type[Request]], Request]] = object.__new__


def request_with(
    route: str, id: RequestId, payload: Any, headers: Mapping[str, Any], consumer: Any, frame: Any
) -> Request:
    """Return a :class:`Request` with its ``frame``. It is made in a third less time than by calling the class."""
    request = _new_request(Request)
    request.route = route
    request.id = id
    request.payload = request.data = payload
    request.headers = headers
    request.consumer = consumer
    request._frame = frame
    request.started = request.timeout = request.emit = None
    return request


class ReplyBatch:
    """Gathers the replies to several requests that came in one message, to be sent as one list.

    Args:
        size: The number of requests.
    """

    __slots__ = ("_bytes", "_left", "_replies")

    def __init__(self, size: int) -> None:
        self._left = size
        self._replies: list[Any] = []
        self._bytes = 2  # the brackets

    @property
    def bytes(self) -> int:
        """The bytes of the list so far, as JSON."""
        return self._bytes

    def add(self, reply: Any, size: int) -> None:
        """Add the frame of a reply, ``size`` bytes long."""
        self._replies.append(reply)
        self._bytes += size + 1  # a comma

    def finish_one(self) -> list[Any] | None:
        """Note that one more request is answered. Returns the replies if it was the last, and there are any."""
        self._left -= 1
        return self._replies if self._left == 0 and self._replies else None


class Reply:
    """The result of a handler that sets the status or headers of its reply.

    ``status`` is from 200 to 599 (204 sends ``null``), but not 206, which marks an item of a stream; ``headers`` appear
    in the reply only if there are any. ``ValueError`` for any other status.
    """

    __slots__ = ("headers", "payload", "status")

    def __init__(self, payload: Any = None, status: int = 200, headers: Mapping[str, Any] | None = None) -> None:
        if not isinstance(status, int) or not 200 <= status <= 599 or status == 206:
            raise ValueError(f"A reply's status must be an integer from 200 to 599 other than 206, not {status!r}.")
        self.payload: Any = payload
        self.status: int = status
        self.headers: Mapping[str, Any] = headers or NO_HEADERS

    def __repr__(self) -> str:
        return f"<Reply {int(self.status)}>"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Reply):
            return NotImplemented
        return (self.payload, self.status, dict(self.headers)) == (other.payload, other.status, dict(other.headers))

    __hash__: ClassVar[None] = None  # type: ignore[assignment]


class _NoReply(Reply):
    """The type of :data:`NO_REPLY`."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "NO_REPLY"


NO_REPLY: Final[Reply] = _NoReply(None, 204)
"""Return it from a handler that does not answer its request, such as one that answers through a group.

The client is sent nothing. Errors are answered all the same. Where no success is ever answered, write
``@route(..., reply=None)``.
"""


new_reply: Final[Callable[[type[Reply]], Reply]] = object.__new__
"""Makes a :class:`Reply` without checking the status for each message. Set all its attributes."""


def reply_with(payload: Any, status: int, headers: Mapping[str, Any] = NO_HEADERS) -> Reply:
    """Return a :class:`Reply` with a ``status`` that is known to be valid, without checking it for each message."""
    reply = new_reply(Reply)
    reply.payload = payload
    reply.status = status
    reply.headers = headers
    return reply
