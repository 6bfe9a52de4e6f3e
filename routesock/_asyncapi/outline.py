"""A document as nested lists of texts, for the page without JavaScript."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

Schema = Mapping[str, Any]

_KINDS: Final = {"route": "route", "subscribe": "topic", "push": "push", "control": "protocol"}
"""The kinds of operations that are listed, in their order. UNSUBSCRIBE is part of its topic."""

_LABELS: Final = {
    "request": "Request",
    "reply": "Reply",
    "item": "Each item",
    "end": "End",
    "push": "Payload",
    "error": "Error",
}

_RULES: Final = {
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "minimum": "at least {}",
    "maximum": "at most {}",
    "exclusiveMinimum": "more than {}",
    "exclusiveMaximum": "less than {}",
    "multipleOf": "multiple of {}",
    "minItems": "at least {} items",
    "maxItems": "at most {} items",
    "format": "{}",
    "pattern": "pattern {}",
    "default": "default {}",
}


class Field(NamedTuple):
    """A member of a payload."""

    name: str
    type: str
    is_required: bool
    text: str


class Part(NamedTuple):
    """One message of an operation: its label, the statuses, and the fields. ``type`` is that of other payloads."""

    label: str
    statuses: str
    type: str
    fields: list[Field]


class Entry(NamedTuple):
    """An operation."""

    key: str
    name: str
    kind: str
    summary: str
    description: str
    is_deprecated: bool
    facts: list[tuple[str, str]]
    parts: list[Part]
    errors: list[tuple[str, str]]
    examples: list[str]


class ChannelOutline(NamedTuple):
    """A channel with its operations."""

    key: str
    address: str
    title: str
    summary: str
    description: str
    entries: list[Entry]


def outline(document: Mapping[str, Any]) -> list[ChannelOutline]:
    """Return what a person reads in ``document``."""
    found = {key: _channel(key, channel) for key, channel in document["channels"].items()}
    operations = [item for item in document["operations"].items() if item[1]["x-routesock-kind"] in _KINDS]
    order = [*_KINDS]
    for key, operation in sorted(operations, key=lambda item: order.index(item[1]["x-routesock-kind"])):
        channel = _name(operation["channel"])
        found[channel].entries.append(_entry(key, operation, document["channels"][channel], document))
    return [*found.values()]


def _channel(key: str, channel: Mapping[str, Any]) -> ChannelOutline:
    address = channel["address"] or channel.get("x-routesock-pattern", "")
    title, summary, description = (channel.get(name, "") for name in ("title", "summary", "description"))
    return ChannelOutline(key, address, title, summary, description, [])


def _entry(key: str, operation: Mapping[str, Any], channel: Mapping[str, Any], document: Mapping[str, Any]) -> Entry:
    replies = operation.get("reply", {}).get("messages", ())
    messages = [channel["messages"][_name(message)] for message in (*operation["messages"], *replies)]
    dialect = channel["x-routesock-dialect"]
    status = dialect.get("status") if isinstance(dialect, Mapping) else None
    parts = [_part(message, status, document) for message in messages]
    return Entry(
        key,
        operation["x-routesock-name"],
        _KINDS[operation["x-routesock-kind"]],
        operation.get("summary", ""),
        operation.get("description", ""),
        operation.get("x-routesock-deprecated", False),
        [*_facts(operation)],
        # Errors are listed by status; those with one status have a payload of their own.
        [part for part in parts if part.label != _LABELS["error"] or part.statuses],
        [
            item
            for message in messages
            if message["x-routesock-part"] == "error"
            for item in message.get("x-routesock-statuses", {}).items()
        ],
        [json.dumps(example["payload"], ensure_ascii=False, indent=2) for example in messages[0].get("examples", ())],
    )


def _facts(operation: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for label, name in (("Permissions", "permissions"), ("Throttle", "throttles")):
        if operation.get(f"x-routesock-{name}"):
            yield label, ", ".join(operation[f"x-routesock-{name}"])
    if operation.get("x-routesock-timeout"):
        yield "Deadline", f"{operation['x-routesock-timeout']:g} s"
    if operation.get("security"):
        yield "Login", ", or ".join(map(_name, operation["security"]))
    if operation.get("tags"):
        yield "Tags", ", ".join(tag["name"] for tag in operation["tags"])


def _part(message: Mapping[str, Any], status_key: str | None, document: Mapping[str, Any]) -> Part:
    status = message["payload"].get("properties", {}).get(status_key, {})
    statuses = [status["const"]] if "const" in status else status.get("enum", ())
    schema = message.get("x-routesock-payload", {})
    target = _target(schema, document)
    required = target.get("required", ())
    fields = [
        Field(name, _type(inner, document), name in required, _text(_target(inner, document)))
        for name, inner in target.get("properties", {}).items()
    ]
    own = "" if fields else _type(schema, document)
    return Part(_LABELS[message["x-routesock-part"]], ", ".join(map(str, statuses)), own, fields)


def _name(reference: Mapping[str, Any]) -> str:
    return str(reference["$ref"]).rpartition("/")[2].replace("~1", "/").replace("~0", "~")


def _target(schema: Schema, document: Mapping[str, Any]) -> Schema:
    while "$ref" in schema:
        schema = document["components"]["schemas"][_name(schema)]
    return schema


def _type(schema: Schema, document: Mapping[str, Any], depth: int = 0) -> str:
    if "$ref" in schema and depth:
        return _name(schema)
    schema = _target(schema, document)
    for keyword in ("anyOf", "oneOf"):
        if keyword in schema:
            return " or ".join(dict.fromkeys(_type(part, document, depth + 1) for part in schema[keyword]))
    if "const" in schema:
        return json.dumps(schema["const"], ensure_ascii=False)
    if "enum" in schema:
        return "one of " + ", ".join(json.dumps(value, ensure_ascii=False) for value in schema["enum"])
    kinds = schema.get("type", "anything")
    if kinds == "array" and isinstance(schema.get("items"), Mapping):
        return f"array of {_type(schema['items'], document, depth + 1)}"
    return kinds if isinstance(kinds, str) else " or ".join(kinds)


def _text(schema: Schema) -> str:
    values = ((rule, schema[keyword]) for keyword, rule in _RULES.items() if keyword in schema)
    rules = ", ".join(
        rule.format(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
        for rule, value in values
    )
    return " ".join(part for part in (schema.get("description", ""), f"({rules})" if rules else "") if part)
