"""What every emitter of JSON Schema is probed with: values of JSON, and marshmallow's kinds of fields."""

from __future__ import annotations

import datetime
import decimal
import enum
import re
from collections.abc import Callable
from typing import Any, Final

from marshmallow import EXCLUDE, Schema, fields, validate

PROBES: Final[tuple[Any, ...]] = (
    *(None, True, False),
    *(0, 1, -1, 2, 3, 5, 10, 11, 42, 2**31, 2**53 + 1, -(2**63)),
    *(1.0, 0.5, 1.5, -2.5, 3.0, 9.99, 1e300, 1e16, 1700000000, 1700000000.5, 253402300800),
    *("", " ", "a", "b", "c", "ab", "abc", "abcdef", "A", "ąć", "żółw", "a\n", "ab\n", "\U0001f600", "a b", "x" * 300),
    *(
        "0",
        "1",
        "1.5",
        "-3",
        " 5 ",
        "1e5",
        "NaN",
        "Infinity",
        "true",
        "yes",
        "null",
        "\u0663",
        "\u0663\u0664",
        "1_000",
        "1.234",
    ),
    *("12345678-1234-5678-1234-567812345678", "12345678123456781234567812345678"),
    *("2024-02-29", "2023-02-29", "0000-01-01", "20240229", "29/02/2024", "10:20:30", "10:20", "10:20:30Z"),
    *("2024-02-29T10:20:30Z", "2024-02-29T10:20:30", "2024-02-29T10:20:30.123456+01:00", "2024-02-29 10:20:30+01:00"),
    *("2024-02-29T23:59:60Z", "Thu, 29 Feb 2024 10:20:30 +0000"),
    *("a@example.com", "ż@example.com", "https://example.com/a?b=c", "HTTP://localhost", "javascript:alert(1)", "/a/b"),
    *("192.168.0.1", "192.168.0.01", "::1", "fe80::1%eth0", "192.168.0.0/24", "::/64", "10.0.0.0/255.0.0.0"),
    *("RED", "red", "blue"),
    *([], ["a"], ["a", "b"], ["a", 1], [1, 2], [1, 2, 3], ["c"], [None], [[1]]),
    *({}, {"a": 1}, {"a": "x"}, {"1": 2}, {"id": 1}, {"id": 1, "name": "n"}, {"id": "x"}, {"id": 1, "more": 2}),
    [{"id": 1}],
)


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"
    CRIMSON = "red"  # noqa: PIE796 - another name of a member


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 10


class Child(Schema):
    id = fields.Integer(required=True)
    name = fields.String()


class Parent(Schema):
    id = fields.Integer(required=True)
    parent = fields.Nested(lambda: Parent())
    children = fields.List(fields.Nested(lambda: Parent(only=("id",))))


