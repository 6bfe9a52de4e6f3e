"""Kinds of pydantic that have rules of their own: the document accepts and refuses what pydantic does."""

from __future__ import annotations

import base64
import collections
import dataclasses
import enum
import fractions
import ipaddress
from collections.abc import Callable
from decimal import Decimal
from functools import partial
from typing import Annotated, Any, Literal, NamedTuple

import pydantic
import pytest
from annotated_types import Predicate
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    PlainSerializer,
    RootModel,
    Tag,
    TypeAdapter,
)
from pydantic_core import core_schema
from typing_extensions import TypeAliasType

from routesock._wire.codec import decode, encode
from routesock.exceptions import Invalid
from routesock.schemas import Described
from routesock.schemas._json_schema.draft7 import Definitions
from routesock.schemas._json_schema.pydantic_values import of_function
from routesock.schemas.pydantic import PydanticAdapter

from .validation import accepts

VERSION = tuple(map(int, pydantic.VERSION.split(".")[:2]))

UUID_1 = "12345678-1234-1678-9234-567812345678"
UUID_4 = "12345678-1234-4678-9234-567812345678"


class Hex(BaseModel):
    model_config = ConfigDict(val_json_bytes="hex", ser_json_bytes="hex")

    value: Annotated[bytes, Field(max_length=2)]


class InBase64(BaseModel):
    model_config = ConfigDict(val_json_bytes="base64", ser_json_bytes="base64")

    value: bytes


class Seconds(BaseModel):
    model_config = ConfigDict(ser_json_timedelta="float")

    value: Any


class Whole(enum.IntFlag):
    READ = 1
    WRITE = 2


class Cat(BaseModel):
    kind: Literal["cat"] = "cat"


class Dog(BaseModel):
    kind: Literal["dog", "hound"]


@dataclasses.dataclass
class Bird:
    kind: Literal["bird"]


class Pets(RootModel[Cat | Dog]):
    pass


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 10


class Twice(BaseModel):
    one: dict[Level, int]
    two: dict[Level, int]


class WithObject(BaseModel):
    value: Any = Field(object(), exclude=True)


class OwnSchema(BaseModel):
    children: list[OwnSchema]

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: Any, handler: Any) -> Any:
        return handler(core_schema)


Nested = TypeAliasType("Nested", "int | list[Nested]")


class Rarely(BaseModel):
    value: Annotated[int | None, PlainSerializer(str, return_type=str, when_used="unless-none")] = None


def kind_of(value: Any) -> str:
    return "cat" if isinstance(value, dict) and "lives" in value else "dog"


class WithPost(BaseModel):
    id: int

    def model_post_init(self, context: Any) -> None:
        if self.id < 0:
            raise ValueError("Negative.")


class WithInit(BaseModel):
    id: int

    def __init__(self, **data: Any) -> None:
        if data.get("id") == -1:
            raise ValueError("Negative.")
        super().__init__(**data)


def core(schema: Any) -> Any:
    """A type with the core schema ``schema``, as libraries for pydantic define them."""
    return Annotated[Any, pydantic.GetPydanticSchema(lambda source, handler: schema)]


def tuple_of(variadic: int, *others: Any) -> Any:
    """An integer, any number of texts, and ``others``."""
    items = [core_schema.int_schema(), core_schema.str_schema(), *others]
    return core_schema.tuple_schema(items, variadic_item_index=variadic)


def half(value: int) -> int:
    return value // 2


def adapter(kind: Any) -> PydanticAdapter:
    return PydanticAdapter(TypeAdapter(kind), "Kind")


def described(kind: Any, mode: Any = "load") -> Described:
    return adapter(kind).json_schema(mode)


def loads(kind: Any, value: Any) -> bool:
    try:
        adapter(kind).load(value)
    except Invalid:
        return False
    return True


