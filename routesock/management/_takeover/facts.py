"""What is found out about the frames of a consumer's clients, and where in its code."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, auto
from pathlib import Path

from .source import Method

Key = str | int
KeyPath = tuple[Key, ...]
"""The place of a value in a frame: ``("data", "text")`` is ``frame["data"]["text"]``."""


class Kind(Enum):
    """The kind of a followed value."""

    MESSAGE = auto()
    """The ASGI event."""
    TEXT = auto()
    BYTES = auto()
    FRAME = auto()
    """The decoded frame, or a part of it."""
    NAME = auto()
    """A method name that is built from a part of the frame."""


@dataclass(frozen=True, slots=True)
class Value:
    """A followed value."""

    kind: Kind
    path: KeyPath = ()
    prefix: str = ""
    """The prefix of a :attr:`Kind.NAME`."""
    changed: bool = False
    """The code has changed the value, as ``lower()`` does."""


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A line of a file."""

    file: Path
    line: int


@dataclass(slots=True)
class Facts:
    """The ways in which a consumer's code reads frames. Places are in the order in which they were found."""

    names: dict[KeyPath, dict[Key, Place]] = field(default_factory=dict)
    """The constants to which a part of the frame is compared, and keys of tables in which it is looked up."""
    unknown: dict[KeyPath, list[Place]] = field(default_factory=dict)
    """Places where a part of the frame is compared with a value that is not constant."""
    built: dict[KeyPath, dict[str, Place]] = field(default_factory=dict)
    """Places where a part of the frame becomes a method's name, by the prefix of that name."""
    prefixes: dict[KeyPath, dict[str, Place]] = field(default_factory=dict)
    """The arguments of ``startswith()``."""
    defaults: dict[KeyPath, Place] = field(default_factory=dict)
    """Places where a default replaces a missing part."""
    changed: dict[KeyPath, Place] = field(default_factory=dict)
    presence: dict[str, Place] = field(default_factory=dict)
    """The keys whose presence is tested, as in ``"message" in frame``."""
    reads: dict[KeyPath, Place] = field(default_factory=dict)
    echoes: dict[tuple[str, KeyPath], Place] = field(default_factory=dict)
    """The parts of a frame that become a member of another object, by the key they have there."""
    spreads: list[Place] = field(default_factory=list)
    """Places where a whole frame becomes a part of another object."""
    statuses: dict[str, Place] = field(default_factory=dict)
    """The keys under which replies have a number that may be a status."""
    json_rpc: list[Place] = field(default_factory=list)
    text: list[Place] = field(default_factory=list)
    """Places where text is compared, cut or split before it is decoded."""
    binary: list[Place] = field(default_factory=list)
    arrays: list[Place] = field(default_factory=list)
    """Places where a frame is read by position."""
    batches: list[Place] = field(default_factory=list)
    handed_on: dict[str, Place] = field(default_factory=dict)
    """The calls that take a frame and that are not followed."""
    followed: list[Place] = field(default_factory=list)
    """The calls that take a frame and that are followed."""
    methods: list[Method] = field(default_factory=list)
    """The methods that were read, in the order of the calls."""
