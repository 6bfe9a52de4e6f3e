"""Parts of JSON Schemas that the emitters of several libraries write."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import Enum, Flag
from functools import reduce
from math import isfinite
from operator import or_
from typing import Any, Final

from . import texts
from .draft7 import Schema, inexact

LARGEST: Final = 2**63 - 1
"""The largest integer of 64 bits."""

SMALLEST: Final = -LARGEST - 1

BOUNDS: Final = {"ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum"}
"""The keywords for the names of bounds that libraries share."""

_INTEGER_KEY: Final = "(0|-?[1-9][0-9]{0,17})"
_NUMBER_KEY: Final = "-?(0|[1-9][0-9]{0,14})([.][0-9]{1,15})?"


def any_of(*schemas: Schema) -> Schema:
    """A schema that accepts what one of ``schemas`` accepts, each given once."""
    different: list[Schema] = []
    for schema in schemas:
        if schema not in different:
            different.append(schema)
    if {} in different:
        return {}
    return different[0] if len(different) == 1 else {"anyOf": different}


def integers(schema: Schema) -> Schema:
    """``schema`` without the integers of more than 64 bits.

    In JSON 1e300 is an integer, too, and libraries refuse it.
    """
    low = "exclusiveMinimum" if "exclusiveMinimum" in schema else "minimum"
    high = "exclusiveMaximum" if "exclusiveMaximum" in schema else "maximum"
    return {
        **schema,
        low: max(schema.get(low, SMALLEST), SMALLEST),
        high: min(schema.get(high, LARGEST), LARGEST),
    }


def bounds(of: Mapping[str, Any]) -> Schema:
    """The bounds of a number, and ``multiple_of``."""
    named = {**BOUNDS, "multiple_of": "multipleOf"}
    found = {keyword: number(of[name]) for name, keyword in named.items() if of.get(name) is not None}
    return {keyword: value for keyword, value in found.items() if isfinite(value)}


def number(value: Any) -> Any:
    """``value`` as JSON writes numbers."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    return int(value) if value == int(value) else float(value)


def lengths(of: Mapping[str, Any], what: str) -> Schema:
    """The bounds of a length: ``what`` is ``"Length"``, ``"Items"`` or ``"Properties"``."""
    schema: Schema = {}
    if of.get("min_length"):
        schema[f"min{what}"] = of["min_length"]
    if of.get("max_length") is not None:
        schema[f"max{what}"] = of["max_length"]
    return schema


def given(of: Mapping[str, Any], *names: str) -> list[str]:
    """Reasons for a part that cannot say the options ``names``: those that are given, with their values."""
    return [f"{name}={of[name]}" for name in names if of.get(name) is not None]


def enum(values: Iterable[Any]) -> Schema:
    """One of ``values``; members of an ``Enum`` stand for their values."""
    plain = [value.value if isinstance(value, Enum) else value for value in values]
    kinds = {type(value) for value in plain}
    types: dict[Any, str] = {str: "string", int: "integer", bool: "boolean", type(None): "null", float: "number"}
    schema: Schema = {"const": plain[0]} if len(plain) == 1 else {"enum": plain}
    return {"type": types[kinds.pop()], **schema} if len(kinds) == 1 and kinds <= types.keys() else schema


def flags(cls: type[Flag]) -> Schema:
    """A combination of the members of ``cls``."""
    bits = reduce(or_, (member.value for member in cls), 0)
    return {"type": "integer", "minimum": 0, "maximum": bits} if bits & (bits + 1) == 0 else enum(cls)


def annotated(schema: Schema, notes: Mapping[str, Any]) -> Schema:
    """``schema`` with titles, descriptions, examples and defaults, which change nothing about what it accepts."""
    return {**schema, **notes} if notes else schema


def strings(of: Iterable[Any]) -> list[str]:
    """The keys in JSON of ``of``, which may be members of an ``Enum`` or numbers."""
    plain = [value.value if isinstance(value, Enum) else value for value in of]
    return [value if isinstance(value, str) else str(value) for value in plain]


def key(schema: Schema) -> Schema:
    """The schema of a member's name that is parsed as ``schema`` says: in JSON all names are texts."""
    kind = schema.get("type")
    values = schema.get("enum", [schema["const"]] if "const" in schema else None)
    if values is not None:
        return {"enum": strings(value for value in values if value is not None and not isinstance(value, bool))}
    if kind == "string":
        return {name: value for name, value in schema.items() if name != "type"}
    if kind in ("integer", "number"):
        pattern = texts.text(_INTEGER_KEY if kind == "integer" else _NUMBER_KEY)["pattern"]
        limits = {
            k: v
            for k, v in schema.items()
            if k not in ("type", "title", "description") and v not in (SMALLEST, LARGEST)
        }
        return inexact({"pattern": pattern}, *(f"{name}={value}" for name, value in limits.items()))
    texts_only = [key(part) for part in schema.get("anyOf", ()) if part.get("type") == "string"]
    if len(texts_only) == 1:
        return texts_only[0]
    return inexact({}, "keys") if schema else {}


def property_names(schema: Schema) -> Schema:
    """``propertyNames`` for keys that are parsed as ``schema`` says, if it says anything."""
    names = key(schema)
    return {"propertyNames": names} if names else {}
