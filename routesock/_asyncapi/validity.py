"""Checks a document: seven rules that the official tools do not check, each with an error that says what and where."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from ..exceptions import RouteSetupError
from ..schemas._json_schema.draft7 import KEYWORDS
from .names import LEGAL, pointer_part
from .validation import fault_in, resolve

Document = Mapping[str, Any]

_BRACES: Final = re.compile(r"\{([^{}]*)\}")

_ADDRESS: Final = re.compile(r"/[^<>\s]*")

_MEMBERS: Final[Mapping[str, frozenset[str]]] = {
    "operation": frozenset(
        ("action", "channel", "title", "summary", "description", "security", "tags", "bindings", "messages", "reply")
    ),
    "channel": frozenset(
        ("address", "messages", "title", "summary", "description", "servers", "parameters", "tags", "bindings")
    ),
    "parameter": frozenset(("enum", "default", "description", "examples", "location")),
    "message": frozenset(
        ("payload", "headers", "correlationId", "contentType", "name", "title", "summary", "description", "tags",
         "bindings", "examples")
    ),
}  # fmt: skip


class InvalidDocumentError(RouteSetupError):
    """A document breaks a rule."""


def check(document: Document) -> None:
    """Check ``document``.

    Raises:
        InvalidDocumentError: It breaks a rule. The message says which, and where.
    """
    for rule in RULES:
        for fault in rule(document):
            raise InvalidDocumentError(fault)


def references_resolve(document: Document) -> Iterator[str]:
    """Each reference leads to something in the document."""
    known: set[str] = set()
    for pointer, reference in _references(document, _Place(None, "#")):
        try:
            if reference not in known:
                resolve(reference, document)
                known.add(reference)
        except (LookupError, TypeError, ValueError):
            yield f"{pointer}: {reference} leads nowhere."


def messages_are_of_the_channel(document: Document) -> Iterator[str]:
    """The messages of an operation, and of its reply, are messages of the channel of each."""
    for pointer, operation in _operations(document):
        for place, part in ((pointer, operation), (f"{pointer}/reply", operation.get("reply") or {})):
            if "channel" not in part:
                continue
            inside = f"{part['channel']['$ref']}/messages/"
            for message in part.get("messages", ()):
                reference = message.get("$ref", "")
                if not reference.startswith(inside) or "/" in reference.removeprefix(inside):
                    yield f"{place}: {reference or message} is no message of {part['channel']['$ref']}."


def keys_are_legal(document: Document) -> Iterator[str]:
    """Each key has only characters that tools accept, and each object only members that AsyncAPI knows."""
    components = document.get("components", {})
    maps = [("#/channels", document.get("channels", {})), ("#/operations", document.get("operations", {}))]
    maps += [(f"#/components/{kind}", part) for kind, part in components.items()]
    maps += [(f"{pointer}/messages", channel.get("messages", {})) for pointer, channel in _channels(document)]
    for pointer, part in maps:
        for key in part:
            if not LEGAL.fullmatch(key):
                yield f"{pointer}: the key {key!r} may only have letters, digits, dots, hyphens and underscores."
    yield from _unknown_members(document)


def _unknown_members(document: Document) -> Iterator[str]:
    parts = [(pointer, "operation", operation) for pointer, operation in _operations(document)]
    for pointer, channel in _channels(document):
        parts.append((pointer, "channel", channel))
        parts += [
            (f"{pointer}/parameters/{pointer_part(name)}", "parameter", parameter)
            for name, parameter in channel.get("parameters", {}).items()
        ]
        parts += [
            (f"{pointer}/messages/{pointer_part(name)}", "message", message)
            for name, message in channel.get("messages", {}).items()
        ]
    for pointer, kind, part in parts:
        for member in part:
            if member not in _MEMBERS[kind] and not member.startswith("x-") and member != "$ref":
                yield f"{pointer}: a {kind} has no member {member!r}."


def parameters_are_those_of_the_address(document: Document) -> Iterator[str]:
    """An address is a path whose parameters in braces are the declared ones."""
    for pointer, channel in _channels(document):
        address = channel.get("address")
        declared = set(channel.get("parameters", {}))
        named = set(_BRACES.findall(address or ""))
        if address is not None and not _ADDRESS.fullmatch(address):
            yield f"{pointer}: the address {address!r} is no path with parameters in braces."
        if address is None and "x-routesock-pattern" not in channel:
            yield f"{pointer}: there is neither an address nor a pattern."
        for name in sorted(named - declared):
            yield f"{pointer}: the address has the parameter {name!r}, which is not declared."
        for name in sorted(declared - named):
            yield f"{pointer}: the parameter {name!r} is not in the address."


def examples_fit(document: Document) -> Iterator[str]:
    """Each example of a message fits its schema."""
    for pointer, message in _messages(document):
        for index, example in enumerate(message.get("examples", ())):
            fault = fault_in(example.get("payload"), message["payload"], document)
            if fault is not None:
                yield f"{pointer}/examples/{index}: {fault}. Change examples= or the schema."


def schemas_are_plain(document: Document) -> Iterator[str]:
    """Schemas have the keywords that clients know, no boolean schema as a property, and defaults that fit them."""
    for pointer, schema in _schemas(document):
        if not schema.keys() <= KEYWORDS:
            unknown = sorted(set(schema) - KEYWORDS)
            yield f"{pointer}: {unknown[0]!r} is no keyword of documents."
        for name, part in schema.get("properties", {}).items():
            if isinstance(part, bool):
                yield f"{pointer}/properties/{pointer_part(name)}: write an object in place of {part}."
        if "default" in schema or "examples" in schema:
            yield from (f"{pointer}/{name}: {why}." for name, why in _wrong_values(schema, document).items())


def _wrong_values(schema: Mapping[str, Any], document: Document) -> dict[str, str]:
    """Return why the default or an example of ``schema`` does not fit it, by keyword."""
    bare = {key: value for key, value in schema.items() if key not in ("default", "examples")}
    values = [("default", schema["default"])] if "default" in schema else []
    values += [("examples", value) for value in schema.get("examples", ())]
    faults = [(name, value, fault_in(value, bare, document)) for name, value in values]
    return {name: f"{value!r} does not fit: {fault}" for name, value, fault in faults if fault is not None}


def drop_unfit_values(document: Document) -> None:
    """Remove defaults and examples of schemas that their own rules refuse.

    Libraries do not validate a default. It says what the server fills in, not what a client may send.
    """
    for _, schema in _schemas(document):
        if ("default" in schema or "examples" in schema) and isinstance(schema, dict):
            for name in _wrong_values(schema, document):
                del schema[name]


def messages_exclude_each_other(document: Document) -> Iterator[str]:
    """No frame fits two messages of an operation, where frames are known and have a status."""
    for pointer, operation in _operations(document):
        if _may_overlap(operation, document):
            continue
        replies = (operation.get("reply") or {}).get("messages", ())
        for messages in (operation.get("messages", ()), replies):
            references = [message["$ref"] for message in messages]
            payloads = [resolve(reference, document)["payload"] for reference in references]
            for first, one in enumerate(payloads):
                for second, other in enumerate(payloads[:first]):
                    if not excludes(one, other, document):
                        yield (f"{pointer}: a frame may fit both {references[second]} and {references[first]}.")


RULES: Final[tuple[Callable[[Document], Iterator[str]], ...]] = (
    references_resolve,
    messages_are_of_the_channel,
    keys_are_legal,
    parameters_are_those_of_the_address,
    schemas_are_plain,
    examples_fit,
    messages_exclude_each_other,
)


def excludes(one: Any, other: Any, document: Document) -> bool:
    """Whether no value fits both schemas, as far as members of objects tell."""
    one, other = _target(one, document), _target(other, document)
    for schema, partner in ((one, other), (other, one)):
        if schema.get("not") == {}:
            return True
        for keyword in ("anyOf", "oneOf"):
            if keyword in schema:
                return all(excludes(part, partner, document) for part in schema[keyword])
    if _differ(one, other):
        return True
    if _is_excluded(one, other) or _is_excluded(other, one):
        return True
    needed = set(one.get("required", ())) & set(other.get("required", ()))
    ones, others = one.get("properties", {}), other.get("properties", {})
    if any(name in ones and name in others and excludes(ones[name], others[name], document) for name in needed):
        return True
    return any(_refuses_members(schema, partner) for schema, partner in ((one, other), (other, one)))


def _is_excluded(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether ``one`` refuses what ``other`` always has."""
    excluded = one.get("not")
    if not isinstance(excluded, Mapping):
        return False
    parts = excluded.get("anyOf", [excluded])
    return any(_always_fits(other, part) for part in parts)


