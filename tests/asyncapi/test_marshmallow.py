"""Schemas of marshmallow as JSON Schema: load and dump apart, variants, hooks, and fields that describe themselves."""

from __future__ import annotations

import datetime
import decimal
import enum
import fractions
import functools
import subprocess
import sys
from typing import Any

import pytest
from marshmallow import (
    EXCLUDE,
    INCLUDE,
    Schema,
    ValidationError,
    fields,
    post_dump,
    post_load,
    pre_load,
    validate,
    validates,
    validates_schema,
)

from routesock._wire.codec import decode, encode
from routesock.exceptions import Invalid
from routesock.schemas import Described, PlainAdapter
from routesock.schemas._json_schema.draft7 import INEXACT, NOTHING
from routesock.schemas._json_schema.marshmallow_fields import NOT_NULL
from routesock.schemas.marshmallow import MarshmallowAdapter
from routesock.schemas.running import run_in_thread

from .marshmallow_fields import adapter, described, server_accepts
from .probes import MARSHMALLOW, PROBES, Child, Colour, Parent
from .validation import accepts, validator


def load(schema: Schema) -> Described:
    return MarshmallowAdapter(schema).json_schema("load")


def dump(schema: Schema) -> Described:
    return MarshmallowAdapter(schema).json_schema("dump")


def root(described: Described) -> Any:
    """The definition of the schema itself."""
    return described.definitions[described.schema["$ref"].removeprefix("#/$defs/")].schema


def schema_of(**declared: fields.Field) -> Schema:
    return Schema.from_dict(dict(declared))()


def loaded(field: fields.Field) -> Any:
    """The schema of ``field`` in requests."""
    return root(load(schema_of(value=field)))["properties"]["value"]


def dumped(field: fields.Field) -> Any:
    return root(dump(schema_of(value=field)))["properties"]["value"]


class BookSchema(Schema):
    id = fields.Integer(dump_only=True)
    title = fields.String(required=True, data_key="Title")
    secret = fields.String(load_only=True)
    pages = fields.Integer(load_default=1, dump_default=1)
    author = fields.Nested(Child, attribute="writer")

    class Meta:
        unknown = EXCLUDE


def test_requests_and_replies_have_fields_of_their_own() -> None:
    assert root(load(BookSchema())) == {
        "type": "object",
        "properties": {
            "Title": {"type": "string"},
            "secret": {"type": "string"},
            "pages": {"type": "integer", "default": 1},
            "author": {"$ref": "#/$defs/Child"},
        },
        "required": ["Title"],
    }
    assert root(dump(BookSchema())) == {
        "type": "object",
        "properties": {
            "id": {"type": ["integer", "null"]},
            "Title": {"type": "string"},
            "pages": {"type": "integer"},
            "author": {"$ref": "#/$defs/Child"},
        },
        "required": ["id", "Title", "pages"],
    }


@pytest.mark.parametrize(
    ("arguments", "closed"),
    [({}, True), ({"unknown": EXCLUDE}, False), ({"unknown": INCLUDE}, False)],
    ids=["RAISE", "EXCLUDE", "INCLUDE"],
)
def test_unknown_decides_about_further_members(arguments: Any, closed: bool) -> None:
    assert accepts(load(Child(**arguments)), {"id": 1, "more": 2}) is not closed


def test_a_nested_field_may_have_another_unknown() -> None:
    schema = schema_of(one=fields.Nested(Child), other=fields.Nested(Child, unknown=EXCLUDE))
    found = load(schema)
    assert [(part.name, part.variant) for part in found.definitions.values()] == [
        ("GeneratedSchema", ""),
        ("Child", ""),
        ("Child", "unknown: exclude"),
    ]
    assert accepts(found, {"other": {"id": 1, "more": 2}})
    assert not accepts(found, {"one": {"id": 1, "more": 2}})


