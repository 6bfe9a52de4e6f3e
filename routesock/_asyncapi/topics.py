"""The names of topics as JSON Schema."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from .._routing.topic import MAX_TOPIC_CHARS, Parameter, Pattern, Topic
from ..schemas._json_schema.draft7 import INEXACT, UUID
from .envelopes import ANNOTATIONS, Schema, Target

_ANY: Final = "[^.]+"

_SPECIAL: Final = re.compile(r"[\\^$.*+?()\[\]{}|/]")


def topic_names(topic: Topic, topics: Iterable[Topic], parameters: Mapping[str, Any] | None, target: Target) -> Schema:
    """Return the schema of the names that subscribe to ``topic``.

    Args:
        topic: The topic.
        topics: All topics of the class. A name that a more specific one matches is none of ``topic``.
        parameters: The schema of the parameters, if there is one.
        target: Resolves references.
    """
    rules, reasons = ({}, []) if parameters is None else _rules(topic.pattern, target(parameters), target)
    found: Schema = {"type": "string", "maxLength": MAX_TOPIC_CHARS, "pattern": pattern_of(topic.pattern, rules)}
    others = [
        {"pattern": pattern_of(other.pattern)}
        for other in sorted(topics, key=lambda other: other.name)
        if other.pattern.rank < topic.pattern.rank and _overlap(other.pattern, topic.pattern)
    ]
    if others:
        found["not"] = others[0] if len(others) == 1 else {"anyOf": others}
    if topic.route.examples:
        found["examples"] = [*topic.route.examples]
    return {**found, INEXACT: reasons} if reasons else found


def pattern_of(pattern: Pattern, rules: Mapping[str, str] | None = None) -> str:
    """Return a regular expression (ECMA-262) for the names that ``pattern`` matches.

    Args:
        pattern: The pattern.
        rules: Expressions for its parameters, by their names.
    """
    segments = [
        _literal(segment)
        if isinstance(segment, str)
        else f"{_literal(segment.before)}{(rules or {}).get(segment.name, _ANY)}{_literal(segment.after)}"
        for segment in pattern.segments
    ]
    return "^" + r"\.".join(segments) + "$"


def _literal(text: str) -> str:
    return _SPECIAL.sub(lambda found: "\\" + found[0], text)


def _overlap(first: Pattern, second: Pattern) -> bool:
    """Whether a name may match both."""
    if len(first.segments) != len(second.segments):
        return False
    return all(map(_may_be_equal, first.segments, second.segments))


def _may_be_equal(one: str | Parameter, other: str | Parameter) -> bool:
    if isinstance(one, str) and isinstance(other, str):
        return one == other
    if isinstance(one, str):
        one, other = other, one
    assert isinstance(one, Parameter)
    if isinstance(other, str):
        is_long = len(other) > len(one.before) + len(one.after)
        return is_long and other.startswith(one.before) and other.endswith(one.after)
    return _agree(one.before, other.before, str.startswith) and _agree(one.after, other.after, str.endswith)


def _agree(one: str, other: str, test: Any) -> bool:
    return bool(test(one, other) or test(other, one))


def _rules(pattern: Pattern, schema: Mapping[str, Any], target: Target) -> tuple[dict[str, str], list[str]]:
    """Return expressions for the parameters, and the reasons why they accept more than the schema."""
    rules: dict[str, str] = {}
    reasons: list[str] = [*schema.get(INEXACT, ())]
    known = schema.get("properties", {})
    names = [segment.name for segment in pattern.segments if isinstance(segment, Parameter)]
    if schema.keys() - {*ANNOTATIONS, "type", "properties", "required", "additionalProperties"}:
        reasons.append("schema")
    refuses_others = schema.get("additionalProperties") is False
    if any(name not in names for name in schema.get("required", ())) or (
        refuses_others and any(name not in known for name in names)
    ):
        reasons.append("schema")
    for name in names:
        rule = target(known.get(name, {}))
        reasons += rule.get(INEXACT, ())
        expression = _expression({key: value for key, value in rule.items() if key not in ANNOTATIONS})
        if expression is None:
            reasons.append(name)
        else:
            rules[name] = expression
    return rules, list(dict.fromkeys(reasons))


def _expression(rule: Mapping[str, Any]) -> str | None:
    """Return the expression for the texts that ``rule`` accepts; ``None`` if that cannot be said."""
    texts: Sequence[Any] = rule.get("enum", [rule["const"]] if "const" in rule else ())
    if texts and rule.keys() <= {"enum", "const", "type"}:
        usable = [_literal(text) for text in texts if isinstance(text, str) and text and "." not in text]
        return f"(?:{'|'.join(usable)})" if usable else None
    kinds = rule.get("type", "string")
    if "string" not in ([kinds] if isinstance(kinds, str) else kinds):
        return None
    rest = {key: value for key, value in rule.items() if key != "type"}
    if rest.get("format") == "uuid" or rest.get("pattern") == UUID:
        return UUID.removeprefix("^").removesuffix("$") if rest.keys() <= {"format", "pattern"} else None
    if rest.keys() <= {"minLength"} and rest.get("minLength", 0) <= 1:
        return _ANY
    return None