def _always_fits(schema: Mapping[str, Any], condition: Any) -> bool:
    """Whether each value of ``schema`` fits ``condition``, a schema with ``required`` and ``properties`` at most."""
    if not isinstance(condition, Mapping) or set(condition) - {"type", "required", "properties", "enum", "maximum"}:
        return False
    if "enum" in condition:
        values = schema.get("enum", [schema["const"]] if "const" in schema else None)
        if values is None or any(value not in condition["enum"] for value in values):
            return False
    if "maximum" in condition:
        values = schema.get("enum", [schema["const"]] if "const" in schema else None)
        if values is None or max(values) > condition["maximum"]:
            return False
    if not set(condition.get("required", ())) <= set(schema.get("required", ())):
        return False
    members = schema.get("properties", {})
    parts: Mapping[str, Any] = condition.get("properties", {})
    return all(name in members and _always_fits(members[name], part) for name, part in parts.items())


def _differ(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether constants, types or ranges of two schemas have nothing in common."""
    for schema, partner in ((one, other), (other, one)):
        values = schema.get("enum", [schema["const"]] if "const" in schema else None)
        if values is not None and all(fault_in(value, _simple(partner), {}) is not None for value in values):
            return True
    kinds = [schema.get("type") for schema in (one, other)]
    sets = [{kind} if isinstance(kind, str) else set(kind or ()) for kind in kinds]
    if all(sets):
        wide = [found | ({"integer"} if "number" in found else set()) for found in sets]
        if not wide[0] & wide[1]:
            return True
    return False


_SIMPLE: Final = frozenset(("type", "const", "enum", "minimum", "maximum", "pattern", "minLength", "maxLength"))


def _simple(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return the rules of ``schema`` that need no other schemas."""
    found = {keyword: value for keyword, value in schema.items() if keyword in _SIMPLE}
    excluded = schema.get("not")
    if isinstance(excluded, Mapping) and excluded.keys() <= _SIMPLE:
        found["not"] = excluded
    return found


def _refuses_members(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether ``one`` allows only its own members, and ``other`` needs one that is none of them."""
    if one.get("additionalProperties") is not False:
        return False
    return not set(other.get("required", ())) <= set(one.get("properties", {}))


def _target(schema: Any, document: Document) -> Mapping[str, Any]:
    seen = set()
    while isinstance(schema, Mapping) and "$ref" in schema and schema["$ref"] not in seen:
        seen.add(schema["$ref"])
        schema = resolve(schema["$ref"], document)
    if isinstance(schema, bool):
        return {} if schema else {"not": {}}
    found: Mapping[str, Any] = schema
    return found


def _may_overlap(operation: Mapping[str, Any], document: Document) -> bool:
    """Whether frames of the channel are not known, or have nothing that tells replies from errors."""
    dialect = resolve(operation["channel"]["$ref"], document).get("x-routesock-dialect")
    return dialect == "custom" or (
        isinstance(dialect, Mapping) and ("error" in dialect or dialect.get("status", 1) is None)
    )


def _channels(document: Document) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for key, channel in document.get("channels", {}).items():
        yield f"#/channels/{pointer_part(key)}", channel


def _operations(document: Document) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for key, operation in document.get("operations", {}).items():
        yield f"#/operations/{pointer_part(key)}", operation


def _messages(document: Document) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for pointer, channel in _channels(document):
        for key, message in channel.get("messages", {}).items():
            yield f"{pointer}/messages/{pointer_part(key)}", message


def _schemas(document: Document) -> Iterator[tuple[_Place, Mapping[str, Any]]]:
    for pointer, message in _messages(document):
        yield from _walk(message.get("payload", {}), _Place(None, f"{pointer}/payload"))
        own = message.get("x-routesock-payload", {})
        if "$ref" not in own:
            yield from _walk(own, _Place(None, f"{pointer}/x-routesock-payload"))
    for key, schema in document.get("components", {}).get("schemas", {}).items():
        yield from _walk(schema, _Place(None, f"#/components/schemas/{pointer_part(key)}"))


class _Place(NamedTuple):
    """The place of a schema. Its text is built for faults only, since there are many schemas."""

    above: _Place | None
    name: str | int

    def __str__(self) -> str:
        return str(self.name) if self.above is None else f"{self.above}/{pointer_part(str(self.name))}"


_ONE: Final = ("additionalProperties", "propertyNames", "additionalItems", "not", "items")

_SEVERAL: Final = ("anyOf", "allOf", "oneOf", "items")


def _walk(schema: Any, place: _Place) -> Iterator[tuple[_Place, Mapping[str, Any]]]:
    """Yield ``schema`` and all schemas inside it, with their places. It does not follow references."""
    if not isinstance(schema, dict):
        return
    yield place, schema
    if "properties" in schema:
        inside = _Place(place, "properties")
        for name, part in schema["properties"].items():
            yield from _walk(part, _Place(inside, name))
    for keyword in _ONE:
        if keyword in schema:
            yield from _walk(schema[keyword], _Place(place, keyword))
    for keyword in _SEVERAL:
        parts = schema.get(keyword)
        if isinstance(parts, list):
            inside = _Place(place, keyword)
            for index, part in enumerate(parts):
                yield from _walk(part, _Place(inside, index))


_DATA: Final = frozenset(("examples", "default", "const", "enum"))


def _references(value: Any, place: _Place) -> Iterator[tuple[_Place, str]]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield place, value["$ref"]
        for name, item in value.items():
            if isinstance(item, dict | list) and (name not in _DATA or place.name == "properties"):
                yield from _references(item, _Place(place, name))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _references(item, _Place(place, index))