def test_partial_lifts_required_also_in_nested_schemas() -> None:
    class Outer(Schema):
        name = fields.String(required=True)
        child = fields.Nested(Child, required=True)

    assert not accepts(load(Outer()), {})
    assert accepts(load(Outer(partial=True)), {"child": {}})
    by_name = load(Outer(partial=("name", "child.id")))
    assert accepts(by_name, {"child": {}})
    assert not accepts(by_name, {"name": "a"})
    assert not accepts(load(schema_of(child=fields.Nested(Child(partial=True)))), {"child": {"id": "x"}})
    assert accepts(load(schema_of(child=fields.Nested(Child(partial=True)))), {"child": {}})


def test_many_is_a_list() -> None:
    found = load(Child(many=True))
    assert found.schema == {"type": "array", "items": {"$ref": "#/$defs/Child"}}
    assert accepts(found, [{"id": 1}])
    assert not accepts(found, {"id": 1})


def test_variants_of_a_class_have_definitions_of_their_own() -> None:
    found = load(Parent())
    assert {key: part.variant for key, part in found.definitions.items()} == {"Parent": "", "Parent-2": "only: id"}
    assert found.definitions["Parent"].module == "tests.asyncapi.probes"
    assert accepts(found, {"id": 1, "parent": {"id": 2, "children": [{"id": 3}]}})
    assert not accepts(found, {"id": 1, "children": [{"id": 3, "children": []}]})


def test_options_of_an_instance_are_in_the_variant() -> None:
    class Outer(Schema):
        a = fields.Integer()
        b = fields.Integer()
        c = fields.Nested(Child)

    found = [
        Outer(),
        Outer(exclude=("a",)),
        Outer(only=("c.id",)),
        Outer(dump_only=("a",)),
        Outer(partial=("b", "a")),
        Outer(partial=True, unknown=INCLUDE),
    ]
    assert [next(iter(load(schema).definitions.values())).variant for schema in found] == [
        "",
        "exclude: a",
        "only: c; c only: id",
        "dump_only: a",
        "partial: a, b",
        "unknown: include; partial",
    ]


class NamedSchema(Schema):
    """Found by its name."""

    me = fields.Nested("NamedSchema", only=("id",))
    id = fields.Integer()


@pytest.mark.parametrize(
    ("nested", "inner"),
    [
        (lambda: fields.Nested(lambda: Child()), {"id": 1}),
        (lambda: fields.Nested(lambda: Child), {"id": 1}),
        (lambda: fields.Nested("NamedSchema"), {"me": {"id": 1}}),
        (lambda: fields.Nested({"id": fields.Integer()}), {"id": 1}),
        (lambda: fields.Nested(Child, many=True), [{"id": 1}]),
        (lambda: fields.Nested(Child(many=True)), [{"id": 1}]),
        (lambda: fields.Nested(Child(only=("id",))), {"id": 1}),
        (lambda: fields.List(fields.Nested(Child, exclude=("name",))), [{"id": 1}]),
        (lambda: fields.Dict(values=fields.Nested(Child)), {"a": {"id": 1}}),
        (lambda: fields.Tuple((fields.Nested(Child),)), [{"id": 1}]),
        (lambda: fields.Pluck(Child, "id"), 1),
        (lambda: fields.Pluck(Child, "id", many=True), [1]),
    ],
)
def test_schemas_nest_in_every_way(nested: Any, inner: Any) -> None:
    schema = schema_of(value=nested())
    assert schema.load({"value": inner})
    assert accepts(load(schema), {"value": inner})
    for wrong in ("x", [], {}, None, {"id": "x"}, ["x"], [{"id": "x"}]):
        if accepts(load(schema), {"value": wrong}):
            schema.load({"value": wrong})


def test_a_nested_schema_that_does_not_exist_is_inexact() -> None:
    (reason,) = load(schema_of(value=fields.Nested("NoSuchSchema"))).inexact
    assert "NoSuchSchema" in reason


