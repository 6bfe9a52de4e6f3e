"""Kinds of pydantic's fields: what its emitter of JSON Schema is probed with."""

from __future__ import annotations

import collections
import dataclasses
import datetime as dt
import decimal
import enum
import ipaddress
import pathlib
import re
import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Generic, Literal, NamedTuple, Optional, Required, TypeVar

import pydantic
from pydantic import (
    AfterValidator,
    AliasChoices,
    AliasPath,
    AwareDatetime,
    Base64Bytes,
    Base64Str,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    EmailStr,
    Field,
    HttpUrl,
    IPvAnyAddress,
    Json,
    NaiveDatetime,
    PastDate,
    PlainSerializer,
    PostgresDsn,
    RootModel,
    SecretStr,
    StrictInt,
    TypeAdapter,
    WithJsonSchema,
    WrapValidator,
    computed_field,
    condecimal,
    conint,
    constr,
    create_model,
    field_serializer,
    field_validator,
    model_validator,
)
from typing_extensions import TypedDict

from routesock.exceptions import Invalid
from routesock.schemas.pydantic import PydanticAdapter


class Colour(enum.Enum):
    RED = "red"
    ONE = 1


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
    a: Required[int]
    id: int


class Child(BaseModel):
    """A child."""

    id: int
    name: str = Field("n", description="Its name.", title="Name", examples=["n"])


class Closed(BaseModel):
    model_config = ConfigDict(extra="forbid")

    id: int


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")

    id: int


class Strict(BaseModel):
    model_config = ConfigDict(strict=True)

    id: int
    when: dt.datetime | None = None


class Stripped(BaseModel):
    model_config = ConfigDict(str_strip_whitespace=True, str_min_length=1)

    a: str


class ByAlias(BaseModel):
    model_config = ConfigDict(populate_by_name=True)

    more: int = Field(0, alias="id")


class ByChoice(BaseModel):
    value: int = Field(validation_alias=AliasChoices("id", "a", AliasPath("more", 0)), serialization_alias="out")


class ByPath(BaseModel):
    value: int = Field(validation_alias=AliasPath("more", 0))


class Tree(BaseModel):
    id: int = 0
    a: Tree | int | None = None


class Numbers(RootModel[list[int]]):
    pass


Item = TypeVar("Item")


class Box(BaseModel, Generic[Item]):
    a: Item


class Cat(BaseModel):
    a: Literal["x"]


class Dog(BaseModel):
    a: Literal[1] = 1
    id: int = 0


@pydantic.dataclasses.dataclass
class Point:
    id: int
    more: dataclasses.InitVar[int] = 1


@dataclasses.dataclass
class PlainPoint:
    id: int
    name: str = "n"


class WithComputed(BaseModel):
    id: int

    @computed_field  # type: ignore[prop-decorator]
    @property
    def twice(self) -> int:
        return 2 * self.id


class WithSerializers(BaseModel):
    id: int
    name: str = "n"

    @field_serializer("id")
    def as_text(self, value: int) -> str:
        return str(value)

    @field_serializer("name")
    def as_list(self, value: str) -> Any:
        return [value]


class WithSecret(BaseModel):
    id: int
    hidden: int = Field(1, exclude=True)


class Checked(BaseModel):
    id: int

    @field_validator("id")
    @classmethod
    def even(cls, value: int) -> int:
        if value % 2:
            raise ValueError("Odd.")
        return value


class CheckedWhole(BaseModel):
    id: int

    @model_validator(mode="after")
    def never(self) -> CheckedWhole:
        raise ValueError("Never.")


def positive(value: Any) -> Any:
    if isinstance(value, int) and value < 0:
        raise ValueError("Negative.")
    return value


Price = condecimal(max_digits=4, decimal_places=2)

