"""The interface of schema adapters, the adapter of plain functions, and finding the adapter of a schema."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, get_args, get_origin

from django.db.models import QuerySet
from django.db.models.manager import BaseManager

from .._wire.codec import deeper_than
from .._wire.problems import error_of, invalid
from ..exceptions import Invalid, RouteSetupError

if TYPE_CHECKING:
    from .._wire.messages import Request

WHOLE: Final = "_schema"
"""The key of messages that belong to no field, as in marshmallow. In the flat shape it becomes ``__all__``."""

_SHALLOW_LEVELS: Final = 8


Mode: TypeAlias = Literal["load", "dump"]
"""Which way a schema is used: for what a client sends, or for what it receives."""


@dataclass(frozen=True, slots=True)
class Definition:
    """A schema that others refer to, such as that of a nested class.

    Args:
        name: The name of the class in code, such as ``"AuthorSchema"``.
        module: The module that defines it.
        schema: Its JSON Schema.
        variant: What is different from the class itself, such as ``"only: id, name"``; empty for the class itself.
    """

    name: str
    module: str
    schema: Mapping[str, Any]
    variant: str = ""


@dataclass(frozen=True, slots=True)
class Described:
    """A schema as JSON Schema (draft 7), for documents and clients.

    Args:
        schema: The JSON Schema of the payload. It refers to a definition as ``{"$ref": "#/$defs/<key>"}``. Where a part
            accepts values that the server refuses, that part has ``"x-routesock-inexact": [reason, ...]``.
        definitions: The definitions by the keys that the references use. They may refer to each other and to
            themselves.
        inexact: All reasons in ``schema`` and ``definitions``, each once.
    """

    schema: Mapping[str, Any]
    definitions: Mapping[str, Definition] = field(default_factory=dict)
    inexact: tuple[str, ...] = ()


class SchemaAdapter(ABC):
    """Adapts the schema of a library. For a library without an adapter, subclass it and pass an instance.

    It is made when a class is created, and all sockets share it. So ``load`` and ``dump`` keep no state between calls.
    Both get the request, and an adapter that does not need it may leave out that argument: ``load(self, payload)``.
    """

    runs_in_thread: bool = False
    """Whether ``load`` and ``dump`` run in Django's database thread instead of on the event loop, as they have to if
    they query the database."""

    def __str__(self) -> str:
        """Return the name of the schema in code, for commands and documents."""
        return type(self).__qualname__

    @abstractmethod
    def load(self, payload: Any, request: Request | None = None) -> Any:
        """Validate what a client sent.

        Args:
            payload: Decoded JSON.
            request: The request, whose ``payload`` is not validated yet; ``None`` for the payload of an event.

        Returns:
            The new ``request.payload``.

        Raises:
            Invalid: The schema refuses the payload, with messages by path in ``errors``. Any other exception is a fault
                of the schema, and answered 500.
        """

    @abstractmethod
    def dump(self, value: Any, request: Request | None = None) -> Any:
        """Turn a handler's result into what ``DjangoJSONEncoder`` can encode.

        Args:
            value: The result.
            request: The request; ``None`` for a push.

        Returns:
            The payload of the reply.

        Raises:
            Exception: What the library raises if the value does not fit. It is the server's fault, never the client's.
        """

    def dump_checked(self, value: Any) -> Any:
        """Dump the payload of a declared push, and validate the result.

        Libraries validate what clients send, so each adapter documents how much of its validation applies here. A rule
        that is meant for clients only never refuses a value. By default nothing is validated. A push belongs to no
        request, so schemas that read the request find none here.

        Args:
            value: What is pushed.

        Returns:
            What :meth:`dump` returns.

        Raises:
            Invalid: A required field is missing, or a field has a type or a value that the schema does not allow.
        """
        return self.dump(value)

    def json_schema(self, mode: Mode) -> Described:
        """Describe the schema for documents and clients.

        What the description accepts, :meth:`load` has to accept, or the description says that it is inexact. By default
        it accepts everything, and says so.

        Args:
            mode: ``"load"`` for what a client sends, ``"dump"`` for what it receives.
        """
        name = type(self).__qualname__
        return Described({"x-routesock-inexact": [name]}, inexact=(name,))


def takes_request(function: Any) -> bool:
    """Whether ``function`` takes the request after the payload.

    The second argument is the request if it is called ``request``, or if it has no default.
    """
    try:
        parameters = [*inspect.signature(function).parameters.values()]
    except (TypeError, ValueError):
        return False
    positional = [each for each in parameters if each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD)]
    return len(positional) > 1 and (positional[1].name == "request" or positional[1].default is inspect.Parameter.empty)


def loader_of(schema: SchemaAdapter) -> Callable[[Any, Request | None], Any]:
    """``schema.load`` as ``load(payload, request)``, also if it takes the payload alone."""
    return _with_request(schema.load)


def dumper_of(schema: SchemaAdapter) -> Callable[[Any, Request | None], Any]:
    """``schema.dump`` as ``dump(value, request)``, also if it takes the value alone."""
    return _with_request(schema.dump)


def _with_request(function: Callable[..., Any]) -> Callable[[Any, Request | None], Any]:
    return function if takes_request(function) else lambda value, request: function(value)


_SEVERAL: Final = (list, set, frozenset, QuerySet, BaseManager)
"""Made once: this is tested for each reply, where an ABC such as ``Iterator`` would take longer than the dump."""


def is_several(value: Any) -> bool:
    """Whether ``value`` is several objects. A named tuple is one, whose fields are its attributes."""
    cls = type(value)
    return cls is not dict and (isinstance(value, _SEVERAL) or cls is tuple or hasattr(cls, "__next__"))


def as_list(value: Any) -> Any:
    """``value``, as a list if it is a ``QuerySet``, a manager or a generator, which some libraries do not accept."""
    if type(value) is list:
        return value
    if isinstance(value, BaseManager):
        value = value.all()
    return list(value) if isinstance(value, QuerySet) or hasattr(type(value), "__next__") else value


def one_expected(name: str, value: Any, cure: str) -> TypeError:
    """The error for ``value``, several objects, in a schema for one. ``cure`` is how to write the schema instead."""
    return TypeError(f"{name} dumps one object, and the value is a {type(value).__name__}. Write {cure}.")


def gives_awaitable(function: Any) -> bool:
    """Whether ``function`` (a function, a partial, an object with ``__call__``) is async, or an async generator."""
    calls = (function, getattr(type(function), "__call__", None))  # noqa: B004
    return any(inspect.iscoroutinefunction(call) or inspect.isasyncgenfunction(call) for call in calls)


def refuse_async(function: Any, owner: str, hook: str) -> None:
    """Raise :class:`RouteSetupError` if ``function`` is async: schema libraries call their hooks without awaiting them.

    Such a hook would seem to permit everything, since a coroutine that is not awaited never raises.
    """
    if gives_awaitable(function):
        raise RouteSetupError(
            f"{owner}.{hook} is async, and a schema's hooks are called without await: it would never run. Make it a "
            "plain function (with run_in_thread(...) around the schema if it queries the database), or do this in "
            "hydrate=."
        )


UNFIT: Final = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
"""The exceptions of libraries that dump a value with a field that is missing or has the wrong type."""


def unfit(exc: Exception) -> Invalid:
    """The error for a value that a library could not dump."""
    return invalid({WHOLE: [f"{type(exc).__name__}: {exc}"]})


def defines(cls: type, method: str) -> type:
    """The class in the MRO of ``cls`` that defines ``method``."""
    return next(base for base in cls.__mro__ if method in vars(base))


def too_deep(payload: Any) -> Invalid | None:
    """The error for a schema that hit the recursion limit; ``None`` if ``payload`` is too flat to be the reason."""
    return invalid({WHOLE: ["Nested too deeply."]}) if deeper_than(_SHALLOW_LEVELS, payload) else None


def is_function(schema: Any) -> bool:
    """Whether ``schema`` is a function or an object with ``__call__``.

    Classes are not accepted: one that only stores its arguments (a form, a dataclass) would permit everything.
    """
    return callable(schema) and not isinstance(schema, type) and get_origin(schema) is None


class PlainAdapter(SchemaAdapter):
    """The adapter of ``schema=function``: the result of ``function(payload)`` is the new payload.

    A function with a second argument, ``function(payload, request)``, gets the request as well; ``None`` for the
    payload of a push or an event.

    The function refuses a payload with a ``ValueError``, whose text is sent to the client under ``"__all__"``. So catch
    one whose text the client must not read. Validation errors of pydantic and msgspec refuse it, too. Any other
    exception is handled as if a handler had raised it: Django's ``ValidationError`` is a 422 with messages by field, a
    ``TypeError`` or ``KeyError`` a 500. The function runs on the event loop, unless it is marked with
    :func:`~routesock.run_in_thread`.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        if gives_awaitable(function) or inspect.isgeneratorfunction(function):
            raise RouteSetupError(
                f"{function!r} is async or a generator, and a schema is a plain function. Mark it with "
                "run_in_thread if it queries the database, or do this in hydrate=, which may be async."
            )
        self._function = function
        self._call = _with_request(function)
        self.runs_in_thread: bool = runs_in_thread(function, default=False)

    def __repr__(self) -> str:
        return f"PlainAdapter({self._function!r})"

    def __str__(self) -> str:
        name: str = getattr(self._function, "__qualname__", type(self._function).__qualname__)
        return name

    def load(self, payload: Any, request: Request | None = None) -> Any:
        try:
            return self._called(payload, request)
        except Exception as exc:
            refusal = _refusal(exc)
            if refusal is None:
                raise
            raise refusal from exc

    def dump(self, value: Any, request: Request | None = None) -> Any:
        return self._called(value, request)

    def dump_checked(self, value: Any) -> Any:
        """Call the function. It refuses a value as in :meth:`load`, and with the validation errors of libraries."""
        try:
            return self.load(value)
        except Exception as exc:
            error = error_of(exc)
            if error is None or error is exc or error.errors is None:
                raise
            raise invalid(error.errors) from exc

    def json_schema(self, mode: Mode) -> Described:
        """Accepts everything, with the name of the function as the reason."""
        function = self._function.func if isinstance(self._function, partial) else self._function
        name = getattr(function, "__name__", None) or type(function).__name__
        return Described({"x-routesock-inexact": [name]}, inexact=(name,))

    def _called(self, value: Any, request: Request | None) -> Any:
        result = self._call(value, request)
        if inspect.isawaitable(result):
            if inspect.iscoroutine(result):
                result.close()
            raise TypeError(f"The schema {self._function!r} returned an awaitable. Write it as a plain function.")
        if hasattr(type(result), "is_valid") and getattr(result, "_errors", None) is None:
            raise TypeError(
                f"The schema {self._function!r} returned a {type(result).__name__} that has validated nothing. Call "
                "is_valid(), raise a ValidationError if that is False, and return what it has validated."
            )
        return result


