"""States, frames and errors of the client."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final, Generic, Protocol, TypeAlias, TypeVar

Headers: TypeAlias = Mapping[str, Any]
Problem: TypeAlias = Mapping[str, Any]
"""The payload of an error: ``code``, ``title``, ``detail``, ``errors``, and further members that the server adds."""

NO_PAYLOAD: Final[Any] = None

NO_HEADERS: Final[Headers] = MappingProxyType({})

DEFAULT_TIMEOUT: Final = 35.0
"""Seconds for a call. A little longer than the server's own deadline, which is 30 s by default."""

Snapshot_ = TypeVar("Snapshot_", covariant=True)
Asked = TypeVar("Asked", covariant=True)


class State(StrEnum):
    """What a connection is doing. Members are equal to their names in lower case: ``client.state == "open"``."""

    IDLE = "idle"
    """``connect()`` has not been called."""
    CONNECTING = "connecting"
    """A WebSocket is being opened."""
    AUTHENTICATING = "authenticating"
    """The WebSocket is open, and the server checks the token."""
    OPEN = "open"
    """Calls are sent."""
    WAITING = "waiting"
    """The connection was lost. Another attempt follows."""
    CLOSED = "closed"
    """Closed by ``close()``, or for good by the server. ``connect()`` starts again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Why:
    """Why a connection has ended: the CLOSE notice of the server, else the close frame.

    Attributes:
        code: The close code. 1006 if there was none, as after a timeout.
        reason: A text for people.
        reconnect: Whether the server's notice asks the client to connect again. ``None`` without a notice.
        retry_after: Seconds to wait before that, if the notice has them.
        cause: The exception behind it, if there is one.
    """

    code: int
    reason: str = ""
    reconnect: bool | None = None
    retry_after: float | None = None
    cause: BaseException | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """A successful reply.

    Attributes:
        status: 200 to 399.
        payload: What the handler has returned.
        headers: The headers of the frame.
    """

    status: int
    payload: Any = None
    headers: Headers = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Push:
    """A frame that the server has sent without being asked.

    Attributes:
        route: The name of the push.
        payload: Its payload.
        headers: The headers of the frame.
        topic: The topic that it came through, if the server says so.
    """

    route: str
    payload: Any = None
    headers: Headers = field(default_factory=dict)
    topic: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask(Push, Generic[Asked]):
    """What the server asks, for the handlers of :meth:`Client.answer`.

    Attributes:
        payload: Its payload.
    """

    payload: Asked = NO_PAYLOAD  # it overrides a field with a default

    @property
    def timeout(self) -> float | None:
        """The seconds for which the server waits, if it says so."""
        return seconds(self.headers.get("Timeout"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot(Generic[Snapshot_]):
    """The payload of a reply to SUBSCRIBE. After a reconnect, replace the state that you keep by it.

    Attributes:
        payload: The state of the topic.
        headers: The headers of the frame.
    """

    payload: Snapshot_
    headers: Headers = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class OutgoingFrame:
    """A frame to the server. Without an id it is a notification."""

    route: str
    id: int | str | None = None
    payload: Any = None
    headers: Headers | None = None
    status: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class IncomingFrame:
    """A frame from the server. With a status it is a reply, without one a push."""

    route: str | None
    id: int | str | None = None
    status: int | None = None
    payload: Any = None
    headers: Headers = field(default_factory=dict)
    topic: str | None = None


class ClientError(Exception):
    """The root of the client's own exceptions. A call that takes too long raises the built-in ``TimeoutError``."""


class RouteError(ClientError):
    """The server answered with a status from 400 on.

    Attributes:
        route: The route that was called.
        status: 400 to 599.
        problem: The payload of the reply.
        headers: The headers of the reply.
        retry_after: Seconds after which the server asks you to try again, if it does.
    """

    def __init__(self, route: str | None, status: int, problem: Problem, headers: Headers = NO_HEADERS) -> None:
        super().__init__(f"{route}: {status} {problem.get('detail') or problem.get('title') or ''}".rstrip())
        self.route = route
        self.status = status
        self.problem: Problem = problem
        self.headers: Headers = dict(headers)
        self.retry_after = retry_after(problem)
        if self.retry_after is None:
            self.retry_after = seconds(headers.get("Retry-After"))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.route, self.status, self.problem, self.headers)


class ConnectionLost(ClientError, ConnectionError):
    """There is no connection for a call, or it was lost before the reply.

    Attributes:
        sent: Whether the call was sent. If so, the server may have run it.
        why: Why the connection has ended.
    """

    def __init__(self, sent: bool, why: Why | None = None) -> None:
        text = "The connection was lost before the reply." if sent else "Not sent: there is no connection."
        super().__init__(f"{text} {describe(why)}".rstrip())
        self.sent = sent
        self.why = why

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.sent, self.why)


class StreamOverflow(ClientError):
    """More than 1,000 items were not read. A stream is cancelled on the server then."""

    def __init__(self) -> None:
        super().__init__("More than 1000 items were not read.")


class Timer(Protocol):
    """What :meth:`Clock.call_later` returns."""

    def cancel(self) -> None:
        """Keeps it from firing. May be called again."""
        ...


class Clock(Protocol):
    """The time. Replace it in tests."""

    def now(self) -> float:
        """Returns the seconds since 1970. They have to go on while the machine sleeps."""
        ...

    def call_later(self, delay: float, callback: Any) -> Timer:
        """Calls ``callback`` without arguments in ``delay`` seconds."""
        ...


def members(payload: Any) -> Problem:
    """Returns ``payload`` if it is a JSON object, else an empty one."""
    return payload if isinstance(payload, Mapping) else {}


def seconds(value: Any) -> float | None:
    """Returns ``value`` if it is a number."""
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def retry_after(payload: Any) -> float | None:
    """The seconds in the payload of an error or a CLOSE notice. A dialect may write names in camelCase."""
    found = members(payload)
    return seconds(found.get("retryAfter", found.get("retry_after")))


def describe(why: Why | None) -> str:
    """The last end of a connection for the text of an exception; empty if there was none."""
    if why is None:
        return ""
    detail = why.reason if why.cause is None else f"{why.reason} {type(why.cause).__name__}: {why.cause}"
    return f"[{why.code}{' ' if detail else ''}{detail.strip()}]"
