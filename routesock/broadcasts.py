"""A broadcast on its way: spelt once where it is sent, and once per dialect in each process that it reaches."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from . import codec, conf
from .dialects import Dialect, Frame
from .outgoing import FrameTooLarge, spelt

PUSH: Final = "routesock.push"
"""The type of a channel-layer message that carries a frame. Consumers never see one: it goes to a hub's channel."""

Message = dict[str, Any]


class Broadcast:
    """The frame in a message, and its text in each dialect that was asked for.

    ``KeyError``, ``TypeError`` or ``ValueError`` for a message that carries none.
    """

    __slots__ = ("_data", "_headers", "_payload", "_route", "_texts", "excluded", "group")

    def __init__(self, message: Message) -> None:
        self.group: str = message["group"]
        self.excluded: str | None = message.get("except")
        """The member that sent it, and does not want it back."""
        self._data: str = message["data"]
        self._route, self._payload, self._headers = json.loads(self._data)
        self._texts: dict[int, str] = {}

    def frame(self, dialect: Dialect) -> Frame:
        """The frame as a new object, for somebody who may change it."""
        return dialect.push(*json.loads(self._data))

    def text(self, dialect: Dialect) -> str:
        """The frame as JSON."""
        text = self._texts.get(id(dialect))
        if text is None:
            text = self._texts[id(dialect)] = codec.encode(dialect.push(self._route, self._payload, self._headers))
        return text


def message_of(
    group: str, route: str, payload: Any, headers: Mapping[str, Any], *, excluded: str | None = None
) -> Message:
    """The message that carries a frame to ``group``, a name of the layer's.

    Raises what encoding raises, and :class:`FrameTooLarge` for a frame over ``MAX_REPLY`` bytes.
    """
    data = spelt([route, payload, dict(headers)])
    most: int = conf.get("MAX_REPLY")
    if len(data) > most:
        raise FrameTooLarge(f"A frame of {len(data)} bytes is over MAX_REPLY ({most}): send it in parts.")
    message: Message = {"type": PUSH, "group": group, "data": data}
    if excluded is not None:
        message["except"] = excluded
    return message
