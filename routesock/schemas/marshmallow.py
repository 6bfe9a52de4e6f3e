"""marshmallow 3 and 4 as a schema."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Any

from marshmallow import Schema, ValidationError, fields

from routesock.problems import invalid

from .base import UNFIT, WHOLE, SchemaAdapter, refuse_async, too_deep, unfit
from .marshmallow_bare import bare_copy, dumps_through_hooks, misshapen, with_inner

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

    def dump_checked(self, value: Any) -> Any:
        """What the fields dump, validated by the schema's fields, ``@validates`` and ``@validates_schema``.

        Fields that are ``dump_only`` are looked at as well, but may be ``None``; those that are ``load_only`` are not
        missed. Left out are ``Method`` and ``Function`` fields, fields of a class that redefines one of the two ways
        only, what ``post_dump`` hooks make, and ``@validates_schema`` where a schema has any of these fields.
        """
        schema = self._schema
        if misshapen(schema, value):
            raise invalid({WHOLE: [schema.error_messages["type"]]})
        try:
            if self._hooked and schema.many:
                value = list(value)  # it is read twice
            dumped = self._bare.dump(value)
        except ValidationError as exc:
            raise invalid(exc.normalized_messages()) from exc  # type: ignore[no-untyped-call, unused-ignore]
        except UNFIT as exc:
            raise unfit(exc) from exc
        errors = self._errors(dumped)
        if errors:
            raise invalid(errors)
        return self.dump(value) if self._hooked else dumped

    def _errors(self, dumped: Any) -> Any:
        try:
            return self._bare.validate(dumped)
        except Exception:  # a rule that relies on what the hooks of a load make
            return self._bare_without_rules.validate(dumped)

    # None of these before the first push: what a Nested names may be defined after the schema.
    @cached_property
    def _hooked(self) -> bool:
        return dumps_through_hooks(self._schema, set())

    @cached_property
    def _bare(self) -> Any:
        return bare_copy(self._schema)

    @cached_property
    def _bare_without_rules(self) -> Any:
        return bare_copy(self._schema, rules=False)


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
        for part in with_inner(field):
            for function in _functions(part, cls):
                refuse_async(function, cls.__qualname__, f"{name}: {getattr(function, '__name__', repr(function))}")
            nested = _nested_schema(part)
            if nested is not None:
                _refuse_async_hooks(nested, seen)


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
