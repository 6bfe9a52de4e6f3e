"""marshmallow 3 and 4 as a schema."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from marshmallow import Schema, ValidationError, fields

from routesock.problems import invalid

from .base import SchemaAdapter, refuse_async, too_deep

_HOOK_MARKS = ("_marshmallow_hook", "__marshmallow_hook__")


class MarshmallowAdapter(SchemaAdapter):
    """A ``Schema`` instance, with the options that it was made with.

    An ``async def`` hook, validator, ``Method`` or ``Function`` in it is refused, those of nested schemas included; a
    nested schema that cannot be resolved yet (named before it is defined) is not looked at.
    """

    def __init__(self, schema: Schema) -> None:
        _refuse_async_hooks(schema, set())
        self._schema = schema

    def __repr__(self) -> str:
        return f"MarshmallowAdapter({self._schema!r})"

    def load(self, payload: Any) -> Any:
        try:
            return self._schema.load(payload)
        except ValidationError as exc:
            raise invalid(exc.normalized_messages()) from exc  # type: ignore[no-untyped-call, unused-ignore]
        except RecursionError as exc:
            raise too_deep(payload) or exc from exc

    def dump(self, value: Any) -> Any:
        return self._schema.dump(value)


def adapter_for(schema: Any) -> SchemaAdapter | None:
    if isinstance(schema, type) and issubclass(schema, Schema):
        return MarshmallowAdapter(schema())
    return MarshmallowAdapter(schema) if isinstance(schema, Schema) else None


def _refuse_async_hooks(schema: Schema, seen: set[Any]) -> None:
    cls = type(schema)
    # By class and fields: a recursive Nested makes a new instance at each level.
    key = (cls, frozenset(schema.fields))
    if key in seen:
        return
    seen.add(key)
    for name in dir(cls):
        method = getattr(cls, name, None)
        if hasattr(Schema, name) or any(hasattr(method, mark) for mark in _HOOK_MARKS):
            refuse_async(method, cls.__qualname__, name)
    for name, field in schema.fields.items():
        for part in _with_inner(field):
            for function in _functions(part, cls):
                refuse_async(function, cls.__qualname__, f"{name}: {getattr(function, '__name__', repr(function))}")
            nested = _nested_schema(part)
            if nested is not None:
                _refuse_async_hooks(nested, seen)


def _with_inner(field: Any) -> Iterator[Any]:
    """``field`` and the fields of its items, keys and values."""
    yield field
    inner = [getattr(field, name, None) for name in ("inner", "key_field", "value_field")]
    for part in (*inner, *getattr(field, "tuple_fields", ())):
        if part is not None:
            yield from _with_inner(part)


def _functions(field: Any, cls: type[Schema]) -> Iterator[Any]:
    """What ``field`` calls: validators, marshmallow 4's hooks of a field, the functions of Function and Method."""
    for name in ("validators", "pre_load", "post_load"):
        yield from getattr(field, name, None) or ()
    for name in ("serialize_func", "deserialize_func"):
        yield getattr(field, name, None)
    for name in ("serialize_method_name", "deserialize_method_name"):
        yield getattr(cls, getattr(field, name, None) or "", None)


def _nested_schema(field: Any) -> Schema | None:
    if not isinstance(field, fields.Nested):
        return None
    try:
        return field.schema
    except Exception:  # the user's lambda or a name: whatever it needs may not be defined yet
        return None
