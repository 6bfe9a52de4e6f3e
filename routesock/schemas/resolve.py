"""Whatever stands behind ``schema=``, settled once: one function, so that the rest of routesock sees one type."""

from __future__ import annotations

from importlib import import_module
from typing import Any, Final, get_args, get_origin

from routesock.exceptions import RouteSetupError

from .base import SchemaAdapter
from .plain import PlainAdapter, is_plain

_ADAPTERS: Final = {
    "marshmallow": ".marshmallow",
    "pydantic": ".pydantic",
    "msgspec": ".msgspec",
    "rest_framework": ".rest_framework",
}
"""Library to the module with its adapter. A module is imported for an object of its library, so never on a guess."""


def resolve(schema: Any) -> SchemaAdapter:
    """The adapter of ``schema``, which is one of:

    - a marshmallow ``Schema`` class or instance; ``many``, ``partial``, ``unknown``, ``only`` are the instance's;
    - a pydantic 2 model or dataclass, ``list[Model]``, or a ``TypeAdapter``;
    - a msgspec ``Struct`` or ``list[Struct]``;
    - a DRF serializer class or unbound instance, ``many=True`` too;
    - a plain function of the payload, see :class:`~routesock.schemas.plain.PlainAdapter`;
    - any of these in :class:`~routesock.schemas.Blocking`, or another :class:`~routesock.schemas.SchemaAdapter`.

    :class:`~routesock.exceptions.RouteSetupError` for anything else.
    """
    adapter = library_adapter(schema)
    if adapter is not None:
        return adapter
    if is_plain(schema):
        return PlainAdapter(schema)
    raise RouteSetupError(
        f"{schema!r} is no schema.{_hint(schema)} Accepted are a marshmallow Schema (class or instance), a pydantic "
        "model, a msgspec Struct, a DRF serializer, and a plain function that takes the payload."
    )


def library_adapter(schema: Any) -> SchemaAdapter | None:
    """As :func:`resolve`, but ``None`` for what is no schema of a library: a callable, or a mistake."""
    if isinstance(schema, SchemaAdapter):
        return schema
    for library in _libraries_of(get_args(schema)[0] if get_origin(schema) is list else schema):
        adapter: SchemaAdapter | None = import_module(_ADAPTERS[library], __package__).adapter_for(schema)
        if adapter is not None:
            return adapter
    return None


def _libraries_of(schema: Any) -> list[str]:
    """The libraries that define ``schema``'s class or a base of it."""
    cls = schema if isinstance(schema, type) else type(schema)
    modules = {base.__module__.partition(".")[0] for base in cls.__mro__}
    if "__pydantic_validator__" in vars(cls):
        modules.add("pydantic")  # a pydantic dataclass has no base of pydantic's
    return [library for library in _ADAPTERS if library in modules]


def _hint(schema: Any) -> str:
    if isinstance(schema, str):
        return " Give the object, not its name."
    if isinstance(schema, dict):
        return " Did you mean marshmallow's Schema.from_dict(...)?"
    if isinstance(schema, type) and issubclass(schema, SchemaAdapter):
        return f" Did you mean an instance, {schema.__name__}(...)?"
    if isinstance(schema, type):
        return f" Did you mean a function, such as lambda payload: {schema.__name__}(...)?"
    if _libraries_of(schema):
        return f" Did you mean the class, {type(schema).__qualname__}?"
    return ""
