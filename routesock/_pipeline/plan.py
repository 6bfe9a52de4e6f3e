"""Compiles a route into a plan: the steps of a request, in order."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from contextlib import aclosing
from contextvars import copy_context
from functools import partial
from typing import Any, Final, Protocol

from .._routing.route import Route
from .._runtime import database, instrumentation
from .._runtime.timers import FAIR_SECONDS, FAIR_SHARE, clock
from .._wire.messages import Reply, Request
from ..exceptions import RouteSetupError
from ..status import Ending, is_temporary
from ..typing import Unset
from .permission_steps import permission_steps
from .steps import (
    Runs,
    Step,
    aliases_of,
    as_reply,
    atomic_steps,
    checked_result,
    dehydrate,
    dehydrate_value,
    finish,
    handle,
    hook_of,
    hydrate,
    load,
    mark_start,
    note_beginning,
)
from .throttle_steps import Throttles, finish_with_limits

_END: Final = object()

Items = AsyncGenerator[Any, None]


def stream(cls: type, route: Route) -> Step:
    """Iterate the handler and send each item, serialised by ``dehydrate=``, through ``request.emit``.

    ``emit`` waits while the client does not read. The result of the step is the final reply. If the stream ends early
    (cancelled, timed out), the generator is closed.
    """
    attr = route.attr
    handler = getattr(cls, attr)
    serialise = dehydrate_value(cls, route)
    opened: Callable[[Request, Any], Items]
    if inspect.isasyncgenfunction(handler):
        opened = _unchanged
    elif Runs.of(handler) is Runs.ON_LOOP:
        opened = partial(_iterate_sync, _call, None)
    elif serialise.runs is Runs.AWAITED:
        opened = partial(_iterate_sync, database.in_thread, None)
    else:  # serialise each item in the same thread hop that fetches it
        opened = partial(_iterate_sync, database.in_thread, serialise)
        serialise = Step(Runs.ON_LOOP, _unchanged)

    async def run(request: Request, value: Any) -> Reply:
        emit = request.emit
        assert emit is not None
        emitted, began = 0, clock()
        # Looked up for each call, as every handler is, so that tests can patch it.
        async with aclosing(opened(request, getattr(request.consumer, attr)(request))) as items:
            async for item in items:
                await emit(await _dehydrate_item(serialise, request, item))
                emitted += 1
                if emitted % FAIR_SHARE == 0 or clock() - began >= FAIR_SECONDS:
                    await asyncio.sleep(0)
                    began = clock()
        return Reply(None, 200)

    return Step(Runs.AWAITED, run)


async def _iterate_sync(
    run: Callable[..., Awaitable[Any]], serialise: Step | None, request: Request, items: Any
) -> Items:
    """Iterate a sync generator. ``run`` fetches (and serialises) each item on the loop or in the database thread."""

    def fetch() -> Any:
        item = next(items, _END)
        return item if serialise is None or item is _END else _dehydrate_now(serialise, request, item)

    try:
        while (item := await run(fetch)) is not _END:
            yield item
    finally:
        # Shielded: if a thread is still inside the generator, it has to leave it before close() can run.
        await asyncio.shield(asyncio.ensure_future(run(items.close)))


async def _call(function: Callable[[], Any]) -> Any:
    return function()


def _unchanged(request: Request, value: Any) -> Any:
    return value


async def _dehydrate_item(serialise: Step, request: Request, item: Any) -> Any:
    if serialise.runs is Runs.ON_LOOP:
        return _dehydrate_now(serialise, request, item)
    if serialise.runs is Runs.IN_THREAD:
        return await database.in_thread(_dehydrate_now, serialise, request, item)
    return item if _is_none(item) else await serialise.call(request, item)


def _dehydrate_now(serialise: Step, request: Request, item: Any) -> Any:
    return item if _is_none(item) else checked_result(serialise.call(request, item), serialise.call)


def _is_none(item: Any) -> bool:
    if isinstance(item, Reply):
        raise TypeError("A stream yielded a Reply, but items have no status. Yield the payload instead.")
    return item is None


CallNext = Callable[[Request], Awaitable[Reply]]

Middleware = Callable[[Request, CallNext], Awaitable[Any]]


Call = tuple[Callable[[Request, Any], Any], bool]
"""A function of a step, and whether its result has to be awaited. A plain tuple is unpacked much faster than a named
one, and that is done for each step of each request."""


class RequestPlan(Protocol):
    """The plan for requests of one name: a route's :class:`Plan`, SUBSCRIBE or UNSUBSCRIBE."""

    route: Route
    streams: bool

    @property
    def declared(self) -> tuple[Route, ...]:
        """The routes that were declared for this name."""
        ...

    def route_of(self, request: Request) -> Route:
        """Return the route or topic that ``request`` is for."""
        ...

    def timeout_of(self, request: Request) -> float | Unset | None:
        """Return the handler's timeout in seconds: ``UNSET`` for the setting ``TIMEOUT``, ``None`` for no timeout."""
        ...

    async def run(self, request: Request, outer: tuple[Middleware, ...]) -> Reply:
        """Return the reply to ``request``. ``outer`` is the middleware from the settings."""
        ...


