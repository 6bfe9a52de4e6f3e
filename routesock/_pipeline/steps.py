"""What a route's options become: steps, each a function with the place where it runs."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable
from enum import Enum
from typing import Any, NamedTuple

from .._routing.route import Route
from .._runtime.callables import is_async, is_bound, takes, yields
from .._wire.messages import Reply, Request
from ..exceptions import RouteSetupError
from ..schemas.base import SchemaAdapter, run_on_loop, runs_in_thread


class DehydrateError(Exception):
    """A handler's result does not fit the ``dehydrate=`` schema: a 500, with the library's error as its cause."""


class Runs(Enum):
    """Where a step's function runs."""

    ON_LOOP = "on the loop"
    AWAITED = "awaited"
    IN_THREAD = "in the database thread"

    @classmethod
    def of(cls, function: Any) -> Runs:
        if is_async(function):
            return cls.AWAITED
        return cls.IN_THREAD if runs_in_thread(function, default=True) else cls.ON_LOOP


class Step(NamedTuple):
    """``call(request, value)`` takes the previous step's value and gives the next one."""

    runs: Runs
    call: Callable[[Request, Any], Any]


def as_reply(route: Route, value: Any) -> Reply:
    """``value`` if it is a :class:`Reply`, else one with it: the route's own status, or 200, and 204 for ``None``."""
    if isinstance(value, Reply):
        return value
    return Reply(value, route.status or (204 if value is None else 200))


def finish(route: Route) -> Step:
    """The handler's result becomes a :class:`Reply`."""

    def make(request: Request, value: Any) -> Reply:
        return as_reply(route, value)

    return Step(Runs.ON_LOOP, make)


def mark_start(request: Request, value: Any) -> Any:
    """Note when the handler begins; its deadline counts from there."""
    request.started = time.monotonic()
    return value


def load(schema: SchemaAdapter) -> Step:
    """The schema's own reading of the payload takes its place."""

    def set_data(request: Request, value: Any) -> None:
        request.payload = request.data = schema.load(request.payload)

    return Step(Runs.IN_THREAD if schema.runs_in_thread else Runs.ON_LOOP, set_data)


def hydrate(hook: Callable[[Request, Any], Any]) -> Step:
    """What the hook loads for the request takes the payload's place."""
    runs = Runs.of(hook)

    def set_payload(request: Request, value: Any) -> None:
        request.payload = settled(hook(request, request), hook)

    async def await_payload(request: Request, value: Any) -> None:
        request.payload = await hook(request, request)

    return Step(runs, await_payload if runs is Runs.AWAITED else set_payload)


def handle(cls: type, route: Route) -> Step:
    """The handler is called."""
    attr = route.attr
    runs = Runs.of(getattr(cls, attr))

    # Looked up at each call, so that a test can patch it on the class or on one consumer.
    def call(request: Request, value: Any) -> Any:
        return getattr(request.consumer, attr)(request)

    def call_settled(request: Request, value: Any) -> Any:
        return settled(getattr(request.consumer, attr)(request), attr)

    return Step(runs, call if runs is Runs.AWAITED else call_settled)


def dehydrate(cls: type, route: Route) -> Step:
    """The payload of a 2xx reply is turned into what JSON can spell; ``None`` stays."""
    runs, hook = spelling(cls, route)

    def spell(request: Request, reply: Reply) -> Reply:
        if reply.payload is None or reply.status >= 300:
            return reply
        return Reply(settled(hook(request, reply.payload), hook), reply.status, reply.headers)

    async def await_spell(request: Request, reply: Reply) -> Reply:
        if reply.payload is None or reply.status >= 300:
            return reply
        return Reply(await hook(request, reply.payload), reply.status, reply.headers)

    return Step(runs, await_spell if runs is Runs.AWAITED else spell)


def spelling(cls: type, route: Route) -> Step:
    """What ``dehydrate=`` does to one result; without it, nothing."""
    if route.dehydrate is None:
        return Step(Runs.ON_LOOP, lambda request, value: value)
    if isinstance(route.dehydrate, SchemaAdapter):
        dump = _faulty_dump(route.dehydrate)
        runs = Runs.IN_THREAD if route.dehydrate.runs_in_thread else Runs.ON_LOOP
        return Step(runs, lambda request, value: dump(value))
    hook = hook_of(cls, route, "dehydrate", route.dehydrate)
    return Step(Runs.of(hook), hook)


def _faulty_dump(schema: SchemaAdapter) -> Callable[[Any], Any]:
    """``schema.dump``, whose errors are the server's: a library's validation error there must not become a 422."""

    def dump(value: Any) -> Any:
        try:
            return schema.dump(value)
        except Exception as exc:
            raise DehydrateError(f"{schema!r} cannot spell the handler's result: {type(exc).__name__}") from exc

    return dump


def hook_of(cls: type, route: Route, option: str, hook: Any) -> Callable[[Request, Any], Any]:
    """``hook`` (a function or a method's name) as ``call(request, argument)`` that runs where the hook itself would."""
    if isinstance(hook, str):
        name = hook
        function = getattr(cls, name, None)
        if not callable(function):
            raise RouteSetupError(
                f"{cls.__name__}.{route.attr}: {option}={name!r} names no method of the class. "
                f"Write `def {name}(self, ...)`, or give the function itself."
            )
        if yields(function) or not takes(function, 1 if is_bound(cls, name) else 2):
            raise RouteSetupError(
                f"{cls.__name__}.{route.attr}: {option}={name!r} names a method that cannot be called as a hook. "
                f"Write `def {name}(self, {'result' if option == 'dehydrate' else 'request'})` that returns its result."
            )

        def call(request: Request, argument: Any) -> Any:
            return getattr(request.consumer, name)(argument)

    else:
        function = hook

        def call(request: Request, argument: Any) -> Any:
            return function(argument)

    if is_async(function):

        async def call_async(request: Request, argument: Any) -> Any:
            return await call(request, argument)

        return call_async
    return call if runs_in_thread(function, default=True) else run_on_loop(call)


def settled(value: Any, source: Any) -> Any:
    """``value``, unless it is what a plain ``def`` returned of something else and nobody would ever run.

    ``TypeError`` for a coroutine or a generator.
    """
    if inspect.isawaitable(value):
        if inspect.iscoroutine(value):
            value.close()
        raise TypeError(f"{source} returned a coroutine: write it, and what wraps it, as `async def`.")
    if inspect.isgenerator(value) or inspect.isasyncgen(value):
        raise TypeError(f"{source} returned a generator: write what wraps it so that it yields, too.")
    return value
