"""Channel-layer messages of broadcasts and events, and group names that a channel layer accepts."""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Mapping
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Final, final

from .. import conf
from .._routing.event import MAX_NAME_CHARS, Event
from .._wire.codec import FrameTooLarge, serialise
from ..dialects import Dialect
from ..dialects.base import POSITION_HEADER, TOPIC_HEADER

if TYPE_CHECKING:
    from .._store.histories import Position

_READABLE: Final = re.compile(r"[A-Za-z0-9_.-]{1,80}")

_UNSAFE: Final = re.compile(r"[^A-Za-z0-9_.-]+")

_MAX_HINT: Final = 32


def layer_group(name: str) -> str:
    """The name of the group ``name`` in a channel layer: at most 96 ASCII letters, digits, hyphens, underscores and
    periods, which is what Channels allows.

    Different names give different results. A name that is allowed stays readable in the result; any other one is
    replaced by its readable part and a digest. Raises ``TypeError`` for anything but a string.
    """
    if not isinstance(name, str):
        raise TypeError(f"A group's name must be a string; got {name!r}.")
    if _READABLE.fullmatch(name):
        return f"routesock.group.{name}"
    hint = _UNSAFE.sub("-", name[: 2 * _MAX_HINT])[:_MAX_HINT]
    digest = blake2b(name.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
    return f"routesock.named.{hint}.{digest}"


PUSH: Final = "routesock.push"
"""The type of a channel-layer message that carries a frame. Consumers never see one: it goes to a hub's channel."""

EVENT: Final = "routesock.event"
"""The type of a channel-layer message that carries an event, for consumers that declare it."""

Message = dict[str, Any]


class Broadcast:
    """The frame in a message. It is encoded once for each dialect that is used.

    Raises ``KeyError``, ``TypeError``, ``ValueError`` or ``RecursionError`` for a message that carries none.
    """

    __slots__ = ("_data", "_encoded", "_headers", "_payload", "_route", "excluded", "group", "position")

    def __init__(self, message: Message, position: Position | None = None) -> None:
        self.group = _group_in(message)
        self.excluded: str | None = message.get("except")
        """The ``id`` of the member that sent it and is excluded, if any."""
        self._data: str = message["data"]
        self._route, self._payload, self._headers = json.loads(self._data)
        self._encoded: dict[tuple[int, bool, bool], tuple[Dialect, str | bytes | None]] = {}
        self.position: Position | None = position
        """Its position in the history of its group; ``None`` if it is in none."""
        if "at" in message:
            from .._store.histories import parse_position  # most projects need it not

            self.position = parse_position(message["at"])
            if self.position is None:
                raise ValueError("The position of a broadcast cannot be read.")

    def is_of(self, data: str) -> bool:
        """Whether it carries ``data``."""
        return self._data == data

    @property
    def offset(self) -> int:
        """The offset of its position; 0 if it has none."""
        return 0 if self.position is None else self.position.offset

    @property
    def checksum(self) -> int:
        """A checksum of its data."""
        return zlib.crc32(self._data.encode("utf-8", "surrogatepass"))

    @property
    def size(self) -> int:
        """Approximate size in bytes."""
        return len(self._data)

    def frame(self, dialect: Dialect, topic: str | None = None, positioned: bool = False) -> Any:
        """The frame as a new object, which the caller may change; ``None`` if ``dialect`` sends nothing.

        ``topic`` is the name of the topic whose group it came to, for a socket that has subscribed to it.
        ``positioned`` is whether the client may resume from its position, which it then has in a header.
        """
        route, payload, headers = json.loads(self._data)
        return dialect.push(route, payload, headers if topic is None else self._with_topic(headers, topic, positioned))

    def data(self, dialect: Dialect, topic: str | None = None, positioned: bool = False) -> str | bytes | None:
        """The frame as ``dialect`` encodes it; ``None`` if that sends nothing. The rest is as for :meth:`frame`."""
        # The group has one name only.
        key = id(dialect), topic is not None, positioned
        known = self._encoded.get(key)  # which keeps the dialect alive, so that no other one gets the same id
        if known is None:
            frame = dialect.push(self._route, self._payload, self.headers(topic, positioned))
            known = self._encoded[key] = dialect, None if frame is None else dialect.encode(frame)
        return known[1]

    def headers(self, topic: str | None = None, positioned: bool = False) -> Mapping[str, Any]:
        """The headers of the frame. The rest is as for :meth:`frame`."""
        return self._headers if topic is None else self._with_topic(self._headers, topic, positioned)

    def _with_topic(self, headers: Mapping[str, Any], topic: str, positioned: bool) -> Mapping[str, Any]:
        if positioned:
            return {**headers, TOPIC_HEADER: topic, POSITION_HEADER: str(self.position)}
        return {**headers, TOPIC_HEADER: topic}


@final
class EventMessage:
    """The event in a message. Raises ``KeyError`` or ``TypeError`` for a message that carries none."""

    __slots__ = ("group", "message", "name")

    excluded: Final = None
    position: Final = None

    def __init__(self, message: Message) -> None:
        self.group = _group_in(message)
        self.name: str = message["name"]
        self.message = message
        if not (isinstance(self.name, str) and isinstance(message["data"], str)):
            raise TypeError("An event's name and its data are strings.")

    def event(self) -> Event:
        """The event as a new object, which its handler may change."""
        group, payload = json.loads(self.message["data"])
        return Event(self.name, payload, group)


def message_of(
    group: str, route: str, payload: Any, headers: Mapping[str, Any], *, excluded: str | None = None
) -> Message:
    """The message that carries a frame to ``group``, a name from :func:`layer_group`.

    Raises what encoding raises, and :class:`FrameTooLarge` for a frame over ``MAX_REPLY`` bytes.
    """
    data = _checked("A frame", serialise([route, payload, dict(headers)]))
    message: Message = {"type": PUSH, "group": group, "data": data}
    if excluded is not None:
        message["except"] = excluded
    return message


def event_of(group: str, name: str, payload: Any) -> Message:
    """The message that carries an event to ``group``, a name as its sender gives it.

    Raises what encoding raises, ``TypeError`` and ``ValueError`` for a name that no event can have, and
    :class:`FrameTooLarge` for an event over ``MAX_REPLY`` bytes.
    """
    if not isinstance(name, str):
        raise TypeError(f"An event's name must be a string; got {name!r}.")
    if not 0 < len(name) <= MAX_NAME_CHARS:
        raise ValueError(f"An event's name must have 1 to {MAX_NAME_CHARS} characters; got {len(name)}.")
    # The sender's name of the group is in the data, since some layers do not accept every string.
    data = _checked("An event", serialise([group, payload]))
    return {"type": EVENT, "group": layer_group(group), "name": name, "data": data}


def _group_in(message: Message) -> str:
    group = message["group"]
    if not isinstance(group, str):
        raise TypeError("A group's name is a string.")
    return group


def _checked(what: str, data: str) -> str:
    most: int = conf.get("MAX_REPLY")
    if len(data) > most:
        raise FrameTooLarge(f"{what} of {len(data)} bytes is over MAX_REPLY ({most}): send it in parts.")
    return data
