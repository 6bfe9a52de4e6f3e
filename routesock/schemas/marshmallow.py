"""marshmallow: the adapter, and copies of schemas that validate what they dump."""

from __future__ import annotations

import copy
import inspect
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from functools import cache, cached_property
from sys import modules
from threading import RLock
from typing import Any, Final

from django.db.models.manager import BaseManager
from marshmallow import INCLUDE, Schema, ValidationError, fields

from .._wire.messages import Request
from .._wire.problems import invalid
from .base import (
    UNFIT,
    WHOLE,
    Described,
    Mode,
    SchemaAdapter,
    defines,
    is_several,
    one_expected,
    refuse_async,
    too_deep,
    unfit,
)

_CONTEXT: Final = "marshmallow.experimental.context"

_HAS_CONTEXT: Final = "context" in inspect.signature(Schema).parameters
"""Whether schemas have a ``context``, as in marshmallow 3."""

_current: ContextVar[Request | None] = ContextVar("routesock_schema_request", default=None)
"""The request whose payload a schema of marshmallow 3 loads or dumps."""


class _CurrentRequest:
    """Stands for the current request in ``schema.context``, which all sockets share. False in a push."""

    def __getattr__(self, name: str) -> Any:
        return getattr(_current.get(), name)

    def __bool__(self) -> bool:
        return _current.get() is not None

    def __repr__(self) -> str:
        return repr(_current.get())


def _in_context(request: Request, call: Callable[[Any], Any], value: Any) -> Any:
    """Return ``call(value)`` with ``request`` in the schema's context."""
    if _HAS_CONTEXT:
        token = _current.set(request)
        try:
            return call(value)
        finally:
            _current.reset(token)
    context: Any = modules[_CONTEXT].Context  # type: ignore[attr-defined, unused-ignore]
    outer = context.get({})
    if not isinstance(outer, dict):  # the project's own, which is around the whole request
        return call(value)
    with context({**outer, "request": request}):
        return call(value)


_warnings_lock: Final = RLock()  # of threads that catch warnings, the last to end would leave its filters behind


def _make_quiet(schema: Any) -> None:
    """Let the schemas that ``schema`` nests be made without a warning, at whatever depth.

    Since 3.24, marshmallow 3 warns of the context that it itself hands to a nested schema, at the first message that
    reaches it. A schema that nests itself has a new instance at each level.
    """
    for field in schema.fields.values():
        for part in with_inner(field):
            if isinstance(part, fields.Nested):
                cls: Any = type(part)
                part.__class__ = _quiet_nested(cls)


@cache
def _quiet_nested(cls: Any) -> Any:
    """A subclass of ``cls``, a Nested, that makes its schema without warnings; ``cls`` if it is one, or cannot be.

    A field with its schema gets its own class back, so that messages pay nothing for it.
    """
    if hasattr(cls, "_routesock_quiet") or not isinstance(cls.schema, property):
        return cls

    def schema(self: Any) -> Any:
        if self._schema is None:
            with _warnings_lock, warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)
                _make_quiet(cls.schema.fget(self))
        if type(self) is quiet:
            self.__class__ = cls
        return cls.schema.fget(self)

    namespace = {"schema": property(schema), "_routesock_quiet": True, "__module__": cls.__module__}
    quiet = type(cls.__name__, (cls,), namespace)
    return quiet


def bare_copy(schema: Any, *, rules: bool = True) -> Any:
    """A copy of ``schema`` that loads what its fields dump, without the hooks that change its shape.

    Without ``rules``, it and the schemas that it nests have neither ``@validates`` nor ``@validates_schema``.
    """
    bare = copy.copy(schema)
    bare.dump_fields = {name: _bare_field(field, rules) for name, field in schema.dump_fields.items()}
    bare.load_fields = {name: field for name, field in bare.dump_fields.items() if _goes_both_ways(field)}
    kept = ["pre_dump", "validates"] if rules else ["pre_dump"]
    if rules and len(bare.load_fields) == len(schema.fields):
        kept.append("validates_schema")  # which may depend on every field
    bare._hooks = defaultdict(list, {key: hooks for key, hooks in schema._hooks.items() if _tag(key) in kept})
    bare.unknown = INCLUDE
    bare.handle_error = lambda *args, **kwargs: None  # an override expects errors of clients
    return bare


def _tag(key: Any) -> Any:
    """The tag in a key of ``Schema._hooks``; older versions of marshmallow put it into a tuple."""
    return key[0] if isinstance(key, tuple) else key


