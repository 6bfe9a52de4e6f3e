"""JSON Schema, draft 7, as documents use it: the keywords, definitions, inexact parts, and what other drafts write."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping
from typing import Any, Final, TypeAlias

from ..base import Definition, Described

Schema: TypeAlias = dict[str, Any]

INEXACT: Final = "x-routesock-inexact"
"""The member that holds the reasons why a part accepts values that the server refuses."""

KEYWORDS: Final = frozenset(
    (
        *("$ref", "type", "enum", "const", "title", "description", "default", "examples", "deprecated", INEXACT),
        *("properties", "required", "additionalProperties", "propertyNames", "minProperties", "maxProperties"),
        *("items", "additionalItems", "minItems", "maxItems", "uniqueItems"),
        *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
        *("minLength", "maxLength", "pattern", "format", "anyOf", "allOf", "oneOf", "not"),
    )
)
"""The keywords of documents. Clients, the page and the generators of types know these and no others."""

FORMATS: Final = frozenset(
    ("date", "date-time", "time", "email", "hostname", "ipv4", "ipv6", "regex", "uri", "uri-reference", "uuid")
)
"""The formats of documents. All of them assert. ``uuid`` is not in draft 7: write :data:`UUID` beside it."""

UUID: Final = "^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$"

_BY_NAME: Final = ("properties",)
_LISTS: Final = ("anyOf", "allOf", "oneOf")
_SINGLE: Final = ("additionalProperties", "propertyNames", "additionalItems", "not")

_BESIDE_REFERENCES: Final = ("title", "description", "default", "deprecated", INEXACT)

NOTHING: Final[Mapping[str, Any]] = {"not": {}}
"""Accepts no value. Generators of types cannot read ``false`` inside ``properties``."""


def subschemas(schema: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The direct subschemas of ``schema``, each with its JSON pointer; boolean ones included."""
    for keyword in _BY_NAME:
        for name, part in schema.get(keyword, {}).items():
            yield f"/{keyword}/{name.replace('~', '~0').replace('/', '~1')}", part
    for keyword in _SINGLE:
        if keyword in schema:
            yield f"/{keyword}", schema[keyword]
    for keyword in (*_LISTS, "items"):
        parts = schema.get(keyword, ())
        if isinstance(parts, list | tuple):
            yield from ((f"/{keyword}/{index}", part) for index, part in enumerate(parts))
        else:
            yield f"/{keyword}", parts


