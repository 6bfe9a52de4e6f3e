"""Dialects: map requests, replies and pushes to the JSON objects on the wire, and back.

No other module knows a key of a frame.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from ._wire.messages import NO_HEADERS, RequestId
from .exceptions import InvalidEnvelope
from .typing import UNSET, Unset

MAX_ID_CHARS: Final = 128
"""The maximum length of the id of a request."""

MAX_ROUTE_CHARS: Final = 128
"""The maximum length of the name of a route."""

MAX_ID_INTEGER: Final = 2**53
"""The largest integer id. JavaScript reads larger integers inexactly (ECMA-262, Number.MAX_SAFE_INTEGER + 1)."""

Frame = dict[str, Any]

_PAYLOAD_KEY: Final = "payload"
"""The key of a payload that should be spread over its frame but cannot be."""


class Incoming(NamedTuple):
    """A frame from a server, as a client reads it. Pushes and heartbeats have no ``status``."""

    route: str | None
    id: RequestId
    status: int | None
    payload: Any
    headers: Mapping[str, Any]


class Dialect(ABC):
    """Base class of dialects: encodes and decodes the JSON object of a frame.

    A server uses all methods but :meth:`request` and :meth:`incoming`. A client uses these two and :meth:`pong`.
    """

    @abstractmethod
    def route(self, frame: Frame) -> Any:
        """Return the value in place of the route's name, of any type; ``None`` if there is none."""

    @abstractmethod
    def id(self, frame: Frame) -> RequestId:
        """Return the id of the request, ``None`` if it has none.

        Raises:
            InvalidEnvelope: If a reply could not repeat the id.
        """

    @abstractmethod
    def payload(self, frame: Frame) -> Any:
        """Return the payload of the request, ``None`` if it has none."""

    @abstractmethod
    def headers(self, frame: Frame) -> Mapping[str, Any]:
        """Return the headers of the request.

        Raises:
            InvalidEnvelope: If they are not a JSON object.
        """

    @abstractmethod
    def reply(self, route: str | None, id: RequestId, status: int, payload: Any, headers: Mapping[str, Any]) -> Frame:
        """Return the frame of a reply. ``route`` and ``id`` are ``None`` if the request has no valid ones."""

    @abstractmethod
    def push(self, route: str, payload: Any, headers: Mapping[str, Any] = NO_HEADERS) -> Frame:
        """Return the frame of a push: an unsolicited, server-initiated frame without id and status."""

    @abstractmethod
    def pong(self, id: RequestId, payload: Any) -> Frame:
        """Return the frame that answers a PING."""

    @abstractmethod
    def request(self, route: str, id: RequestId, payload: Any, headers: Mapping[str, Any] = NO_HEADERS) -> Frame:
        """Return the frame of a request, as a client sends it."""

    @abstractmethod
    def incoming(self, frame: Frame) -> Incoming:
        """Decode a frame from a server, as a client reads it."""


