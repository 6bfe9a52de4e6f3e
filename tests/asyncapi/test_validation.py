"""The validator of documents agrees with jsonschema."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from routesock._asyncapi.validation import fault_in, fits
from tests.asyncapi.validation import FORMAT_CHECKER, Validator

VALUES: list[Any] = [
    None, True, False, 0, 1, -1, 1.0, 1.5, 0.3, 10, 1e300, "", "a", "ab", "abc\n", "1", [], [1], [1, 1], [1, "a"],
    [True, 1], [[1], [1.0]], {}, {"a": 1}, {"a": "x"}, {"b": 1}, {"a": 1, "b": 2}, {"a": {"a": {"a": 1}}}, "2024-02-29",
    "2023-02-29", "2024-02-29T00:00:00Z", "10:00:00Z", "10:00:00", "a@example.com", "127.0.0.1", "1.2.3", "::1",
    "https://example.com/a", "/a b", "/a", "example.com", "-a.com", "[", "25:00:00Z",
]  # fmt: skip

SCHEMAS: list[Any] = [
    True, False, {}, {"type": "null"}, {"type": "boolean"}, {"type": "integer"}, {"type": "number"}, {"type": "string"},
    {"type": ["array", "null"]}, {"type": "object"}, {"const": 1}, {"const": True}, {"const": [1]}, {"const": {"a": 1}},
    {"enum": [1, "a", None]}, {"minimum": 1}, {"maximum": 0}, {"exclusiveMinimum": 0}, {"exclusiveMaximum": 1},
    {"multipleOf": 2}, {"multipleOf": 0.5}, {"minLength": 2}, {"maxLength": 1}, {"pattern": "^a"}, {"pattern": "c$"},
    {"pattern": "[$]"}, {"minItems": 1}, {"maxItems": 1}, {"uniqueItems": True}, {"items": {"type": "integer"}},
    {"items": [{"type": "integer"}], "additionalItems": False}, {"items": [{"type": "integer"}]},
    {"properties": {"a": {"type": "integer"}}, "additionalProperties": False}, {"required": ["a"]},
    {"additionalProperties": {"type": "string"}}, {"propertyNames": {"const": "a"}}, {"minProperties": 2},
    {"maxProperties": 1}, {"anyOf": [{"type": "string"}, {"minimum": 1}]},
    {"allOf": [{"minLength": 1}, {"maxLength": 2}]},
    {"oneOf": [{"type": "integer"}, {"minimum": 1}]}, {"not": {"type": "string"}}, {"not": {}},
    {"$ref": "#/definitions/tree"},
    *({"format": name} for name in ("date", "date-time", "email", "ipv4", "ipv6", "uri", "regex")),
]  # fmt: skip

DEFINITIONS = {
    "tree": {"type": "object", "properties": {"a": {"anyOf": [{"$ref": "#/definitions/tree"}, {"type": "integer"}]}}}
}


@pytest.mark.parametrize("schema", SCHEMAS, ids=str)
def test_it_accepts_what_jsonschema_accepts(schema: Any) -> None:
    root = {"definitions": DEFINITIONS}
    whole = {**schema, "definitions": DEFINITIONS} if isinstance(schema, dict) else schema
    checker = Validator(whole, format_checker=FORMAT_CHECKER)
    wrong = [value for value in VALUES if fits(value, schema, root) != checker.is_valid(value)]
    assert wrong == []


def test_both_answers_occur() -> None:
    answers = {
        fits(value, schema, {"definitions": DEFINITIONS}) for value, schema in itertools.product(VALUES, SCHEMAS)
    }
    assert answers == {True, False}


@pytest.mark.parametrize(
    ("value", "schema", "text"),
    [
        ({"a": [1, "x"]}, {"properties": {"a": {"items": {"type": "integer"}}}}, "/a/1: is not of the type integer"),
        ({}, {"required": ["a"]}, "/: has no 'a'"),
        ({"a/b": 1}, {"additionalProperties": False}, "/a~1b: is not allowed"),
        ({"a": {"b": 1}}, {"anyOf": [{"type": "null"}, {"properties": {"a": {"required": ["c"]}}}]}, "/a: has no 'c'"),
    ],
)
def test_a_fault_says_where_it_is(value: Any, schema: Any, text: str) -> None:
    assert str(fault_in(value, schema, {})) == text


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("time", ["10:00:00Z", "10:00:00.5+01:00", "23:59:60Z"], ["10:00:00", "25:00:00Z", "10:00Z", "x"]),
        ("hostname", ["example.com", "a", "1-a.b"], ["-a.com", "a_b", "abc\n", "a" * 64, ""]),
        ("uri-reference", ["/a", "a/b?c#d", "", "https://example.com"], ["/a b", "\\a", "<a>", "http://[", "ä"]),
    ],
)
def test_formats_that_jsonschema_reads_in_another_way(name: str, good: list[str], bad: list[str]) -> None:
    assert [text for text in good if not fits(text, {"format": name}, {})] == []
    assert [text for text in bad if fits(text, {"format": name}, {})] == []


def test_a_multiple_of_a_fraction_is_one_in_spite_of_rounding() -> None:
    assert fits(0.3, {"multipleOf": 0.1}, {})
    assert not fits(0.35, {"multipleOf": 0.1}, {})