KINDS: dict[str, tuple[Any, list[Any], list[Any]]] = {
    "NameEmail": (pydantic.NameEmail, ["a@example.com"], ["a", "a@localhost", 1]),
    "IPvAnyInterface": (pydantic.IPvAnyInterface, ["10.0.0.1/8", "::1/64"], ["10.0.0.1/33", "x"]),
    "IPvAnyNetwork": (pydantic.IPvAnyNetwork, ["10.0.0.0/8", "::/64"], ["10.0.0.0/33", "x"]),
    "IPv6Network": (ipaddress.IPv6Network, ["::/64"], ["::/129", "x"]),
    "ByteSize": (pydantic.ByteSize, [0, 10, "10", "1.5 KiB", "3mb"], [-1, "3 parsecs", "1e3", None]),
    "UUID1": (pydantic.UUID1, [UUID_1], [UUID_4, "x", 1]),
    "Base64UrlBytes": (pydantic.Base64UrlBytes, [base64.urlsafe_b64encode(b"\xff\xfe").decode()], ["Y", 1]),
    "Decimal, infinite": (Annotated[Decimal, Field(allow_inf_nan=True)], [1, "1.5", "NaN", "Infinity"], ["x", None]),
    "ImportString": (pydantic.ImportString[Any], ["math.pi"], []),
    "Predicate": (Annotated[str, Predicate(str.islower)], ["a"], [1]),
    "IntFlag": (Whole, [1, 3], ["x", None]),
    "Counter": (collections.Counter[str], [{"a": 1}], [{"a": "x"}, 1]),
    "OrderedDict": (collections.OrderedDict[str, int], [{"a": 1}], [{"a": "x"}, 1]),
    "defaultdict": (collections.defaultdict[str, int], [{"a": 1}], [{"a": "x"}, 1]),
    "deque, length": (Annotated[collections.deque[int], Field(max_length=1)], [[1]], [["x"], 1]),
    "tuple, with the rest": (core(tuple_of(1)), [[1], [1, "a", "b"]], [[], ["a"], [1, 2]]),
    "tuple, then a last one": (
        core(tuple_of(1, core_schema.bool_schema())),
        [[1, True], [1, "a", True]],
        [[1], ["a", True]],
    ),
    "tuple, empty": (tuple[()], [[]], [[1]]),
    "tagged union, of a dataclass": (
        Annotated[Dog | Bird, Field(discriminator="kind")],
        [{"kind": "dog"}, {"kind": "hound"}, {"kind": "bird"}],
        [{"kind": "cat"}, {}],
    ),
    "tagged union, with a default": (
        Annotated[Cat | Dog, Field(discriminator="kind")],
        [{"kind": "cat"}, {"kind": "dog"}],
        [{}, {"kind": "bird"}],
    ),
    "tagged union, by a function": (
        Annotated[Annotated[Cat, Tag("cat")] | Annotated[Dog, Tag("dog")], Discriminator(kind_of)],
        [{"kind": "dog"}, {"lives": 9}],
        [{"kind": 1}],
    ),
    "model_post_init": (WithPost, [{"id": 1}], [{"id": "x"}]),
    "__init__": (WithInit, [{"id": 1}], [{"id": "x"}]),
    "class": (type, [], ["int", 1]),
    "Callable": (Callable[[], int], [], ["len", 1]),
    "chain": (
        core(core_schema.chain_schema([core_schema.int_schema(), core_schema.no_info_plain_validator_function(half)])),
        [4],
        ["x"],
    ),
    "chain of types": (
        core(core_schema.chain_schema([core_schema.str_schema(), core_schema.int_schema()])),
        ["1"],
        [1],
    ),
    "custom error": (
        core(core_schema.custom_error_schema(core_schema.int_schema(), "odd", custom_error_message="Odd.")),
        [1],
        ["x"],
    ),
    "call": (
        core(
            core_schema.call_schema(
                core_schema.arguments_schema([core_schema.arguments_parameter("value", core_schema.int_schema())]), half
            )
        ),
        [[1]],
        [],
    ),
    "pattern that Python refuses": (Annotated[str, Field(pattern="^a**$")], ["aa"], [1]),
    "AfterValidator of C": (Annotated[str, AfterValidator(str.upper)], ["a"], [1]),
    "tagged union, of a root": (
        Annotated[Pets | Bird, Field(discriminator="kind")],
        [{"kind": "cat"}, {"kind": "bird"}],
        [{"kind": 1}],
    ),
    "dict, enum twice": (Twice, [{"one": {"1": 1}, "two": {"10": 1}}], [{"one": {"2": 1}, "two": {}}]),
    "default without JSON": (WithObject, [{}, {"value": 1}], [1]),
    "own JSON Schema with references": (OwnSchema, [{"children": []}], []),
    "type alias": (Nested, [1, [1, [2]]], ["x", ["x"]]),
    "serializer unless None": (Rarely, [{}, {"value": 1}], [{"value": "x"}]),
    "keys of two texts": (
        dict[Literal["a", "b"] | Annotated[str, Field(max_length=2)], int],
        [{"a": 1, "xy": 2}],
        [{"a": "x"}],
    ),
    "keys with bounds": (dict[Annotated[int, Field(ge=2)], int], [{"2": 1}], [{"x": 1}]),
    "url, length": (Annotated[pydantic.AnyUrl, pydantic.UrlConstraints(max_length=20)], ["http://a.bc"], [1, "a" * 21]),
}
"""Each kind, with values that pydantic accepts and values that it refuses."""

# Kinds that the lower bound of setup.cfg does not have yet.
if VERSION >= (2, 9):
    KINDS |= {
        "bytes, hex": (Hex, [{"value": "0aff"}, {"value": ""}], [{"value": "0"}, {"value": "xx"}, {"value": "0aff00"}]),
        "bytes, Base64": (InBase64, [{"value": "_-8="}, {"value": ""}], [{"value": "Y"}, {"value": "!"}]),
        "complex": (complex, [1, 1.5, "1", "2j", "1-2.5e3j"], ["x", "1+j2", None]),
    }
if VERSION >= (2, 12):
    KINDS["unknown"] = (core(core_schema.list_schema(core_schema.missing_sentinel_schema())), [[]], [])