class Keys(Dialect):
    """The dialect whose frames are one JSON object with the keys given here. ``Keys()`` is the default dialect.

    Args:
        route: The key of the route's name.
        id: The key of the request's id.
        payload: The key of the payload. ``None`` spreads the payload over the frame: all other keys of a request are
            its payload, and the keys of a reply's or push's payload are keys of its frame. A payload that is not an
            object, or that has one of the keys named here, stays under ``"payload"``.
        status: The key of a reply's status. ``None``: replies have no status.
        headers: The key of the headers. ``None``: headers are neither sent nor read. The default is ``"headers"``, or
            ``None`` with ``payload=None``.

    Raises:
        ValueError: If a key is not a string, or two parts have the same key.
    """

    def __init__(
        self,
        *,
        route: str = "route",
        id: str = "uuid",
        payload: str | None = "payload",
        status: str | None = "status",
        headers: str | Unset | None = UNSET,
    ) -> None:
        if headers is UNSET:
            headers = None if payload is None else "headers"
        parts = (route, id, _PAYLOAD_KEY if payload is None else payload, status, headers)
        keys = [key for key in parts if key is not None]
        if len(set(keys)) < len(keys) or not all(isinstance(key, str) for key in keys):
            raise ValueError(f"The keys of a frame must be different strings; got {keys!r}.")
        self._route = route
        self._id = id
        self._payload = payload
        self._status = status
        self._headers = headers
        self._reserved = frozenset(keys)

    def __repr__(self) -> str:
        return (
            f"Keys(route={self._route!r}, id={self._id!r}, payload={self._payload!r}, "
            f"status={self._status!r}, headers={self._headers!r})"
        )

    def route(self, frame: Frame) -> Any:
        return frame.get(self._route)

    def id(self, frame: Frame) -> RequestId:
        id = frame.get(self._id)
        if id is None:
            return None
        # Not isinstance(): bool is an int, and 1.0 == 1, but clients could not match such ids with their replies.
        kind = type(id)
        if (kind is str and len(id) <= MAX_ID_CHARS) or (kind is int and -MAX_ID_INTEGER <= id <= MAX_ID_INTEGER):
            return id  # type: ignore[no-any-return]
        raise InvalidEnvelope(
            f"{self._id!r} must be a string of at most {MAX_ID_CHARS} characters or an integer within ±2^53."
        )

    def payload(self, frame: Frame) -> Any:
        if self._payload is not None:
            return frame.get(self._payload)
        reserved = (self._route, self._id, self._headers)
        return {key: value for key, value in frame.items() if key not in reserved}

    def headers(self, frame: Frame) -> Mapping[str, Any]:
        if self._headers is None:
            return NO_HEADERS
        headers = frame.get(self._headers)
        if headers is None:
            return NO_HEADERS
        if isinstance(headers, dict):
            return headers
        raise InvalidEnvelope(f"{self._headers!r} must be an object.", id=self.id(frame))

    def reply(self, route: str | None, id: RequestId, status: int, payload: Any, headers: Mapping[str, Any]) -> Frame:
        frame: Frame = {self._id: id, self._route: route}
        if self._status is not None:
            frame[self._status] = status
        if not headers and self._payload is not None:  # nearly every reply
            frame[self._payload] = payload
            return frame
        return self._with_content(frame, payload, headers)

    def push(self, route: str, payload: Any, headers: Mapping[str, Any] = NO_HEADERS) -> Frame:
        return self._with_content({self._route: route}, payload, headers)

    def pong(self, id: RequestId, payload: Any) -> Frame:
        return self._with_content({self._route: "PONG", self._id: id}, payload, NO_HEADERS)

    def request(self, route: str, id: RequestId, payload: Any, headers: Mapping[str, Any] = NO_HEADERS) -> Frame:
        frame: Frame = {self._route: route}
        if id is not None:
            frame[self._id] = id
        return self._with_content(frame, payload, headers)

    def incoming(self, frame: Frame) -> Incoming:
        payload: Any
        if self._payload is not None:
            payload = frame.get(self._payload)
        else:
            reserved = (self._route, self._id, self._status, self._headers)
            payload = {key: value for key, value in frame.items() if key not in reserved}
            if payload.keys() == {_PAYLOAD_KEY}:
                payload = payload[_PAYLOAD_KEY]
        return Incoming(
            frame.get(self._route),
            frame.get(self._id),
            None if self._status is None else frame.get(self._status),
            payload,
            (frame.get(self._headers) or NO_HEADERS) if self._headers is not None else NO_HEADERS,
        )

    def _with_content(self, frame: Frame, payload: Any, headers: Mapping[str, Any]) -> Frame:
        if headers and self._headers is not None:
            frame[self._headers] = dict(headers)
        if self._payload is not None:
            frame[self._payload] = payload
        elif type(payload) is not dict or not payload.keys().isdisjoint(self._reserved):
            frame[_PAYLOAD_KEY] = payload
        else:
            frame.update(payload)
        return frame


def plain_keys(dialect: Dialect) -> tuple[str, str, str, str] | None:
    """Return the keys of route, id, payload and headers of a ``Keys`` dialect that has all of them.

    ``None`` for every other dialect. One of a subclass may override the methods that read a frame.
    """
    if type(dialect) is not Keys or dialect._payload is None or dialect._headers is None:
        return None
    return dialect._route, dialect._id, dialect._payload, dialect._headers
