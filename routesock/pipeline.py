"""A route compiled into the steps that it uses: once per class, so that a message pays for nothing else.

The order is schema, hydrate, handler (inside its middleware), dehydrate. Guards have their place in front of the schema
and, for objects, behind hydrate.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from enum import Enum
from functools import partial
from typing import Any, Final, NamedTuple, TypeVar

from . import db
from .exceptions import RouteSetupError
from .messages import Reply, Request
from .routing import Route, is_async, is_bound, takes, yields
from .schemas import SchemaAdapter
from .typing import Unset

CallNext = Callable[[Request], Awaitable[Reply]]
Middleware = Callable[[Request, CallNext], Awaitable[Any]]
Function = TypeVar("Function", bound=Callable[..., Any])

_ON_LOOP: Final = "__routesock_nonblocking__"


def nonblocking(function: Function) -> Function:
    """Mark a sync handler or hook that never waits, so that it runs on the event loop.

    Without the mark it runs in Django's database thread, and that hop costs more than all the rest of a request.
    """
    setattr(function, _ON_LOOP, True)
    return function


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
        return cls.ON_LOOP if getattr(function, _ON_LOOP, False) else cls.IN_THREAD


class Step(NamedTuple):
    """``call(request, value)`` takes the previous step's value and gives the next one."""

    runs: Runs
    call: Callable[[Request, Any], Any]


class Call(NamedTuple):
    """A step as it is called; ``awaited``: its result is awaited."""

    function: Callable[[Request, Any], Any]
    awaited: bool


class Plan:
    """What is done for a request of one route: ``await plan.run(request, ())`` gives its :class:`Reply`.

    Errors of any kind come through; the caller is the error boundary.
    """

    __slots__ = ("_after", "_all", "_before", "_handler", "_middleware", "route", "timeout")

    def __init__(
        self,
        route: Route,
        timeout: float | Unset | None,
        before: Sequence[Step],
        handler: Sequence[Step],
        after: Sequence[Step],
        middleware: tuple[Middleware, ...],
    ) -> None:
        self.route = route
        self.timeout = timeout
        self._middleware = middleware
        self._before = _merged(before)
        self._handler = _merged(handler)
        self._after = _merged(after)
        self._all = _merged((*before, *handler, *after))

    async def run(self, request: Request, outer: tuple[Middleware, ...]) -> Reply:
        """The reply to ``request``; ``outer`` is the settings' middleware, which is called first."""
        db.refresh()
        if outer or self._middleware:
            return await self._run_around(request, outer + self._middleware)
        value: Any = None
        for call, awaited in self._all:
            value = call(request, value)
            if awaited:
                value = await value
        return value  # type: ignore[no-any-return]

    async def _run_around(self, request: Request, functions: tuple[Middleware, ...]) -> Reply:
        await _walk(self._before, request, None)
        call: CallNext = partial(_walk, self._handler, value=None)
        for middleware in reversed(functions):
            call = partial(_through, middleware, call, self.route)
        return await _walk(self._after, request, await call(request))  # type: ignore[no-any-return]


async def _walk(steps: Sequence[Call], request: Request, value: Any) -> Any:
    for call, awaited in steps:
        value = call(request, value)
        if awaited:
            value = await value
    return value


async def _through(middleware: Middleware, call: CallNext, route: Route, request: Request) -> Reply:
    return _as_reply(route, await middleware(request, call))


def compile_route(cls: type, route: Route, timeout: float | Unset | None, middleware: tuple[Middleware, ...]) -> Plan:
    """The plan of ``route`` on ``cls``. :class:`RouteSetupError` for the name of a method that the class has not."""
    before: list[Step] = []
    if route.schema is not None:
        before.append(_load(route.schema))
    if route.hydrate is not None:
        before.append(_hydrate(_hook(cls, route, "hydrate", route.hydrate)))
    handler = [_handle(cls, route)]
    if any(step.runs is not Runs.ON_LOOP for step in before):
        handler.insert(0, Step(Runs.ON_LOOP, _mark_start))
    handler.append(_finish(route))
    after = [_dehydrate(cls, route)] if route.dehydrate is not None else []
    return Plan(route, timeout, before, handler, after, middleware + route.middleware)


def _as_reply(route: Route, value: Any) -> Reply:
    if isinstance(value, Reply):
        return value
    return Reply(value, route.status or (204 if value is None else 200))


def _finish(route: Route) -> Step:
    def as_reply(request: Request, value: Any) -> Reply:
        return _as_reply(route, value)

    return Step(Runs.ON_LOOP, as_reply)