def test_null_of_a_plucked_field_is_decided_by_the_outer_field() -> None:
    class Inner(Schema):
        id = fields.Integer(allow_none=True)

    assert loaded(fields.Pluck(Inner, "id")) == {"type": "integer"}
    assert loaded(fields.Pluck(Inner, "id", allow_none=True)) == {"type": ["integer", "null"]}


def test_a_plucked_field_that_is_never_loaded_accepts_nothing() -> None:
    class Inner(Schema):
        id = fields.Integer(dump_only=True)

    assert loaded(fields.Pluck(Inner, "id")) == NOTHING


class HookedSchema(Schema):
    a = fields.Integer(validate=lambda value: None)
    b = fields.String(data_key="B")
    child = fields.Nested(lambda: HookedSchema(only=("a",)))

    @pre_load
    def strip(self, data: Any, **kwargs: Any) -> Any:
        return data

    @validates("b")
    def check_b(self, value: Any, **kwargs: Any) -> None:
        raise ValidationError("No.")

    @validates_schema
    def check_all(self, data: Any, **kwargs: Any) -> None:
        pass

    @post_load
    def make(self, data: Any, **kwargs: Any) -> Any:
        return data

    @post_dump
    def wrap(self, data: Any, **kwargs: Any) -> Any:
        return [data]


def test_hooks_and_own_validators_are_inexact_where_they_apply() -> None:
    found = load(HookedSchema())
    assert root(found)[INEXACT] == ["strip", "check_all", "make"]
    assert root(found)["properties"]["a"] == {"type": "integer", INEXACT: ["<lambda>"]}
    assert root(found)["properties"]["B"] == {"type": "string", INEXACT: ["check_b"]}
    assert set(found.inexact) == {"strip", "check_all", "make", "<lambda>", "check_b"}


def test_a_dump_hook_may_return_anything() -> None:
    assert root(dump(HookedSchema())) == {INEXACT: ["wrap"]}


def test_a_schema_that_loads_in_its_own_way_is_inexact() -> None:
    class Own(Child):
        def load(self, data: Any, **kwargs: Any) -> Any:
            raise ValidationError("No.")

        def get_attribute(self, obj: Any, attr: str, default: Any) -> Any:
            return 1

    assert load(Own()).inexact == ("load",)
    assert root(dump(Own())) == {INEXACT: ["get_attribute"]}


class UpperCase(fields.String):
    def _deserialize(self, value: Any, attr: Any, data: Any, **kwargs: Any) -> Any:
        raise ValidationError("No.")


