"""Validates JSON against the schemas of documents: the keywords that documents have, and no others."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date, datetime
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address
from math import isclose
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from .names import pointer_part

Schema = Mapping[str, Any]


class Fault(NamedTuple):
    """A mismatch between a value and a schema: a JSON pointer into the value, and the reason."""

    pointer: str
    reason: str

    def __str__(self) -> str:
        return f"{self.pointer or '/'}: {self.reason}"


def fault_in(value: Any, schema: Any, root: Schema, pointer: str = "") -> Fault | None:
    """Return the first fault of ``value``; ``None`` if it fits ``schema``.

    Args:
        value: Decoded JSON.
        schema: A schema of the document.
        root: The document, in which references lead somewhere.
        pointer: Where ``value`` is.
    """
    return next(_faults(value, schema, root, pointer), None)


def fits(value: Any, schema: Any, root: Schema) -> bool:
    """Whether ``value`` fits ``schema``."""
    return fault_in(value, schema, root) is None


def resolve(reference: str, root: Schema) -> Any:
    """Return what ``reference`` leads to in ``root``.

    Raises:
        LookupError: It leads nowhere.
    """
    if not reference.startswith("#/"):
        raise LookupError(reference)
    found: Any = root
    for part in reference.removeprefix("#/").split("/"):
        name = part.replace("~1", "/").replace("~0", "~")
        found = found[int(name)] if isinstance(found, list) else found[name]
    return found


def _faults(value: Any, schema: Any, root: Schema, pointer: str) -> Iterator[Fault]:
    if isinstance(schema, bool):
        if not schema:
            yield Fault(pointer, "is not allowed")
        return
    if "$ref" in schema:
        yield from _faults(value, resolve(schema["$ref"], root), root, pointer)
        return
    if "type" in schema:
        kinds = [schema["type"]] if isinstance(schema["type"], str) else schema["type"]
        if not any(_TYPES[kind](value) for kind in kinds):
            yield Fault(pointer, f"is not of the type {' or '.join(kinds)}")
            return
    if "const" in schema and not _equal(value, schema["const"]):
        yield Fault(pointer, f"is not {schema['const']!r}")
    if "enum" in schema and not any(_equal(value, item) for item in schema["enum"]):
        yield Fault(pointer, f"is none of {schema['enum']!r}")
    if isinstance(value, str):
        yield from _faults_of_text(value, schema, pointer)
    elif _is_number(value):
        yield from _faults_of_number(value, schema, pointer)
    elif isinstance(value, list):
        yield from _faults_of_array(value, schema, root, pointer)
    elif isinstance(value, dict):
        yield from _faults_of_object(value, schema, root, pointer)
    yield from _faults_of_combinations(value, schema, root, pointer)


def _faults_of_combinations(value: Any, schema: Schema, root: Schema, pointer: str) -> Iterator[Fault]:
    for part in schema.get("allOf", ()):
        yield from _faults(value, part, root, pointer)
    if "anyOf" in schema:
        faults = [fault_in(value, part, root, pointer) for part in schema["anyOf"]]
        if None not in faults:
            # The deepest fault is that of the part that was most likely meant.
            yield max((fault for fault in faults if fault), key=lambda fault: fault.pointer.count("/"))
    if "oneOf" in schema and sum(fits(value, part, root) for part in schema["oneOf"]) != 1:
        yield Fault(pointer, "does not fit exactly one of its alternatives")
    if "not" in schema and fits(value, schema["not"], root):
        yield Fault(pointer, "is excluded")


def _faults_of_text(value: str, schema: Schema, pointer: str) -> Iterator[Fault]:
    if len(value) < schema.get("minLength", 0):
        yield Fault(pointer, f"is shorter than {schema['minLength']}")
    if len(value) > schema.get("maxLength", len(value)):
        yield Fault(pointer, f"is longer than {schema['maxLength']}")
    if "pattern" in schema and not _compiled(schema["pattern"]).search(value):
        yield Fault(pointer, f"does not match {schema['pattern']}")
    if schema.get("format") in _FORMATS and not _has_format(value, schema["format"]):
        yield Fault(pointer, f"is no {schema['format']}")


def _faults_of_number(value: Any, schema: Schema, pointer: str) -> Iterator[Fault]:
    if value < schema.get("minimum", value):
        yield Fault(pointer, f"is less than {schema['minimum']}")
    if value > schema.get("maximum", value):
        yield Fault(pointer, f"is greater than {schema['maximum']}")
    if "exclusiveMinimum" in schema and value <= schema["exclusiveMinimum"]:
        yield Fault(pointer, f"is not greater than {schema['exclusiveMinimum']}")
    if "exclusiveMaximum" in schema and value >= schema["exclusiveMaximum"]:
        yield Fault(pointer, f"is not less than {schema['exclusiveMaximum']}")
    if "multipleOf" in schema and not _is_multiple(value, schema["multipleOf"]):
        yield Fault(pointer, f"is no multiple of {schema['multipleOf']}")


def _faults_of_array(value: list[Any], schema: Schema, root: Schema, pointer: str) -> Iterator[Fault]:
    if len(value) < schema.get("minItems", 0):
        yield Fault(pointer, f"has fewer than {schema['minItems']} items")
    if len(value) > schema.get("maxItems", len(value)):
        yield Fault(pointer, f"has more than {schema['maxItems']} items")
    if schema.get("uniqueItems") and any(_equal(one, other) for i, one in enumerate(value) for other in value[:i]):
        yield Fault(pointer, "has an item twice")
    items = schema.get("items", True)
    for index, item in enumerate(value):
        part = items
        if isinstance(items, Sequence):
            part = items[index] if index < len(items) else schema.get("additionalItems", True)
        yield from _faults(item, part, root, f"{pointer}/{index}")


def _faults_of_object(value: dict[str, Any], schema: Schema, root: Schema, pointer: str) -> Iterator[Fault]:
    for name in schema.get("required", ()):
        if name not in value:
            yield Fault(pointer, f"has no {name!r}")
    if len(value) < schema.get("minProperties", 0):
        yield Fault(pointer, f"has fewer than {schema['minProperties']} members")
    if len(value) > schema.get("maxProperties", len(value)):
        yield Fault(pointer, f"has more than {schema['maxProperties']} members")
    properties = schema.get("properties", {})
    for name, item in value.items():
        inside = f"{pointer}/{pointer_part(name)}"
        if "propertyNames" in schema and not fits(name, schema["propertyNames"], root):
            yield Fault(inside, "has a name that is not allowed")
        yield from _faults(item, properties.get(name, schema.get("additionalProperties", True)), root, inside)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


_TYPES: Final[Mapping[str, Callable[[Any], bool]]] = {
    "null": lambda value: value is None,
    "boolean": lambda value: isinstance(value, bool),
    "integer": lambda value: _is_number(value) and value == int(value) if _is_finite(value) else False,
    "number": _is_number,
    "string": lambda value: isinstance(value, str),
    "array": lambda value: isinstance(value, list),
    "object": lambda value: isinstance(value, dict),
}


def _is_finite(value: Any) -> bool:
    return _is_number(value) and value not in (float("inf"), float("-inf")) and value == value


def _equal(one: Any, other: Any) -> bool:
    """Whether two values are equal as JSON: true is not 1, and 1.0 is."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, list) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(_equal, one, other))
    if isinstance(one, dict) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(_equal(one[name], other[name]) for name in one)
    return bool(one == other)