MARSHMALLOW: Final[dict[str, Callable[[], fields.Field]]] = {
    "String": lambda: fields.String(),
    "String, null": lambda: fields.String(allow_none=True),
    "String, Length": lambda: fields.String(validate=validate.Length(min=1, max=3)),
    "String, Length equal": lambda: fields.String(validate=validate.Length(equal=2)),
    "String, Regexp": lambda: fields.String(validate=validate.Regexp(r"[a-c]?\d{2}")),
    "String, Regexp $": lambda: fields.String(validate=validate.Regexp(r"^ab?$")),
    r"String, Regexp \Z": lambda: fields.String(validate=validate.Regexp(r"[^b]b\Z")),
    "String, Regexp, flags": lambda: fields.String(validate=validate.Regexp("a.b", re.DOTALL | re.IGNORECASE)),
    "String, Regexp, alternatives": lambda: fields.String(validate=validate.Regexp("a$|b")),
    "String, OneOf": lambda: fields.String(validate=validate.OneOf(["a", "b", 1])),
    "String, NoneOf": lambda: fields.String(validate=validate.NoneOf(["a", "ab"])),
    "String, Equal": lambda: fields.String(validate=validate.Equal("abc")),
    "String, And": lambda: fields.String(validate=validate.And(validate.Length(max=3), validate.Regexp("a"))),
    "String, two rules": lambda: fields.String(validate=[validate.Regexp("a"), validate.Regexp(".*c")]),
    "String, ContainsOnly": lambda: fields.String(validate=validate.ContainsOnly("abc")),
    "String, ContainsNoneOf": lambda: fields.String(validate=validate.ContainsNoneOf(["c", "-"])),
    "String, Predicate": lambda: fields.String(validate=validate.Predicate("isalpha")),
    "Integer": lambda: fields.Integer(),
    "Integer, strict": lambda: fields.Integer(strict=True),
    "Integer, Range": lambda: fields.Integer(validate=validate.Range(min=1, max=10)),
    "Integer, Range, exclusive": lambda: fields.Integer(
        validate=validate.Range(1, 10, min_inclusive=False, max_inclusive=False)
    ),
    "Integer, OneOf": lambda: fields.Integer(validate=validate.OneOf([1, 2.0, True, "3", 1.5])),
    "Integer, NoneOf": lambda: fields.Integer(validate=validate.NoneOf([1, 10])),
    "Float": lambda: fields.Float(),
    "Float, nan": lambda: fields.Float(allow_nan=True),
    "Float, Range": lambda: fields.Float(
        validate=validate.Range(min=decimal.Decimal("0.7"), max=decimal.Decimal("9.99"))
    ),
    "Decimal": lambda: fields.Decimal(),
    "Decimal, places": lambda: fields.Decimal(places=2, as_string=True, allow_nan=True),
    "Decimal, Range": lambda: fields.Decimal(validate=validate.Range(min=0)),
    "Boolean": lambda: fields.Boolean(),
    "Boolean, own words": lambda: fields.Boolean(truthy={"yes", 1}, falsy={"null"}),
    "Boolean, Equal": lambda: fields.Boolean(validate=validate.Equal(True)),
    "UUID": lambda: fields.UUID(),
    "DateTime": lambda: fields.DateTime(),
    "DateTime, rfc": lambda: fields.DateTime(format="rfc"),
    "DateTime, timestamp": lambda: fields.DateTime(format="timestamp"),
    "NaiveDateTime": lambda: fields.NaiveDateTime(),
    "NaiveDateTime, zone": lambda: fields.NaiveDateTime(timezone=datetime.UTC),
    "AwareDateTime": lambda: fields.AwareDateTime(),
    "AwareDateTime, zone": lambda: fields.AwareDateTime(default_timezone=datetime.UTC),
    "Date": lambda: fields.Date(),
    "Date, format": lambda: fields.Date(format="%d/%m/%Y"),
    "Time": lambda: fields.Time(),
    "TimeDelta": lambda: fields.TimeDelta(precision="minutes"),
    "Url": lambda: fields.Url(),
    "Email": lambda: fields.Email(),
    "IP": lambda: fields.IP(),
    "IPv4": lambda: fields.IPv4(),
    "IPv6": lambda: fields.IPv6(),
    "IPInterface": lambda: fields.IPInterface(),
    "Enum": lambda: fields.Enum(Colour),
    "Enum, by value": lambda: fields.Enum(Level, by_value=True),
    "Enum, by field": lambda: fields.Enum(Colour, by_value=fields.String(), validate=validate.NoneOf([Colour.BLUE])),
    "Raw": lambda: fields.Raw(),
    "Raw, NoneOf": lambda: fields.Raw(validate=validate.NoneOf([1, "a"])),
    "Constant": lambda: fields.Constant(5),
    "List": lambda: fields.List(fields.String(allow_none=True), validate=validate.Length(max=2)),
    "List, ContainsOnly": lambda: fields.List(fields.String(), validate=validate.ContainsOnly(["a", "b"])),
    "Tuple": lambda: fields.Tuple((fields.String(), fields.Integer())),
    "Dict": lambda: fields.Dict(keys=fields.Integer(), values=fields.Integer()),
    "Nested": lambda: fields.Nested(Child),
    "Nested, recursive": lambda: fields.Nested(Parent, unknown=EXCLUDE, allow_none=True),
    "Pluck": lambda: fields.Pluck(Child, "id", many=True),
}
"""Each makes a new field: a field belongs to one schema."""
