"""Parts that all emitters share: the keywords, other drafts, definitions, and the validator of these tests."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from routesock.schemas import Definition, Described
from routesock.schemas._json_schema import patterns
from routesock.schemas._json_schema.draft7 import (
    FORMATS,
    INEXACT,
    KEYWORDS,
    Definitions,
    inexact,
    misfits,
    normalised,
    nullable,
)

from .strategies import accepted
from .validation import FORMAT_CHECKER, accepts, in_python, validator


def refer(reference: str) -> dict[str, Any]:
    return {"$ref": reference.replace("components/schemas", "$defs")}


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"type": "string", "readOnly": True, "contentEncoding": "base64"}, {"type": "string"}),
        ({"type": "string", "format": "binary"}, {"type": "string"}),
        ({"type": "string", "nullable": True}, {"type": ["string", "null"]}),
        ({"enum": ["a"], "nullable": True}, {"enum": ["a", None]}),
        ({"type": "integer", "minimum": 1, "exclusiveMinimum": True}, {"type": "integer", "exclusiveMinimum": 1}),
        ({"maximum": 1, "exclusiveMaximum": False}, {"maximum": 1}),
        ({"exclusiveMaximum": 1}, {"exclusiveMaximum": 1}),
        (
            {"prefixItems": [True, {"type": "null"}], "items": False},
            {"items": [{}, {"type": "null"}], "additionalItems": False},
        ),
        ({"properties": {"a": True, "b": False}}, {"properties": {"a": {}, "b": {"not": {}}}}),
        ({"additionalProperties": {"$ref": "#/components/schemas/A"}}, {"additionalProperties": {"$ref": "#/$defs/A"}}),
        (
            {"$ref": "#/$defs/A", "description": "d", "nullable": True},
            {"anyOf": [{"$ref": "#/$defs/A", "description": "d"}, {"type": "null"}]},
        ),
        ({"example": 1, "$defs": {"A": {}}, "$schema": "x"}, {"examples": [1]}),
        (True, True),
    ],
)
def test_other_drafts(schema: Any, expected: Any) -> None:
    assert normalised(schema, refer) == expected


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({}, {}),
        ({INEXACT: ["a"]}, {INEXACT: ["a"]}),
        ({"const": 1}, {"enum": [1, None]}),
        ({"type": ["string", "null"]}, {"type": ["string", "null"]}),
        ({"$ref": "#/$defs/A", INEXACT: ["a"]}, {"anyOf": [{"$ref": "#/$defs/A"}, {"type": "null"}], INEXACT: ["a"]}),
        ({"not": {"enum": [None]}}, {"anyOf": [{"not": {"enum": [None]}}, {"type": "null"}]}),
    ],
)
def test_null(schema: Any, expected: Any) -> None:
    assert nullable(schema) == expected


def test_reasons_are_kept_once() -> None:
    assert inexact(inexact({"type": "string"}, "a"), "b", "a") == {"type": "string", INEXACT: ["a", "b"]}
    assert inexact({"type": "string"}) == {"type": "string"}


def test_what_documents_cannot_use_is_found() -> None:
    schema = {
        "properties": {"a/b": {"if": {}}, "c": True},
        "items": [{"format": "ip"}],
        "anyOf": [{"$ref": "#/$defs/No"}],
        "additionalProperties": {"not": {"$ref": "#/$defs/A"}},
    }
    described = Described(schema, {"A": Definition("A", "m", {"readOnly": True})})
    assert sorted(misfits(described)) == [
        "/$defs/A: readOnly is no keyword of documents",
        "/anyOf/0: #/$defs/No leads nowhere",
        "/items/0: ip is no format of documents",
        "/properties/a~1b: if is no keyword of documents",
        ": a boolean schema inside properties",
    ]


class Node:
    pass


def test_definitions_refer_to_themselves_and_are_made_once() -> None:
    definitions = Definitions()
    calls = []

    def build() -> dict[str, Any]:
        calls.append(1)
        return {"properties": {"next": definitions.reference(Node, "", build)}, INEXACT: ["own"]}

    root = definitions.reference(Node, "", build)
    definitions.reference(type("Node", (), {}), "", dict)
    definitions.named("Żółw & Co", "m", "", dict)
    assert calls == [1]
    found = definitions.described(root)
    assert found.definitions == {"Node": Definition("Node", __name__, {"properties": {"next": root}, INEXACT: ["own"]})}
    assert found.inexact == ("own",)
    everything = {"anyOf": [definitions.reference(Node, "v", dict), definitions.named("Żółw & Co", "m", "", dict)]}
    assert list(definitions.described(everything).definitions) == ["Node-3", "___w___Co"]


@pytest.mark.parametrize("name", sorted(FORMATS - {"regex", "uri-reference"}))
def test_every_format_is_checked_by_these_tests(name: str) -> None:
    assert not FORMAT_CHECKER.conforms("a b", name)


def test_the_format_time_requires_a_zone() -> None:
    assert FORMAT_CHECKER.conforms("10:20:30Z", "time")
    assert not FORMAT_CHECKER.conforms("10:20:30", "time")


@pytest.mark.parametrize(
    ("name", "texts"),
    [
        ("IPV4", ["1.2.3.4", "255.255.255.255"]),
        (
            "IPV6_INTERFACE",
            ["::", "::1", "1::", "1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7::", "::ffff:1.2.3.4", "1:2:3:4:5:6:1.2.3.4/128"],
        ),
        ("TIME", ["10:20:30", "10:20:30.5"]),
        ("NAIVE_DATE_TIME", ["2024-02-29T00:00:00", "2000-02-29T00:00:00", "2023-12-31T23:59:59.123456"]),
        ("EMAIL", ["a@b.pl", "a.b@localhost", '"a.b"@x.example', "a@[1.2.3.4]"]),
        ("DECIMAL", ["1", "-1.50"]),
    ],
)
def test_patterns_accept(name: str, texts: list[str]) -> None:
    pattern = in_python(getattr(patterns, name))
    assert [text for text in texts if not re.search(pattern, text)] == []


@pytest.mark.parametrize(
    ("name", "texts"),
    [
        ("IPV4", ["1.2.3", "01.2.3.4", "256.1.1.1", "1.2.3.4\n"]),
        (
            "IPV6_INTERFACE",
            [":::", "1:2:3:4:5:6:7:8:9", "1:2:3:4:5:6:7:8::", "::1::", "12345::", "::/129", "1:2:3:4:5:6:7:1.2.3.4"],
        ),
        ("TIME", ["24:00:00", "10:20", "10:20:60"]),
        (
            "NAIVE_DATE_TIME",
            [
                "2023-02-29T00:00:00",
                "1900-02-29T00:00:00",
                "0000-01-01T00:00:00",
                "2024-04-31T00:00:00",
                "2024-01-01T00:00:00Z",
            ],
        ),
        ("EMAIL", ["a", "a@b", "a..b@c.pl", "ż@b.pl", "a@b.pl\n"]),
        ("DECIMAL", ["", "1.", "1e5", "+1", "NaN"]),
    ],
)
def test_patterns_refuse(name: str, texts: list[str]) -> None:
    pattern = in_python(getattr(patterns, name))
    assert [text for text in texts if re.search(pattern, text)] == []


SCHEMAS: dict[str, dict[str, Any]] = {
    "const": {
        "const": 1,
        "title": "T",
        "description": "D",
        "default": 1,
        "examples": [1],
        "deprecated": True,
        INEXACT: [],
    },
    "number": {"type": "number", "exclusiveMinimum": 0.25, "exclusiveMaximum": 0.75},
    "integer": {"type": "integer", "minimum": 0, "maximum": 100, "multipleOf": 2},
    "text": {"type": "string", "minLength": 2, "maxLength": 4, "not": {"enum": ["ab"]}},
    "pattern": {"allOf": [{"type": "string", "pattern": "^a"}, {"pattern": "b$"}]},
    "pair": {"type": "array", "items": [{"type": "null"}, {"type": "boolean"}], "additionalItems": False},
    "triple": {"type": "array", "items": [{"type": "null"}, {"type": "boolean"}], "minItems": 3, "maxItems": 3},
    "unique": {"type": "array", "items": {"enum": [1, 2, 3]}, "uniqueItems": True, "maxItems": 2},
    "map": {"type": "object", "propertyNames": {"pattern": "^[a-z]$"}, "additionalProperties": {"type": "null"}},
    "sizes": {"type": "object", "minProperties": 1, "maxProperties": 2},
    "one": {"oneOf": [{"type": "string", "format": "date"}, {"type": "integer"}]},
    "any": {"anyOf": [{"type": "string"}, {"type": "integer"}], "not": {"enum": [""]}},
    "object": {
        "type": "object",
        "properties": {"a": {"type": "integer"}, "never": {"not": {}}, "self": {"$ref": "#/$defs/Part"}},
        "required": ["a", "b"],
        "additionalProperties": {"type": "boolean"},
    },
    **{name: {"type": "string", "format": name} for name in sorted(FORMATS - {"uuid", "email"})},
}


def test_the_schemas_have_every_keyword() -> None:
    """So the strategy is tested with all that documents may contain."""
    assert KEYWORDS - set(re.findall(r"'([^']*)':", repr(SCHEMAS))) == set()


@pytest.mark.parametrize("name", SCHEMAS)
@settings(max_examples=8)
@given(data=st.data())
def test_values_are_generated_from_a_schema(name: str, data: st.DataObject) -> None:
    described = Described({"$ref": "#/$defs/Part"}, {"Part": Definition("Part", "m", SCHEMAS[name])})
    assert accepts(described, data.draw(accepted(described)))


def test_definitions_are_validated_too() -> None:
    described = Described({"$ref": "#/$defs/Part"}, {"Part": Definition("Part", "m", SCHEMAS["object"])})
    wrong = {"a": 1, "b": True, "self": {"a": 1, "b": 2, "c": True}}
    assert [error.json_path for error in validator(described).iter_errors(wrong)] == ["$.self.b"]