PYDANTIC: dict[str, Any] = {
    "int": int,
    "int, strict": StrictInt,
    "int, bounds": conint(gt=1, le=10),
    "int, multiple_of": conint(multiple_of=3),
    "float": float,
    "float, bounds": Annotated[float, Field(ge=0.5, lt=3)],
    "float, finite": Annotated[float, Field(allow_inf_nan=False)],
    "float, multiple_of": Annotated[float, Field(multiple_of=0.5)],
    "bool": bool,
    "Decimal": decimal.Decimal,
    "Decimal, digits": Price,
    "Decimal, max_digits": condecimal(max_digits=3),
    "Decimal, fraction": condecimal(max_digits=2, decimal_places=2),
    "Decimal, positive": condecimal(max_digits=4, decimal_places=2, gt=0),
    "Decimal, bounds": condecimal(ge=1, le=5),
    "Decimal, digits and bounds": condecimal(max_digits=4, decimal_places=2, ge=1),
    "str": str,
    "str, length": constr(min_length=2, max_length=3),
    "str, pattern": constr(pattern="b"),
    "str, digits": constr(pattern=r"^\d+$"),
    "str, word": constr(pattern=r"^\w+$"),
    "str, Rust": constr(pattern=r"^[[:alpha:]]$"),
    "str, stripped": constr(strip_whitespace=True, min_length=1, max_length=3, pattern="^a"),
    "str, lower": constr(to_lower=True, max_length=3),
    "bytes": bytes,
    "bytes, length": Annotated[bytes, Field(min_length=2)],
    "bytes, max_length": Annotated[bytes, Field(max_length=2)],
    "Base64Bytes": Base64Bytes,
    "Base64Str": Base64Str,
    "datetime": dt.datetime,
    "datetime, aware": AwareDatetime,
    "datetime, naive": NaiveDatetime,
    "date": dt.date,
    "date, bounds": Annotated[dt.date, Field(gt=dt.date(2020, 1, 1))],
    "date, past": PastDate,
    "time": dt.time,
    "timedelta": dt.timedelta,
    "UUID": uuid.UUID,
    "UUID, version": pydantic.UUID4,
    "IPv4Address": ipaddress.IPv4Address,
    "IPv6Address": ipaddress.IPv6Address,
    "IPv4Network": ipaddress.IPv4Network,
    "IPv4Interface": ipaddress.IPv4Interface,
    "IPv6Interface": ipaddress.IPv6Interface,
    "IPvAnyAddress": IPvAnyAddress,
    "EmailStr": EmailStr,
    "HttpUrl": HttpUrl,
    "PostgresDsn": PostgresDsn,
    "SecretStr": SecretStr,
    "SecretStr, length": Annotated[SecretStr, Field(max_length=3)],
    "Path": pathlib.Path,
    "FilePath": pydantic.FilePath,
    "Pattern": re.Pattern,
    "Json": Json[list[int]],
    "Any": Any,
    "None": type(None),
    "Literal": Literal["a", 1, None],
    "Literal, one": Literal["a"],
    "Enum": Colour,
    "IntEnum": Level,
    "Flag": Rights,
    "Optional": Optional[int],  # noqa: UP045
    "union": int | str,
    "union of models": Cat | Dog,
    "tagged union": Annotated[Cat | Dog, Field(discriminator="a")],
    "list": list[int],
    "list, length": Annotated[list[int], Field(min_length=1, max_length=2)],
    "Sequence": Sequence[int],
    "Iterable": Iterable[str],
    "set": set[int],
    "set, length": Annotated[set[int], Field(min_length=2)],
    "set, length, dates": Annotated[set[dt.date], Field(min_length=2)],
    "frozenset": frozenset[str],
    "deque": collections.deque[int],
    "tuple": tuple[str, int],
    "tuple, any length": tuple[int, ...],
    "NamedTuple": Pair,
    "dict": dict[str, int],
    "dict, length": Annotated[dict[str, int], Field(min_length=1, max_length=1)],
    "dict, integers": dict[int, int],
    "dict, pattern": dict[Annotated[str, Field(pattern="^a")], int],
    "dict, dates": dict[dt.date, int],
    "dict, enum": dict[Level, int],
    "Mapping": Mapping[str, int],
    "TypedDict": Typed,
    "model": Child,
    "model, forbid": Closed,
    "model, allow": Open,
    "model, strict": Strict,
    "model, stripped": Stripped,
    "model, alias": ByAlias,
    "model, AliasChoices": ByChoice,
    "model, AliasPath": ByPath,
    "model, recursive": Tree,
    "model, list": list[Child],
    "RootModel": Numbers,
    "generic": Box[int],
    "dataclass": Point,
    "dataclass, stdlib": PlainPoint,
    "computed_field": WithComputed,
    "field_serializer": WithSerializers,
    "exclude": WithSecret,
    "field_validator": Checked,
    "model_validator": CheckedWhole,
    "AfterValidator": Annotated[int, AfterValidator(positive)],
    "BeforeValidator": Annotated[int, BeforeValidator(positive)],
    "WrapValidator": Annotated[int, WrapValidator(lambda value, handler: positive(handler(value)))],
    "PlainSerializer": Annotated[int, PlainSerializer(lambda value: [value])],
    "PlainSerializer, type": Annotated[int, PlainSerializer(lambda value: str(value), return_type=str)],
    "WithJsonSchema": Annotated[int, WithJsonSchema({"type": "string", "format": "colour"})],
}
"""Types of fields."""

