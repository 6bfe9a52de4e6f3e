"""msgspec's types as JSON Schema: what ``msgspec.convert`` accepts, and what ``msgspec.to_builtins`` returns.

The JSON Schema of msgspec leaves out what some types refuse, such as datetimes without an offset. This one is made from
``msgspec.inspect``, which tells all that a type refuses.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from decimal import Decimal
from enum import Enum, Flag
from functools import partial
from typing import Any, Final, get_args, get_origin

import msgspec
from msgspec import inspect as mi

from ..base import Described, Mode
from . import texts
from .draft7 import Definitions, Schema, inexact, nullable
from .parts import annotated, any_of, bounds, enum, flags, integers, lengths, property_names
from .regex import ecma

_NOTES: Final = ("title", "description", "examples", "deprecated")

_DURATION: Final = (
    r"[+-]?P(?=[0-9T])([0-9]{1,8}D)?(T(?=[0-9])([0-9]{1,8}H)?([0-9]{1,8}M)?([0-9]{1,8}(\.[0-9]{1,6})?S)?)?"
)


def describe(schema: Any, mode: Mode) -> Described:
    """Describe what ``msgspec.convert`` accepts for the type ``schema``, or what is dumped."""
    walk = _Walk(loads=mode == "load")
    try:
        info = mi.type_info(schema)
    except TypeError as exc:  # msgspec 0.18 cannot inspect a Literal of values that Python does not sort
        return walk.found.described(inexact({}, f"msgspec.inspect: {exc}"))
    return walk.found.described(walk.schema(info))


class _Walk:
    """One pass over a type. Methods are named after the classes of ``msgspec.inspect`` that they describe."""

    def __init__(self, *, loads: bool) -> None:
        self.loads = loads
        self.found = Definitions()

    def schema(self, info: Any) -> Schema:
        method = getattr(self, "_" + type(info).__name__.removesuffix("Type").lower(), None)
        return method(info) if method else inexact({}, f"msgspec's {type(info).__name__}")

    def _metadata(self, info: Any) -> Schema:
        notes = info.extra_json_schema or {}
        return annotated(self.schema(info.type), {key: notes[key] for key in _NOTES if key in notes})

    # Values

    def _any(self, info: Any) -> Schema:
        return {}

    def _none(self, info: Any) -> Schema:
        return {"type": "null"}

    def _bool(self, info: Any) -> Schema:
        return {"type": "boolean"}

    def _int(self, info: Any) -> Schema:
        schema = {"type": "integer", **bounds(_options(info))}
        return integers(schema) if self.loads else schema

    def _float(self, info: Any) -> Schema:
        schema = {"type": "number", **bounds(_options(info))}
        step = info.multiple_of
        if not self.loads:
            schema.pop("multipleOf", None)
        elif step is not None and Decimal(repr(step)) != Decimal(step):
            return inexact(schema, f"multiple_of={step}")  # the remainder is that of binary numbers
        return schema

    def _decimal(self, info: Any) -> Schema:
        if not self.loads:
            return texts.text(f"({texts.DUMPED_NUMBER}|-?(s?NaN[0-9]*|Infinity))")
        return any_of({"type": "number"}, texts.text(f"({texts.NUMBER}|{texts.NOT_A_NUMBER})"))

    def _str(self, info: Any) -> Schema:
        schema = {"type": "string", **lengths(_options(info), "Length")}
        if info.pattern is None or not self.loads:  # the translation refuses some texts that Python accepts
            return schema
        translated = ecma(info.pattern)
        if translated.pattern is not None:
            schema["pattern"] = translated.pattern
        return inexact(schema, *translated.inexact)

    def _bytes(self, info: Any) -> Schema:
        return texts.base64("+/", info.min_length, info.max_length)

    _bytearray = _memoryview = _bytes

    def _datetime(self, info: Any) -> Schema:
        if info.tz is False:
            return texts.naive_datetime()
        return texts.aware_datetime() if self.loads or info.tz else texts.any_datetime()

    def _time(self, info: Any) -> Schema:
        return texts.time(tz=info.tz)

    def _date(self, info: Any) -> Schema:
        return texts.date()

    def _timedelta(self, info: Any) -> Schema:
        return texts.text(_DURATION)

    def _uuid(self, info: Any) -> Schema:
        return texts.uuid()

    def _literal(self, info: Any) -> Schema:
        return enum(info.values)

    def _enum(self, info: Any) -> Schema:
        if not self.loads and issubclass(info.cls, Flag):
            return {"type": "integer"}
        return self.found.reference(info.cls, "", lambda: flags(info.cls) if _combines(info.cls) else enum(info.cls))

    def _custom(self, info: Any) -> Schema:
        return {} if info.cls is object or not self.loads else {"not": {}}

    _raw = _ext = _custom

    # Containers

    def _list(self, info: Any) -> Schema:
        items = self.schema(info.item_type)
        return {"type": "array", **({"items": items} if items else {}), **lengths(_options(info), "Items")}

    _collection = _vartuple = _list

    def _set(self, info: Any) -> Schema:
        schema = self._list(info)
        if not self.loads:
            schema.pop("minItems", None)  # duplicates count in what is loaded
        return schema

    _frozenset = _set

    def _tuple(self, info: Any) -> Schema:
        items = [self.schema(item) for item in info.item_types]
        return {"type": "array", **({"items": items} if items else {}), "minItems": len(items), "maxItems": len(items)}

    def _dict(self, info: Any) -> Schema:
        values = self.schema(info.value_type)
        schema: Schema = {"type": "object", **({"additionalProperties": values} if values else {})}
        if self.loads:
            key = info.key_type
            names = enum(key.cls) if isinstance(key, mi.EnumType) else self.schema(key)
            schema |= property_names(names)
        return {**schema, **lengths(_options(info), "Properties")}

    def _union(self, info: Any) -> Schema:
        parts = [part for part in info.types if not isinstance(part, mi.NoneType)]
        structs = sum(_is_struct(part) for part in parts)
        schemas = [self._tagged(part) if structs > 1 and self.loads else self.schema(part) for part in parts]
        schema = any_of(*schemas) if schemas else {"type": "null"}
        return nullable(schema) if len(parts) < len(info.types) else schema

    def _tagged(self, info: Any) -> Schema:
        """One of several structs. Its tag is required, and optional elsewhere."""
        schema = self.schema(info)
        struct: Any = info.type if isinstance(info, mi.Metadata) else info
        if not _is_struct(info) or struct.array_like or struct.tag_field is None:
            return schema
        return {"allOf": [schema, {"required": [struct.tag_field]}]}

    # Classes

    def _struct(self, info: Any) -> Schema:
        describe = self._array if info.array_like else self._object
        return self._class(info, partial(describe, info))

    def _dataclass(self, info: Any) -> Schema:
        return self._class(info, partial(self._object, info))

    _typeddict = _dataclass

    def _namedtuple(self, info: Any) -> Schema:
        return self._class(info, partial(self._array, info))

    def _class(self, info: Any, build: Any) -> Schema:
        cls = get_origin(info.cls) or info.cls
        variant = ", ".join(getattr(argument, "__name__", str(argument)) for argument in get_args(info.cls))

        def built() -> Schema:
            text = vars(cls).get("__doc__") or ""
            notes = {"description": inspect.cleandoc(text)} if text and not text.startswith(f"{cls.__name__}(") else {}
            hooked = self.loads and hasattr(cls, "__post_init__")
            return annotated(inexact(build(), *(["__post_init__"] if hooked else [])), notes)

        return self.found.named(cls.__name__, cls.__module__, variant, built, identity=info.cls)

    def _object(self, info: Any) -> Schema:
        tag = getattr(info, "tag_field", None)
        properties = {tag: enum([info.tag])} if tag is not None else {}
        properties |= {field.encode_name: self._field(field) for field in info.fields}
        required = [tag] if tag is not None and not self.loads else []
        required += [field.encode_name for field in info.fields if field.required or self._is_dumped(info, field)]
        schema: Schema = {"type": "object", "properties": properties, **({"required": required} if required else {})}
        return {**schema, "additionalProperties": False} if getattr(info, "forbid_unknown_fields", False) else schema

    def _array(self, info: Any) -> Schema:
        tag = getattr(info, "tag", None)
        items = [enum([tag])] if tag is not None else []
        needed = len(items)
        for field in info.fields:
            items.append(self._field(field))
            if field.required or not self.loads:
                needed = len(items)
        closed = getattr(info, "forbid_unknown_fields", True)  # a NamedTuple is
        schema: Schema = {"type": "array", **({"items": items} if items else {}), "minItems": needed}
        return {**schema, "maxItems": len(items)} if closed or not self.loads else schema

    def _field(self, field: Any) -> Schema:
        schema = self.schema(field.type)
        if not self.loads:
            return schema
        if field.default_factory in (list, dict, set):
            return annotated(schema, {"default": {} if field.default_factory is dict else []})
        if field.default is msgspec.NODEFAULT:
            return schema
        return annotated(schema, {"default": msgspec.to_builtins(field.default, str_keys=True)})

    def _is_dumped(self, info: Any, field: Any) -> bool:
        """Whether a field with a default is always in what is dumped."""
        cls = get_origin(info.cls) or info.cls
        if self.loads or isinstance(info, mi.TypedDictType):
            return False
        if getattr(getattr(cls, "__struct_config__", None), "omit_defaults", False):
            return False
        if isinstance(info, mi.DataclassType) and field.default is not msgspec.NODEFAULT:
            return False  # it may be an attribute of the class alone
        annotations: Mapping[str, Any] = next(
            (
                vars(base)["__annotations__"]
                for base in cls.__mro__
                if field.name in vars(base).get("__annotations__", ())
            ),
            {},
        )
        return "UnsetType" not in str(annotations.get(field.name))


def _options(info: Any) -> Mapping[str, Any]:
    return {name: getattr(info, name, None) for name in info.__struct_fields__}


def _combines(cls: type[Enum]) -> bool:
    """Whether msgspec accepts combinations of the members of ``cls``; older releases accept members alone."""
    if not issubclass(cls, Flag):
        return False
    try:
        msgspec.convert(sum(member.value for member in cls), cls)
    except (msgspec.ValidationError, TypeError):
        return False
    return True


def _is_struct(info: Any) -> bool:
    return isinstance(info.type if isinstance(info, mi.Metadata) else info, mi.StructType)
