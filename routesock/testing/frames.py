"""What a client reads: replies, pushes and the close."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from routesock.dialects import Dialect, Incoming
from routesock.messages import NO_HEADERS, RequestId

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
