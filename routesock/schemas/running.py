"""Marks of functions and schemas: whether they run on the event loop or in the database thread."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, overload

from ..exceptions import RouteSetupError
from .base import RUNS_IN_THREAD, Described, Mode, SchemaAdapter, dumper_of, gives_awaitable, library_adapter, loader_of

if TYPE_CHECKING:
    from .._wire.messages import Request

Function = TypeVar("Function", bound=Callable[..., Any])


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
        setattr(function, RUNS_IN_THREAD, in_thread)
    except AttributeError:  # a builtin, or a bound method
        target = partial(function)
        setattr(target, RUNS_IN_THREAD, in_thread)
    return target


def stays_on_loop(schema: SchemaAdapter) -> bool:
    """Whether ``schema`` is marked with :func:`run_on_loop`."""
    return isinstance(schema, _Running) and not schema.runs_in_thread


class _Running(SchemaAdapter):
    """Another adapter, with ``runs_in_thread`` set."""

    def __init__(self, schema: SchemaAdapter, decorator: str, *, in_thread: bool) -> None:
        self._schema = schema
        self._load = loader_of(schema)
        self._dump = dumper_of(schema)
        self._decorator = decorator
        self.runs_in_thread: bool = in_thread

    def __repr__(self) -> str:
        return f"{self._decorator}({self._schema!r})"

    def __str__(self) -> str:
        return str(self._schema)

    def load(self, payload: Any, request: Request | None = None) -> Any:
        return self._load(payload, request)

    def dump(self, value: Any, request: Request | None = None) -> Any:
        return self._dump(value, request)

    def dump_checked(self, value: Any) -> Any:
        return self._schema.dump_checked(value)

    def json_schema(self, mode: Mode) -> Described:
        return self._schema.json_schema(mode)