class Plan:
    """The steps for a request of one route. ``await plan.run(request, ())`` returns its :class:`Reply`.

    The plan catches nothing: the caller turns exceptions into error replies.

    ``calls`` is ``None`` with middleware. Otherwise a caller without ``outer`` may call ``refresh()`` and all calls
    itself, each with what the one before returned, which saves a coroutine.
    """

    __slots__ = ("_calls", "_middleware", "calls", "refresh", "route", "streams", "timeout")

    def __init__(
        self,
        route: Route,
        timeout: float | Unset | None,
        steps: Sequence[Step],
        middleware: tuple[Middleware, ...] = (),
        *,
        dedicated_threads: bool,
    ) -> None:
        self.route = route
        self.timeout = timeout
        self.streams = route.streams
        self._middleware = middleware
        self.refresh: Callable[[], None] = database.refresh_current if dedicated_threads else database.refresh
        self._calls = _merge_hops(steps)
        self.calls: tuple[Call, ...] | None = None if middleware else self._calls

    @property
    def declared(self) -> tuple[Route, ...]:
        return (self.route,)

    def route_of(self, request: Request) -> Route:
        return self.route

    def timeout_of(self, request: Request) -> float | Unset | None:
        return self.timeout

    async def run(self, request: Request, outer: tuple[Middleware, ...]) -> Reply:
        """Return the reply to ``request``. ``outer`` is the middleware from the settings, which is called first."""
        self.refresh()
        middleware = outer + self._middleware
        if not middleware:
            reply: Reply = await _run_steps(self._calls, request, None)
            return reply
        call: CallNext = partial(_run_inside, self._calls)
        for function in reversed(middleware):
            call = partial(_call_middleware, function, call, self.route)
        return await call(request)


async def _run_steps(steps: Sequence[Call], request: Request, value: Any) -> Any:
    for call, awaited in steps:
        value = call(request, value)
        if awaited:
            value = await value
    return value


async def _run_inside(steps: Sequence[Call], request: Request) -> Reply:
    """Run ``steps`` inside of all middleware, and keep the context for what is done for the request afterwards."""
    request._context = copy_context()
    try:
        reply: Reply = await _run_steps(steps, request, None)
    finally:
        request._context = copy_context()
    return reply


async def _call_middleware(middleware: Middleware, call: CallNext, route: Route, request: Request) -> Reply:
    request._context = copy_context()  # if the middleware does not call the next one
    return as_reply(route, await middleware(request, call))