def _refusal(exc: Exception) -> Invalid | None:
    """The client's error for ``exc``; ``None`` if ``exc`` is a fault."""
    library = type(exc).__module__.partition(".")[0]
    if library == "pydantic_core" and isinstance(exc, ValueError):
        from .pydantic import refusal  # the text of the error itself would show the input

        return refusal(exc)
    if library == "msgspec":  # its errors are ValueErrors in its newest versions only
        from .msgspec import refusal as located

        return located(exc)
    return invalid({WHOLE: [str(exc)]}) if isinstance(exc, ValueError) else None


_ADAPTERS: Final = {
    "marshmallow": ".marshmallow",
    "pydantic": ".pydantic",
    "msgspec": ".msgspec",
    "rest_framework": ".rest_framework",
}
"""The modules of the adapters by library. A module is imported only for an object of its library."""


def as_schema(schema: Any) -> SchemaAdapter:
    """The adapter of a schema, as ``schema=``, ``dehydrate=`` and ``Push`` use it.

    Args:
        schema: One of these:

            - a marshmallow ``Schema`` class or instance; pass an instance for ``many``, ``partial``, ``unknown`` or
              ``only``;
            - a pydantic 2 model or dataclass, ``list[Model]``, or a ``TypeAdapter``;
            - a msgspec ``Struct`` or ``list[Struct]``;
            - a DRF serializer class or unbound instance, also with ``many=True``;
            - a plain function of the payload, or of the payload and the request, see
              :class:`~routesock.schemas.PlainAdapter`;
            - any of these in :func:`~routesock.run_in_thread` or :func:`~routesock.run_on_loop`;
            - another :class:`~routesock.schemas.SchemaAdapter`.

    Returns:
        The adapter.

    Raises:
        RouteSetupError: ``schema`` is none of these.
    """
    adapter = library_adapter(schema)
    if adapter is not None:
        return adapter
    if is_function(schema):
        return PlainAdapter(schema)
    raise RouteSetupError(
        f"{schema!r} is not a schema.{_hint(schema)} Expected a marshmallow Schema (class or instance), a pydantic "
        "model, a msgspec Struct, a DRF serializer, and a plain function that takes the payload."
    )


