"""Validates values against described schemas, as a strict client does: formats assert, patterns are of ECMA-262."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from jsonschema import Draft7Validator, FormatChecker, ValidationError, validators

from routesock.schemas import Described
from routesock.schemas._json_schema.draft7 import FORMATS, KEYWORDS, misfits

_CHECKERS = {**FormatChecker.checkers, **Draft7Validator.FORMAT_CHECKER.checkers}  # drafts differ about ``time``

FORMAT_CHECKER = FormatChecker(())
FORMAT_CHECKER.checkers = {name: _CHECKERS[name] for name in FORMATS}
"""A ``KeyError`` here: jsonschema checks one of the formats only with a library that is not installed."""

_TOKEN = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|\$|[^\\\[$]+", re.DOTALL)


def in_python(pattern: str) -> str:
    """A pattern of ECMA-262 for :mod:`re`, where ``$`` would also match before a newline at the end."""
    return "".join(r"\Z" if token == "$" else token for token in _TOKEN.findall(pattern))


def _pattern(validator: Any, pattern: str, instance: Any, schema: Any) -> Iterator[ValidationError]:
    if isinstance(instance, str) and not re.search(in_python(pattern), instance):
        yield ValidationError(f"{instance!r} does not match {pattern!r}")


Validator: Any = validators.extend(Draft7Validator, {"pattern": _pattern})


def whole(described: Described) -> dict[str, Any]:
    """One JSON Schema with its definitions. In draft 7, members beside ``$ref`` count for nothing."""
    definitions = {key: part.schema for key, part in described.definitions.items()}
    root = dict(described.schema)
    return ({"allOf": [root]} if "$ref" in root else root) | {"$defs": definitions}


def validator(described: Described) -> Any:
    """A validator, after a look at the schema itself."""
    assert misfits(described) == []
    schema = whole(described)
    Draft7Validator.check_schema({key: value for key, value in schema.items() if key != "$defs"})
    for part in schema["$defs"].values():
        Draft7Validator.check_schema(part)
    assert {"$ref", "type", "pattern"} <= KEYWORDS
    return Validator(schema, format_checker=FORMAT_CHECKER)


def accepts(described: Described, value: Any) -> bool:
    return bool(validator(described).is_valid(value))