def walk(schema: Any, pointer: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """``schema`` and all schemas inside it, each with its JSON pointer. It does not follow references."""
    if isinstance(schema, Mapping):
        yield pointer, schema
        for place, part in subschemas(schema):
            yield from walk(part, pointer + place)


def misfits(described: Described) -> list[str]:
    """Return the parts of ``described`` that documents cannot use, as "pointer: problem"."""
    found = []
    parts = {"": described.schema} | {f"/$defs/{key}": part.schema for key, part in described.definitions.items()}
    for start, part in parts.items():
        for pointer, schema in walk(part, start):
            found += [f"{pointer}: {keyword} is no keyword of documents" for keyword in sorted(set(schema) - KEYWORDS)]
            if "format" in schema and schema["format"] not in FORMATS:
                found.append(f"{pointer}: {schema['format']} is no format of documents")
            if "$ref" in schema and schema["$ref"].removeprefix("#/$defs/") not in described.definitions:
                found.append(f"{pointer}: {schema['$ref']} leads nowhere")
            if any(isinstance(member, bool) for member in schema.get("properties", {}).values()):
                found.append(f"{pointer}: a boolean schema inside properties")
    return found


def inexact(schema: Mapping[str, Any], *reasons: str) -> Schema:
    """``schema`` with ``reasons`` why it accepts values that the server refuses, added to those that it has."""
    known = schema.get(INEXACT, [])
    return {**schema, INEXACT: list(dict.fromkeys([*known, *reasons]))} if reasons else dict(schema)


def nullable(schema: Mapping[str, Any]) -> Schema:
    """``schema``, or null."""
    if "const" in schema:
        schema = {**{key: value for key, value in schema.items() if key != "const"}, "enum": [schema["const"]]}
    combined = any(keyword in schema for keyword in ("$ref", "not", *_LISTS))
    if not combined and ("enum" in schema or "type" in schema):
        widened: Schema = dict(schema)
        if "type" in schema:
            kinds = schema["type"]
            widened["type"] = list(dict.fromkeys([*([kinds] if isinstance(kinds, str) else kinds), "null"]))
        if "enum" in schema:
            widened["enum"] = [*schema["enum"], *([] if None in schema["enum"] else [None])]
        return widened
    reasons = schema.get(INEXACT, [])
    inner = {key: value for key, value in schema.items() if key != INEXACT}
    return inexact({"anyOf": [inner, {"type": "null"}]}, *reasons) if inner else dict(schema)


class Definitions:
    """Collects the schemas of classes, each once, also where they refer to themselves."""

    def __init__(self) -> None:
        self._keys: dict[Hashable, str] = {}
        self._found: dict[str, Definition] = {}

    def reference(self, cls: type, variant: str, build: Callable[[], Mapping[str, Any]]) -> Schema:
        """A reference to the definition of ``cls``.

        Args:
            cls: The class.
            variant: What is different from the class itself, such as ``"only: id, name"``; empty for the class itself.
            build: Makes the schema. It is called once for each class and variant, and may call ``reference`` itself.
        """
        return self.named(cls.__qualname__.rpartition(".")[2], cls.__module__, variant, build, identity=cls)

    def named(
        self,
        name: str,
        module: str,
        variant: str,
        build: Callable[[], Mapping[str, Any]],
        *,
        identity: Hashable = None,
    ) -> Schema:
        """As :meth:`reference`, for a library that gives names in place of classes."""
        identity = ((module, name) if identity is None else identity, variant)
        if identity not in self._keys:
            key = self._keys[identity] = self._free(name)
            self._found[key] = Definition(name, module, {}, variant)  # keeps the order and the key during recursion
            self._found[key] = Definition(name, module, build(), variant)
        return {"$ref": f"#/$defs/{self._keys[identity]}"}

    def _free(self, name: str) -> str:
        taken = set(self._keys.values())
        legal = "".join(char if char.isascii() and (char.isalnum() or char in "._-") else "_" for char in name)
        numbered = (f"{legal}-{number}" if number > 1 else legal for number in range(1, len(taken) + 2))
        return next(key for key in numbered if key not in taken)

    def described(self, schema: Mapping[str, Any]) -> Described:
        """The result: ``schema``, the definitions that it needs, and all reasons."""
        needed = dict.fromkeys(self._needed(schema))
        parts = [schema, *(self._found[key].schema for key in needed)]
        reasons = [reason for part in parts for _, inner in walk(part) for reason in inner.get(INEXACT, ())]
        return Described(schema, {key: self._found[key] for key in needed}, tuple(dict.fromkeys(reasons)))

    def _needed(self, schema: Mapping[str, Any]) -> list[str]:
        found: dict[str, None] = {}
        waiting: list[Mapping[str, Any]] = [schema]
        while waiting:
            for _, inner in walk(waiting.pop()):
                key = inner.get("$ref", "").removeprefix("#/$defs/")
                if key and key not in found:
                    found[key] = None
                    waiting.append(self._found[key].schema)
        return list(found)


def normalised(schema: Any, reference: Callable[[str], Mapping[str, Any]]) -> Any:
    """``schema``, written for JSON Schema 2020-12 or OpenAPI 3.0, in the keywords of documents.

    Keywords that mean nothing to a document (``readOnly``, ``discriminator``, ``contentEncoding``) are left out, and so
    are ``$defs``: call ``reference`` for them.

    Args:
        schema: The schema of a library.
        reference: Returns what stands in place of ``{"$ref": argument}``.
    """
    if not isinstance(schema, Mapping):
        return schema
    if "$ref" in schema:
        beside = {
            key: schema[key] for key in ("title", "description", "default", "deprecated", INEXACT) if key in schema
        }
        found: Schema = {**reference(schema["$ref"]), **beside}
        return nullable(found) if schema.get("nullable") else found
    result: Schema = {key: value for key, value in _in_draft7(schema) if key in KEYWORDS}
    if result.get("format") not in FORMATS:
        result.pop("format", None)
    for keyword in _BY_NAME:
        if keyword in result:
            parts = {name: normalised(part, reference) for name, part in result[keyword].items()}
            result[keyword] = {name: _object(part) for name, part in parts.items()}
    for keyword in (*_LISTS, "items"):
        if isinstance(result.get(keyword), list | tuple):
            result[keyword] = [_object(normalised(part, reference)) for part in result[keyword]]
    for keyword in (*_SINGLE, "items"):
        if isinstance(result.get(keyword), Mapping):
            result[keyword] = normalised(result[keyword], reference)
    return nullable(result) if schema.get("nullable") is True else result


def _in_draft7(schema: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in schema.items():
        match key:
            case "prefixItems":
                yield "items", value
            case "items" if "prefixItems" in schema:
                yield "additionalItems", value
            case "exclusiveMinimum" | "exclusiveMaximum" if isinstance(value, bool):
                if value:
                    yield key, schema["m" + key.removeprefix("exclusiveM")]
            case "minimum" | "maximum" if schema.get(f"exclusiveM{key[1:]}") is True:
                pass
            case "example":
                yield "examples", [value]
            case _:
                yield key, value


def _object(schema: Any) -> Any:
    """``schema``; an object in place of ``true`` and ``false``."""
    if isinstance(schema, bool):
        return {} if schema else dict(NOTHING)
    return schema
