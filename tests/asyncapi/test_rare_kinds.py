"""Rules and kinds of marshmallow, msgspec and DRF that projects seldom use: the document accepts what they accept."""

from __future__ import annotations

import datetime as dt
import enum
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final

import pytest
from django.contrib.auth.models import Group
from django.core.validators import DecimalValidator, RegexValidator
from marshmallow import Schema, fields, post_dump, validate
from msgspec import Struct, field
from rest_framework import serializers

from routesock.exceptions import Invalid
from routesock.schemas import Described, SchemaAdapter, as_schema
from routesock.schemas.marshmallow import MarshmallowAdapter
from routesock.schemas.rest_framework import RestFrameworkAdapter

from .validation import accepts


class Colour(enum.Enum):
    RED = "red"
    NONE = None


class Plucked(Schema):
    id = fields.Integer()
    shown = fields.Integer(dump_only=True)

    @post_dump
    def doubled(self, data: Any, **kwargs: Any) -> Any:
        return {"id": [data["id"]] * 2}


class Bare(fields.Field):
    """A field without methods, which loads every value but null."""


MARSHMALLOW: Final[dict[str, tuple[Callable[[], fields.Field], list[Any], list[Any]]]] = {
    "Field": (Bare, [1, "a", []], [None]),
    "Pluck, dump_only": (lambda: fields.Pluck(Plucked, "shown"), [], [1]),
    "Pluck": (lambda: fields.Pluck(Plucked, "id"), [1], ["x", None]),
    "Enum, value of null": (lambda: fields.Enum(Colour, by_value=True), ["red"], [1, "RED"]),
    "Enum, OneOf": (lambda: fields.Enum(Colour, validate=validate.OneOf([Colour.RED])), ["RED"], ["NONE", "x"]),
    "Constant, Range": (lambda: fields.Constant(3, validate=validate.Range(min=5)), [], [1, 5]),
    "Function": (fields.Function, [1, "a"], [None]),
    "Boolean, OneOf of no Boolean": (lambda: fields.Boolean(validate=validate.OneOf(["x"])), [], [True, False]),
    "Boolean, OneOf of own words": (
        lambda: fields.Boolean(truthy={"y"}, falsy={"n"}, validate=validate.OneOf([True])),
        ["y"],
        ["n", "x"],
    ),
    "Date, OneOf": (
        lambda: fields.Date(validate=validate.OneOf(["x", dt.date(2020, 1, 1)])),
        ["2020-01-01"],
        ["2020-01-02", "x"],
    ),
    "Float, Range of Decimal": (lambda: fields.Float(validate=validate.Range(min=Decimal(2))), [2, 3.5], [1, 1.5]),
    "Float, Range of fractions": (
        lambda: fields.Float(validate=validate.Range(min=Decimal("0.1"), max=Fraction(1, 3))),
        [0.1, 0.3],
        [0.09, 0.34],
    ),
    "Float, OneOf": (
        lambda: fields.Float(validate=validate.OneOf([float("inf"), Fraction(1, 3), 0.5])),
        [0.5],
        [1 / 3, 0.25],
    ),
    "Decimal, positive": (
        lambda: fields.Decimal(validate=validate.Range(min=Decimal(0), min_inclusive=False)),
        ["1", "0.5"],
        ["0", "-1"],
    ),
    "Raw, OneOf": (lambda: fields.Raw(validate=validate.OneOf([object(), 1])), [1], [2, "a"]),
    "Raw, NoneOf": (lambda: fields.Raw(validate=validate.NoneOf([True, 0])), [2, "a"], [1, True, 0, False]),
    "String, ContainsNoneOf nothing": (lambda: fields.String(validate=validate.ContainsNoneOf("")), ["a", ""], [1]),
    "List, ContainsNoneOf": (
        lambda: fields.List(fields.Integer(allow_none=True), validate=validate.ContainsNoneOf([None, 1])),
        [[2], []],
        [[1], [None]],
    ),
    "List, ContainsOnly": (
        lambda: fields.List(fields.Integer(allow_none=True), validate=validate.ContainsOnly([None, 1])),
        [[1], [None], []],
        [[2]],
    ),
}
"""Each kind, with values that marshmallow accepts and values that it refuses."""

