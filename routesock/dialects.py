"""How requests, replies and pushes are spelt on the wire: the only module that knows a wire key."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from ._wire.messages import NO_HEADERS, RequestId
from .exceptions import InvalidEnvelope
from .typing import UNSET, Unset

MAX_ID_CHARS: Final = 128

MAX_ROUTE_CHARS: Final = 128

MAX_ID_INTEGER: Final = 2**53
"""Ids are echoed, and JavaScript's numbers hold integers up to here (ECMA-262, Number.MAX_SAFE_INTEGER + 1)."""

Frame = dict[str, Any]

_SPREAD: Final = "payload"
"""Where a payload stands that is to be spread over its frame and cannot be."""


class Incoming(NamedTuple):
    """A frame that a server sent, as a client reads it; a push and a heartbeat have no status."""

    route: str | None
    id: RequestId
    status: int | None
    payload: Any
    headers: Mapping[str, Any]


class Dialect(ABC):
    """One way to spell frames. A server uses all but the last two methods, a client those two and ``pong``."""

    @abstractmethod
    def route(self, frame: Frame) -> Any:
        """What stands where the route's name belongs; whatever a client put there, ``None`` if nothing."""

    @abstractmethod
    def id(self, frame: Frame) -> RequestId:
        """The request's id. Raises :class:`~routesock.exceptions.InvalidEnvelope` for one that cannot be echoed."""

    @abstractmethod
    def payload(self, frame: Frame) -> Any:
        """What the client sent to the route, ``None`` if nothing."""

    @abstractmethod
    def headers(self, frame: Frame) -> Mapping[str, Any]:
        """The request's headers. Raises :class:`~routesock.exceptions.InvalidEnvelope` if they are no object."""

    @abstractmethod
    def reply(self, route: str | None, id: RequestId, status: int, payload: Any, headers: Mapping[str, Any]) -> Frame:
        """A reply; ``route`` and ``id`` are ``None`` where they could not be read."""

    @abstractmethod
    def push(self, route: str, payload: Any, headers: Mapping[str, Any] = NO_HEADERS) -> Frame:
        """A frame that nobody asked for: no id, no status."""

    @abstractmethod
    def pong(self, id: RequestId, payload: Any) -> Frame:
        """The answer to a PING."""

    @abstractmethod
    def request(self, route: str, id: RequestId, payload: Any, headers: Mapping[str, Any] = NO_HEADERS) -> Frame:
        """A request as a client writes it."""

    @abstractmethod
    def incoming(self, frame: Frame) -> Incoming:
        """A server's frame as a client reads it."""


class Keys(Dialect):
    """A dialect that names the keys of one JSON object; as it comes, the default envelope.

    ``payload=None``
        The payload is the rest of the object: all keys but the others named here. A reply or push spreads its payload
        in the same way; one that cannot be spread without loss (no object, or with a key of the envelope's) stands
        under ``"payload"``.
    ``status=None``, ``headers=None``
        Not sent, and not read. With ``payload=None``, headers are off unless they are named.

    ``ValueError`` where two parts would share a key.
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
        parts = (route, id, _SPREAD if payload is None else payload, status, headers)
        named = [key for key in parts if key is not None]
        if len(set(named)) < len(named) or not all(isinstance(key, str) for key in named):
            raise ValueError(f"Each part of a frame needs a key of its own, a string; got {named!r}.")
        self._route = route
        self._id = id
        self._payload = payload
        self._status = status
        self._headers = headers
        self._own = frozenset(named)

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
        kind = type(id)  # bool is an int, and 1.0 == 1: neither comes back as it was sent
        if (kind is str and len(id) <= MAX_ID_CHARS) or (kind is int and -MAX_ID_INTEGER <= id <= MAX_ID_INTEGER):
            return id  # type: ignore[no-any-return]
        raise InvalidEnvelope(
            f"The request's {self._id!r} is a string of at most {MAX_ID_CHARS} characters or an integer within ±2^53."
        )

    def payload(self, frame: Frame) -> Any:
        if self._payload is not None:
            return frame.get(self._payload)
        own = (self._route, self._id, self._headers)
        return {key: value for key, value in frame.items() if key not in own}

    def headers(self, frame: Frame) -> Mapping[str, Any]:
        if self._headers is None:
            return NO_HEADERS
        headers = frame.get(self._headers)
        if headers is None:
            return NO_HEADERS
        if isinstance(headers, dict):
            return headers
        raise InvalidEnvelope(f"The request's {self._headers!r} are an object.", id=self.id(frame))

    def reply(self, route: str | None, id: RequestId, status: int, payload: Any, headers: Mapping[str, Any]) -> Frame:
        frame: Frame = {self._id: id, self._route: route}
        if self._status is not None:
            frame[self._status] = status
        return self._filled(frame, payload, headers)

    def push(self, route: str, payload: Any, headers: Mapping[str, Any] = NO_HEADERS) -> Frame:
        return self._filled({self._route: route}, payload, headers)

    def pong(self, id: RequestId, payload: Any) -> Frame:
        return self._filled({self._route: "PONG", self._id: id}, payload, NO_HEADERS)

    def request(self, route: str, id: RequestId, payload: Any, headers: Mapping[str, Any] = NO_HEADERS) -> Frame:
        frame: Frame = {self._route: route}
        if id is not None:
            frame[self._id] = id
        return self._filled(frame, payload, headers)

    def incoming(self, frame: Frame) -> Incoming:
        payload: Any
        if self._payload is not None:
            payload = frame.get(self._payload)
        else:
            own = (self._route, self._id, self._status, self._headers)
            payload = {key: value for key, value in frame.items() if key not in own}
            if payload.keys() == {_SPREAD}:
                payload = payload[_SPREAD]
        return Incoming(
            frame.get(self._route),
            frame.get(self._id),
            None if self._status is None else frame.get(self._status),
            payload,
            (frame.get(self._headers) or NO_HEADERS) if self._headers is not None else NO_HEADERS,
        )

    def _filled(self, frame: Frame, payload: Any, headers: Mapping[str, Any]) -> Frame:
        if headers and self._headers is not None:
            frame[self._headers] = dict(headers)
        if self._payload is not None:
            frame[self._payload] = payload
        elif type(payload) is not dict or not payload.keys().isdisjoint(self._own):
            frame[_SPREAD] = payload
        else:
            frame.update(payload)
        return frame
