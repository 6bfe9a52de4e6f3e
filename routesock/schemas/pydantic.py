"""pydantic 2: the adapter of models, dataclasses and `TypeAdapter`."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final, get_origin

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic.version import VERSION

from .._wire.codec import encode
from .._wire.problems import invalid
from ..exceptions import Invalid
from .base import Described, Mode, SchemaAdapter, as_list, is_several, one_expected, refuse_async, unfit

if TYPE_CHECKING:
    from .._wire.messages import Request

_ON_WRONG_TYPE: Final[Any] = "error" if tuple(map(int, VERSION.split(".")[:2])) >= (2, 8) else True

_DUMPS_WITH_CONTEXT: Final = "context" in inspect.signature(TypeAdapter.dump_python).parameters
"""From pydantic 2.8 on."""


class PydanticAdapter(SchemaAdapter):
    """The adapter of a model, through ``TypeAdapter``.

    ``load`` validates in JSON mode, since the payload was JSON: a strict model accepts a text for a datetime, and
    refuses ``"1"`` for an ``int``. ``dump`` takes an instance, a dict, or an object with the attributes of the model,
    such as a Django model, and returns what ``model_dump(mode="json")`` returns.

    Validators and ``model_post_init`` find the request in their context, as ``info.context["request"]``; serializers do
    from pydantic 2.8 on. In a push, and in the schema of an event, the context is ``None``.
    """

    def __init__(self, adapter: TypeAdapter[Any], name: str) -> None:
        self._adapter = adapter
        self._name = name
        for function in _functions(adapter.core_schema):
            refuse_async(function, name, getattr(function, "__name__", repr(function)))
        self._has_context = _reads_context(adapter.core_schema)
        self._dumps_with_context = self._has_context and _DUMPS_WITH_CONTEXT
        outermost = _outermost(adapter.core_schema)
        self._is_list = outermost["type"] == "list"
        self._is_object = _is_object(outermost)

    def __repr__(self) -> str:
        return f"PydanticAdapter({self._name})"

    def __str__(self) -> str:
        return self._name

    def load(self, payload: Any, request: Request | None = None) -> Any:
        try:
            if self._has_context and request is not None:
                return self._adapter.validate_json(encode(payload), context={"request": request})
            return self._adapter.validate_json(encode(payload))
        except ValidationError as exc:
            raise refusal(exc) from exc

    def dump(self, value: Any, request: Request | None = None) -> Any:
        if self._is_list:
            value = as_list(value)
        elif self._is_object and is_several(value):
            raise one_expected(self._name, value, f"list[{self._name}]")
        if not self._has_context or request is None:
            return self._adapter.dump_python(self._adapter.validate_python(value, from_attributes=True), mode="json")
        context = {"request": request}
        instance = self._adapter.validate_python(value, from_attributes=True, context=context)
        if self._dumps_with_context:
            return self._adapter.dump_python(instance, mode="json", context=context)
        return self._adapter.dump_python(instance, mode="json")

    def dump_checked(self, value: Any) -> Any:
        """Validate ``value``, and dump the result.

        The dump cannot be validated, since aliases, computed fields and serializers need not be reversible.
        A dict may have the values of Python or those of JSON, for a strict model, too. An instance of the model is not
        validated again, unless the model has ``revalidate_instances``; but a field of the wrong type is found (from
        pydantic 2.8 on).
        """
        if self._is_list:
            value = as_list(value)
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


def _reads_context(schema: Any) -> bool:
    """Whether a core schema has validators, serializers or a ``model_post_init`` that may read the context."""
    if isinstance(schema, dict):
        if schema.get("type") == "with-info" or schema.get("info_arg") or schema.get("post_init"):
            return True
        return any(map(_reads_context, schema.values()))
    return isinstance(schema, list | tuple) and any(map(_reads_context, schema))


def _outermost(schema: Any) -> Any:
    """The core schema, without the definitions that surround that of a model which refers to itself."""
    if schema["type"] != "definitions":
        return schema
    inner = schema["schema"]
    by_name = {definition.get("ref"): definition for definition in schema["definitions"]}
    return by_name.get(inner.get("schema_ref"), inner)


def _is_object(schema: Any) -> bool:
    """Whether a core schema accepts an object alone: a model or a dataclass without validators that run before."""
    is_model = schema["type"] in ("model", "dataclass") and not schema.get("root_model")
    return is_model and schema["schema"]["type"] in ("model-fields", "dataclass-args")
