"""Frames as JSON objects, with the keys that the server's ``Keys`` dialect has."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from datetime import date, time
from decimal import Decimal
from typing import Any, Final, Protocol, TypedDict
from uuid import UUID

from ._types import IncomingFrame, OutgoingFrame

PAYLOAD: Final = "payload"
"""The key of a payload that should be spread over its frame but cannot be."""


class Keys(TypedDict, total=False):
    """The keys of the envelope, as ``routesock.Keys(...)`` on the server has them; a plain ``dict``."""

    route: str
    """Default: ``"route"``."""
    id: str | None
    """Default: ``"uuid"``. ``None``: frames have no ids. Then one call is in flight at a time."""
    payload: str | None
    """Default: ``"payload"``. ``None``: the members of a payload are members of the frame."""
    status: str | None
    """Default: ``"status"``. ``None``: replies have no status. Then each of them counts as a 200."""
    headers: str | None
    """Default: ``"headers"``, or ``None`` if ``payload`` is."""
    topic: str
    """The key of a push's topic where there are no headers. Default: ``"topic"``."""


class Dialect(Protocol):
    """The format of frames, for a server with a dialect that is no ``Keys``."""

    @property
    def ids(self) -> bool:
        """Whether frames have ids."""
        ...

    def encode(self, frame: OutgoingFrame) -> str | bytes:
        """Returns the text or the bytes of ``frame``."""
        ...

    def decode(self, data: str | bytes) -> IncomingFrame | None:
        """Returns the frame in ``data``, or ``None`` if it is to be ignored."""
        ...


class KeysDialect:
    """The dialect whose frames are JSON objects with these keys."""

    def __init__(self, keys: Keys) -> None:
        unknown = set(keys) - Keys.__optional_keys__
        if unknown:
            raise TypeError(f"Unknown keys: {', '.join(sorted(unknown))}. Known: {', '.join(Keys.__annotations__)}.")
        self._route = keys.get("route", "route")
        self._id = keys.get("id", "uuid")
        self._payload = keys.get("payload", PAYLOAD)
        self._status = keys.get("status", "status")
        self._headers = keys.get("headers", None if self._payload is None else "headers")
        self._topic = keys.get("topic", "topic")
        self.ids = self._id is not None

    def encode(self, frame: OutgoingFrame) -> str:
        # The id stands in front: the server finds it there in a frame that it cannot parse.
        content: dict[str, Any] = {self._route: frame.route}
        if frame.id is not None and self._id is not None:
            content[self._id] = frame.id
        if frame.status is not None and self._status is not None:
            content[self._status] = frame.status
        if frame.headers and self._headers is not None:
            content[self._headers] = dict(frame.headers)
        payload = frame.payload
        if payload is not None:
            if self._payload is None:
                payload = _plain_members(payload)
                # A server reads the status of an answer only, and else a payload with such members.
                further = set() if frame.status is None else {PAYLOAD, self._status}
                reserved = {self._route, self._id, self._headers, *further}
                if isinstance(payload, Mapping) and reserved.isdisjoint(payload):
                    return dumps({**content, **payload})
            content[self._payload or PAYLOAD] = payload
        return dumps(content)

    def decode(self, data: str | bytes) -> IncomingFrame:
        frame = json.loads(data)
        if not isinstance(frame, dict):
            raise ValueError("A frame is a JSON object.")
        own = (self._route, self._id, self._status, self._headers)
        route, id_, status, headers = (None if key is None else frame.pop(key, None) for key in own)
        head = headers if isinstance(headers, dict) else {}
        topic = frame.get(self._topic) if self._headers is None else head.get("Topic")
        # Without a key for payloads, they are all other members, or what is under "payload" alone.
        key = self._payload or (PAYLOAD if frame.keys() == {PAYLOAD} else None)
        return IncomingFrame(
            route=route if isinstance(route, str) else None,
            id=id_,
            status=status if isinstance(status, int) else None,
            payload=frame if key is None else frame.get(key),
            headers=head,
            topic=topic if isinstance(topic, str) else None,
        )


def dumps(value: Any) -> str:
    """Encodes ``value`` as compact JSON. A lone surrogate, which UTF-8 cannot say, is escaped."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_plain)
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(value, allow_nan=False, separators=(",", ":"), default=_plain)
    return text


def _plain(value: Any) -> Any:
    """Returns what JSON can say for values that payloads often have."""
    if isinstance(value, (date, time)):
        return value.isoformat()
    if isinstance(value, (Decimal, UUID)):
        return str(value)
    plain = _plain_members(value)
    if plain is value:
        raise TypeError(f"{type(value).__name__} cannot be encoded as JSON.")
    return plain


def _plain_members(value: Any) -> Any:
    """Returns the ``dict`` of a dataclass, a pydantic model or another mapping, and anything else as it is."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {name.name: getattr(value, name.name) for name in dataclasses.fields(value)}
    if callable(dump := getattr(value, "model_dump", None)):
        return dump(mode="json")
    return dict(value) if isinstance(value, Mapping) else value
