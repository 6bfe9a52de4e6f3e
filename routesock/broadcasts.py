"""A broadcast on its way: spelt once where it is sent, and once per dialect in each process that it reaches."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final, final

from . import codec, conf
from .dialects import Dialect, Frame
from .events import MAX_NAME_CHARS, Event
from .groups import layer_group
from .outgoing import FrameTooLarge, spelt

PUSH: Final = "routesock.push"
"""The type of a channel-layer message that carries a frame. Consumers never see one: it goes to a hub's channel."""

EVENT: Final = "routesock.event"
"""The type of one that carries an event, for the handlers of those consumers that declare it."""

Message = dict[str, Any]


class Broadcast:
    """The frame in a message, and its text in each dialect that was asked for.

    ``KeyError``, ``TypeError``, ``ValueError`` or ``RecursionError`` for a message that carries none.
    """

    __slots__ = ("_data", "_headers", "_payload", "_route", "_texts", "excluded", "group")

    def __init__(self, message: Message) -> None:
        self.group = _group_in(message)
        self.excluded: str | None = message.get("except")
        """The member that sent it, and does not want it back."""
        self._data: str = message["data"]
        self._route, self._payload, self._headers = json.loads(self._data)
        self._texts: dict[int, str] = {}

    @property
    def size(self) -> int:
        """Bytes, about."""
        return len(self._data)

    def frame(self, dialect: Dialect) -> Frame:
        """The frame as a new object, for somebody who may change it."""
        return dialect.push(*json.loads(self._data))

    def text(self, dialect: Dialect) -> str:
        """The frame as JSON."""
        text = self._texts.get(id(dialect))
        if text is None:
            text = self._texts[id(dialect)] = codec.encode(dialect.push(self._route, self._payload, self._headers))
        return text


@final
class Occurrence:
    """The event in a message. ``KeyError`` or ``TypeError`` for a message that carries none."""

    __slots__ = ("group", "message", "name")

    excluded: Final = None

    def __init__(self, message: Message) -> None:
        self.group = _group_in(message)
        self.name: str = message["name"]
        self.message = message
        if not (isinstance(self.name, str) and isinstance(message["data"], str)):
            raise TypeError("An event's name and its data are texts.")

    def event(self) -> Event:
        """The event as a new object, which its handler may change."""
        group, payload = json.loads(self.message["data"])
        return Event(self.name, payload, group)


def message_of(
    group: str, route: str, payload: Any, headers: Mapping[str, Any], *, excluded: str | None = None
) -> Message:
    """The message that carries a frame to ``group``, a name of the layer's.

    Raises what encoding raises, and :class:`FrameTooLarge` for a frame over ``MAX_REPLY`` bytes.
    """
    data = _checked("A frame", spelt([route, payload, dict(headers)]))
    message: Message = {"type": PUSH, "group": group, "data": data}
    if excluded is not None:
        message["except"] = excluded
    return message


def event_of(group: str, name: str, payload: Any) -> Message:
    """The message that carries an event to ``group``, as its sender calls it.

    Raises what encoding raises, ``TypeError`` and ``ValueError`` for a name that no event can have, and
    :class:`FrameTooLarge` for an event over ``MAX_REPLY`` bytes.
    """
    if not isinstance(name, str):
        raise TypeError(f"An event's name is a string; got {name!r}.")
    if not 0 < len(name) <= MAX_NAME_CHARS:
        raise ValueError(f"An event's name has 1 to {MAX_NAME_CHARS} characters; got {len(name)}.")
    # Its sender's name of the group is in the data, since some layers do not take every string.
    data = _checked("An event", spelt([group, payload]))
    return {"type": EVENT, "group": layer_group(group), "name": name, "data": data}


def _group_in(message: Message) -> str:
    group = message["group"]
    if not isinstance(group, str):
        raise TypeError("A group's name is a text.")
    return group


def _checked(what: str, data: str) -> str:
    most: int = conf.get("MAX_REPLY")
    if len(data) > most:
        raise FrameTooLarge(f"{what} of {len(data)} bytes is over MAX_REPLY ({most}): send it in parts.")
    return data