def _bare_field(field: Any, rules: bool) -> Any:
    bare = copy.copy(field)
    bare.allow_none = field.allow_none or field.dump_only
    bare.pre_load = bare.post_load = []  # of marshmallow 4
    if isinstance(field, fields.Boolean):  # it dumps true and false, whichever texts it loads
        bare.truthy, bare.falsy = {*field.truthy, True}, {*field.falsy, False}
    if isinstance(field, fields.Nested):
        cls: Any = type(field)
        bare.__class__ = _bare_nested(cls)
        bare._bare_schema, bare._rules, bare.unknown = None, rules, INCLUDE
    for name in ("inner", "key_field", "value_field"):
        if getattr(field, name, None) is not None:
            setattr(bare, name, _bare_field(getattr(field, name), rules))
    if isinstance(field, fields.Tuple):
        bare.tuple_fields = [_bare_field(part, rules) for part in field.tuple_fields]
    return bare


@cache
def _bare_nested(cls: Any) -> Any:
    """A subclass of ``cls``, a Nested, with a bare schema, which is made at the first use: schemas nest themselves."""

    def schema(self: Any) -> Any:
        if self._bare_schema is None:
            self._bare_schema = bare_copy(cls.schema.fget(self), rules=self._rules)
        return self._bare_schema

    return type(cls.__name__, (cls,), {"schema": property(schema), "__module__": cls.__module__})


def _goes_both_ways(field: Any) -> bool:
    """Whether ``field`` and its inner fields load what they dump, as far as their classes show."""
    return all(map(_is_symmetric, with_inner(field)))


def _is_symmetric(field: Any) -> bool:
    if isinstance(field, fields.Method | fields.Function):
        return False
    ways = [defines(type(field), way) for way in ("_serialize", "_deserialize")]
    return ways[0] is ways[1] or all(cls.__module__.partition(".")[0] == "marshmallow" for cls in ways)


def misshapen(schema: Any, value: Any) -> bool:
    """Whether ``value`` is a list for one object, or an object for a list: marshmallow would find no field in it."""
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


_HOOK_MARKS = ("_marshmallow_hook", "__marshmallow_hook__")


class MarshmallowAdapter(SchemaAdapter):
    """The adapter of a ``Schema`` instance.

    An ``async def`` hook, validator, ``Method`` or ``Function`` is refused, in nested schemas, too. A nested schema
    that cannot be resolved yet, since its name is defined later, is not inspected.

    Hooks, validators and fields find the request in the schema's context. With marshmallow 4 this is
    ``Context.get()["request"]`` (``from marshmallow.experimental.context import Context``), and a push has no context.
    With marshmallow 3 it is ``self.context["request"]``, an object that stands for the request of the current message,
    and that is false in a push.
    """

    def __init__(self, schema: Any) -> None:
        if _HAS_CONTEXT:
            schema.context.setdefault("request", _CurrentRequest())
            _make_quiet(schema)
        _refuse_async_hooks(schema, set())
        self._schema = schema

    def __repr__(self) -> str:
        return f"MarshmallowAdapter({self._schema!r})"

    def __str__(self) -> str:
        return f"{type(self._schema).__qualname__}{'(many=True)' if self._schema.many else ''}"

    def load(self, payload: Any, request: Request | None = None) -> Any:
        try:
            if request is not None and (_HAS_CONTEXT or _CONTEXT in modules):
                return _in_context(request, self._schema.load, payload)
            return self._schema.load(payload)
        except ValidationError as exc:
            raise invalid(exc.normalized_messages()) from exc  # type: ignore[no-untyped-call, unused-ignore]
        except RecursionError as exc:
            raise too_deep(payload) or exc from exc

    def dump(self, value: Any, request: Request | None = None) -> Any:
        if not self._schema.many:
            if is_several(value) and misshapen(self._schema, [value]):
                name = type(self._schema).__name__
                raise one_expected(name, value, f"{name}(many=True)")
        elif isinstance(value, BaseManager):
            value = value.all()
        if request is not None and (_HAS_CONTEXT or _CONTEXT in modules):
            return _in_context(request, self._schema.dump, value)
        return self._schema.dump(value)

    def dump_checked(self, value: Any) -> Any:
        """Dump ``value``, and validate the result with the fields, ``@validates`` and ``@validates_schema``.

        Fields that are ``dump_only`` are validated as well, but may be ``None``; those that are ``load_only`` may be
        missing. Not validated are ``Method`` and ``Function`` fields, fields of a class that overrides only one of
        ``_serialize`` and ``_deserialize``, and the results of ``post_dump`` hooks; ``@validates_schema`` does not run
        if the schema has any of these fields.
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

    def json_schema(self, mode: Mode) -> Described:
        """Describe the fields with their validators; a class of fields can describe itself, see the documentation.

        Hooks, validators and fields that are a project's own are named as inexact.
        """
        from ._json_schema.marshmallow import json_schema

        return json_schema(self._schema, mode)

    def _errors(self, dumped: Any) -> Any:
        try:
            return self._bare.validate(dumped)
        except Exception:  # a validator that depends on the results of load hooks
            return self._bare_without_rules.validate(dumped)

    # Not before the first push: the schema that a Nested names may be defined later.
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
    """The functions that ``field`` calls: validators, hooks of marshmallow 4, those of Function and Method fields."""
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
    except Exception:  # a lambda or a name that refers to something that is not defined yet
        return None
