"""Kinds of msgspec's fields: what its emitter of JSON Schema is probed with."""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import enum
import uuid
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, Generic, Literal, NamedTuple, TypedDict, TypeVar

import msgspec
from msgspec import Meta

from routesock.schemas.msgspec import MsgspecAdapter


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 10


class Rights(enum.Flag):
    READ = 1
    WRITE = 2


Rights(0)  # otherwise the first of the equal values 0 and False becomes its value


class Pair(NamedTuple):
    first: int
    second: str = "b"


class Typed(TypedDict, total=False):
    id: int
    name: str


@dataclasses.dataclass
class Point:
    id: int
    name: str = "n"


class Child(msgspec.Struct):
    """A child."""

    id: int
    name: Annotated[str, Meta(title="Name", description="Its name.", examples=["n"])] = "n"


class Closed(msgspec.Struct, forbid_unknown_fields=True):
    id: int


class Renamed(msgspec.Struct, rename={"more": "id"}):
    more: int


class Array(msgspec.Struct, array_like=True):
    first: int
    second: int = 2


class ClosedArray(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    first: int


class Sparse(msgspec.Struct, omit_defaults=True):
    id: int = 1
    a: int | msgspec.UnsetType = msgspec.UNSET


class Unset(msgspec.Struct):
    a: int | msgspec.UnsetType = msgspec.UNSET


class Cat(msgspec.Struct, tag="x", tag_field="a"):
    pass


class Dog(msgspec.Struct, tag="y", tag_field="a"):
    id: int = 0


class Tagged(msgspec.Struct, tag="Tagged"):
    id: int


class Tree(msgspec.Struct):
    id: int = 0
    a: Tree | None = None


class Checked(msgspec.Struct):
    id: int

    def __post_init__(self) -> None:
        if self.id % 2:
            raise ValueError("Odd.")


Item = TypeVar("Item")


class Box(msgspec.Struct, Generic[Item]):
    a: Item


class Foreign:
    pass


MSGSPEC: Final[dict[str, Any]] = {
    "int": int,
    "int, bounds": Annotated[int, Meta(gt=1, le=10)],
    "int, multiple_of": Annotated[int, Meta(multiple_of=3)],
    "float": float,
    "float, bounds": Annotated[float, Meta(ge=0.5, lt=3)],
    "float, multiple_of": Annotated[float, Meta(multiple_of=0.5)],
    "float, tenths": Annotated[float, Meta(multiple_of=0.1)],
    "bool": bool,
    "Decimal": decimal.Decimal,
    "str": str,
    "str, length": Annotated[str, Meta(min_length=2, max_length=3)],
    "str, pattern": Annotated[str, Meta(pattern="b")],
    "str, digits": Annotated[str, Meta(pattern=r"^\d+$")],
    "str, word": Annotated[str, Meta(pattern=r"^\w+$")],
    "bytes": bytes,
    "bytes, length": Annotated[bytes, Meta(min_length=2, max_length=3)],
    "bytearray": bytearray,
    "datetime": dt.datetime,
    "datetime, aware": Annotated[dt.datetime, Meta(tz=True)],
    "datetime, naive": Annotated[dt.datetime, Meta(tz=False)],
    "date": dt.date,
    "time": dt.time,
    "time, aware": Annotated[dt.time, Meta(tz=True)],
    "time, naive": Annotated[dt.time, Meta(tz=False)],
    "timedelta": dt.timedelta,
    "UUID": uuid.UUID,
    "Any": Any,
    "None": None,
    "Literal": Literal["a", "b"],
    "Literal, one": Literal["a"],
    "Enum": Colour,
    "IntEnum": Level,
    "Flag": Rights,
    "Optional": int | None,
    "union": int | str,
    "union, numbers": int | float,
    "union of structs": Cat | Dog,
    "union of structs, null": Cat | Dog | None,
    "list": list[int],
    "list, length": Annotated[list[int], Meta(min_length=1, max_length=2)],
    "list, any": list,
    "Sequence": Sequence[int],
    "set": set[int],
    "set, length": Annotated[set[int], Meta(min_length=2)],
    "frozenset": frozenset[str],
    "tuple": tuple[str, int],
    "tuple, any length": tuple[int, ...],
    "NamedTuple": Pair,
    "dict": dict[str, int],
    "dict, length": Annotated[dict[str, int], Meta(min_length=1, max_length=1)],
    "dict, integers": dict[int, int],
    "dict, floats": dict[float, int],
    "dict, positive": dict[Annotated[int, Meta(ge=2)], int],
    "dict, pattern": dict[Annotated[str, Meta(pattern="^a")], int],
    "dict, dates": dict[dt.date, int],
    "dict, enum": dict[Colour, int],
    "Mapping": Mapping[str, int],
    "TypedDict": Typed,
    "dataclass": Point,
    "Struct": Child,
    "Struct, forbid": Closed,
    "Struct, rename": Renamed,
    "Struct, array_like": Array,
    "Struct, array_like, forbid": ClosedArray,
    "Struct, omit_defaults": Sparse,
    "Struct, UNSET": Unset,
    "Struct, tag": Tagged,
    "Struct, recursive": Tree,
    "Struct, list": list[Child],
    "Struct, generic": Box[int],
    "Struct, __post_init__": Checked,
    "other class": Foreign,
}
"""Types of fields."""

INEXACT: Final = {
    "float, tenths": ("multiple_of=0.1",),
    "str, word": (r"pattern: \w",),
    "dict, positive": ("minimum=2",),
    "Struct, __post_init__": ("__post_init__",),
}
"""The kinds that accept values that msgspec refuses, and why."""


def adapter(kind: str) -> MsgspecAdapter:
    """The adapter of a struct whose one field is of ``kind``."""
    whole = msgspec.defstruct("Whole", [("value", MSGSPEC[kind])])
    return MsgspecAdapter(whole, whole)
