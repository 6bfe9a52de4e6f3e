"""Generates values that a JSON Schema accepts, for the keywords that documents use.

Each strategy aims at valid values, and a validator has the last word, so that a keyword that a strategy treats too
lightly costs time and nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from routesock.schemas import Described
from routesock.schemas._json_schema.draft7 import INEXACT, NOTHING

from .validation import in_python, validator

TYPES = ("null", "boolean", "integer", "number", "string", "array", "object")

ANNOTATIONS = {"title", "description", "default", "examples", "deprecated", INEXACT}

_CHARACTERS = st.characters(exclude_categories=["Cs"])

TEXT = st.text(_CHARACTERS, max_size=8)

ANYTHING: SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)


def accepted(described: Described) -> SearchStrategy[Any]:
    """Values that ``described`` accepts."""
    return _Source(described).of(described.schema).filter(validator(described).is_valid)


class _Source:
    def __init__(self, described: Described) -> None:
        self._definitions = described.definitions
        self._named: dict[str, SearchStrategy[Any]] = {}
        self._validator = validator(described)

    def of(self, schema: Any) -> SearchStrategy[Any]:
        if isinstance(schema, bool):
            return ANYTHING if schema else st.nothing()
        if schema == NOTHING:
            return st.nothing()
        if not set(schema) - ANNOTATIONS:
            return ANYTHING
        if "$ref" in schema:
            return self._reference(schema["$ref"].removeprefix("#/$defs/"))
        for keyword in ("anyOf", "oneOf"):
            if keyword in schema:
                rest = {key: value for key, value in schema.items() if key != keyword}
                return st.one_of([self.of(_merged(rest, part)) for part in schema[keyword]])
        if "allOf" in schema:
            merged = {key: value for key, value in schema.items() if key != "allOf"}
            for part in schema["allOf"]:
                merged = _merged(merged, part)
            return self._valid(self.of(merged), schema)
        return self._valid(self._by_type(schema), schema)

    def _valid(self, strategy: SearchStrategy[Any], schema: Mapping[str, Any]) -> SearchStrategy[Any]:
        return strategy.filter(
            self._validator.evolve(schema={**schema, "$defs": self._validator.schema["$defs"]}).is_valid
        )

    def _reference(self, key: str) -> SearchStrategy[Any]:
        if key not in self._named:
            self._named[key] = st.deferred(lambda: self.of(self._definitions[key].schema))
        return self._named[key]

    def _by_type(self, schema: Mapping[str, Any]) -> SearchStrategy[Any]:
        if "const" in schema:
            return st.just(schema["const"])
        if "enum" in schema:
            return st.sampled_from(schema["enum"])
        types = schema.get("type", TYPES)
        return st.one_of([getattr(self, f"_{name}")(schema) for name in ([types] if isinstance(types, str) else types)])

    def _null(self, schema: Mapping[str, Any]) -> SearchStrategy[Any]:
        return st.none()

    def _boolean(self, schema: Mapping[str, Any]) -> SearchStrategy[Any]:
        return st.booleans()

    def _integer(self, schema: Mapping[str, Any]) -> SearchStrategy[Any]:
        low, high = _limits(schema)
        low, high = (None if low is None else math.ceil(low)), (None if high is None else math.floor(high))
        return st.integers(low, high) | st.integers(low, high).filter(lambda number: abs(number) < 2**53).map(float)

    def _number(self, schema: Mapping[str, Any]) -> SearchStrategy[Any]:
        low, high = _limits(schema)
        numbers = st.floats(low, high, allow_nan=False, allow_infinity=False)
        without_integers = low is not None and high is not None and math.ceil(low) > math.floor(high)
        return numbers if without_integers else numbers | self._integer(schema)

    def _string(self, schema: Mapping[str, Any]) -> SearchStrategy[Any]:
        formatted = _FORMATS.get(schema.get("format", ""))
        if formatted is not None:
            return formatted
        if "pattern" in schema:
            parts = [st.from_regex(in_python(pattern), alphabet=_CHARACTERS) for pattern in _patterns(schema)]
            return st.one_of(parts) if len(parts) == 1 else st.tuples(*parts).map("".join) | st.one_of(parts)
        low, high = schema.get("minLength", 0), schema.get("maxLength")
        return st.text(_CHARACTERS, min_size=low, max_size=high or low + 8)

    def _array(self, schema: Mapping[str, Any]) -> SearchStrategy[Any]:
        items = schema.get("items", {})
        low, high = schema.get("minItems", 0), schema.get("maxItems")
        if isinstance(items, list):
            rest = schema.get("additionalItems", {})
            open_ended = rest not in (False, NOTHING) and (high is None or high > len(items))
            more = st.lists(self.of(rest), max_size=2) if open_ended else st.just([])
            return st.tuples(st.tuples(*map(self.of, items)), more).map(lambda parts: [*parts[0], *parts[1]])
        return st.lists(self.of(items), min_size=low, max_size=low + 3 if high is None else high)

    def _object(self, schema: Mapping[str, Any]) -> SearchStrategy[Any]:
        possible = {name: part for name, part in schema.get("properties", {}).items() if part != NOTHING}
        known = {name: self.of(part) for name, part in possible.items()}
        required = set(schema.get("required", ()))
        for name in required - set(known):
            known[name] = self.of(schema.get("additionalProperties", {}))
        fixed = st.fixed_dictionaries(
            {name: part for name, part in known.items() if name in required},
            optional={name: part for name, part in known.items() if name not in required},
        )
        values = schema.get("additionalProperties", {})
        if values is False:
            return fixed
        names = self.of({"type": "string", **schema["propertyNames"]}) if "propertyNames" in schema else TEXT
        low, high = schema.get("minProperties", 0), schema.get("maxProperties", 3)
        extra = st.dictionaries(names, self.of(values), min_size=max(0, low - len(required)), max_size=max(low, high))
        return st.tuples(extra, fixed).map(lambda parts: {**parts[0], **parts[1]})


def _limits(schema: Mapping[str, Any]) -> tuple[Any, Any]:
    low = [schema[key] for key in ("minimum", "exclusiveMinimum") if key in schema]
    high = [schema[key] for key in ("maximum", "exclusiveMaximum") if key in schema]
    return max(low, default=None), min(high, default=None)


def _merged(one: Mapping[str, Any], other: Any) -> dict[str, Any]:
    """Both schemas in one, for generating: the validator knows the true one."""
    if isinstance(other, bool) or not one:
        return {} if other is True else dict(other or {"not": {}})
    if "$ref" in other:
        return dict(other)
    more = [*one.get(_MORE, ()), one["pattern"]] if "pattern" in one and "pattern" in other else one.get(_MORE, ())
    return {**one, **other, _MORE: more}


_MORE = "more patterns"


def _patterns(schema: Mapping[str, Any]) -> list[str]:
    return [*schema.get(_MORE, ()), schema["pattern"]]


_ZONES = st.sampled_from(("Z", "+00:00", "-00:00", "+05:30", "-23:59"))

_FORMATS: dict[str, SearchStrategy[Any]] = {
    "date": st.dates().map(lambda date: date.isoformat()),
    "date-time": st.builds("{}{}".format, st.datetimes().map(lambda moment: moment.isoformat()), _ZONES),
    "email": st.from_regex(r"\A[a-zA-Z0-9!+=_-]{1,8}(\.[a-z]{1,3})?@([a-z0-9]{1,5}\.){1,2}(com|de|xyz)\Z"),
    "ipv4": st.ip_addresses(v=4).map(str),
    "ipv6": st.ip_addresses(v=6).flatmap(lambda address: st.sampled_from((address.exploded, address.compressed))),
    "uri": st.sampled_from(("https://example.com/a?b=c#d", "urn:a:b", "http://localhost:80", "ftp://a.b/%20")),
    "uri-reference": st.sampled_from(("/a/b?c", "a", "https://example.com", "#x")),
    "hostname": st.sampled_from(("localhost", "example.com", "a-b.example")),
    "time": st.builds("{}{}".format, st.times().map(lambda time: time.isoformat()), _ZONES),
    "regex": st.sampled_from(("a+", "^[a-z]$")),
}
"""Texts by format. A format that is not here has a pattern beside it."""
