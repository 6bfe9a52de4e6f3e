"""Serializers of DRF as JSON Schema: what they accept in JSON, and what they return."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from enum import Enum
from functools import partial
from typing import Any, Final

from django.core import validators as checks
from django.core.exceptions import ValidationError
from rest_framework import fields, relations, serializers  # type: ignore[import-untyped, unused-ignore]
from rest_framework.fields import empty  # type: ignore[import-untyped, unused-ignore]
from rest_framework.settings import api_settings  # type: ignore[import-untyped, unused-ignore]

from ..base import Described, Mode, defines
from . import patterns, texts
from .draft7 import Definitions, Schema, inexact, nullable
from .parts import annotated, any_of, enum, given, integers, lengths, number
from .regex import ecma

_SILENT: Final = frozenset(
    "read_only write_only required default initial source label help_text style error_messages allow_null allow_empty "
    "max_length min_length instance data context many validators partial".split()
)
"""The arguments of nested serializers that do not change their definitions."""

_NO_NULL_CHARACTER: Final = r"^[^\x00]*$"


def _accepts(check: Any, value: str) -> bool:
    try:
        check(value)
    except ValidationError:
        return False
    return True


_TOP_LEVEL: Final = r"(?!.*[.]-[^.]*$)(?!.*-$)(?!.*[.][^.]{64,}$)" + (
    "" if _accepts(checks.validate_email, "a@b.c1") else r"(?!.*[.](?!xn--)[A-Za-z-]*[0-9][A-Za-z0-9-]*$)"
)
"""The last label of a domain that this Django accepts. Newer ones refuse digits there."""

_STANDARD_DURATION: Final = r"(-?[0-9]{1,8} )?-?(([0-9]{1,6}:)?[0-9]{1,6}:)?[0-9]{1,6}([.][0-9]{1,6})?"
_ISO_DURATION: Final = (
    r"[+-]?P(?=[0-9T])([0-9]{1,8}D)?(T(?=[0-9])([0-9]{1,7}H)?([0-9]{1,8}M)?([0-9]{1,8}([.][0-9]{1,6})?S)?)?"
)

_UUIDS: Final = {
    "hex": texts.text("[0-9a-f]{32}"),
    "int": {"type": "integer"},
    "urn": texts.text("urn:uuid:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"),
}


def describe(serializer: Any, mode: Mode) -> Described:
    """Describe what ``serializer`` accepts in JSON, or what it returns."""
    walk = _Walk(loads=mode == "load")
    return walk.found.described(walk.schema(serializer))


class _Walk:
    """One pass over a serializer."""

    def __init__(self, *, loads: bool) -> None:
        self.loads = loads
        self.found = Definitions()

    def schema(self, field: Any) -> Schema:
        """Describe ``field``, which may be a serializer."""
        schema = self._loaded(field) if self.loads else self._dumped(field)
        notes = {key: str(field._kwargs[name]) for key, name in _NOTES.items() if field._kwargs.get(name)}
        return annotated(schema, {**notes, **(_default(field) if self.loads else {})})

    def _loaded(self, field: Any) -> Schema:
        own = _own_methods(
            field, "to_internal_value", "run_validation", "validate_empty_values", "get_value", "is_valid"
        )
        schema = inexact({}, *own) if own else self._validated(field, self._of_class(field))
        if isinstance(field, fields.CharField) and field.allow_blank:  # no other rule holds for an empty text
            schema = any_of(schema, {"type": "string", "maxLength": 0}) if _refuses_blank(schema) else schema
        return nullable(schema) if field.allow_null else schema

    def _dumped(self, field: Any) -> Schema:
        own = _own_methods(field, "to_representation", "get_attribute")
        schema = {} if own else self._of_class(field)
        # DRF returns None without asking the field, and fields that are read only seldom say so.
        return nullable(schema) if field.allow_null or field.read_only else schema

    def _of_class(self, field: Any) -> Schema:
        for cls in type(field).__mro__:
            describe = _LOADED.get(cls) if self.loads else _DUMPED.get(cls)
            describe = describe or _BOTH.get(cls)
            if describe is not None:
                return describe(self, field)
        return inexact({}, type(field).__qualname__) if self.loads else {}

    def _validated(self, field: Any, schema: Schema) -> Schema:
        """``schema`` with the validators of ``field`` that it does not say."""
        reasons = [_name(check) for check in field.validators if not _is_described(check, field)]
        found = [check for check in field.validators if _is_regular(check)]
        for check in found:
            translated = ecma(check.regex)
            if check.inverse_match or translated.pattern is None:
                reasons += [f"pattern: {check.regex.pattern}"]
            else:
                schema = _also(schema, translated.pattern)
                reasons += translated.inexact
        return inexact(schema, *reasons)

    # Texts

    def text(self, field: Any) -> Schema:
        schema: Schema = {
            "type": "string",
            **lengths(_limits(field, _LENGTHS), "Length"),
            "pattern": _NO_NULL_CHARACTER,
        }
        regular = any(_is_regular(check) for check in field.validators)
        if field.trim_whitespace and (regular or schema.get("minLength", 0) > 1):
            schema = _also(schema, texts.TRIMMED)
        if not field.allow_blank:
            schema.setdefault("minLength", 1)
            if field.trim_whitespace and "allOf" not in schema:
                schema["pattern"] = texts.NOT_BLANK
        return schema

    def email(self, field: Any) -> Schema:
        pattern = f"^(?=.{{3,320}}$){_TOP_LEVEL}{patterns.EMAIL.removeprefix('^')}"
        schema = {"type": "string", **lengths(_limits(field, _LENGTHS), "Length"), "format": "email"}
        return {**schema, "pattern": pattern}

    def url(self, field: Any) -> Schema:
        return inexact({**self.text(field), "format": "uri"}, "URLValidator")

    def address(self, field: Any) -> Schema:
        limits = lengths(_limits(field, _LENGTHS), "Length")
        sixth = {**texts.ip(6), "maxLength": 39}
        choices = {"ipv4": [texts.ip(4)], "ipv6": [sixth], "both": [texts.ip(4), sixth]}
        return any_of(*({**choice, **limits} for choice in choices[field.protocol]))

    # Numbers

    def decimal(self, field: Any) -> Schema:
        limits = _bounds(field)
        if field.max_digits is None and field.decimal_places is None:
            numeric: Schema = {"type": "number", **limits}
            return numeric if limits else any_of(numeric, {**texts.text(texts.NUMBER), "maxLength": 1000})
        most = 28 if field.max_digits is None else field.max_digits  # the precision of Python's decimals
        schema = {**texts.text(texts.digits(most, field.decimal_places, limits)), "maxLength": 1000}
        return inexact(schema, *([] if limits in ({}, {"minimum": 0}) else given(limits, "minimum", "maximum")))

    # Dates

    def dated(self, pattern: Schema, kind: str, field: Any) -> Schema:
        accepted = getattr(field, "input_formats", getattr(api_settings, f"{kind}_INPUT_FORMATS"))
        if any(str(one).lower() == fields.ISO_8601 for one in accepted):
            return pattern
        return inexact({"type": "string"}, "input_formats")

    # Containers

    def list(self, field: Any) -> Schema:
        items = self.schema(field.child)
        if not self.loads and isinstance(field, fields.ListField):
            items = nullable(items)
        limits = lengths(vars(field), "Items") if isinstance(field, serializers.ListSerializer) else {}
        limits = limits or lengths(_limits(field, _LENGTHS), "Items")
        schema: Schema = {"type": "array", **({"items": items} if items else {}), **(limits if self.loads else {})}
        if self.loads and not field.allow_empty:
            schema["minItems"] = max(1, schema.get("minItems", 1))
        return schema

    def dict(self, field: Any) -> Schema:
        values = self.schema(field.child)
        values = values if self.loads else nullable(values)
        schema: Schema = {"type": "object", **({"additionalProperties": values} if values else {})}
        return {**schema, "minProperties": 1} if self.loads and not field.allow_empty else schema

    # Serializers

    def serializer(self, field: Any) -> Schema:
        cls: Any = type(field)
        options = [f"{key}: {value}" for key, value in field._kwargs.items() if key not in _SILENT]
        variant = ", ".join([*(["partial"] if getattr(field.root, "partial", False) else []), *options])
        build = partial(self._object, field)
        return self.found.named(cls.__name__, cls.__module__, variant, build, identity=cls)

    def _object(self, serializer: Any) -> Schema:
        properties: dict[str, Schema] = {}
        required: list[str] = []
        reasons: list[str] = []
        for name, field in serializer.fields.items():
            if isinstance(field, fields.HiddenField) or (field.read_only if self.loads else field.write_only):
                continue
            properties[name] = self.schema(field)
            if self._is_required(field):
                required.append(name)
            if self.loads and hasattr(serializer, f"validate_{name}"):
                reasons.append(f"validate_{name}")
        reasons += _own_methods(serializer, "validate") if self.loads else []
        schema: Schema = {"type": "object", "properties": properties, **({"required": required} if required else {})}
        text = _documentation(type(serializer))
        return annotated(inexact(schema, *reasons), {"description": text} if text else {})

    def _is_required(self, field: Any) -> bool:
        if self.loads:
            return bool(field.required and not getattr(field.root, "partial", False))
        return bool(field.required or field.default is not empty or field.read_only)

    # Relations

    def related(self, field: Any) -> Schema:
        schema = self.key(field) if isinstance(field, relations.PrimaryKeyRelatedField) else {}
        if isinstance(field, relations.StringRelatedField | relations.HyperlinkedRelatedField):
            schema = {"type": "string"}
        return inexact(schema, type(field).__qualname__) if self.loads else schema

    def key(self, field: Any) -> Schema:
        """The type of a primary key."""
        if field.pk_field is not None:
            return self.schema(field.pk_field)
        if field.queryset is None:
            return {}
        key = field.queryset.model._meta.pk
        cls = next((cls for base, cls in _MODEL_FIELDS.items() if isinstance(key, base)), None)
        return self.schema(cls()) if cls in (fields.IntegerField, fields.CharField, fields.UUIDField) else {}

    def related_list(self, field: Any) -> Schema:
        items = self.schema(field.child_relation)
        schema: Schema = {"type": "array", **({"items": items} if items else {})}
        return {**schema, "minItems": 1} if self.loads and not field.allow_empty else schema


_NOTES: Final = {"title": "label", "description": "help_text"}

_Method = Callable[[_Walk, Any], Schema]


def _number(kind: str) -> _Method:
    def describe(walk: _Walk, field: Any) -> Schema:
        schema = {"type": kind, **(_bounds(field) if walk.loads else {})}
        return integers(schema) if kind == "integer" and walk.loads else schema

    return describe


def _choice(walk: _Walk, field: Any) -> Schema:
    keys = list(field.choices)
    plain = [key.value if isinstance(key, Enum) else key for key in keys]
    if not all(key is None or isinstance(key, str | int | float) for key in plain):
        return inexact({}, type(field).__qualname__) if walk.loads else {}
    plain += [""] if field.allow_blank else []
    return enum(dict.fromkeys(plain)) if plain else {"not": {}}


def _choices(walk: _Walk, field: Any) -> Schema:
    schema: Schema = {"type": "array", "items": _choice(walk, field)}
    return {**schema, "minItems": 1} if walk.loads and not field.allow_empty else schema


def _json(walk: _Walk, field: Any) -> Schema:
    if field.binary:
        return inexact({"type": "string"}, "JSONField(binary=True)") if walk.loads else {}
    # Here null is a value like others, but not where the field refuses it.
    return {"not": {"type": "null"}} if walk.loads and not field.allow_null else {}


def _uuid(walk: _Walk, field: Any) -> Schema:
    return _UUIDS.get(field.uuid_format) or texts.uuid()


def _dumped_date(kind: str, schema: Schema) -> _Method:
    def describe(walk: _Walk, field: Any) -> Schema:
        output = getattr(field, "format", getattr(api_settings, f"{kind}_FORMAT"))
        return schema if output is None or output.lower() == fields.ISO_8601 else {"type": "string"}

    return describe


def _dumped_integer(walk: _Walk, field: Any) -> Schema:
    to_text = getattr(field, "coerce_to_string", getattr(api_settings, "COERCE_BIGINT_TO_STRING", False))
    is_big = type(field).__name__ == "BigIntegerField"
    return {"type": "string"} if is_big and to_text else {"type": "integer"}


def _nothing(walk: _Walk, field: Any) -> Schema:
    return {}


def _string(walk: _Walk, field: Any) -> Schema:
    return {"type": "string"}


_DATETIME: Final = texts.text(
    # One day is left out at both ends, since the time is converted to another zone.
    r"(?!0000|0001-01-01|9999-12-31)[0-9]{4}-[0-9]{2}-[0-9]{2}T"
    r"([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]([.][0-9]{1,6})?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])",
    format="date-time",
)

_BOTH: Final[dict[type, _Method]] = {
    serializers.Serializer: _Walk.serializer,
    serializers.ListSerializer: _Walk.list,
    fields.BooleanField: lambda walk, field: {"type": "boolean"},
    fields.FloatField: _number("number"),
    fields.ChoiceField: _choice,
    fields.MultipleChoiceField: _choices,
    fields.ListField: _Walk.list,
    fields.DictField: _Walk.dict,
    fields.JSONField: _json,
    fields._UnvalidatedField: _nothing,
    relations.RelatedField: _Walk.related,
    relations.ManyRelatedField: _Walk.related_list,
}

_LOADED: Final[dict[type, _Method]] = {
    fields.CharField: _Walk.text,
    fields.EmailField: _Walk.email,
    fields.URLField: _Walk.url,
    fields.IPAddressField: _Walk.address,
    fields.UUIDField: lambda walk, field: texts.uuid(),
    fields.IntegerField: _number("integer"),
    fields.DecimalField: _Walk.decimal,
    fields.DateTimeField: lambda walk, field: walk.dated(_DATETIME, "DATETIME", field),
    fields.DateField: lambda walk, field: walk.dated(texts.date(), "DATE", field),
    fields.TimeField: lambda walk, field: walk.dated(texts.time(tz=False, seconds=False), "TIME", field),
    fields.DurationField: lambda walk, field: texts.text(f"({_STANDARD_DURATION}|{_ISO_DURATION})"),
    fields.FileField: lambda walk, field: {"not": {}},
}

_DUMPED: Final[dict[type, _Method]] = {
    fields.CharField: _string,
    fields.UUIDField: _uuid,
    fields.IntegerField: _dumped_integer,
    fields.DecimalField: _string,
    fields.DateTimeField: _dumped_date("DATETIME", texts.any_datetime()),
    fields.DateField: _dumped_date("DATE", texts.date()),
    fields.TimeField: _dumped_date("TIME", texts.time()),
    fields.DurationField: _string,
    fields.FileField: lambda walk, field: {"type": ["string", "null"]},
    fields.ReadOnlyField: _nothing,
    fields.SerializerMethodField: _nothing,
    fields.ModelField: _nothing,
}

_MODEL_FIELDS: Final = serializers.ModelSerializer.serializer_field_mapping


def _refuses_blank(schema: Schema) -> bool:
    return bool(schema.get("minLength")) or "allOf" in schema or schema.get("pattern") != _NO_NULL_CHARACTER


_VALUES: Final = {"minimum": checks.MinValueValidator, "maximum": checks.MaxValueValidator}
_LENGTHS: Final = {"min_length": checks.MinLengthValidator, "max_length": checks.MaxLengthValidator}


def _limits(field: Any, kinds: Mapping[str, Any]) -> dict[str, Any]:
    """The limits that validators of ``field`` set: the narrowest of each kind."""
    found: dict[str, Any] = {}
    for name, cls in kinds.items():
        limits = [
            check.limit_value for check in field.validators if type(check) is cls and not callable(check.limit_value)
        ]
        if limits:
            found[name] = max(limits) if name.startswith("min") else min(limits)
    return found


def _bounds(field: Any) -> Schema:
    return {keyword: number(value) for keyword, value in _limits(field, _VALUES).items()}


def _is_regular(check: Any) -> bool:
    """Whether ``check`` is a regular expression and nothing else."""
    return isinstance(check, checks.RegexValidator) and type(check).__call__ is checks.RegexValidator.__call__


def _also(schema: Schema, pattern: str) -> Schema:
    """``schema`` of a text that matches ``pattern``, too."""
    if "pattern" not in schema:
        return {**schema, "pattern": pattern}
    return {**schema, "allOf": [*schema.get("allOf", ()), {"pattern": pattern}]}


def _is_described(check: Any, field: Any) -> bool:
    """Whether the schema of ``field`` says what its validator ``check`` refuses."""
    cls = type(check)
    if cls in _LENGTHS.values():
        return isinstance(field, fields.CharField | fields.ListField) and not callable(check.limit_value)
    if cls in _VALUES.values():
        numeric = isinstance(field, fields.IntegerField | fields.FloatField | fields.DecimalField)
        return numeric and not callable(check.limit_value)
    if cls is checks.EmailValidator:
        return isinstance(field, fields.EmailField) and check == checks.EmailValidator(message=check.message)
    if cls is checks.URLValidator:
        return isinstance(field, fields.URLField)
    if cls is checks.DecimalValidator:
        digits = (getattr(field, "max_digits", None), getattr(field, "decimal_places", None))
        return digits == (check.max_digits, check.decimal_places)
    if cls.__name__ in ("ProhibitNullCharactersValidator", "ProhibitSurrogateCharactersValidator") or _is_regular(
        check
    ):
        return isinstance(field, fields.CharField)
    addresses = (checks.validate_ipv4_address, checks.validate_ipv6_address, checks.validate_ipv46_address)
    return check in addresses and isinstance(field, fields.IPAddressField)


def _name(check: Any) -> str:
    named = check if inspect.isroutine(check) else type(check)
    return str(named.__qualname__).rpartition("<locals>.")[2]


def _own_methods(field: Any, *names: str) -> list[str]:
    """The methods ``names`` of ``field`` that a project defines itself."""
    owners = {name: defines(type(field), name) if hasattr(field, name) else None for name in names}
    return [
        f"{cls.__qualname__}.{name}"
        for name, cls in owners.items()
        if cls is not None and not cls.__module__.startswith("rest_framework.")
    ]


def _default(field: Any) -> Schema:
    default = field.default
    plain = default is None or isinstance(default, str | int | float | bool) or default in ([], {})
    return {"default": default} if plain and default is not empty and not callable(default) else {}


def _documentation(cls: type) -> str:
    return inspect.cleandoc(vars(cls).get("__doc__") or "")