class Short(fields.String):
    """It only adds a rule."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(validate=validate.Length(max=3), **kwargs)


class Even(UpperCase):
    json_schema = {"type": "integer", "multipleOf": 2}


class Both(UpperCase):
    def json_schema(self, mode: str) -> Any:
        return {"type": "integer" if mode == "load" else "string"}


def own_rule(value: Any) -> None:
    raise ValidationError("No.")


def test_fields_of_own_classes() -> None:
    assert loaded(UpperCase()) == {"type": list(NOT_NULL), INEXACT: ["UpperCase"]}
    assert loaded(UpperCase(allow_none=True)) == {INEXACT: ["UpperCase"]}
    assert dumped(UpperCase()) == {"type": "string"}
    assert loaded(Short()) == {"type": "string", "maxLength": 3}
    assert loaded(Even(allow_none=True)) == {"type": ["integer", "null"], "multipleOf": 2}
    assert loaded(Even(validate=own_rule)) == {"type": "integer", "multipleOf": 2, INEXACT: ["own_rule"]}
    assert loaded(Even(validate=validate.Range(min=1)))[INEXACT] == ["Range"]
    assert (loaded(Both()), dumped(Both())) == ({"type": "integer"}, {"type": "string"})


def test_metadata_describes_a_field_with_its_validators() -> None:
    field = UpperCase(validate=own_rule, metadata={"json_schema": {"type": "string", "pattern": "^[A-Z]+$"}})
    assert loaded(field) == {"type": "string", "pattern": "^[A-Z]+$"}


def test_texts_and_examples_come_from_the_metadata() -> None:
    metadata = {"title": "T", "description": "D", "deprecated": True, "example": datetime.date(2024, 1, 2), "other": 1}
    assert loaded(fields.Date(metadata=metadata)) == {
        "type": "string",
        "format": "date",
        "pattern": "^(?!0000)",
        "title": "T",
        "description": "D",
        "deprecated": True,
        "examples": ["2024-01-02"],
    }


def test_defaults_are_those_that_a_client_could_send() -> None:
    def default(field: fields.Field) -> Any:
        return loaded(field).get("default", "none")

    assert default(fields.Date(load_default=datetime.date(2024, 1, 2))) == "2024-01-02"
    assert default(fields.List(fields.Integer(), load_default=[])) == []
    assert default(fields.Integer(load_default=None)) is None
    assert default(fields.Integer(load_default=None, allow_none=False)) == "none"
    assert default(fields.Integer(load_default=lambda: 1)) == "none"
    assert default(fields.Integer(load_default=0, validate=validate.Range(min=1))) == "none"
    assert default(fields.Constant(5)) == 5
    assert "default" not in loaded(fields.List(fields.Integer(load_default=1)))["items"]


def test_on_bind_field_and_formats_in_meta_count() -> None:
    class Bound(Schema):
        name = fields.String()
        day = fields.Date()
        moment = fields.DateTime()

        class Meta:
            dateformat = "%d.%m.%Y"
            datetimeformat = "timestamp"

        def on_bind_field(self, field_name: str, field_obj: Any) -> None:
            if field_name == "name":
                field_obj.required = True

    found = root(load(Bound()))
    assert found["required"] == ["name"]
    assert found["properties"]["day"] == {"type": "string", INEXACT: ["format: %d.%m.%Y"]}
    assert (found["properties"]["moment"]["type"], found["properties"]["moment"]["maximum"]) == ("number", 253402300799)


def test_functions_and_methods_are_inexact_if_they_load() -> None:
    def double(value: Any) -> Any:
        return value

    class Computed(Schema):
        both = fields.Function(serialize=double, deserialize=double)
        plain = fields.Function(deserialize=double)
        method = fields.Method(serialize="show", deserialize="read")
        shown = fields.Method(serialize="show")

        def show(self, obj: Any) -> Any:
            return 1

        def read(self, value: Any) -> Any:
            raise ValidationError("No.")

    everything = {"type": list(NOT_NULL)}
    assert root(load(Computed()))["properties"] == {
        "both": {**everything, INEXACT: ["double"]},
        "plain": {**everything, INEXACT: ["double"]},
        "method": {**everything, INEXACT: ["read"]},
    }
    assert root(dump(Computed()))["properties"] == {
        "both": {INEXACT: ["double"]},
        "method": {INEXACT: ["show"]},
        "shown": {INEXACT: ["show"]},
    }


class Size(enum.IntFlag):
    SMALL = 1
    LARGE = 2


class Mixed(enum.Enum):
    NOTHING = None
    TEXT = "a"
    PAIR = (1, 2)


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        (lambda: fields.Enum(Colour), {"type": "string", "enum": ["RED", "BLUE", "CRIMSON"]}),
        (lambda: fields.Enum(Colour, by_value=True), {"type": "string", "enum": ["red", "blue"]}),
        (lambda: fields.Enum(Mixed, by_value=True, allow_none=True), {"type": ["string", "null"], "enum": ["a", None]}),
        (
            lambda: fields.Enum(Colour, validate=validate.OneOf([Colour.BLUE])),
            {"type": "string", "enum": ["BLUE"]},
        ),
        (lambda: fields.Enum(Colour, by_value=UpperCase), {"type": list(NOT_NULL), INEXACT: ["UpperCase"]}),
        (lambda: fields.Constant(1, validate=validate.Range(min=2)), NOTHING),
        (lambda: fields.Raw(allow_none=True), {}),
        (lambda: fields.Raw(validate=validate.OneOf([1, [2], {"a": 1}, object()])), {"enum": [1, [2], {"a": 1}]}),
        (lambda: fields.Boolean(truthy=[], falsy=[]), {"type": list(NOT_NULL)}),
        (lambda: fields.Boolean(truthy={1, "on"}, falsy={0}), {"enum": ["on", False, True]}),
        (lambda: fields.Tuple(()), {"type": "array", "minItems": 0, "maxItems": 0}),
        (lambda: fields.Dict(), {"type": "object"}),
        (lambda: fields.Dict(keys=fields.String()), {"type": "object"}),
        (lambda: fields.Dict(keys=fields.Integer(strict=True)), {"type": "object", "propertyNames": NOTHING}),
        (
            lambda: fields.Dict(keys=fields.Boolean(truthy={"y"}, falsy={"n", 0})),
            {"type": "object", "propertyNames": {"type": "string", "enum": ["n", "y"]}},
        ),
        (
            lambda: fields.Dict(keys=fields.Integer(validate=validate.Range(min=1))),
            {"type": "object", "propertyNames": {"type": "string", INEXACT: ["Integer as a key"]}},
        ),
        (lambda: fields.Dict(keys=fields.Raw()), {"type": "object"}),
        (lambda: fields.AwareDateTime(format="timestamp"), NOTHING),
        (
            lambda: fields.Decimal(places=28),
            {"type": "string", "pattern": r"^-?[0-9]+(?:\.[0-9]+)?$", INEXACT: ["places"]},
        ),
        (
            lambda: fields.Url(relative=True),
            {"type": "string", "format": "uri-reference", "minLength": 1, INEXACT: ["URL"]},
        ),
    ],
)
def test_what_fields_accept(field: Any, expected: Any) -> None:
    found = loaded(field())
    found.pop("default", None)
    if "enum" not in expected or "type" in expected:
        assert found == expected
    else:
        assert found.pop("enum") == expected["enum"]
        assert set(found) <= {"type"}


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        (lambda rule: fields.Integer(validate=rule(min=True, max=decimal.Decimal(3))), {"minimum": 1, "maximum": 3}),
        (
            lambda rule: fields.Float(validate=rule(fractions.Fraction(1, 3), fractions.Fraction(2, 3))),
            {"minimum": 0.33333333333333337, "maximum": 0.6666666666666666},
        ),
        (
            lambda rule: fields.Integer(validate=[rule(min=1), rule(min=3), rule(max=9), rule(max=7)]),
            {"minimum": 3, "maximum": 7},
        ),
        (lambda rule: fields.Integer(validate=rule(max=float("inf"))), {INEXACT: ["Range"]}),
        (lambda rule: fields.String(validate=rule(min="a")), {INEXACT: ["Range"]}),
        (lambda rule: fields.Date(validate=rule(min=datetime.date(2024, 1, 1))), {INEXACT: ["Range"]}),
        (lambda rule: fields.Decimal(validate=rule(max=1)), {INEXACT: ["Range"]}),
    ],
)
def test_ranges(field: Any, expected: Any) -> None:
    found = loaded(field(validate.Range))
    for keyword in ("type", "format", "pattern"):
        found.pop(keyword, None)
    assert found == expected


def test_a_bound_of_a_decimal_is_no_wider_than_the_servers() -> None:
    schema = schema_of(value=fields.Float(validate=validate.Range(min=decimal.Decimal("0.7"))))
    assert not accepts(load(schema), {"value": 0.7})
    with pytest.raises(ValidationError):
        schema.load({"value": 0.7})  # it is below 0.7 as a double


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        (lambda: fields.String(validate=validate.OneOf("abc")), [INEXACT]),
        (lambda: fields.List(fields.String(), validate=validate.OneOf([["a"]])), [INEXACT, "items"]),
        (lambda: fields.List(fields.Nested(Child), validate=validate.ContainsOnly([{}])), [INEXACT, "items"]),
        (
            lambda: fields.Date(validate=validate.NoneOf([datetime.date(2024, 1, 2)])),
            [INEXACT, "format", "not", "pattern"],
        ),
        (lambda: fields.Integer(validate=validate.Length(min=1)), [INEXACT]),
        (lambda: fields.Integer(validate=validate.Regexp("a")), [INEXACT]),
        (lambda: fields.Dict(keys=fields.Integer(), validate=validate.Length(min=1)), [INEXACT, "propertyNames"]),
        (lambda: fields.Dict(validate=validate.Length(min=1)), ["minProperties"]),
        (lambda: fields.Date(validate=validate.OneOf([datetime.date(2024, 1, 2)])), ["enum", "format", "pattern"]),
        (lambda: fields.UUID(validate=validate.Equal(None)), ["not"]),
        (lambda: fields.String(validate=type("Own", (validate.Length,), {})(min=1)), [INEXACT]),
    ],
)
def test_rules_are_exact_or_inexact(field: Any, expected: Any) -> None:
    assert sorted(set(loaded(field())) - {"type"}) == sorted(expected)


def test_items_of_a_list_may_be_limited_to_null() -> None:
    inner = fields.String(allow_none=True)
    schema = schema_of(value=fields.List(inner, validate=validate.ContainsOnly(["a", None])))
    assert accepts(load(schema), {"value": ["a", None]})
    schema = schema_of(value=fields.List(inner, validate=validate.ContainsNoneOf(["a", None])))
    assert not accepts(load(schema), {"value": [None]})
    assert accepts(load(schema), {"value": ["b"]})


def test_replies_leave_out_rules_on_text_that_conversions_break() -> None:
    assert dumped(fields.Email()) == dumped(fields.Url()) == {"type": "string"}
    assert dumped(fields.String(validate=[validate.Regexp(r"\d"), validate.Length(max=3)])) == {
        "type": "string",
        "maxLength": 3,
    }
    assert dumped(fields.Integer(validate=own_rule)) == {"type": "integer"}


@pytest.mark.parametrize("kind", MARSHMALLOW)
def test_every_value_that_was_loaded_is_dumped_as_described(kind: str) -> None:
    check = validator(adapter(kind).json_schema("dump"))
    values = [{"value": value} for value in PROBES if server_accepts(kind, value)]
    assert values
    for value in values:
        sent = adapter(kind).dump(adapter(kind).load(value))
        if kind == "Float, nan" and sent["value"] - sent["value"] != 0:
            continue  # JSON has no such number, so the reply is a 500
        assert list(check.iter_errors(decode(encode(sent), 100))) == [], value


@pytest.mark.parametrize(
    ("field", "value"),
    [
        (lambda: fields.Float(as_string=True, allow_nan=True), float("-inf")),
        (lambda: fields.Float(as_string=True), 1e-300),
        (lambda: fields.Integer(as_string=True), -5),
        (lambda: fields.Decimal(), decimal.Decimal("-1.5E+30")),
        (lambda: fields.Decimal(allow_nan=True), decimal.Decimal("NaN")),
        (
            lambda: fields.DateTime(),
            datetime.datetime(1, 1, 1, tzinfo=datetime.timezone(datetime.timedelta(seconds=-5))),
        ),
        (lambda: fields.DateTime(format="timestamp_ms"), datetime.datetime(1960, 1, 1, tzinfo=datetime.UTC)),
        (lambda: fields.DateTime(format="%Y"), datetime.datetime(1960, 1, 1, tzinfo=datetime.UTC)),
        (lambda: fields.Time(), datetime.time(1, 2, 3, 4, tzinfo=datetime.UTC)),
        (lambda: fields.Enum(Size), Size.SMALL | Size.LARGE),
        (lambda: fields.Enum(Size, by_value=True), Size.SMALL | Size.LARGE),
        (lambda: fields.Enum(Mixed, by_value=True), Mixed.PAIR),
        (lambda: fields.Constant((1, 2)), None),
        (lambda: fields.Dict(keys=fields.Integer()), {1: None}),
        (lambda: fields.String(dump_only=True), None),
        (lambda: fields.Nested(Child, allow_none=True), None),
        (lambda: fields.Pluck(Child, "id", many=True), [{"id": 1}]),
    ],
)
def test_other_values_are_dumped_as_described(field: Any, value: Any) -> None:
    schema = schema_of(value=field())
    assert accepts(dump(schema), decode(encode(schema.dump({"value": value})), 100))


def test_apispec_finds_the_same_types_and_formats() -> None:
    """Where it does not, the difference is one of those that are listed here."""
    from apispec import APISpec
    from apispec.ext.marshmallow import MarshmallowPlugin

    plugin = MarshmallowPlugin()
    APISpec("t", "1", "3.1.0", plugins=[plugin])
    converter: Any = plugin.converter
    different = {}
    for kind in set(MARSHMALLOW) - {"Nested", "Nested, recursive", "Pluck", "String, two rules"}:
        parts = (root(described(kind))["properties"]["value"], converter.field2property(MARSHMALLOW[kind]()))
        pair = tuple(" ".join(str(part[key]) for key in ("type", "format") if part.get(key)) for part in parts)
        if pair[0] != pair[1]:
            different[kind] = pair
    assert APISPEC_DIFFERS | different == APISPEC_DIFFERS
    assert set(APISPEC_DIFFERS) - set(different) <= {"Date, format"}  # apispec is right about it with marshmallow 3


ANY_TYPE = str(list(NOT_NULL))

APISPEC_DIFFERS = {
    "Decimal": ("string", "number"),
    "Decimal, places": ("string", "number"),
    "Decimal, Range": ("string", "number"),
    "Boolean, own words": ("", "boolean"),
    "DateTime, timestamp": ("number", "number float"),
    "NaiveDateTime": ("string", "string date-time"),
    "Date, format": ("string", "string date"),
    "Url": ("string uri", "string url"),
    "IP": ("string", "string ip"),
    "IPInterface": ("string", ""),
    "Enum, by value": ("integer", ""),
    "Raw": (ANY_TYPE, ""),
    "Raw, NoneOf": (ANY_TYPE, ""),
    "Constant": (ANY_TYPE, ""),
    "Tuple": ("array", ""),
}
"""What we find, and what apispec finds."""


def test_a_plain_function_accepts_everything() -> None:
    def check(payload: Any) -> Any:
        return payload

    expected = Described({INEXACT: ["check"]}, inexact=("check",))
    assert PlainAdapter(check).json_schema("load") == expected
    assert PlainAdapter(functools.partial(check)).json_schema("dump") == expected


def test_a_wrapped_schema_is_described_as_the_schema_itself() -> None:
    assert run_in_thread(BookSchema).json_schema("load") == load(BookSchema())


def test_adapters_work_without_the_emitters() -> None:
    code = (
        "import os, sys; os.environ['DJANGO_SETTINGS_MODULE'] = 'tests.settings'; import django; django.setup();"
        "from marshmallow import Schema; from routesock.schemas import as_schema; as_schema(Schema).load({});"
        "assert not [name for name in sys.modules if '_json_schema' in name]"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_description_is_the_same_each_time() -> None:
    assert load(Parent()) == load(Parent())
    assert isinstance(load(Child()).definitions["Child"].schema, dict)
    with pytest.raises(Invalid):
        MarshmallowAdapter(Child()).load({})
