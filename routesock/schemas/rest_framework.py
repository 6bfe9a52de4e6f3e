"""Django REST framework: the adapter of serializers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from django.core.exceptions import ValidationError as DjangoValidationError
from rest_framework import fields, relations, validators  # type: ignore[import-untyped, unused-ignore]
from rest_framework.exceptions import ValidationError  # type: ignore[import-untyped, unused-ignore]
from rest_framework.serializers import (  # type: ignore[import-untyped, unused-ignore]
    BaseSerializer,
    ListSerializer,
    Serializer,
)
from rest_framework.settings import api_settings  # type: ignore[import-untyped, unused-ignore]

from .._wire.problems import invalid
from ..exceptions import RouteSetupError
from ..permissions.rest_framework import action_of, view_of
from .base import (
    UNFIT,
    Described,
    Mode,
    SchemaAdapter,
    as_list,
    defines,
    is_several,
    one_expected,
    refuse_async,
    too_deep,
    unfit,
)

if TYPE_CHECKING:
    from .._wire.messages import Request

_ONE_WAY: Final = (
    fields.FileField,
    fields.JSONField,
    fields.ModelField,
    fields.ReadOnlyField,
    fields.SerializerMethodField,
    relations.ManyRelatedField,
    relations.RelatedField,
)
"""Fields that cannot load what they dump, or query the database to do so."""

_TEMPORAL: Final = {fields.DateTimeField: "DATETIME", fields.DateField: "DATE", fields.TimeField: "TIME"}

_QUERY_THE_DATABASE: Final = (
    validators.UniqueValidator,
    validators.UniqueTogetherValidator,
    validators.BaseUniqueForValidator,
)


class RestFrameworkAdapter(SchemaAdapter):
    """The adapter of a serializer: ``load`` returns ``validated_data``, ``dump`` returns ``data``.

    Serializers query the database (relations, unique validators), so they run in Django's database thread. A serializer
    is bound to its data, so each message gets a new one with the same arguments.

    As in a view of DRF, ``self.context`` has ``request``, ``format`` and ``view``. The request is DRF's, made from the
    handshake, with the socket's user and the payload as its data. In a push, and in the schema of an event, the context
    has none of them.
    """

    runs_in_thread: bool = True

    def __init__(self, serializer: Any) -> None:
        if serializer.instance is not None or hasattr(serializer, "initial_data"):
            raise RouteSetupError(
                f"The serializer {type(serializer).__qualname__} is bound to an instance or to data. Pass the class, "
                "or an instance with nothing but options, such as many=True."
            )
        for cls in {type(serializer), type(getattr(serializer, "child", serializer))}:
            _refuse_async_methods(cls)
        self._template = serializer
        self._is_object = isinstance(serializer, Serializer)
        self._is_list = isinstance(serializer, ListSerializer)

    def __repr__(self) -> str:
        return f"RestFrameworkAdapter({type(self._template).__qualname__})"

    def __str__(self) -> str:
        child = getattr(self._template, "child", None)
        name = type(self._template).__qualname__
        return name if child is None else f"{type(child).__qualname__}(many=True)"

    def load(self, payload: Any, request: Request | None = None) -> Any:
        try:
            serializer = self._bound(request, data=payload)
            if serializer.is_valid():
                return serializer.validated_data
        except RecursionError as exc:
            raise too_deep(payload) or exc from exc
        raise invalid(serializer.errors)

    def dump(self, value: Any, request: Request | None = None) -> Any:
        if self._is_list:
            value = as_list(value)
        elif self._is_object and is_several(value):
            cls = type(self._template)
            if _of_drf(defines(cls, "to_representation")):
                raise one_expected(cls.__qualname__, value, f"{cls.__qualname__}(many=True)")
        data = self._bound(request, instance=value).data
        return dict(data) if isinstance(data, dict) else list(data) if isinstance(data, list) else data

    def dump_checked(self, value: Any) -> Any:
        """Dump ``value``, and validate the result of each field with the field and its validators, but not uniqueness.

        Fields that are ``read_only`` are validated as well, but may be ``None``; those that are ``write_only`` may be
        missing. Not validated are relations, files, ``SerializerMethodField`` and similar fields, dates in another
        format than ISO 8601, fields of a class that overrides only one of ``to_representation`` and
        ``to_internal_value``, and serializers that override ``to_representation``. ``validate()``,
        ``validate_<field>()`` and ``Meta.validators`` do not run: they are for what clients send.
        """
        if value is None:
            raise invalid({str(api_settings.NON_FIELD_ERRORS_KEY): [str(self._template.error_messages["null"])]})
        serializer = _again(self._template, instance=value)
        try:
            data = serializer.data
        except ValidationError as exc:
            raise invalid(exc.detail) from exc
        except (fields.BuiltinSignatureError, *UNFIT) as exc:
            raise unfit(exc) from exc
        errors = errors_of(serializer, data)
        if errors:
            raise invalid(errors)
        return dict(data) if isinstance(data, dict) else list(data) if isinstance(data, list) else data

    def _bound(self, request: Request | None, **given: Any) -> Any:
        """A new serializer for one message, with the context of ``request``."""
        if request is not None and request.consumer is not None:
            given["context"] = _Context(self._template._kwargs.get("context") or {}, request)
        return _again(self._template, **given)

    def json_schema(self, mode: Mode) -> Described:
        """Describe what the serializer accepts in JSON, or what it returns.

        Inexact are relations, validators and fields of the project, ``validate()`` and ``validate_<field>()``,
        validators that query the database, bounds of dates, URLs, and other input formats than ISO 8601.
        """
        from ._json_schema.rest_framework import describe

        return describe(_again(self._template), mode)


class _Context(dict[str, Any]):
    """The context of a serializer. DRF's request and the view are made when something reads them first."""

    def __init__(self, given: dict[str, Any], request: Request) -> None:
        super().__init__({"format": None, **given})
        self._request = request

    def __missing__(self, name: str) -> Any:
        if name not in _LAZY:
            raise KeyError(name)
        view = view_of(self._request, "POST", action_of(self._request))
        self.setdefault("view", view)
        self.setdefault("request", view.request)
        return self[name]

    def __contains__(self, name: object) -> bool:
        return name in _LAZY or super().__contains__(name)

    def get(self, name: str, default: Any = None) -> Any:
        if name in _LAZY:
            return self[name]
        return super().get(name, default)


