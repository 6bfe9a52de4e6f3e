"""JSON Schema of the values of marshmallow's own fields, apart from those that hold other fields."""

from __future__ import annotations

import datetime
import enum
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from marshmallow import ValidationError, fields

from . import patterns
from .draft7 import NOTHING, UUID, inexact, nullable
from .draft7 import Schema as JSONSchema
from .marshmallow_validators import is_built_in, jsonable, named, ordered

NOT_NULL: Final = ("boolean", "number", "string", "array", "object")


class Form(NamedTuple):
    """The values that a field accepts, or dumps, before its validators.

    Args:
        schema: The JSON Schema.
        kind: How values look in Python, as :class:`Rules` needs it.
        item: The kind of the items of an array.
    """

    schema: JSONSchema
    kind: str
    item: str = "other"


def or_null(schema: JSONSchema) -> JSONSchema:
    if schema.get("type") == list(NOT_NULL) and not {"enum", "not"} & set(schema):
        return {key: value for key, value in schema.items() if key != "type"}
    return nullable(schema)


def finite(values: list[Any]) -> JSONSchema:
    """One of ``values``, which are JSON."""
    if not values:
        return dict(NOTHING)
    kinds = {type(value) for value in values}
    named_kind = {str: "string", int: "integer", bool: "boolean"}.get(kinds.pop()) if len(kinds) == 1 else None
    return ({"type": named_kind} if named_kind else {}) | {"enum": values}


def _text(**rest: Any) -> JSONSchema:
    return {"type": "string", **rest}


def _string(field: Any, loads: bool) -> Form:
    return Form(_text(), "text")


def _uuid(field: Any, loads: bool) -> Form:
    return Form(_text(format="uuid", pattern=UUID), "other")


def _integer(field: Any, loads: bool) -> Form:
    if not loads and field.as_string:
        return Form(_text(pattern=patterns.WRITTEN_INTEGER), "other")
    return Form({"type": "integer"}, "integer")


def _float(field: Any, loads: bool) -> Form:
    if not loads and field.as_string:
        return Form(_text(pattern=patterns.WRITTEN_NUMBER), "other")
    return Form({"type": "number"}, "number")


def _decimal(field: Any, loads: bool) -> Form:
    """JSON encodes a decimal as text, with or without ``as_string``."""
    if not loads:
        finite = patterns.DECIMAL if field.as_string else patterns.WRITTEN_DECIMAL
        special = {"anyOf": [{"pattern": finite}, {"enum": ["NaN", "Infinity", "-Infinity"]}]}
        return Form(_text(**special) if field.allow_nan else _text(pattern=finite), "decimal")
    if field.places is None:
        return Form(_text(pattern=patterns.DECIMAL), "decimal")
    # quantize() refuses a result of more than 28 digits, and rounding may add one.
    whole = 27 + field.places.as_tuple().exponent
    if whole < 1:
        return Form(inexact(_text(pattern=patterns.DECIMAL), "places"), "decimal")
    return Form(_text(pattern=rf"^-?[0-9]{{1,{whole}}}(?:\.[0-9]+)?$"), "decimal")


def _boolean(field: Any, loads: bool) -> Form:
    truthy, falsy = set(field.truthy), set(field.falsy)
    if not loads or (truthy == set(fields.Boolean.truthy) and falsy == set(fields.Boolean.falsy)):
        return Form({"type": "boolean"}, "boolean")
    if not truthy:
        return Form({"type": list(NOT_NULL)}, "own")
    values = {bool(value) if isinstance(value, int) and value in (0, 1) else value for value in truthy | falsy}
    return Form(finite([value for value in ordered(values) if isinstance(value, int | float | str)]), "finite")


def _date_time(field: Any, loads: bool) -> Form:
    style = field.format or field.DEFAULT_FORMAT
    if style in ("timestamp", "timestamp_ms"):
        last = 253402300799 * (1000 if style == "timestamp_ms" else 1)  # of the year 9999
        first = "minimum" if _loads_zero(field) else "exclusiveMinimum"
        return Form({"type": "number"} | ({first: 0, "maximum": last} if loads else {}), "other")
    if style not in ("iso", "iso8601"):
        return _formatted(style, loads)
    if not loads:
        return Form(_text(pattern=patterns.WRITTEN_DATE_TIME), "other")
    return Form(_text(format="date-time", pattern=patterns.DATE_TIME), "other")


def _loads_zero(field: Any) -> bool:
    """Whether ``field`` loads 0 as a timestamp. marshmallow 3 refuses it, as a value that is empty."""
    try:
        fields.DateTime(format=field.format)._deserialize(0, "", {})
    except ValidationError:
        return False
    return True


def _naive_date_time(field: Any, loads: bool) -> Form:
    iso = (field.format or field.DEFAULT_FORMAT) in ("iso", "iso8601")
    if not (iso and loads):
        return _date_time(field, loads)
    if field.timezone is None:
        return Form(_text(pattern=patterns.NAIVE_DATE_TIME), "other")
    # Python cannot convert to another zone across the end of its calendar.
    pattern = patterns.DATE_TIME.replace("(?!0000)", "(?!0000|0001|9999)")
    return Form(_text(format="date-time", pattern=pattern), "other")


