"""The names of topics as JSON Schema: it accepts those that subscribe to the topic, and no others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routesock import Request, topic
from routesock._asyncapi.topics import topic_names
from routesock._asyncapi.validation import fits
from routesock._routing.topic import Pattern, Topic, collect_topics
from routesock.schemas._json_schema.draft7 import INEXACT, UUID

AN_UUID = "0b0a7e5c-0a57-4c5e-9c1b-1d5c9c1f0e5d"


def topics_of(*patterns: str) -> dict[str, Topic]:
    """Topics of one class, by their patterns."""

    def named(pattern: str) -> Any:
        async def handler(self: Any, request: Request) -> None: ...

        return topic(pattern)(handler)

    attributes = {f"topic_{number}": named(pattern) for number, pattern in enumerate(patterns)}
    return {each.name: each for each in collect_topics(type("Rooms", (), attributes))}


def names(pattern: str, *others: str, parameters: Mapping[str, Any] | None = None) -> dict[str, Any]:
    topics = topics_of(pattern, *others)
    return topic_names(topics[pattern], topics.values(), parameters, dict)


def parameters(properties: Any, **more: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": [*properties], **more}


texts = st.text("ab-xé/", min_size=1, max_size=3)
segments = texts | st.builds("{0}{{p}}{1}".format, st.text("ab-", max_size=2), st.text("ab-", max_size=2))


@st.composite
def patterns(draw: st.DrawFn) -> str:
    found = draw(st.lists(segments, min_size=1, max_size=3))
    return ".".join(segment.replace("{p}", f"{{p{index}}}") for index, segment in enumerate(found))


def shape(pattern: str) -> Any:
    return Pattern(pattern).shape


@given(st.lists(patterns(), min_size=1, max_size=4, unique_by=shape), st.lists(st.text("ab-x", max_size=4), max_size=3))
def test_each_name_fits_the_topic_that_it_subscribes_to(texts: list[str], parts: list[str]) -> None:
    """Which is the first in the order of precedence that matches it."""
    topics = topics_of(*texts)
    name = ".".join(parts)
    matching = [each for each in topics.values() if each.pattern.match(parts) is not None]
    meant = min(matching, key=lambda each: each.pattern.rank, default=None)
    fitting = [each for each in topics.values() if fits(name, topic_names(each, topics.values(), None, dict), {})]
    assert fitting == ([] if meant is None else [meant])


@pytest.mark.parametrize(
    ("pattern", "other", "excludes"),
    [
        ("room.{id}", "room.all", True),
        ("room.{id}", "rooms.all", False),
        ("room.{id}", "room.all.new", False),
        ("room-{id}", "room-all", True),
        ("room-{id}", "room-", False),
        ("room-{id}.x", "room-all.{p}", True),
        ("room-{id}.x", "room-all.y", False),
        ("{kind}.5", "room.{id}", True),
        ("r{id}", "room-{id}", True),
        ("a{id}", "b{id}x", False),
        ("{id}x", "a{id}y", False),
    ],
)
def test_names_of_a_more_specific_topic_are_excluded(pattern: str, other: str, excludes: bool) -> None:
    """If there can be any."""
    assert ("not" in names(pattern, other)) is excludes


def test_several_more_specific_topics() -> None:
    schema = names("{kind}.{id}", "room.{id}", "room.all")
    assert [fits(name, schema, {}) for name in ("user.5", "room.5", "room.all", "user", "user.5.6", "user.")] == [
        True, False, False, False, False, False,
    ]  # fmt: skip


def test_special_characters_are_literal() -> None:
    schema = names("a+b.(x)/{id}$")
    assert fits("a+b.(x)/1$", schema, {})
    assert not fits("aab.(x)/1$", schema, {})


@pytest.mark.parametrize(
    ("rule", "good", "bad"),
    [
        ({"type": "string"}, ["room.a", "room.é"], ["room.", "room"]),
        ({"type": ["string", "null"], "minLength": 1}, ["room.a"], ["room."]),
        ({"type": "string", "format": "uuid", "pattern": UUID}, [f"room.{AN_UUID}"], ["room.5", f"room.{AN_UUID}0"]),
        ({"enum": ["red", "a+b"]}, ["room.red", "room.a+b"], ["room.blue", "room.aab", "room.redd"]),
        ({"const": "red", "type": "string", "title": "Colour"}, ["room.red"], ["room.blue"]),
        ({"enum": ["red", "", "no.name", 5]}, ["room.red"], ["room.no.name", "room.5", "room."]),
    ],
    ids=["text", "maybe text", "uuid", "enum", "const", "what no parameter can be"],
)
def test_parameters_with_a_schema(rule: Any, good: list[str], bad: list[str]) -> None:
    schema = names("room.{id}", parameters=parameters({"id": rule}))
    assert INEXACT not in schema
    assert [name for name in good + bad if fits(name, schema, {})] == good


@pytest.mark.parametrize(
    ("schema", "reasons"),
    [
        (parameters({"id": {"type": "integer"}}), ["id"]),
        (parameters({"id": {"type": "string", "pattern": "^[0-9]+$"}}), ["id"]),
        (parameters({"id": {"type": "string", "minLength": 2}}), ["id"]),
        (parameters({"id": {"type": "string", "format": "uuid", "maxLength": 3}}), ["id"]),
        (parameters({"id": {"enum": [5, 6]}}), ["id"]),
        (parameters({"id": {"type": "string", INEXACT: ["validate"]}}), ["validate"]),
        (parameters({"id": {"type": "string"}, "more": {}}), ["schema"]),
        (parameters({}, additionalProperties=False), ["schema"]),
        (parameters({"id": {"type": "string"}}, minProperties=1), ["schema"]),
        ({**parameters({"id": {"type": "string"}}), INEXACT: ["check"]}, ["check"]),
    ],
)
def test_reasons_why_more_names_fit_than_subscribe(schema: Any, reasons: list[str]) -> None:
    """What a regular expression cannot say is said as a reason, and any name fits there."""
    found = names("room.{id}", parameters=schema)
    assert found[INEXACT] == reasons
    assert fits("room.anything", found, {})


def test_examples() -> None:
    @topic("room.{id}", examples=["room.5"])
    async def room(self: Any, request: Request) -> None: ...

    (declared,) = collect_topics(type("Rooms", (), {"room": room}))
    assert topic_names(declared, [declared], None, dict)["examples"] == ["room.5"]
