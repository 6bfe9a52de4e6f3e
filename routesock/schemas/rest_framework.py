"""Django REST framework's serializers as schemas."""

from __future__ import annotations

from typing import Any

from rest_framework.serializers import BaseSerializer  # type: ignore[import-untyped, unused-ignore]

from routesock.exceptions import RouteSetupError
from routesock.problems import invalid

from .base import SchemaAdapter, refuse_async, too_deep


class RestFrameworkAdapter(SchemaAdapter):
    """A serializer: ``load`` gives ``validated_data``, ``dump`` gives ``data``.

    Serializers query the ORM (relations, unique validators), so they run in Django's database thread. A serializer is
    bound to one message, so each gets its own, made as the given one was.
    """

    blocking = True

    def __init__(self, serializer: Any) -> None:
        if serializer.instance is not None or hasattr(serializer, "initial_data"):
            raise RouteSetupError(
                f"The serializer {type(serializer).__qualname__} is bound to an instance or to data: give the class, "
                "or an instance with nothing but options, such as many=True."
            )
        for cls in {type(serializer), type(getattr(serializer, "child", serializer))}:
            _refuse_async_methods(cls)
        self._template = serializer

    def __repr__(self) -> str:
        return f"RestFrameworkAdapter({type(self._template).__qualname__})"

    def load(self, payload: Any) -> Any:
        try:
            serializer = _again(self._template, data=payload)
            if serializer.is_valid():
                return serializer.validated_data
        except RecursionError as exc:
            raise too_deep(payload) or exc from exc
        raise invalid(serializer.errors)

    def dump(self, value: Any) -> Any:
        data = _again(self._template, instance=value).data
        return dict(data) if isinstance(data, dict) else list(data) if isinstance(data, list) else data


def adapter_for(schema: Any) -> SchemaAdapter | None:
    if isinstance(schema, type) and issubclass(schema, BaseSerializer):
        return RestFrameworkAdapter(schema())
    return RestFrameworkAdapter(schema) if isinstance(schema, BaseSerializer) else None


def _again(serializer: Any, **given: Any) -> Any:
    """A new serializer made as ``serializer`` was, plus what is ``given``.

    DRF keeps the arguments for its own copies, but those copy the context too, and whatever is in it.
    """
    options = {**serializer._kwargs, **given}
    if "child" in options:
        options["child"] = _again(options["child"])
    return type(serializer)(*serializer._args, **options)


def _refuse_async_methods(cls: type) -> None:
    for name in dir(cls):
        if name.startswith(("validate", "get_", "to_", "run_", "is_valid")):
            refuse_async(getattr(cls, name, None), cls.__qualname__, name)
