"""Schema adapters: one interface for every schema library, and finding the adapter of a schema."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Any, Final, TypeVar, get_args, get_origin, overload

from .._wire.codec import deeper_than
from .._wire.problems import error_of, invalid
from ..exceptions import Invalid, RouteSetupError

WHOLE: Final = "_schema"
"""Where messages stand that belong to no field, as in marshmallow."""

_SHALLOW_LEVELS: Final = 8


class SchemaAdapter(ABC):
    """One schema, resolved when a class is created and kept for all its messages.

    An adapter is shared by every socket, so ``load`` and ``dump`` hold no state between calls. Subclass it for a
    library that routesock does not know, and give an instance as ``schema=``.
    """

    runs_in_thread: bool = False
    """Whether ``load`` and ``dump`` run in Django's database thread instead of on the event loop, as they have to if
    they query the database."""

    @abstractmethod
    def load(self, payload: Any) -> Any:
        """What the schema makes of a client's ``payload``.

        Raises :class:`~routesock.exceptions.Invalid` where the schema refuses it, with the library's own messages in
        ``errors``; whatever else is raised is a fault of the schema.
        """

    @abstractmethod
    def dump(self, value: Any) -> Any:
        """``value`` (a handler's result) as the JSON encoder can spell it.

        Raises what the library raises where ``value`` does not fit: that is the server's fault, never the client's.
        """

    def dump_checked(self, value: Any) -> Any:
        """What :meth:`dump` gives for ``value``, of which the schema says that it may be sent: for a declared push.

        Raises :class:`~routesock.exceptions.Invalid` where a required field is missing, or one has a type or a value
        that the schema does not allow. Libraries validate what comes in, so each adapter says what it can see of what
        goes out; it never refuses a value for a rule that is meant for clients only. As it comes nothing is checked.
        """
        return self.dump(value)


def gives_awaitable(function: Any) -> bool:
    """Whether calling ``function`` (a function, a partial, an object with ``__call__``) does not run it to its end."""
    calls = (function, getattr(type(function), "__call__", None))  # noqa: B004
    return any(inspect.iscoroutinefunction(call) or inspect.isasyncgenfunction(call) for call in calls)


def refuse_async(function: Any, owner: str, hook: str) -> None:
    """Raise :class:`RouteSetupError` if ``function`` is async: schema libraries call their hooks without awaiting them.

    The hook would seem to pass every time, since a coroutine that nobody awaits raises nothing.
    """
    if gives_awaitable(function):
        raise RouteSetupError(
            f"{owner}.{hook} is async, and a schema's hooks are called without await: it would never run. Make it a "
            "plain function (with run_in_thread(...) around the schema if it queries the database), or do this in "
            "hydrate=."
        )


UNFIT: Final = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
"""What libraries raise while they dump a value that lacks a field or has one of the wrong type."""


def unfit(exc: Exception) -> Invalid:
    """The refusal for a value that a library could not dump."""
    return invalid({WHOLE: [f"{type(exc).__name__}: {exc}"]})


def defines(cls: type, method: str) -> type:
    """The class that ``cls`` has its ``method`` from."""
    return next(base for base in cls.__mro__ if method in vars(base))


def too_deep(payload: Any) -> Invalid | None:
    """The refusal for a schema that ran out of stack; ``None`` if ``payload`` is too flat to be the reason."""
    return invalid({WHOLE: ["Nested too deeply."]}) if deeper_than(_SHALLOW_LEVELS, payload) else None


def is_function(schema: Any) -> bool:
    """Whether ``schema`` is a function or an object with ``__call__``.

    A class is not: one that only stores what it is given (a Django form, a dataclass) would let everything through.
    """
    return callable(schema) and not isinstance(schema, type) and get_origin(schema) is None


class PlainAdapter(SchemaAdapter):
    """``schema=function``: what ``function(payload)`` returns is the payload.

    ``ValueError`` is its refusal, and its text goes to the client under ``"_schema"``; so do not let one through whose
    text the client must not read. pydantic's and msgspec's errors are refusals too. Anything else that it raises is
    what it is when a handler raises it: Django's ``ValidationError`` a refusal with messages by field, a ``TypeError``
    or ``KeyError`` a fault. The function runs on the event loop, unless it is marked with
    :func:`~routesock.run_in_thread`.
    """

    def __init__(self, function: Callable[[Any], Any]) -> None:
        if gives_awaitable(function) or inspect.isgeneratorfunction(function):
            raise RouteSetupError(
                f"{function!r} is async or a generator, and a schema is a plain function. Mark it with "
                "run_in_thread if it queries the database, or do this in hydrate=, which may be async."
            )
        self._function = function
        self.runs_in_thread: bool = runs_in_thread(function, default=False)

    def __repr__(self) -> str:
        return f"PlainAdapter({self._function!r})"

    def load(self, payload: Any) -> Any:
        try:
            return self._called(payload)
        except Exception as exc:
            refusal = _refusal(exc)
            if refusal is None:
                raise
            raise refusal from exc

    def dump(self, value: Any) -> Any:
        return self._called(value)

    def dump_checked(self, value: Any) -> Any:
        """What the function returns; its refusals are those of :meth:`load`, and the validation errors of libraries."""
        try:
            return self.load(value)
        except Exception as exc:
            error = error_of(exc)
            if error is None or error is exc or error.errors is None:
                raise
            raise invalid(error.errors) from exc

    def _called(self, value: Any) -> Any:
        result = self._function(value)
        if inspect.isawaitable(result):
            if inspect.iscoroutine(result):
                result.close()
            raise TypeError(f"The schema {self._function!r} returned an awaitable; a schema is a plain function.")
        return result


def _refusal(exc: Exception) -> Invalid | None:
    """The refusal that ``exc`` is; ``None`` for any other error."""
    library = type(exc).__module__.partition(".")[0]
    if library == "pydantic_core" and isinstance(exc, ValueError):
        from .pydantic import refusal  # its own text would show the input

        return refusal(exc)
    # msgspec's errors are ValueErrors in its newest versions only.
    return invalid({WHOLE: [str(exc)]}) if isinstance(exc, ValueError) or library == "msgspec" else None


_ADAPTERS: Final = {
    "marshmallow": ".marshmallow",
    "pydantic": ".pydantic",
    "msgspec": ".msgspec",
    "rest_framework": ".rest_framework",
}
"""Library to the module with its adapter. A module is imported for an object of its library, so never on a guess."""


def as_schema(schema: Any) -> SchemaAdapter:
    """The adapter of ``schema``, which is one of:

    - a marshmallow ``Schema`` class or instance; ``many``, ``partial``, ``unknown``, ``only`` are the instance's;
    - a pydantic 2 model or dataclass, ``list[Model]``, or a ``TypeAdapter``;
    - a msgspec ``Struct`` or ``list[Struct]``;
    - a DRF serializer class or unbound instance, ``many=True`` too;
    - a plain function of the payload, see :class:`~routesock.schemas.PlainAdapter`;
    - any of these in :func:`~routesock.run_in_thread`, or another :class:`~routesock.schemas.SchemaAdapter`.

    :class:`~routesock.exceptions.RouteSetupError` for anything else.
    """
    adapter = library_adapter(schema)
    if adapter is not None:
        return adapter
    if is_function(schema):
        return PlainAdapter(schema)
    raise RouteSetupError(
        f"{schema!r} is no schema.{_hint(schema)} Accepted are a marshmallow Schema (class or instance), a pydantic "
        "model, a msgspec Struct, a DRF serializer, and a plain function that takes the payload."
    )


def library_adapter(schema: Any) -> SchemaAdapter | None:
    """As :func:`as_schema`, but ``None`` for what is no schema of a library: a callable, or a mistake."""
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


Function = TypeVar("Function", bound=Callable[..., Any])

_RUNS_IN_THREAD: Final = "__routesock_runs_in_thread__"


@overload
def run_on_loop(target: type[Any] | SchemaAdapter) -> SchemaAdapter: ...
@overload
def run_on_loop(target: Function) -> Function: ...
@overload
def run_on_loop(target: Any) -> Any: ...
def run_on_loop(target: Any) -> Any:
    """Run a sync function, method or schema on the event loop: for code that never waits.

    Sync handlers, hooks and permissions, and DRF serializers, run in Django's database thread by default, and that hop
    costs more than the rest of a small request. Code that queries the database or waits for anything else would hold up
    every socket of the process on the event loop.

    Use it as a decorator on a handler, a hook, a method of a permission or a function::

        @route("ping")
        @run_on_loop
        def ping(self, request):
            return "pong"

    Args:
        target: A function or a method, which is marked and stays the same object; or a schema of a library.

    Returns:
        The function itself, or an adapter that ``schema=``, ``dehydrate=`` and ``Push`` take in place of the schema.

    Raises:
        RouteSetupError: ``target`` is none of these.
    """
    return _running(target, "run_on_loop", in_thread=False)


@overload
def run_in_thread(target: type[Any] | SchemaAdapter) -> SchemaAdapter: ...
@overload
def run_in_thread(target: Function) -> Function: ...
@overload
def run_in_thread(target: Any) -> Any: ...
def run_in_thread(target: Any) -> Any:
    """Run a sync function, method or schema in Django's database thread: for schemas that query the database.

    Schemas run on the event loop by default, where Django refuses every query (``SynchronousOnlyOperation``). Wrap one
    whose hooks or validators use the ORM: ``schema=run_in_thread(SendSchema)``. DRF serializers, sync handlers, hooks
    and permissions run in the thread by default.

    Args:
        target: A schema of a library; or a function or a method, which is marked and stays the same object.

    Returns:
        An adapter that ``schema=``, ``dehydrate=`` and ``Push`` take in place of the schema, or the function itself.

    Raises:
        RouteSetupError: ``target`` is none of these, or it is async: that always runs on the event loop.
    """
    if not isinstance(target, type) and gives_awaitable(target):
        raise RouteSetupError(f"run_in_thread({target!r}): async code runs on the event loop. Write a plain function.")
    return _running(target, "run_in_thread", in_thread=True)


def runs_in_thread(function: Any, *, default: bool) -> bool:
    """Whether sync ``function`` is marked to run in the database thread or on the event loop; else ``default``."""
    return bool(getattr(function, _RUNS_IN_THREAD, default))


def _running(target: Any, decorator: str, *, in_thread: bool) -> Any:
    adapter = library_adapter(target)
    if adapter is not None:
        return _Running(adapter, decorator, in_thread=in_thread)
    if isinstance(target, type) or not (callable(target) or isinstance(target, classmethod)):
        raise RouteSetupError(
            f"{decorator}() takes a function, a method or a schema; got {target!r}. "
            "Of a permission class, decorate its has_permission and has_object_permission."
        )
    function: Any = target.__func__ if isinstance(target, staticmethod | classmethod) else target
    try:
        setattr(function, _RUNS_IN_THREAD, in_thread)
    except AttributeError:  # a builtin, or a bound method
        target = partial(function)
        setattr(target, _RUNS_IN_THREAD, in_thread)
    return target


class _Running(SchemaAdapter):
    """Another adapter, with ``runs_in_thread`` set."""

    def __init__(self, schema: SchemaAdapter, decorator: str, *, in_thread: bool) -> None:
        self._schema = schema
        self._decorator = decorator
        self.runs_in_thread: bool = in_thread

    def __repr__(self) -> str:
        return f"{self._decorator}({self._schema!r})"

    def load(self, payload: Any) -> Any:
        return self._schema.load(payload)

    def dump(self, value: Any) -> Any:
        return self._schema.dump(value)

    def dump_checked(self, value: Any) -> Any:
        return self._schema.dump_checked(value)
