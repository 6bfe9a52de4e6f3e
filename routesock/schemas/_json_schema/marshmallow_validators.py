"""Validators of marshmallow as JSON Schema."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final

from marshmallow import ValidationError, validate

from ..._wire.codec import decode, encode
from .draft7 import NOTHING, Schema, inexact
from .patterns import EMAIL
from .regex import ecma, literal

LENGTHS: Final = {"text": "Length", "array": "Items", "object": "Properties"}

COMPARED: Final = ("text", "integer", "number", "boolean", "any", "finite", "decimal", "other")
"""The kinds whose values can be compared with those of a rule."""

NUMBERS: Final = ("integer", "number")


def named(function: Any) -> str:
    """The name of a validator, a hook or a function."""
    return str(getattr(function, "__name__", None) or type(function).__name__)


def jsonable(value: Any) -> Any:
    """``value`` as clients receive it.

    Raises:
        Exception: It cannot be encoded.
    """
    return decode(encode(value), 1000)


def is_built_in(cls: type) -> bool:
    """Whether ``cls`` belongs to marshmallow itself, and not to a project or another library."""
    return cls.__module__.partition(".")[0] == "marshmallow"


def ordered(values: Any) -> list[Any]:
    """``values`` in an order that is the same in each process."""
    return sorted(values, key=repr) if isinstance(values, set | frozenset) else list(values)


class Rules:
    """Adds the validators of one field to its schema.

    Args:
        schema: The schema of the field without its validators.
        kind: How values look in Python once they are loaded: ``"text"``, ``"integer"``, ``"number"``, ``"boolean"``,
            ``"array"``, ``"object"``, ``"any"`` (as in JSON), ``"finite"`` (one of the values in ``enum``),
            ``"decimal"``, ``"constant"``, ``"other"`` (any type that the field dumps), or ``"own"`` (unknown).
        field: The field.
        strict: Whether a rule that cannot be said exactly is a reason; otherwise it is left out.
        item: The kind of the items of an array.
    """

    def __init__(self, schema: Schema, kind: str, field: Any, *, strict: bool, item: str = "other") -> None:
        self.schema = schema
        self._kind = kind
        self._field = field
        self._strict = strict
        self._item = item

    def add(self, validator: Any) -> None:
        """Add one validator."""
        cls = type(validator)
        rule: Callable[[Rules, Any], bool] | None = _RULES.get(cls)
        if cls is validate.And:
            for part in validator.validators:
                self.add(part)
        elif self._kind == "finite" and rule is not None:
            self._filter(validator)
        elif self._kind == "constant" and rule is not None:
            self._try(validator)
        elif rule is None or not rule(self, validator):
            self._unsaid(validator)

    def _unsaid(self, *reasons: Any) -> None:
        if self._strict:
            texts = [reason if isinstance(reason, str) else named(reason) for reason in reasons]
            self.schema = inexact(self.schema, *texts)

    def _filter(self, validator: Any) -> None:
        """Keep the values that ``validator`` accepts."""
        kept = []
        for value in self.schema["enum"]:
            try:
                validator(self._field._deserialize(value, None, None))
            except ValidationError:
                continue
            except Exception:  # load() raises it, too
                self._unsaid(validator)
            kept.append(value)
        self.schema = {**self.schema, "enum": kept} if kept else dict(NOTHING)

    def _try(self, validator: Any) -> None:
        """Accept nothing if ``validator`` refuses the constant, which every value becomes."""
        try:
            validator(self._field.constant)
        except ValidationError:
            self.schema = dict(NOTHING)
        except Exception:  # load() raises it, too
            self._unsaid(validator)

    def length(self, rule: validate.Length) -> bool:
        noun = LENGTHS.get(self._kind)
        if noun is None or (self._kind == "object" and not _keeps_keys(self._field)):
            return False
        low, high = (rule.min, rule.max) if rule.equal is None else (rule.equal, rule.equal)
        self._raise_to(f"min{noun}", low)
        self._lower_to(f"max{noun}", high)
        return True

    def range(self, rule: validate.Range) -> bool:
        if self._kind == "decimal":
            return self._strict and self._positive(rule)
        low, high = _limit(rule.min, math.inf), _limit(rule.max, -math.inf)
        if self._kind not in NUMBERS or (low is None) != (rule.min is None) or (high is None) != (rule.max is None):
            return False
        self._raise_to("minimum" if rule.min_inclusive else "exclusiveMinimum", low)
        self._lower_to("maximum" if rule.max_inclusive else "exclusiveMaximum", high)
        return True

    def _positive(self, rule: validate.Range) -> bool:
        """A decimal is a text, in which the sign is the only limit that a pattern can state in few characters."""
        if rule.min is not None and rule.min >= 0:
            self._pattern("^[^-]")
            if not rule.min_inclusive:
                self._pattern("[1-9]")
        return rule.min == 0 and rule.max is None

    def _raise_to(self, keyword: str, value: Any) -> None:
        if value is not None:
            self.schema[keyword] = max(value, self.schema.get(keyword, value))

    def _lower_to(self, keyword: str, value: Any) -> None:
        if value is not None:
            self.schema[keyword] = min(value, self.schema.get(keyword, value))

    def one_of(self, rule: validate.OneOf) -> bool:
        # Every part of a text is one of its "choices".
        if isinstance(rule.choices, str | bytes) or self._kind not in COMPARED:
            return False
        self.schema = _only(self.schema, self._written(rule.choices))
        return True

    def equal(self, rule: validate.Equal) -> bool:
        if self._kind not in COMPARED:
            return False
        self.schema = _only(self.schema, self._written([rule.comparable]))
        return True

    def none_of(self, rule: validate.NoneOf) -> bool:
        if isinstance(rule.iterable, str | bytes) or self._kind not in COMPARED:
            return False
        self.schema = _except(self.schema, self._written(rule.iterable, every=True))
        # The other kinds write one value in several ways, such as 1.5 and 1.50.
        return self._kind in ("text", "integer", "number", "boolean") or (
            self._kind == "any" and not any(isinstance(value, list | dict) for value in rule.iterable)
        )

    def contains_only(self, rule: validate.ContainsOnly) -> bool:
        if self._kind == "text" and not isinstance(rule.choices, bytes):
            self._pattern(f"^[{_characters(rule.choices)}]*$" if _characters(rule.choices) else "^$")
            return True
        inner = self._items()
        if inner is None or isinstance(rule.choices, str | bytes):
            return False
        null = [None] if None in rule.choices and self._field.inner.allow_none else []
        inner.schema = _only(inner.schema, [*inner._written(rule.choices), *null])
        self.schema["items"] = inner.schema
        return True

    def contains_none_of(self, rule: validate.ContainsNoneOf) -> bool:
        if self._kind == "text" and not isinstance(rule.iterable, bytes):
            if _characters(rule.iterable):
                self._pattern(f"^[^{_characters(rule.iterable)}]*$")
            return True
        inner = self._items()
        if inner is None or isinstance(rule.iterable, str | bytes):
            return False
        exact = inner.none_of(validate.NoneOf(rule.iterable))
        if None in rule.iterable and self._field.inner.allow_none:
            inner.schema = _except(inner.schema, [None])
        self.schema["items"] = inner.schema
        return exact

    def _items(self) -> Rules | None:
        """The rules of the items of a list; ``None`` if their values cannot be compared."""
        items = self.schema.get("items")
        if self._kind != "array" or not isinstance(items, dict) or self._item not in COMPARED:
            return None
        return Rules(dict(items), self._item, self._field.inner, strict=self._strict)

    def regexp(self, rule: validate.Regexp) -> bool:
        if self._kind != "text" or isinstance(rule.regex.pattern, bytes):
            return False
        if not self._strict:  # a text that was stored before, or loaded in another notation
            return True
        regex: Any = rule.regex
        pattern, reasons = ecma(regex, anchored="match")
        if pattern is not None and pattern != "^":
            self._pattern(pattern)
        self._unsaid(*reasons)
        return True

    def email(self, rule: validate.Email) -> bool:
        if self._kind != "text":
            return False
        if self._strict:
            self.schema["format"] = "email"
            self._pattern(EMAIL)
        return True

    def url(self, rule: validate.URL) -> bool:
        if self._kind != "text":
            return False
        if self._strict:
            self.schema["format"] = "uri-reference" if rule.relative else "uri"
            self._raise_to("minLength", 1)
            self._unsaid("URL")
        return True

    def _pattern(self, pattern: str) -> None:
        if "pattern" in self.schema:
            self.schema["allOf"] = [*self.schema.get("allOf", []), {"pattern": pattern}]
        else:
            self.schema["pattern"] = pattern

    def _written(self, values: Iterable[Any], *, every: bool = False) -> list[Any]:
        """The JSON values that load as one of ``values``; with ``every``, all that Python finds equal to them."""
        found: list[Any] = []
        for value in ordered(values):
            for written in self._forms(value, every):
                if not any(_same(written, other) for other in found):
                    found.append(written)
        return found

    def _forms(self, value: Any, every: bool) -> Iterator[Any]:
        match self._kind:
            case "text" if isinstance(value, str):
                yield str(jsonable(value))
            case "integer" | "number" if isinstance(value, int | float | Decimal | Fraction):
                yield from _number(value, whole=self._kind == "integer")
            case "boolean":
                yield from (flag for flag in (True, False) if flag == value)
            case "any":
                yield from _as_in_json(value, every)
            case "finite":
                yield from (form for form in self.schema["enum"] if self._field._deserialize(form, "", {}) == value)
            case "other" | "decimal":
                yield from self._dumped(value)
            case _:  # a value of another type than those of the field
                return

    def _dumped(self, value: Any) -> Iterator[Any]:
        try:
            written = jsonable(self._field._serialize(value, "", None))
            if written is not None and self._field._deserialize(written, "", {}) == value:
                yield written
        except Exception:  # a value of another type: no text loads as it
            return


def _keeps_keys(field: Any) -> bool:
    """Whether two keys of a client are always two keys once they are loaded."""
    key_field = getattr(field, "key_field", None)
    return hasattr(field, "key_field") and (key_field is None or type(key_field).__name__ in ("String", "Email", "Url"))


def _limit(value: Any, towards: float) -> int | float | None:
    """``value`` as a number of JSON, no wider than it is; ``None`` if it is no finite number."""
    if isinstance(value, Decimal) and not value.is_finite():
        return None
    if isinstance(value, bool | int):
        return int(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Decimal | Fraction):
        if value == int(value):
            return int(value)
        near = float(value)
        wider = near < value if towards > 0 else near > value
        return math.nextafter(near, towards) if wider else near
    return None


def _number(value: Any, *, whole: bool) -> Iterator[int | float]:
    if isinstance(value, Decimal | float) and not math.isfinite(value):
        return
    if value == int(value):
        yield int(value)
    elif not whole and float(value) == value:
        yield float(value)


def _as_in_json(value: Any, every: bool) -> Iterator[Any]:
    try:
        written = jsonable(value)
    except Exception:  # JSON has no such value
        return
    if written == value:
        yield written
        if every and isinstance(value, bool | int | float) and value in (0, 1):
            yield int(value) if isinstance(value, bool) else bool(value)


def _same(one: Any, other: Any) -> bool:
    """Whether two values are equal in JSON, where 1 is 1.0 but not true."""
    return json.dumps(_unified(one), sort_keys=True) == json.dumps(_unified(other), sort_keys=True)


def _unified(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [_unified(item) for item in value]
    if isinstance(value, dict):
        return {key: _unified(item) for key, item in value.items()}
    return value


def _only(schema: Schema, values: list[Any]) -> Schema:
    if "enum" in schema:
        values = [value for value in schema["enum"] if any(_same(value, other) for other in values)]
    return {**schema, "enum": values} if values else dict(NOTHING)


def _except(schema: Schema, values: list[Any]) -> Schema:
    excluded = [*schema.get("not", {}).get("enum", []), *values]
    return {**schema, "not": {"enum": excluded}} if excluded else schema


def _characters(values: Iterable[Any]) -> str:
    """The texts of one character in ``values``, as the inside of a character class."""
    single = [value for value in ordered(values) if isinstance(value, str) and len(value) == 1]
    return "".join("\\-" if char == "-" else literal(char) for char in single)


_RULES: Final[dict[type, Any]] = {
    validate.Length: Rules.length,
    validate.Range: Rules.range,
    validate.OneOf: Rules.one_of,
    validate.Equal: Rules.equal,
    validate.NoneOf: Rules.none_of,
    validate.ContainsOnly: Rules.contains_only,
    validate.ContainsNoneOf: Rules.contains_none_of,
    validate.Regexp: Rules.regexp,
    validate.Email: Rules.email,
    validate.URL: Rules.url,
}