UNSAID: Final[dict[str, tuple[Callable[[], fields.Field], str, str]]] = {
    "Nested, unknown": (
        lambda: fields.Nested("Nowhere"),
        "RegistryError: Class with name 'Nowhere' was not found.",
        "",
    ),
    "Pluck, unknown": (lambda: fields.Pluck("Nowhere", "id"), "RegistryError: Class with name 'Nowhere' was not", ""),
    "Constant, Range of text": (lambda: fields.Constant("a", validate=validate.Range(min=5)), "Range", ""),
    "Enum, Range": (lambda: fields.Enum(Colour, validate=validate.Range(min=5)), "Range", ""),
    "Integer, Length": (lambda: fields.Integer(validate=validate.Length(min=1)), "Length", "integer"),
    "Integer, Email": (lambda: fields.Integer(validate=validate.Email()), "Email", "integer"),
    "Integer, URL": (lambda: fields.Integer(validate=validate.URL()), "URL", "integer"),
    "Float, Range of NaN": (lambda: fields.Float(validate=validate.Range(min=Decimal("NaN"))), "Range", "number"),
    "Float, Range of texts": (lambda: fields.Float(validate=validate.Range(min="a")), "Range", "number"),
    "Decimal, Range": (lambda: fields.Decimal(validate=validate.Range(min=2)), "Range", "string"),
    "List, Equal": (lambda: fields.List(fields.Integer(), validate=validate.Equal([1])), "Equal", "array"),
    "List, OneOf": (lambda: fields.List(fields.Integer(), validate=validate.OneOf([[1]])), "OneOf", "array"),
    "List, NoneOf": (lambda: fields.List(fields.Integer(), validate=validate.NoneOf([[1]])), "NoneOf", "array"),
    "List, ContainsNoneOf a text": (
        lambda: fields.List(fields.Integer(), validate=validate.ContainsNoneOf("ab")),
        "ContainsNoneOf",
        "array",
    ),
}
"""Rules that JSON Schema cannot say, or that fail: the reason, and the type that is still said."""


def of_marshmallow(field: fields.Field) -> MarshmallowAdapter:
    return MarshmallowAdapter(Schema.from_dict({"value": field})())


def in_document(described: Described) -> Any:
    """The schema of the field ``value``."""
    return next(iter(described.definitions.values())).schema["properties"]["value"]


def agreement(adapter: SchemaAdapter, values: list[Any]) -> list[tuple[Any, bool, bool]]:
    """Each of ``values`` with whether it loads, and whether the document accepts it."""
    found = adapter.json_schema("load")
    return [(value, loads(adapter, {"value": value}), accepts(found, {"value": value})) for value in values]


def loads(adapter: SchemaAdapter, payload: Any) -> bool:
    try:
        adapter.load(payload)
    except Invalid:
        return False
    return True


@pytest.mark.parametrize("name", MARSHMALLOW)
def test_the_document_accepts_and_refuses_what_marshmallow_does(name: str) -> None:
    kind, taken, refused = MARSHMALLOW[name]
    assert agreement(of_marshmallow(kind()), taken) == [(value, True, True) for value in taken]
    assert agreement(of_marshmallow(kind()), refused) == [(value, False, False) for value in refused]


@pytest.mark.parametrize("name", UNSAID)
def test_a_rule_that_the_document_cannot_say_is_named(name: str) -> None:
    kind, reason, type_ = UNSAID[name]
    described = of_marshmallow(kind()).json_schema("load")
    assert described.inexact[0].startswith(reason)
    assert not type_ or in_document(described)["type"] == type_


