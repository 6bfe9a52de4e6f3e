"""marshmallow schemas that validate what they dump, instead of what clients send."""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from marshmallow import INCLUDE, fields

from .base import defines


def bare_copy(schema: Any, *, rules: bool = True) -> Any:
    """A copy of ``schema`` that takes what its fields dump, without the hooks that turn it into another form.

    Without ``rules`` it has neither ``@validates`` nor ``@validates_schema``, and those that it nests neither.
    """
    bare = copy.copy(schema)
    bare.dump_fields = {name: _bare_field(field, rules) for name, field in schema.dump_fields.items()}
    bare.load_fields = {name: field for name, field in bare.dump_fields.items() if _goes_both_ways(field)}
    kept = ["pre_dump", "validates"] if rules else ["pre_dump"]
    if rules and len(bare.load_fields) == len(schema.fields):
        kept.append("validates_schema")  # which may rely on every field
    bare._hooks = defaultdict(list, {key: hooks for key, hooks in schema._hooks.items() if _tag(key) in kept})
    bare.unknown = INCLUDE
    bare.handle_error = lambda *args, **kwargs: None  # it is made for clients' mistakes
    return bare


def _tag(key: Any) -> Any:
    """The tag in a key of ``Schema._hooks``; older versions of marshmallow put it into a tuple."""
    return key[0] if isinstance(key, tuple) else key


def _bare_field(field: Any, rules: bool) -> Any:
    bare = copy.copy(field)
    bare.allow_none = field.allow_none or field.dump_only
    bare.pre_load = bare.post_load = []  # of marshmallow 4
    if isinstance(field, fields.Boolean):  # it dumps true and false, whatever words it loads
        bare.truthy, bare.falsy = {*field.truthy, True}, {*field.falsy, False}
    if isinstance(field, fields.Nested):
        cls: Any = type(field)
        bare.__class__ = _bare_nested(cls)
        bare._bare_schema, bare._rules, bare.unknown = None, rules, INCLUDE
    for name in ("inner", "key_field", "value_field"):
        if getattr(field, name, None) is not None:
            setattr(bare, name, _bare_field(getattr(field, name), rules))
    if hasattr(field, "tuple_fields"):
        bare.tuple_fields = [_bare_field(part, rules) for part in field.tuple_fields]
    return bare


@cache
def _bare_nested(cls: Any) -> Any:
    """A class of fields as ``cls``, a Nested, whose schema is bare. Made when it is used: schemas nest themselves."""

    def schema(self: Any) -> Any:
        if self._bare_schema is None:
            self._bare_schema = bare_copy(cls.schema.fget(self), rules=self._rules)
        return self._bare_schema

    return type(cls.__name__, (cls,), {"schema": property(schema), "__module__": cls.__module__})


def _goes_both_ways(field: Any) -> bool:
    """Whether ``field`` and its inner ones load what they dump, as far as their classes tell."""
    return all(map(_is_one_maker, with_inner(field)))


def _is_one_maker(field: Any) -> bool:
    if isinstance(field, fields.Method | fields.Function):
        return False
    ways = [defines(type(field), way) for way in ("_serialize", "_deserialize")]
    return ways[0] is ways[1] or all(cls.__module__.partition(".")[0] == "marshmallow" for cls in ways)


def misshapen(schema: Any, value: Any) -> bool:
    """Whether ``value`` is a list for one object, or the other way round; marshmallow would find no field in it."""
    if any(schema._hooks[key] for key in list(schema._hooks) if _tag(key) == "pre_dump"):
        return False
    if value is None or isinstance(value, str | bytes | int | float):
        return True
    return isinstance(value, Mapping) if schema.many else isinstance(value, list | tuple | set)


def dumps_through_hooks(schema: Any, seen: set[Any]) -> bool:
    """Whether ``schema``, or one that it nests, has ``post_dump`` hooks."""
    key = (type(schema), frozenset(schema.fields))
    if key in seen:
        return False
    seen.add(key)
    if any(hooks for key, hooks in schema._hooks.items() if _tag(key) == "post_dump"):
        return True
    parts = [part for field in schema.dump_fields.values() for part in with_inner(field)]
    return any(dumps_through_hooks(part.schema, seen) for part in parts if isinstance(part, fields.Nested))


def with_inner(field: Any) -> Iterator[Any]:
    """``field`` and the fields of its items, keys and values."""
    yield field
    inner = [getattr(field, name, None) for name in ("inner", "key_field", "value_field")]
    for part in (*inner, *getattr(field, "tuple_fields", ())):
        if part is not None:
            yield from with_inner(part)