def _is_multiple(value: Any, step: Any) -> bool:
    if isinstance(value, int) and isinstance(step, int):
        return value % step == 0
    quotient = value / step
    return isclose(quotient, round(quotient), rel_tol=1e-9, abs_tol=1e-9)


_TOKEN: Final = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|\$|[^\\\[$]+", re.DOTALL)


@lru_cache(512)
def _compiled(pattern: str) -> re.Pattern[str]:
    r"""Compile a pattern of ECMA-262. Its ``$`` is the end of a text, which is ``\Z`` in Python."""
    return re.compile("".join(r"\Z" if token == "$" else token for token in _TOKEN.findall(pattern)))


_DATE: Final = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)

_TIME: Final = re.compile(r"\d\d:\d\d:\d\d(?:\.\d+)?(?:[Zz]|[+-]\d\d:\d\d)", re.ASCII)

_LABEL: Final = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"


def _is_date(text: str) -> bool:
    if not _DATE.fullmatch(text):
        return False
    date.fromisoformat(text)
    return True


def _is_time(text: str) -> bool:
    if not _TIME.fullmatch(text):
        return False
    clock = text[:8].replace(":60", ":59")  # a leap second
    datetime.strptime(clock, "%H:%M:%S")  # noqa: DTZ007
    return True


def _is_date_time(text: str) -> bool:
    return text[10:11] in ("T", "t") and _is_date(text[:10]) and _is_time(text[11:])


def _is_uri(text: str) -> bool:
    return bool(re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", text)) and _is_uri_reference(text)


def _is_uri_reference(text: str) -> bool:
    urlsplit(text)
    return re.search(r"[\s<>\"{}|\\^`]|[^\x00-\x7f]", text) is None


_FORMATS: Final[Mapping[str, Callable[[str], Any]]] = {
    "date": _is_date,
    "time": _is_time,
    "date-time": _is_date_time,
    "email": lambda text: re.fullmatch(r"[^@\s]+@[^@\s]+", text),
    "hostname": lambda text: len(text) <= 253 and re.fullmatch(rf"{_LABEL}(?:\.{_LABEL})*", text),
    "ipv4": IPv4Address,
    "ipv6": IPv6Address,
    "regex": re.compile,
    "uri": _is_uri,
    "uri-reference": _is_uri_reference,
}
"""The formats that assert; ``uuid`` has a pattern beside it. A function that raises ``ValueError`` refuses a text."""


def _has_format(text: str, name: str) -> bool:
    try:
        return bool(_FORMATS[name](text))
    except (ValueError, re.error):
        return False


def canonical(value: Any) -> str:
    """Return ``value`` as JSON that is the same for values that are equal, whatever the order of their members."""
    return json.dumps(value, sort_keys=True)