if pydantic.VERSION != "2.0" and not pydantic.VERSION.startswith(
    "2.0."
):  # 2.0 takes no annotation of __pydantic_extra__ that is a text

    class OpenForIntegers(BaseModel):
        model_config = ConfigDict(extra="allow")
        __pydantic_extra__: dict[str, int]

        id: int

    PYDANTIC["model, allow integers"] = OpenForIntegers

INEXACT: dict[str, tuple[str, ...]] = {
    "Decimal, digits and bounds": ("ge=1",),
    "str, word": (r"pattern: \w",),
    "str, Rust": ("pattern: ^[[:alpha:]]$",),
    "bytes, max_length": ("max_length=2",),
    "Base64Str": ("a text in Base64",),
    "date, bounds": ("gt=2020-01-01",),
    "date, past": ("now_op=past",),
    "IPv4Network": ("IPv4Network",),
    "HttpUrl": ("Url",),
    "PostgresDsn": ("MultiHostUrl",),
    "FilePath": ("file",),
    "Pattern": ("Pattern",),
    "Json": ("Json",),
    "set, length, dates": ("min_length=2",),
    "model, AliasPath": ("value: AliasPath",),
    "field_validator": ("Checked.even",),
    "model_validator": ("CheckedWhole.never",),
    "AfterValidator": ("positive",),
    "BeforeValidator": ("positive",),
    "WrapValidator": ("<lambda>",),
    "WithJsonSchema": ("WithJsonSchema",),
}
"""The kinds that accept values that pydantic refuses, and why."""

if pydantic.VERSION == "2.0":
    INEXACT |= {
        "float, multiple_of": ("multiple_of=0.5",),
        "str, length": ("min_length=2", "max_length=3"),
        "str, stripped": ("min_length=1", "max_length=3"),
        "str, lower": ("max_length=3",),
        "model, stripped": ("min_length=1",),
    }


def _works(kind: str) -> bool:
    """Whether the installed pydantic has the kind: 2.0 and 2.4 fail to load a SecretStr, and 2.0 tagged unions."""
    try:
        adapter(kind).load({"value": "a"})
    except (NotImplementedError, TypeError):
        return False
    except Invalid:
        return True
    return True


def adapter(kind: str) -> PydanticAdapter:
    """The adapter of a model whose one field is of ``kind``."""
    return PydanticAdapter(TypeAdapter(create_model("Whole", value=(PYDANTIC[kind], ...))), "Whole")


PYDANTIC = {kind: cls for kind, cls in PYDANTIC.items() if not kind.startswith(("SecretStr", "tagged")) or _works(kind)}
