"""Frames, replies, the inbox and the exceptions of the test client."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from .._wire.messages import NO_HEADERS, Request, RequestId
from ..dialects import Dialect, Incoming
from ..dialects.base import ASK_PREFIX, POSITION_HEADER, RECOVERED_HEADER, has_own_decode
from ..exceptions import RoutesockError


class ClientTimeout(AssertionError, TimeoutError):
    """The client waited in vain. The message lists the frames that arrived instead.

    It is an ``AssertionError``, so that test runners report a failure and not an error. The application runs on.
    """


class NoReply(ClientTimeout):
    """A request got no reply in time."""


class UndocumentedFrame(AssertionError):
    """A frame of the application does not fit its document.

    Attributes:
        route: The name of the route or the push; ``None`` for a frame without one.
        pointer: A JSON pointer into the frame.
    """

    def __init__(self, message: str, route: str | None, pointer: str) -> None:
        super().__init__(message)
        self.route = route
        self.pointer = pointer


class ConnectionClosed(ConnectionError):
    """The application closed the socket while the client was waiting.

    Attributes:
        code: The close code; 1006 if the application ended without closing the socket.
        reason: The reason of the close.
    """

    def __init__(self, message: str, code: int, reason: str = "") -> None:
        super().__init__(f"{message} (code {code}{f', {reason!r}' if reason else ''}).")
        self.code = code
        self.reason = reason


class ConnectionRefused(ConnectionClosed):
    """The application closed the socket instead of accepting it. A server would answer the handshake with HTTP 403."""


RawFrame = dict[str, Any] | str | bytes
"""A received frame: a dict for a JSON object, a str for any other text, or bytes."""

ITEM: Final = 206
"""The status of the items of a stream. The reply that ends the stream has another status."""


class Close(NamedTuple):
    """How the application closed the socket."""

    code: int
    reason: str


@dataclass(frozen=True, slots=True)
class ClientReply:
    """The reply to a request, or an item of its stream, which has the status 206.

    ``status`` is ``None`` if the dialect has no status.
    """

    status: int | None
    payload: Any
    headers: Mapping[str, Any] = field(default_factory=dict)
    route: str | None = None
    id: RequestId = None

    @property
    def ok(self) -> bool:
        """Whether the status is 2xx. ``False`` if there is no status."""
        return self.status is not None and 200 <= self.status <= 299

    @property
    def position(self) -> str | None:
        """The header ``Position`` of a reply to SUBSCRIBE: the ``since`` to go on from if no push comes."""
        return self.headers.get(POSITION_HEADER)

    @property
    def recovered(self) -> bool | None:
        """The header ``Recovered`` of a reply to SUBSCRIBE.

        True if the pushes that were missed follow, false if the payload is a new snapshot, ``None`` without ``since``.
        """
        return self.headers.get(RECOVERED_HEADER)


@dataclass(frozen=True, slots=True)
class Push:
    """A push: an unsolicited frame from the server."""

    route: str
    payload: Any
    headers: Mapping[str, Any] = field(default_factory=dict)

    @property
    def position(self) -> str | None:
        """The header ``Position`` of a push of a topic with a history: the ``since`` to go on from."""
        return self.headers.get(POSITION_HEADER)


@dataclass(frozen=True, slots=True)
class Ask:
    """A frame with which the server asks, and waits for an answer with the same ``id``."""

    route: str
    payload: Any
    headers: Mapping[str, Any] = field(default_factory=dict)
    id: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """A received frame, raw and decoded. ``decoded`` is ``None`` if it is no frame of the dialect."""

    raw: RawFrame
    decoded: Incoming | None

    @classmethod
    def parse(cls, data: str | bytes, dialect: Dialect) -> Frame:
        """Parse a text or binary frame. Invalid frames are accepted, since a test may expect them."""
        is_json = not has_own_decode(dialect)
        if is_json and not isinstance(data, str):
            return cls(data, None)
        try:
            value = json.loads(data) if is_json else dialect.load(data)
            decoded = dialect.incoming(value)
        except (ValueError, TypeError, LookupError, AttributeError, RoutesockError):
            return cls(data, None)
        return cls(value if is_json and isinstance(value, dict) else data, decoded)

    @property
    def id(self) -> RequestId:
        """The id of the request that the frame answers, ``None`` if it answers none."""
        id = None if self.decoded is None else self.decoded.id
        return id if type(id) in (str, int) else None  # not isinstance(): True == 1

    @property
    def is_item(self) -> bool:
        """Whether more frames follow for the same request."""
        return self.decoded is not None and self.decoded.status == ITEM

    def reply(self) -> ClientReply:
        """Return the frame as a reply. It must have an ``id``."""
        frame = self.decoded
        assert frame is not None
        return ClientReply(frame.status, frame.payload, frame.headers, frame.route, frame.id)

    def push(self) -> Push | None:
        """Return the frame as a push; ``None`` if it has no route, or has an id or a status."""
        frame = self.decoded
        if frame is None or not isinstance(frame.route, str) or frame.id is not None or frame.status is not None:
            return None
        return Push(frame.route, frame.payload, frame.headers)

    def ask(self) -> Ask | None:
        """Return the frame as what the server asks; ``None`` if it asks nothing."""
        frame = self.decoded
        if frame is None or not isinstance(frame.route, str) or not isinstance(frame.id, str):
            return None
        if frame.status is not None or not frame.id.startswith(ASK_PREFIX):
            return None
        return Ask(frame.route, frame.payload, frame.headers, frame.id)


def has_item_status(dialect: Dialect) -> bool:
    """Whether frames of ``dialect`` show which of them are items of a stream."""
    item = dialect.incoming(dialect.reply(Request("stream", 1), ITEM, None, NO_HEADERS))
    return item is not None and item.status == ITEM


class Inbox:
    """The received frames and the exceptions of handlers that no call has taken yet, in the order of their arrival.

    A call that waits for a reply claims its id, so that no other call takes the reply.
    """

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._frames: list[Frame] = []
        self._failures: list[tuple[RequestId, BaseException]] = []
        self._claimed: set[RequestId] = set()
        self._dropping: set[RequestId] = set()
        self.asked: Callable[[Ask], bool] | None = None
        """Called with what the server asks; returns whether it has answered."""

    def deliver(self, data: str | bytes) -> None:
        """Add a received frame."""
        frame = Frame.parse(data, self._dialect)
        if self.asked is not None and (ask := frame.ask()) is not None and self.asked(ask):
            return
        if frame.id not in self._dropping:
            self._frames.append(frame)
        elif not frame.is_item:
            self._dropping.discard(frame.id)

    def add_failure(self, id: RequestId, error: BaseException) -> None:
        """Add the exception of a handler; ``id`` is ``None`` if it does not belong to a request."""
        self._failures.append((id, error))

    def claim(self, id: str | int) -> None:
        """Reserve the frames and the failure of a request until :meth:`release`.

        Raises:
            ValueError: If another call has claimed the id, or a stream with the id has not ended yet.
        """
        if id in self._claimed:
            raise ValueError(f"Another call waits for the reply to id {id!r}. Send the second request with send().")
        if id in self._dropping:
            raise ValueError(f"The stream with the id {id!r} was left and has not ended yet. Use another id.")
        self._claimed.add(id)

    def release(self, id: str | int) -> None:
        """End :meth:`claim`."""
        self._claimed.discard(id)

    @contextmanager
    def claimed(self, id: str | int) -> Iterator[None]:
        """:meth:`claim` the id inside a ``with`` block."""
        self.claim(id)
        try:
            yield
        finally:
            self.release(id)

    def take_next(self, id: str | int) -> Frame | None:
        """Take the next frame that answers a request: an item of its stream, or its reply."""
        return self._take(lambda frame: frame.id == id)

    def take_reply(self, id: str | int) -> Frame | None:
        """Take the reply to a request, and drop the items of its stream before it."""
        for index, frame in enumerate(self._frames):
            if frame.id == id and not frame.is_item:
                earlier = self._frames[:index]
                self._frames[: index + 1] = [frame for frame in earlier if frame.id != id]
                return frame
        return None

    def drop(self, id: str | int) -> bool:
        """Drop all frames of a stream until it ends. Return ``False`` if the end has already been received."""
        if self.take_reply(id) is not None:
            return False
        self._frames = [frame for frame in self._frames if frame.id != id]
        self._dropping.add(id)
        return True

    def is_dropping(self, id: str | int) -> bool:
        """Whether :meth:`drop` still waits for the end of a stream."""
        return id in self._dropping

    def take_push(self, route: str | None, members: Mapping[str, Any]) -> Push | None:
        """Take the first push of a route (``None``: of any route) whose payload has these members."""

        def matches(frame: Frame) -> bool:
            push = frame.push()
            return push is not None and route in (None, push.route) and _has_members(push.payload, members)

        frame = self._take(matches)
        return None if frame is None else frame.push()

    def take_ask(self, route: str | None, members: Mapping[str, Any]) -> Ask | None:
        """As :meth:`take_push`, for what the server asks."""

        def matches(frame: Frame) -> bool:
            ask = frame.ask()
            return ask is not None and route in (None, ask.route) and _has_members(ask.payload, members)

        frame = self._take(matches)
        return None if frame is None else frame.ask()

    def take_any(self) -> Frame | None:
        """Take the first frame that is not claimed."""
        return self._take(lambda frame: frame.id not in self._claimed)

    def raise_failure(self, id: RequestId = None, kind: type[BaseException] = BaseException) -> None:
        """Raise the failure of a request; for ``None``, the first failure that is not claimed.

        Args:
            id: The id of the request.
            kind: Only exceptions of this class are raised.
        """
        for index, (failed, error) in enumerate(self._failures):
            if isinstance(error, kind) and (failed == id if id is not None else failed not in self._claimed):
                del self._failures[index]
                raise error

    def summary(self) -> str:
        """Return a list of the frames for the message of an exception."""
        if not self._frames:
            return "Nothing else arrived."
        shown = [f"  {frame.raw!r}"[:500] for frame in self._frames[:20]]
        if len(self._frames) > len(shown):
            shown.append(f"  and {len(self._frames) - len(shown)} more")
        return "\n".join(["Other frames that arrived:", *shown])

    def _take(self, matches: Callable[[Frame], bool]) -> Frame | None:
        for index, frame in enumerate(self._frames):
            if matches(frame):
                return self._frames.pop(index)
        return None


def _has_members(payload: Any, members: Mapping[str, Any]) -> bool:
    if not members:
        return True
    return isinstance(payload, dict) and all(
        name in payload and payload[name] == value for name, value in members.items()
    )