def _mark_start(request: Request, value: Any) -> Any:
    request.started = time.monotonic()
    return value


def _load(schema: SchemaAdapter) -> Step:
    def load(request: Request, value: Any) -> None:
        request.payload = request.data = schema.load(request.payload)

    return Step(Runs.IN_THREAD if schema.blocking else Runs.ON_LOOP, load)


def _hydrate(hook: Callable[[Request, Any], Any]) -> Step:
    runs = Runs.of(hook)

    def set_payload(request: Request, value: Any) -> None:
        request.payload = _settled(hook(request, request), hook)

    async def await_payload(request: Request, value: Any) -> None:
        request.payload = await hook(request, request)

    return Step(runs, await_payload if runs is Runs.AWAITED else set_payload)


def _handle(cls: type, route: Route) -> Step:
    attr = route.attr
    runs = Runs.of(getattr(cls, attr))

    # Looked up at each call, so that a test can patch it on the class or on one consumer.
    def call(request: Request, value: Any) -> Any:
        return getattr(request.consumer, attr)(request)

    def call_settled(request: Request, value: Any) -> Any:
        return _settled(getattr(request.consumer, attr)(request), attr)

    return Step(runs, call if runs is Runs.AWAITED else call_settled)


def _dehydrate(cls: type, route: Route) -> Step:
    if isinstance(route.dehydrate, SchemaAdapter):
        dump = _faulty_dump(route.dehydrate)
        runs = Runs.IN_THREAD if route.dehydrate.blocking else Runs.ON_LOOP
        hook: Callable[[Request, Any], Any] = lambda request, value: dump(value)  # noqa: E731
    else:
        hook = _hook(cls, route, "dehydrate", route.dehydrate)
        runs = Runs.of(hook)

    def dehydrate(request: Request, reply: Reply) -> Reply:
        if reply.payload is None or reply.status >= 300:
            return reply
        return Reply(_settled(hook(request, reply.payload), hook), reply.status, reply.headers)

    async def await_dehydrate(request: Request, reply: Reply) -> Reply:
        if reply.payload is None or reply.status >= 300:
            return reply
        return Reply(await hook(request, reply.payload), reply.status, reply.headers)

    return Step(runs, await_dehydrate if runs is Runs.AWAITED else dehydrate)


def _faulty_dump(schema: SchemaAdapter) -> Callable[[Any], Any]:
    """``schema.dump``, whose errors are the server's: a library's validation error there must not become a 422."""

    def dump(value: Any) -> Any:
        try:
            return schema.dump(value)
        except Exception as exc:
            raise DehydrateError(f"{schema!r} cannot spell the handler's result: {type(exc).__name__}") from exc

    return dump


def _hook(cls: type, route: Route, option: str, hook: Any) -> Callable[[Request, Any], Any]:
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
                f"Write `def {name}(self, {'request' if option == 'hydrate' else 'result'})` that returns its result."
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
    if getattr(function, _ON_LOOP, False):
        nonblocking(call)
    return call


def _settled(value: Any, source: Any) -> Any:
    """``value``, unless it is a coroutine that a plain ``def`` returned and that nobody would ever await."""
    if inspect.isawaitable(value):
        if inspect.iscoroutine(value):
            value.close()
        raise TypeError(f"{source} returned a coroutine: write it, and what wraps it, as `async def`.")
    return value


def _merged(steps: Sequence[Step]) -> tuple[Call, ...]:
    """``steps`` with each stretch of sync ones that needs the database thread as one step, so as one hop."""
    return tuple(Call(step.call, step.runs is not Runs.ON_LOOP) for step in _merge_stretches(steps))


def _merge_stretches(steps: Sequence[Step]) -> Iterator[Step]:
    stretch: list[Step] = []

    def flush() -> Iterator[Step]:
        while stretch and stretch[0].runs is Runs.ON_LOOP:
            yield stretch.pop(0)
        last = max((i for i, step in enumerate(stretch) if step.runs is Runs.IN_THREAD), default=-1)
        if last >= 0:
            yield Step(Runs.IN_THREAD, _hop([step.call for step in stretch[: last + 1]]))
        yield from stretch[last + 1 :]
        stretch.clear()

    for step in steps:
        if step.runs is Runs.AWAITED:
            yield from flush()
            yield step
        else:
            stretch.append(step)
    yield from flush()


def _hop(calls: Sequence[Callable[[Request, Any], Any]]) -> Callable[[Request, Any], Awaitable[Any]]:
    def run_all(request: Request, value: Any) -> Any:
        for call in calls:
            value = call(request, value)
        return value

    return partial(db.in_thread, run_all)
