"""Names with places for parameters, such as ``room.{room_id}``, and which of several a given name belongs to."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final, NamedTuple, TypeAlias

from .exceptions import RouteSetupError

MAX_TOPIC_CHARS: Final = 128

_PLACE: Final = re.compile(r"([^{}]*)\{([^{}]*)\}([^{}]*)")


class Place(NamedTuple):
    """A segment with a parameter: one character or more, between two texts."""

    before: str
    name: str
    after: str


Segment: TypeAlias = str | Place


class Pattern:
    """A pattern as it was written: segments with a dot between two of them, and in each at most one ``{parameter}``.

    A parameter stands for one character or more, but for no dot, so that to match a name takes a time that grows with
    its length alone. Raises :class:`RouteSetupError` for any other.
    """

    __slots__ = ("segments", "text")

    def __init__(self, text: Any) -> None:
        if not isinstance(text, str) or not text:
            raise RouteSetupError(f'A topic\'s name is a string, as in @topic("room.{{room_id}}"); got {text!r}.')
        if len(text) > MAX_TOPIC_CHARS:
            raise RouteSetupError(
                f"A topic's name has at most {MAX_TOPIC_CHARS} characters; {text[:20]!r}... is longer."
            )
        self.text = text
        self.segments: tuple[Segment, ...] = tuple(_segment(text, part) for part in text.split("."))
        names = [segment.name for segment in self.segments if isinstance(segment, Place)]
        if len(names) > len(set(names)):
            raise RouteSetupError(f"The topic {text!r} has two parameters of one name. Rename one.")

    def __repr__(self) -> str:
        return repr(self.text)

    @property
    def shape(self) -> tuple[Any, ...]:
        """What two patterns share that match the same names: all but how their parameters are called."""
        return tuple(s if isinstance(s, str) else (s.before, s.after) for s in self.segments)

    @property
    def rank(self) -> tuple[Any, ...]:
        """Of two patterns that match one name, the one with the lower rank is meant.

        At the first segment in which they differ, a text comes before a parameter, and a parameter with more text
        around it, or with more in front of it, before one with less.
        """
        return tuple(
            (0,) if isinstance(s, str) else (1, -len(s.before + s.after), -len(s.before)) for s in self.segments
        )

    def match(self, parts: Sequence[str]) -> dict[str, str] | None:
        """The parameters in a name whose segments are ``parts``; ``None`` if it is none of these."""
        if len(parts) != len(self.segments):
            return None
        found: dict[str, str] = {}
        for segment, part in zip(self.segments, parts, strict=True):
            if isinstance(segment, str):
                if part != segment:
                    return None
                continue
            before, name, after = segment
            if not part.startswith(before) or not part.endswith(after) or len(part) <= len(before) + len(after):
                return None
            found[name] = part[len(before) : len(part) - len(after)]
        return found


def _segment(text: str, part: str) -> Segment:
    if not part:
        raise RouteSetupError(f"The topic {text!r} has an empty segment: write a text or a parameter between two dots.")
    if "{" not in part and "}" not in part:
        return part
    place = _PLACE.fullmatch(part)
    if place is None:
        raise RouteSetupError(
            f"The topic {text!r}: {part!r} is no segment. One has at most one parameter, as in room-{{room_id}}; "
            "separate two by a dot."
        )
    before, name, after = place.groups()
    if not name.isidentifier():
        raise RouteSetupError(f"The topic {text!r}: a parameter is called like a variable, as in {{room_id}}.")
    return Place(before, name, after)