def compile_route(
    cls: type,
    route: Route,
    timeout: float | Unset | None,
    middleware: tuple[Middleware, ...],
    throttles: Throttles,
    *,
    dedicated_threads: bool,
    entering: Sequence[Step] = (),
    may_answer: bool = False,
    atomic_requests: Sequence[str] = (),
) -> Plan:
    """Compile the plan of ``route`` on ``cls``.

    Args:
        entering: Steps to run once nothing can refuse the request any longer, in front of the handler.
        may_answer: Whether the last of these may return a :class:`Reply`, in place of the steps behind it.
        atomic_requests: The databases with ``ATOMIC_REQUESTS``.

    Raises:
        RouteSetupError: A hook or a permission cannot be called, or options contradict each other.
    """
    permissions, before = _access_steps(cls, route)
    before += entering
    throttle = throttles.steps(route)
    handler = [stream(cls, route) if route.streams else handle(cls, route)]
    if handler[0].runs is Runs.IN_THREAD:
        handler.insert(0, Step(Runs.IN_THREAD, mark_start))  # the thread may have been busy with other work
    elif route.idempotent is not None or any(
        step.runs is not Runs.ON_LOOP for step in (*permissions, *throttle[:-1], *before)
    ):
        handler.insert(0, Step(Runs.ON_LOOP, mark_start))  # the last throttle step marks the start itself
    if route.idempotent is not None:
        handler.insert(0, note_beginning(handler[0].runs))
    handler.append(finish_with_limits(route) if throttle else finish(route))
    after = [dehydrate(cls, route)] if route.dehydrate is not None and not route.streams else []
    aliases = aliases_of(cls, route, atomic_requests)
    if aliases:
        first = 1 if route.schema is not None else 0
        before, within = before[:first], before[first:]
        handler, after = atomic_steps(cls, route, aliases, within, handler, after), []
    steps = [*permissions, *throttle, *before, *handler, *after]
    if may_answer:
        index = steps.index(entering[-1])
        steps[index:] = [_answering(entering[-1], steps[index + 1 :])]
    middleware += route.middleware
    if route.idempotent is None:
        return Plan(route, timeout, steps, middleware, dedicated_threads=dedicated_threads)
    if timeout is None:
        raise RouteSetupError(
            f"{cls.__name__}.{route.attr}: with idempotent=, a request has to end: others with its key wait for that. "
            "Set timeout=, since route_timeout is None."
        )
    from . import idempotency  # most projects do not need it

    claiming = idempotency.claiming(cls, route, timeout)
    steps = [*permissions, *throttle, _answering(claiming, [*before, *handler, *after])]
    return idempotency.IdempotentPlan(route, timeout, steps, middleware, dedicated_threads=dedicated_threads)


def _answering(step: Step, following: Sequence[Step]) -> Step:
    """Return a step that runs ``step``, and the ``following`` ones unless that returns a reply."""
    calls = _merge_hops(following)

    async def run(request: Request, value: Any) -> Any:
        reply = await step.call(request, value)
        return await _run_steps(calls, request, None) if reply is None else reply

    return Step(Runs.AWAITED, run)


def compile_check(cls: type, route: Route, timeout: float | Unset | None, *, dedicated_threads: bool) -> Plan:
    """Compile only the permissions of ``route``, with the hooks that they depend on. The plan returns no reply."""
    permissions, before = _access_steps(cls, route)
    return Plan(route, timeout, [*permissions, *before], dedicated_threads=dedicated_threads)


def _access_steps(cls: type, route: Route) -> tuple[list[Step], list[Step]]:
    """Return the permission steps of ``route``; and the schema and ``hydrate`` steps with the object permissions."""
    permissions, object_permissions = permission_steps(cls, route)
    before: list[Step] = []
    if route.schema is not None:
        before.append(load(route.schema))
    if route.hydrate is not None:
        before.append(hydrate(hook_of(cls, route, "hydrate", route.hydrate)))
    return permissions, before + object_permissions


class ConnectionCheck:
    """Checks whether a new socket may be served: applies ``route_connection_throttle``."""

    __slots__ = ("_calls",)

    def __init__(self, throttles: Throttles) -> None:
        self._calls = _merge_hops(throttles.connection_steps())

    async def ending(self, consumer: Any) -> Ending | None:
        """Return how to close the socket of ``consumer``, or ``None`` if it may be served."""
        if not self._calls:
            return None
        request = Request("", consumer=consumer)
        try:
            await _run_steps(self._calls, request, None)
        except (asyncio.CancelledError, GeneratorExit):
            raise
        except BaseException as exc:  # a user's function may raise SystemExit too
            error = instrumentation.error_for(exc, consumer, request)
            after = error.headers.get("Retry-After")
            return Ending(4000 + error.status, error.detail, is_temporary(error.status), after)
        return None


def _merge_hops(steps: Sequence[Step]) -> tuple[Call, ...]:
    """Merge consecutive sync steps that need the database thread into one step, so into one thread hop."""
    return tuple((step.call, step.runs is not Runs.ON_LOOP) for step in _merged_steps(steps))


def _merged_steps(steps: Sequence[Step]) -> Iterator[Step]:
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

    return partial(database.in_thread, run_all)