def _aware_date_time(field: Any, loads: bool) -> Form:
    style = field.format or field.DEFAULT_FORMAT
    form = _date_time(field, loads)
    if loads and style in ("timestamp", "timestamp_ms") and field.default_timezone is None:
        return Form(dict(NOTHING), "other")  # a timestamp loads without a zone
    return form


def _date(field: Any, loads: bool) -> Form:
    style = field.format or field.DEFAULT_FORMAT
    if style not in ("iso", "iso8601"):
        return _formatted(style, loads)
    return Form(_text(format="date", pattern=patterns.DATE), "other")


def _time(field: Any, loads: bool) -> Form:
    style = getattr(field, "format", None) or "iso"
    if style not in ("iso", "iso8601"):
        return _formatted(style, loads)
    return Form(_text(pattern=patterns.TIME if loads else patterns.WRITTEN_TIME), "other")


def _formatted(style: str, loads: bool) -> Form:
    """A date in the notation of RFC 822 or of ``strptime``, which no pattern describes exactly."""
    return Form(inexact(_text(), f"format: {style}") if loads else _text(), "other")


def _time_delta(field: Any, loads: bool) -> Form:
    whole = getattr(field, "serialization_type", float) is int  # of marshmallow 3
    found: JSONSchema = {"type": "integer" if whole else "number"}
    if loads:
        last = datetime.timedelta(days=999999999) // datetime.timedelta(**{field.precision: 1})
        found |= {"minimum": -last, "maximum": last}
    return Form(found, "other")


def _ip(field: Any, loads: bool) -> Form:
    return Form(_text(anyOf=[_V4, _v6(loads)]), "other")


def _ipv4(field: Any, loads: bool) -> Form:
    return Form(_text(**_V4), "other")


def _ipv6(field: Any, loads: bool) -> Form:
    return Form(_text(**_v6(loads)), "other")


_V4: Final = {"format": "ipv4", "pattern": patterns.IPV4}


def _v6(loads: bool) -> JSONSchema:
    # An address with a scope, which is loaded as a coercion, is dumped with it.
    return {"format": "ipv6"} if loads else {"anyOf": [{"format": "ipv6"}, {"pattern": "%"}]}


def _interface(field: Any, loads: bool) -> Form:
    if not loads:
        return Form(_text(), "other")
    either: dict[type, JSONSchema] = {
        fields.IPv4Interface: {"pattern": patterns.IPV4_INTERFACE},
        fields.IPv6Interface: {"pattern": patterns.IPV6_INTERFACE},
    }
    one = next((found for cls, found in either.items() if isinstance(field, cls)), None)
    return Form(_text() | (one or {"anyOf": list(either.values())}), "other")


def _enum(field: Any, loads: bool) -> Form:
    members = list(field.enum)
    if not loads and issubclass(field.enum, enum.Flag):  # a combination has no member
        return Form({} if field.by_value else _text(), "own")
    if not field.by_value:
        names = list(field.enum.__members__) if loads else [member.name for member in members]
        return Form(finite(names), "finite" if loads else "other")
    if not is_built_in(type(field.field)):
        return Form(inexact({"type": list(NOT_NULL)} if loads else {}, type(field.field).__name__), "own")
    values: list[Any] = []
    for member in members:
        try:
            written = jsonable(field.field._serialize(member.value, "", None))
            if (not loads or field._deserialize(written, "", {}) is member) and written is not None:
                values.append(written)
        except Exception:  # a value that JSON does not have, so no client can send it
            continue
    return Form(finite(values), "finite" if loads else "other")


def _constant(field: Any, loads: bool) -> Form:
    """It loads every value as the constant."""
    if loads:
        return Form({"type": list(NOT_NULL)}, "constant")
    try:
        return Form({"const": jsonable(field.constant)}, "own")
    except Exception:  # the encoder refuses it when it is dumped
        return Form({}, "own")


def _raw(field: Any, loads: bool) -> Form:
    return Form({"type": list(NOT_NULL)}, "any")


def _function(field: Any, loads: bool) -> Form:
    return _calls(field.deserialize_func if loads else field.serialize_func, loads)


def _method(field: Any, loads: bool) -> Form:
    name = field.deserialize_method_name if loads else field.serialize_method_name
    return _calls(name, loads)


def _calls(function: Any, loads: bool) -> Form:
    everything: JSONSchema = {"type": list(NOT_NULL)} if loads else {}
    if function is None:
        return Form(everything, "any")
    return Form(inexact(everything, function if isinstance(function, str) else named(function)), "own")


SIMPLE: Final[dict[type, Callable[[Any, bool], Form]]] = {
    fields.String: _string,
    fields.UUID: _uuid,
    fields.Integer: _integer,
    fields.Float: _float,
    fields.Decimal: _decimal,
    fields.Number: _float,
    fields.Boolean: _boolean,
    fields.NaiveDateTime: _naive_date_time,
    fields.AwareDateTime: _aware_date_time,
    fields.DateTime: _date_time,
    fields.Date: _date,
    fields.Time: _time,
    fields.TimeDelta: _time_delta,
    fields.IP: _ip,
    fields.IPv4: _ipv4,
    fields.IPv6: _ipv6,
    fields.IPInterface: _interface,
    fields.Enum: _enum,
    fields.Constant: _constant,
    fields.Function: _function,
    fields.Method: _method,
    fields.Raw: _raw,
}
