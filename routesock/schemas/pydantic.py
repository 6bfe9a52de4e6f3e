"""pydantic 2: the adapter of models, dataclasses and `TypeAdapter`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, get_origin

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic.version import VERSION

from .._wire.codec import encode
from .._wire.problems import invalid
from ..exceptions import Invalid
from .base import Described, Mode, SchemaAdapter, refuse_async, unfit

_ON_WRONG_TYPE: Final[Any] = "error" if tuple(map(int, VERSION.split(".")[:2])) >= (2, 8) else True


class PydanticAdapter(SchemaAdapter):
    """The adapter of a model, through ``TypeAdapter``.

    ``load`` validates in JSON mode, since the payload was JSON: a strict model accepts a text for a datetime, and
    refuses ``"1"`` for an ``int``. ``dump`` takes an instance, a dict, or an object with the attributes of the model,
    such as a Django model, and returns what ``model_dump(mode="json")`` returns.
    """

    def __init__(self, adapter: TypeAdapter[Any], name: str) -> None:
        self._adapter = adapter
        self._name = name
        for function in _functions(adapter.core_schema):
            refuse_async(function, name, getattr(function, "__name__", repr(function)))

    def __repr__(self) -> str:
        return f"PydanticAdapter({self._name})"

    def __str__(self) -> str:
        return self._name

    def load(self, payload: Any) -> Any:
        try:
            return self._adapter.validate_json(encode(payload))
        except ValidationError as exc:
            raise refusal(exc) from exc

    def dump(self, value: Any) -> Any:
        return self._adapter.dump_python(self._adapter.validate_python(value, from_attributes=True), mode="json")

    def dump_checked(self, value: Any) -> Any:
        """Validate ``value``, and dump the result.

        The dump cannot be validated, since aliases, computed fields and serializers need not be reversible.
        A dict may have the values of Python or those of JSON, for a strict model, too. An instance of the model is not
        validated again, unless the model has ``revalidate_instances``; but a field of the wrong type is found (from
        pydantic 2.8 on).
        """
        try:
            instance = self._adapter.validate_python(value, from_attributes=True)
        except ValidationError as exc:
            if not isinstance(value, dict | list):
                raise refusal(exc) from exc
            try:
                instance = self._adapter.validate_json(encode(value))
            except (ValidationError, TypeError, ValueError):
                raise refusal(exc) from exc
        try:
            return self._adapter.dump_python(instance, mode="json", warnings=_ON_WRONG_TYPE)
        except ValueError as exc:  # PydanticSerializationError is one
            raise unfit(exc) from exc

    def json_schema(self, mode: Mode) -> Described:
        """Describe what the validators of the core schema accept, or what its serializers return.

        Inexact are validators of the project, types whose JSON Schema it writes itself, bounds of dates, URLs,
        ``Json``, networks, and types that depend on the server, such as ``FilePath``.
        """
        from ._json_schema.pydantic import describe

        return describe(self._adapter, mode)


def adapter_for(schema: Any) -> SchemaAdapter | None:
    if isinstance(schema, TypeAdapter):
        return PydanticAdapter(schema, repr(schema))
    if get_origin(schema) is list:
        return PydanticAdapter(TypeAdapter(schema), repr(schema))
    if isinstance(schema, type) and (issubclass(schema, BaseModel) or hasattr(schema, "__pydantic_validator__")):
        return PydanticAdapter(TypeAdapter(schema), schema.__qualname__)
    return None


def refusal(exc: Any) -> Invalid:
    """The client's error of a ``ValidationError``, without ``input`` (it may be a password), ``ctx`` and ``url``."""
    return invalid([{key: error[key] for key in ("type", "loc", "msg")} for error in exc.errors(include_url=False)])


def _functions(schema: Any) -> Iterator[Any]:
    """The validators and serializers in a core schema and its nested schemas."""
    if isinstance(schema, dict):
        for key, value in schema.items():
            if key == "function" and callable(value):
                yield value
            else:
                yield from _functions(value)
    elif isinstance(schema, list | tuple):
        for item in schema:
            yield from _functions(item)