def test_replies_of_marshmallow_that_nothing_is_known_about() -> None:
    assert in_document(of_marshmallow(fields.Constant(object())).json_schema("dump")) == {}
    assert in_document(of_marshmallow(fields.Constant(3)).json_schema("dump")) == {"const": 3}
    assert set(in_document(of_marshmallow(fields.Pluck(Plucked, "id")).json_schema("dump"))) == {"x-routesock-inexact"}
    assert in_document(of_marshmallow(fields.Function()).json_schema("dump")) == {}


REST_FRAMEWORK: Final[
    dict[str, tuple[Callable[[], serializers.Field[Any, Any, Any, Any]], list[Any], list[Any], str]]
] = {
    "pattern, inverse": (
        lambda: serializers.CharField(validators=[RegexValidator("^a", inverse_match=True)]),
        ["b"],
        [1.5j],
        "pattern: ^a",
    ),
    "pattern, untranslatable": (
        lambda: serializers.CharField(validators=[RegexValidator("^(a)?(?(1)b|c)$")]),
        ["ab", "c"],
        [[]],
        "pattern: ",
    ),
    "two patterns": (
        lambda: serializers.CharField(validators=[RegexValidator("^a"), RegexValidator("b$")]),
        ["ab"],
        ["a", "b"],
        "",
    ),
    "ChoiceField, dates": (
        lambda: serializers.ChoiceField([(dt.date(2020, 1, 1), "New Year")]),
        ["2020-01-01"],
        [],
        "ChoiceField",
    ),
    "JSONField, binary": (lambda: serializers.JSONField(binary=True), ["[1]"], [1], "JSONField(binary=True)"),
    "DecimalField, DecimalValidator": (
        lambda: serializers.DecimalField(4, 2, validators=[DecimalValidator(4, 1)]),
        [],
        ["x"],
        "DecimalValidator",
    ),
    "PrimaryKeyRelatedField, pk_field": (
        lambda: serializers.PrimaryKeyRelatedField(queryset=Group.objects.all(), pk_field=serializers.UUIDField()),
        [],
        ["x", None],
        "PrimaryKeyRelatedField",
    ),
    "ModelField": (lambda: serializers.ModelField(Group._meta.get_field("name")), ["a"], [], "ModelField"),
}


@pytest.mark.parametrize("name", REST_FRAMEWORK)
def test_the_document_accepts_and_refuses_what_drf_does(name: str) -> None:
    kind, taken, refused, reason = REST_FRAMEWORK[name]
    adapter = of_drf(kind)
    assert agreement(adapter, taken) == [(value, True, True) for value in taken]
    assert agreement(adapter, refused) == [(value, False, False) for value in refused]
    found = adapter.json_schema("load").inexact
    assert [given.startswith(reason) for given in found] == ([True] if reason else [])


def of_drf(kind: Callable[[], Any]) -> RestFrameworkAdapter:
    return RestFrameworkAdapter(type("Whole", (serializers.Serializer,), {"value": kind(), "__module__": __name__})())


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (serializers.StringRelatedField, {"type": ["string", "null"]}),
        (lambda: serializers.PrimaryKeyRelatedField(read_only=True), {}),
        (lambda: serializers.JSONField(binary=True), {}),
        (lambda: serializers.ChoiceField([(dt.date(2020, 1, 1), "New Year")]), {}),
    ],
    ids=["StringRelatedField", "PrimaryKeyRelatedField", "JSONField", "ChoiceField"],
)
def test_replies_of_drf(kind: Callable[[], Any], expected: Any) -> None:
    assert in_document(of_drf(kind).json_schema("dump")) == expected


class Shapes(Struct):
    items: list[int] = field(default_factory=list)
    names: dict[str, int] = field(default_factory=dict)


def test_defaults_of_structs_that_are_made_anew_are_empty() -> None:
    found = next(iter(as_schema(Shapes).json_schema("load").definitions.values())).schema["properties"]
    assert (found["items"]["default"], found["names"]["default"]) == ([], {})