if VERSION >= (2, 13):
    KINDS |= {
        "Fraction": (fractions.Fraction, [1, "1/3"], ["x", "1/0"]),
        "str, ASCII": (core(core_schema.str_schema(ascii_only=True)), ["a"], ["é", 1]),
    }

INEXACT = {
    "IPvAnyNetwork": "IPvAnyNetwork",
    "IPv6Network": "IPv6Network",
    "ImportString": "ImportString",
    "Predicate": "Predicate",
    "tuple, then a last one": "items after the last *",
    "tagged union, by a function": "discriminator",
    "tagged union, of a root": "discriminator",
    "model_post_init": "model_post_init",
    "__init__": "WithInit.__init__",
    "chain": "half",
    "chain of types": "pydantic's int",
    "call": "half",
    "unknown": "pydantic's missing-sentinel",
    "pattern that Python refuses": "pattern: ^a**$",
    "AfterValidator of C": "str.upper",
    "own JSON Schema with references": "OwnSchema",
    "keys of two texts": "keys",
    "keys with bounds": "minimum=2",
    "url, length": "Url",
}
"""Why the document accepts more than pydantic."""

ONE_WAY = {"tagged union, by a function", "tagged union, of a root", "chain of types", "call"}
"""Kinds whose loaded values are not of the type that pydantic dumps."""


@pytest.mark.parametrize("name", KINDS)
def test_the_document_accepts_and_refuses_what_pydantic_does(name: str) -> None:
    kind, taken, refused = KINDS[name]
    found = described(kind)
    assert [(value, loads(kind, value), accepts(found, value)) for value in taken] == [
        (value, True, True) for value in taken
    ]
    assert [(value, loads(kind, value), accepts(found, value)) for value in refused] == [
        (value, False, False) for value in refused
    ]
    assert found.inexact == tuple(reason for kind, reason in INEXACT.items() if kind == name)


@pytest.mark.parametrize("name", [name for name in KINDS if name not in ONE_WAY])
def test_what_pydantic_sends_fits_the_document(name: str) -> None:
    kind, taken, _ = KINDS[name]
    found = described(kind, "dump")
    sent = [adapter(kind).dump(adapter(kind).load(value)) for value in taken]
    assert [value for value in sent if not accepts(found, decode(encode(value), 64))] == []


class OfEarlierReleases:
    """Validators whose classes are functions with attributes, as before pydantic 2.10."""

    __slots__ = ("max_digits", "max_length", "min_length", "uuid_version")

    def __init__(self, **options: Any) -> None:
        self.max_digits = self.max_length = self.min_length = self.uuid_version = None
        for name, value in options.items():
            setattr(self, name, value)

    def validate(self, value: Any) -> Any:
        return value


def inside(enum_type: type[enum.Enum]) -> Callable[[Any], Any]:
    def to_enum(value: Any) -> Any:
        return enum_type(value)

    return to_enum


@pytest.mark.parametrize(
    ("name", "function", "inner", "taken", "refused"),
    [
        ("uuid_validator", None, {}, "00000000-0000-0000-0000-000000000001", "x"),
        ("UuidVersion.validate", OfEarlierReleases(uuid_version=1).validate, {}, UUID_1, UUID_4),
        ("to_enum", inside(Level), {}, 10, 2),
        ("to_enum", inside(Whole), {}, 3, 4),
        ("DecimalValidator.validate", OfEarlierReleases(max_digits=2).validate, {}, "1.5", "1.55"),
        ("_SecretFieldValidator.validate", OfEarlierReleases(min_length=2).validate, {"type": "string"}, "ab", "a"),
        ("max_length_validator", partial(half, max_length=1), {"type": "array"}, [1], [1, 2]),
    ],
)
def test_functions_of_earlier_releases_of_pydantic_are_known(
    name: str, function: Any, inner: Any, taken: Any, refused: Any
) -> None:
    found = Definitions().described(of_function(name, function, inner))
    assert accepts(found, taken)
    assert not accepts(found, refused)


def test_functions_of_pydantic_that_are_not_known_are_named() -> None:
    found = Definitions().described(of_function("max_length_validator", partial(half, max_length=1), {}))
    assert found.inexact == ("max_length_validator",)
    assert Definitions().described(of_function("new_validator", half, {})).inexact == ("new_validator",)


class Point(NamedTuple):
    x: int
    y: int = 0


def test_a_named_tuple_of_earlier_releases_is_an_array_or_an_object() -> None:
    integer = core_schema.int_schema()
    parameters = [
        core_schema.arguments_parameter("x", integer),
        core_schema.arguments_parameter("y", core_schema.with_default_schema(integer, default=0)),
    ]
    kind = core(core_schema.call_schema(core_schema.arguments_schema(parameters), Point))
    found = described(kind)
    assert [accepts(found, value) for value in ([1], [1, 2], {"x": 1}, {"x": 1, "y": 2})] == [True] * 4
    assert [accepts(found, value) for value in ([], [1, 2, 3], ["x"], {"y": 1})] == [False] * 4
    assert accepts(described(kind, "dump"), [1, 2])
    assert not accepts(described(kind, "dump"), [1])
