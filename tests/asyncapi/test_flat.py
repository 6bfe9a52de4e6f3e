"""The schema of a frame over which a payload is spread: it fits the frames of the payloads that fit, and no others."""

from __future__ import annotations

from typing import Any

import pytest

from routesock._asyncapi.envelopes import accepts_null, flat
from routesock._asyncapi.validation import fits
from routesock.schemas._json_schema.draft7 import INEXACT, NOTHING

MEMBERS = {"route": {"const": "go"}, "uuid": {"type": "string"}}

HEAD = {"route": "go", "uuid": "1"}

TAKEN = frozenset(MEMBERS)

NAME = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}

SCHEMAS: dict[str, Any] = {
    "anything": {},
    "annotated": {"title": "Anything", "description": "At all."},
    "object": NAME,
    "closed": {**NAME, "additionalProperties": False},
    "optional": {"type": "object", "properties": {"name": {"type": "string"}, "age": {"type": "integer"}}},
    "text": {"type": "string"},
    "object or text": {**NAME, "type": ["object", "string"]},
    "object, text or null": {**NAME, "type": ["object", "string", "null"]},
    "only object": {**NAME, "type": ["object"]},
    "any of": {"anyOf": [NAME, {"type": "integer"}]},
    "one of": {"oneOf": [NAME, {"type": "integer"}]},
    "no type": {"properties": {"name": {"type": "string"}}},
    "names": {"type": "object", "propertyNames": {"enum": ["name", "age"]}},
    "optional name of the frame": {"type": "object", "properties": {"route": {"type": "integer"}}},
    "needed name of the frame": {
        "type": "object", "properties": {"uuid": {"type": "integer"}}, "required": ["uuid"],
    },
    "at least one": {"type": "object", "minProperties": 1},
    "inexact": {**NAME, INEXACT: ["validate"]},
}  # fmt: skip

PAYLOADS: list[Any] = [
    {}, {"name": "a"}, {"name": 5}, {"name": "a", "more": 1}, {"age": 5}, {"age": "x"}, "text", 5, None, [1],
    {"route": 5}, {"route": "x"}, {"uuid": 5}, {"uuid": "x", "name": "a"},
]  # fmt: skip


def frame_of(payload: Any, nested_key: str | None) -> Any:
    """The frame that carries ``payload``; ``None`` if there is none."""
    if isinstance(payload, dict) and TAKEN.isdisjoint(payload):
        return {**payload, **HEAD}
    return None if nested_key is None else {**HEAD, nested_key: payload}


def has_undeclared_clash(payload: Any, schema: Any) -> bool:
    """Whether it has a member of the frame that its schema does not name, so that documents do not know of it."""
    return isinstance(payload, dict) and bool((TAKEN & payload.keys()) - schema.get("properties", {}).keys())


def schema_of(payload: Any, nested_key: str | None, **more: Any) -> dict[str, Any]:
    return flat(payload, MEMBERS, [*MEMBERS], dict, TAKEN, nested_key=nested_key, **more)


@pytest.mark.parametrize("nested_key", ["payload", None], ids=["nested", "never nested"])
@pytest.mark.parametrize("name", SCHEMAS)
def test_frames_of_fitting_payloads_fit(name: str, nested_key: str | None) -> None:
    """And those of others do not, unless the schema says that it accepts more."""
    schema = schema_of(SCHEMAS[name], nested_key)
    for payload in PAYLOADS:
        frame = frame_of(payload, nested_key)
        if frame is None or has_undeclared_clash(payload, SCHEMAS[name]):
            continue
        if fits(payload, SCHEMAS[name], {}):
            assert fits(frame, schema, {}), payload
        elif INEXACT not in schema and not fits({"payload": payload}, SCHEMAS[name], {}):  # which has the same frame
            assert not fits(frame, schema, {}), payload


@pytest.mark.parametrize("name", SCHEMAS)
def test_frames_keep_their_own_members(name: str) -> None:
    schema = schema_of(SCHEMAS[name], "payload")
    for payload in PAYLOADS:
        frame = frame_of(payload, "payload")
        assert not fits({**frame, "route": "other"}, schema, {})
        assert not fits({key: value for key, value in frame.items() if key != "uuid"}, schema, {})


@pytest.mark.parametrize(
    ("payload", "reasons"),
    [
        (SCHEMAS["text"], ["payload is spread over its frame"]),
        (SCHEMAS["no type"], ["payload is spread over its frame"]),
        (SCHEMAS["needed name of the frame"], ["payload is spread over its frame"]),
        (SCHEMAS["at least one"], ["payload is spread over its frame"]),
        (SCHEMAS["inexact"], ["validate"]),
        ({INEXACT: ["validate"]}, ["validate"]),
        (SCHEMAS["object"], None),
    ],
    ids=["text", "no type", "needed name", "at least one", "inexact object", "inexact", "object"],
)
def test_reasons_without_a_place_for_other_payloads(payload: Any, reasons: list[str] | None) -> None:
    assert schema_of(payload, None).get(INEXACT) == reasons


def test_payload_that_no_frame_carries() -> None:
    """Its schema refuses everything."""
    assert schema_of({"anyOf": [SCHEMAS["text"]]}, None) == {**NOTHING}
    assert not fits({**HEAD}, schema_of(SCHEMAS["text"], None), {})


def test_names_that_some_frames_have() -> None:
    """Such as the headers of a frame: a payload with one is spread over frames without them."""
    payload = {"type": "object", "properties": {"headers": {"type": "integer"}, "name": {"type": "string"}}}
    schema = schema_of(payload, "payload", maybe_taken=frozenset({"headers"}))
    assert fits({**HEAD, "headers": 5, "name": "a"}, schema, {})
    assert fits({**HEAD, "payload": {"headers": 5}}, schema, {})
    assert not fits({**HEAD, "headers": "five"}, schema, {})


@pytest.mark.parametrize(
    ("schema", "accepts"),
    [
        ({}, True),
        ({"type": "null"}, True),
        ({"type": ["string", "null"]}, True),
        ({"type": "string"}, False),
        ({"const": None}, True),
        ({"const": 1}, False),
        ({"enum": [1, None]}, True),
        ({"enum": [1, 2]}, False),
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, True),
        ({"anyOf": [{"type": "string"}, {"type": "integer"}]}, False),
        ({"oneOf": [{"type": "null"}]}, False),
        ({"not": {"type": "string"}}, False),
        ({"allOf": [{"type": "null"}]}, False),
    ],
)
def test_whether_null_is_certainly_accepted(schema: Any, accepts: bool) -> None:
    assert accepts_null(schema, dict) is accepts
    assert not accepts or fits(None, schema, {})
