"""Frames as a test sees them, the inbox that holds them, and the errors of the test client."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from .._wire.messages import NO_HEADERS, RequestId
from ..dialects import Dialect, Incoming


class ClientTimeout(AssertionError, TimeoutError):
    """What the client waited for did not happen in time; the message lists what arrived instead.

    An ``AssertionError``, so that test runners count a failure and not an error. The application goes on running.
    """


class NoReply(ClientTimeout):
    """A request got no reply in time."""


class ConnectionClosed(ConnectionError):
    """The application closed the socket, so what the client waited for cannot come any more.

    ``code`` is 1006 where the application ended without a close.
    """

    def __init__(self, message: str, code: int, reason: str = "") -> None:
        super().__init__(f"{message} (code {code}{f', {reason!r}' if reason else ''}).")
        self.code = code
        self.reason = reason


class ConnectionRefused(ConnectionClosed):
    """The application closed the socket instead of accepting it. A real server answers HTTP 403 then."""


RawFrame = dict[str, Any] | str | bytes
"""A frame as it came: a JSON object as a dict, any other text as it is, and bytes."""

ITEM: Final = 206
"""The status of a stream's items; any other is that of the reply with which it ends."""


class Close(NamedTuple):
    """How the application closed the socket."""

    code: int
    reason: str


@dataclass(frozen=True, slots=True)
class ClientReply:
    """The reply to one request, or an item of its stream (206); ``status`` is ``None`` where the dialect sends none."""

    status: int | None
    payload: Any
    headers: Mapping[str, Any] = field(default_factory=dict)
    route: str | None = None
    id: RequestId = None

    @property
    def ok(self) -> bool:
        """Whether the status is 2xx; ``False`` where there is no status."""
        return self.status is not None and 200 <= self.status <= 299


@dataclass(frozen=True, slots=True)
class Push:
    """A frame that the server sent on its own."""

    route: str
    payload: Any
    headers: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """A frame that arrived: as it came, and as the dialect reads it (``None`` for what is no JSON object)."""

    raw: RawFrame
    read: Incoming | None

    @classmethod
    def of(cls, data: str | bytes, dialect: Dialect) -> Frame:
        """Reads a text or binary frame; nothing is refused, since a test may want to see what is wrong with it."""
        if isinstance(data, str):
            try:
                value = json.loads(data)
            except ValueError:
                value = None
            if isinstance(value, dict):
                return cls(value, dialect.incoming(value))
        return cls(data, None)

    @property
    def id(self) -> RequestId:
        """The id of the request that the frame answers, ``None`` if it answers none."""
        id = None if self.read is None else self.read.id
        return id if type(id) in (str, int) else None  # True is no answer to request 1

    @property
    def is_item(self) -> bool:
        """Whether more frames follow for the same request."""
        return self.read is not None and self.read.status == ITEM

    def reply(self) -> ClientReply:
        """The frame as a reply; only for one with an ``id``."""
        assert self.read is not None
        return ClientReply(self.read.status, self.read.payload, self.read.headers, self.read.route, self.read.id)

    def push(self) -> Push | None:
        """The frame as a push, ``None`` if it is none: a push has a route, and neither id nor status."""
        read = self.read
        if read is None or not isinstance(read.route, str) or read.id is not None or read.status is not None:
            return None
        return Push(read.route, read.payload, read.headers)


def tells_items(dialect: Dialect) -> bool:
    """Whether a client of that dialect can tell an item of a stream from the reply that ends it."""
    item = dialect.reply("stream", 1, ITEM, None, NO_HEADERS)
    return dialect.incoming(item).status == ITEM


class Inbox:
    """Frames in the order of their arrival, each until somebody takes it; replies that are waited for are claimed."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._frames: list[Frame] = []
        self._failures: list[tuple[RequestId, BaseException]] = []
        self._claimed: set[RequestId] = set()
        self._dropped: set[RequestId] = set()

    def deliver(self, data: str | bytes) -> None:
        """A frame arrived."""
        frame = Frame.of(data, self._dialect)
        if frame.id not in self._dropped:
            self._frames.append(frame)
        elif not frame.is_item:
            self._dropped.discard(frame.id)

    def fail(self, id: RequestId, error: BaseException) -> None:
        """The handler of that request failed (``None``: there is no such request)."""
        self._failures.append((id, error))

    def claim(self, id: str | int) -> None:
        """Keeps what answers that request, and its failure, until :meth:`release`. ``ValueError`` for the second."""
        if id in self._claimed:
            raise ValueError(f"Another call waits for the reply to id {id!r}; send the second one with send().")
        if id in self._dropped:
            raise ValueError(f"The stream of id {id!r} was left and has not ended yet; use another id.")
        self._claimed.add(id)

    def release(self, id: str | int) -> None:
        """Ends :meth:`claim`."""
        self._claimed.discard(id)

    @contextmanager
    def claimed(self, id: str | int) -> Iterator[None]:
        """:meth:`claim` for whoever is inside."""
        self.claim(id)
        try:
            yield
        finally:
            self.release(id)

    def take_next(self, id: str | int) -> Frame | None:
        """The next frame that answers that request: an item of its stream, or its reply."""
        return self._take(lambda frame: frame.id == id)

    def take_reply(self, id: str | int) -> Frame | None:
        """The reply to that request, with which its stream ends; the items before it are dropped then."""
        for index, frame in enumerate(self._frames):
            if frame.id == id and not frame.is_item:
                before = self._frames[:index]
                self._frames[: index + 1] = [frame for frame in before if frame.id != id]
                return frame
        return None

    def drop(self, id: str | int) -> bool:
        """Drops the rest of that stream, come or yet to come; ``False`` if its end was there already."""
        if self.take_reply(id) is not None:
            return False
        self._frames = [frame for frame in self._frames if frame.id != id]
        self._dropped.add(id)
        return True

    def drops(self, id: str | int) -> bool:
        """Whether :meth:`drop` still waits for the end of that stream."""
        return id in self._dropped

    def take_push(self, route: str | None, members: Mapping[str, Any]) -> Push | None:
        """The first push of that route (of any, for ``None``) whose payload has these members."""

        def fits(frame: Frame) -> bool:
            push = frame.push()
            return push is not None and route in (None, push.route) and _has(push.payload, members)

        frame = self._take(fits)
        return None if frame is None else frame.push()

    def take_any(self) -> Frame | None:
        """The first frame that is not claimed."""
        return self._take(lambda frame: frame.id not in self._claimed)

    def raise_failure(self, id: RequestId = None) -> None:
        """Raises the failure of that request; for ``None``, the first failure that is not claimed."""
        for index, (failed, error) in enumerate(self._failures):
            if failed == id if id is not None else failed not in self._claimed:
                del self._failures[index]
                raise error

    def summary(self) -> str:
        """What is there, for the message of an error."""
        if not self._frames:
            return "Nothing else arrived."
        shown = [f"  {frame.raw!r}"[:500] for frame in self._frames[:20]]
        if len(self._frames) > len(shown):
            shown.append(f"  and {len(self._frames) - len(shown)} more")
        return "\n".join(["Waiting to be read:", *shown])

    def _take(self, fits: Callable[[Frame], bool]) -> Frame | None:
        for index, frame in enumerate(self._frames):
            if fits(frame):
                return self._frames.pop(index)
        return None


def _has(payload: Any, members: Mapping[str, Any]) -> bool:
    if not members:
        return True
    return isinstance(payload, dict) and all(
        name in payload and payload[name] == value for name, value in members.items()
    )