_LAZY: Final = ("request", "view")


def adapter_for(schema: Any) -> SchemaAdapter | None:
    if isinstance(schema, type) and issubclass(schema, BaseSerializer):
        return RestFrameworkAdapter(schema())
    return RestFrameworkAdapter(schema) if isinstance(schema, BaseSerializer) else None


def _again(serializer: Any, **given: Any) -> Any:
    """A new serializer with the arguments of ``serializer``, and those in ``given``.

    DRF keeps the arguments for its own copies, but those copy the context and everything in it.
    """
    options = {**serializer._kwargs, **given}
    if "child" in options:
        options["child"] = _again(options["child"])
    return type(serializer)(*serializer._args, **options)


def _refuse_async_methods(cls: type) -> None:
    for name in dir(cls):
        if name.startswith(("validate", "get_", "to_", "run_", "is_valid")):
            refuse_async(getattr(cls, name, None), cls.__qualname__, name)


def errors_of(field: Any, data: Any) -> Any:
    """The errors of ``field`` for ``data``, which it has dumped, if any. The field belongs to this message alone."""
    if data is None:
        return None if field.allow_null or field.read_only else [str(field.error_messages["null"])]
    if not _goes_both_ways(field):
        return None
    if isinstance(field, Serializer):
        return _errors_of_each(
            {name: (field.fields[name], part) for name, part in data.items() if name in field.fields}
        )
    if isinstance(field, ListSerializer | fields.ListField):
        errors = _errors_of_each({index: (field.child, part) for index, part in enumerate(data)})
        return errors or _length_errors(field, len(data)) or _refusal(field.run_validators, data)
    if isinstance(field, fields.DictField):
        errors = _errors_of_each({name: (field.child, part) for name, part in data.items()})
        return errors or _length_errors(field, len(data)) or _refusal(field.run_validators, data)
    field.read_only = False  # otherwise it would not validate
    field.validators = [check for check in field.validators if not isinstance(check, _QUERY_THE_DATABASE)]
    return _refusal(field.run_validation, data)


def _errors_of_each(parts: dict[Any, tuple[Any, Any]]) -> dict[Any, Any]:
    found = {key: errors_of(field, data) for key, (field, data) in parts.items()}
    return {key: errors for key, errors in found.items() if errors}


def _length_errors(field: Any, count: int) -> list[str] | None:
    least, most = getattr(field, "min_length", None), getattr(field, "max_length", None)
    if not count and not field.allow_empty:
        return [str(field.error_messages["empty"])]
    if most is not None and count > most:
        return [field.error_messages["max_length"].format(max_length=most)]
    if least is not None and count < least:
        return [field.error_messages["min_length"].format(min_length=least)]
    return None


def _refusal(check: Any, data: Any) -> Any:
    try:
        check(data)
    except ValidationError as exc:
        return exc.detail
    except DjangoValidationError as exc:
        return exc.messages
    except UNFIT:  # code of the project that depends on an HTTP request
        return None
    return None


def _goes_both_ways(field: Any) -> bool:
    """Whether ``field`` loads what it dumps, as far as its class and its formats show."""
    cls = type(field)
    if isinstance(field, BaseSerializer):
        return isinstance(field, Serializer | ListSerializer) and _of_drf(defines(cls, "to_representation"))
    if isinstance(field, _ONE_WAY) or getattr(field, "localize", False):
        return False
    for temporal, name in _TEMPORAL.items():
        if isinstance(field, temporal):
            output = getattr(field, "format", getattr(api_settings, f"{name}_FORMAT"))
            accepted = getattr(field, "input_formats", getattr(api_settings, f"{name}_INPUT_FORMATS"))
            if output not in (None, fields.ISO_8601) or fields.ISO_8601 not in accepted:
                return False
    ways = [defines(cls, "to_representation"), defines(cls, "to_internal_value")]
    return ways[0] is ways[1] or all(map(_of_drf, ways))


def _of_drf(cls: type) -> bool:
    return cls.__module__.partition(".")[0] == "rest_framework"