def library_adapter(schema: Any) -> SchemaAdapter | None:
    """The adapter of a library's schema; ``None`` for anything else, such as a function."""
    if isinstance(schema, SchemaAdapter):
        return schema
    for library in _libraries_of(get_args(schema)[0] if get_origin(schema) is list else schema):
        adapter: SchemaAdapter | None = import_module(_ADAPTERS[library], __package__).adapter_for(schema)
        if adapter is not None:
            return adapter
    return None


def _libraries_of(schema: Any) -> list[str]:
    """The libraries that define the class of ``schema`` or one of its bases."""
    cls = schema if isinstance(schema, type) else type(schema)
    modules = {base.__module__.partition(".")[0] for base in cls.__mro__}
    if "__pydantic_validator__" in vars(cls):
        modules.add("pydantic")  # a pydantic dataclass has no base class there
    return [library for library in _ADAPTERS if library in modules]


def _hint(schema: Any) -> str:
    if isinstance(schema, str):
        return " Give the object, not its name."
    if isinstance(schema, dict):
        return " Did you mean marshmallow's Schema.from_dict(...)?"
    if isinstance(schema, type) and issubclass(schema, SchemaAdapter):
        return f" Did you mean an instance, {schema.__name__}(...)?"
    if hasattr(schema, "is_valid"):
        return (
            " A form validates nothing before its is_valid() is called. Write a function that takes the payload, calls "
            "is_valid() and returns cleaned_data."
        )
    if isinstance(schema, type):
        return f" Did you mean a function, such as lambda payload: {schema.__name__}(...)?"
    if _libraries_of(schema):
        return f" Did you mean the class, {type(schema).__qualname__}?"
    return ""


RUNS_IN_THREAD: Final = "__routesock_runs_in_thread__"
"""The attribute of functions that are marked to run in the database thread or on the event loop."""


def runs_in_thread(function: Any, *, default: bool) -> bool:
    """Whether sync ``function`` is marked to run in the database thread or on the event loop; else ``default``."""
    return bool(getattr(function, RUNS_IN_THREAD, default))
