"""Dialects whose frames are one JSON object with a key for each part; the default dialect is one."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from .._wire.messages import NO_HEADERS, Request, RequestId
from ..exceptions import InvalidEnvelope
from ..typing import UNSET, Unset
from .base import ASK_PREFIX, TOPIC_HEADER, Dialect, Frame, Incoming, Problem

_PAYLOAD_KEY: Final = "payload"
"""The key of a payload that should be spread over its frame but cannot be."""


_MEMBER: Final = (
    r'\s*"(?P<key>[^"\\]*)"\s*:\s*'
    r'(?:"(?P<text>[^"\\]{0,128})"|(?P<number>-?(?:0|[1-9][0-9]{0,14}))(?=[\s,}])|true|false|null)\s*'
)

_HEAD: Final = re.compile(r"\s*\{" + _MEMBER)
"""The first member of a JSON object, if it is short and plain."""

_NEXT: Final = re.compile("," + _MEMBER)

_MAX_HEAD: Final = 512
"""The characters of a text in which its id is looked for."""


class Keys(Dialect):
    """The dialect whose frames are one JSON object with the keys given here. ``Keys()`` is the default dialect.

    Args:
        route: The key of the route's name.
        id: The key of the request's id. ``None``: frames have no ids, and every request is answered.
        payload: The key of the payload. ``None`` spreads the payload over the frame: all other keys of a request are
            its payload, and the keys of a reply's or push's payload are keys of its frame. A payload that is not an
            object, or that has one of the keys named here, stays under ``"payload"``.
        status: The key of a reply's status. ``None``: replies have no status.
        headers: The key of the headers. ``None``: headers are neither sent nor read. The default is ``"headers"``, or
            ``None`` with ``payload=None``.
        topic: The key of the topic that a push came through, where there are no headers. With headers it is the header
            ``Topic``.
        error: A function ``(problem, request)`` that returns the whole frame of an error, or ``None`` for nothing at
            all. ``problem`` is a :class:`~routesock.dialects.Problem`. By default an error is a reply whose payload is
            the problem object.
        camelize: Whether the names in payloads are camelCase on the wire and snake_case in your code. Values stay as
            they are.
        completion: Whether a request without an id gets a success reply, too, with ``null`` as its id.

    Raises:
        ValueError: If a key is not a string, or two parts have the same key.
        TypeError: If ``error`` is not a function.
    """

    def __init__(
        self,
        *,
        route: str = "route",
        id: str | None = "uuid",
        payload: str | None = "payload",
        status: str | None = "status",
        headers: str | Unset | None = UNSET,
        topic: str = "topic",
        error: Callable[[Problem, Request], Any] | None = None,
        camelize: bool = False,
        completion: bool = False,
    ) -> None:
        super().__init__(camelize=camelize, completion=completion or id is None)
        if headers is UNSET:
            headers = None if payload is None else "headers"
        parts = (route, id, _PAYLOAD_KEY if payload is None else payload, status, headers)
        keys = [key for key in parts if key is not None]
        if headers is None:
            keys.append(topic)
        if len(set(keys)) < len(keys) or not all(isinstance(key, str) for key in keys):
            raise ValueError(f"The keys of a frame must be different strings; got {keys!r}.")
        if error is not None and not callable(error):
            raise TypeError(f"error= must be a function of the problem and the request; got {error!r}.")
        self._route = route
        self._id = id
        self._payload = payload
        self._status = status
        self._headers = headers
        self._topic = topic
        self._error = error
        self._reserved = frozenset(key for key in parts if key is not None)
        self._has_all_keys = None not in (id, payload, status) and not camelize
        if id is not None:
            self.id_name = id
        self._reads_headers = headers is not None
        if headers is not None:
            self.headers_name = headers

    def __repr__(self) -> str:
        options = {"error": self._error, "camelize": self._camelize, "completion": self.answers_without_id}
        if self._id is None:
            del options["completion"]
        further = "".join(f", {name}={value!r}" for name, value in options.items() if value)
        return (
            f"{type(self).__name__}(route={self._route!r}, id={self._id!r}, payload={self._payload!r}, "
            f"status={self._status!r}, headers={self._headers!r}{further})"
        )

    def read(self, value: Any) -> Frame | None:
        if not isinstance(value, dict):
            raise InvalidEnvelope("A request is a JSON object.")
        status_key = self._status if value.get(self._route) == "ANSWER" else None
        if self._payload is not None:
            payload = value.get(self._payload)
        else:
            reserved = (self._route, self._id, self._headers, status_key)
            payload = {key: item for key, item in value.items() if key not in reserved}
            if status_key is not None and payload.keys() == {_PAYLOAD_KEY}:
                payload = payload[_PAYLOAD_KEY]
        return Frame(
            value.get(self._route),
            None if self._id is None else value.get(self._id),
            self.loaded(payload, value.get(self._route)),
            None if self._headers is None else value.get(self._headers),
            value,
            None if status_key is None else value.get(status_key),
        )

    def id_in_head(self, text: str) -> RequestId:
        return None if self._id is None else id_in_head(text, self._id)

    def reply(self, request: Request, status: int, payload: Any, headers: Mapping[str, Any]) -> Any:
        if self._has_all_keys and not headers:  # nearly every reply
            return {
                self._id: request.id,
                self._route: request.route or None,
                self._status: status,
                self._payload: payload,
            }
        frame: dict[str, Any] = {} if self._id is None else {self._id: request.id}
        frame[self._route] = request.route or None
        if self._status is not None:
            frame[self._status] = status
        return self._with_content(frame, payload, headers)

    def error(self, problem: Problem, request: Request) -> Any:
        if self._error is not None:
            return self._error(problem, request)
        return super().error(problem, request)

    def push(self, route: str, payload: Any, headers: Mapping[str, Any] = NO_HEADERS) -> Any:
        frame: dict[str, Any] = {self._route: route}
        if self._headers is None and TOPIC_HEADER in headers:
            frame[self._topic] = headers[TOPIC_HEADER]
        return self._with_content(frame, payload, headers)

    def pong(self, request: Request) -> Any:
        frame: dict[str, Any] = {self._route: "PONG"}
        if self._id is not None:
            frame[self._id] = request.id
        return self._with_content(frame, request.payload, NO_HEADERS)

    def request(self, route: str, id: RequestId, payload: Any, headers: Mapping[str, Any] = NO_HEADERS) -> Any:
        frame: dict[str, Any] = {self._route: route}
        if id is not None and self._id is not None:
            frame[self._id] = id
        if self._payload is None and not (isinstance(id, str) and id.startswith(ASK_PREFIX)):
            # To a server, which reads neither a status nor "payload" in a request.
            own = {self._route, self._id, self._headers}
            if type(payload) is dict and own.isdisjoint(payload):
                head = {self._headers: dict(headers)} if headers and self._headers is not None else {}
                return {**frame, **head, **payload}
        return self._filled(frame, payload, headers)

    @property
    def can_ask(self) -> bool:
        return self._id is not None and super().can_ask

    def answer(self, id: RequestId, status: int, payload: Any) -> Any:
        frame: dict[str, Any] = {self._route: "ANSWER"}
        if self._id is not None:
            frame[self._id] = id
        if self._status is not None:
            frame[self._status] = status
        return self._filled(frame, payload, NO_HEADERS)

    def incoming(self, value: Any) -> Incoming | None:
        if not isinstance(value, dict):
            return None
        payload: Any
        if self._payload is not None:
            payload = value.get(self._payload)
        else:
            reserved = (self._route, self._id, self._status, self._headers)
            payload = {key: item for key, item in value.items() if key not in reserved}
            if payload.keys() == {_PAYLOAD_KEY}:
                payload = payload[_PAYLOAD_KEY]
        return Incoming(
            value.get(self._route),
            None if self._id is None else value.get(self._id),
            None if self._status is None else value.get(self._status),
            payload,
            (value.get(self._headers) or NO_HEADERS) if self._headers is not None else NO_HEADERS,
        )

    def _with_content(self, frame: dict[str, Any], payload: Any, headers: Mapping[str, Any]) -> dict[str, Any]:
        return self._filled(frame, self.dumped(payload), headers)

    def _filled(self, frame: dict[str, Any], payload: Any, headers: Mapping[str, Any]) -> dict[str, Any]:
        if headers and self._headers is not None:
            frame[self._headers] = dict(headers)
        if self._payload is not None:
            frame[self._payload] = payload
        elif (
            type(payload) is not dict
            or not payload.keys().isdisjoint(self._reserved)
            or (self._topic in frame and self._topic in payload)
        ):
            frame[_PAYLOAD_KEY] = payload
        else:
            frame.update(payload)
        return frame


def id_in_head(text: str, key: str) -> RequestId:
    """Return the id that is the member ``key`` of a JSON object, if it is in the beginning of its ``text``."""
    found = _HEAD.match(text[:_MAX_HEAD])
    while found is not None:
        if found["key"] == key:
            number = found["number"]
            return found["text"] if number is None else int(number)
        found = _NEXT.match(text[:_MAX_HEAD], found.end())
    return None


class ObservableSocket(Keys):
    """The default dialect under the name of the library whose client speaks it, django-observable-socket.

    Args:
        camelize: As for :class:`~routesock.Keys`.
        completion: As for :class:`~routesock.Keys`.
    """

    def __init__(self, *, camelize: bool = False, completion: bool = False) -> None:
        super().__init__(camelize=camelize, completion=completion)


def is_plain(dialect: Dialect) -> bool:
    """Whether ``dialect`` is a :class:`Keys` dialect without methods of a subclass, which answers every request."""
    return type(dialect) in (Keys, ObservableSocket)


def plain_keys(dialect: Dialect) -> tuple[str, str, str, str] | None:
    """Return the keys of route, id, payload and headers of a ``Keys`` dialect that has all of them.

    ``None`` for every other dialect. One of a subclass may override the methods that read a frame.
    """
    if not is_plain(dialect):
        return None
    assert isinstance(dialect, Keys)
    if dialect._id is None or dialect._payload is None or dialect._headers is None or dialect._camelize:
        return None
    return dialect._route, dialect._id, dialect._payload, dialect._headers
