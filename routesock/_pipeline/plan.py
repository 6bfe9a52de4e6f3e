"""Compiles a route into a plan: the steps of a request, in order."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from contextlib import aclosing
from functools import partial
from typing import Any, Final, NamedTuple, Protocol

from .._routing.route import Route
from .._runtime import database, instrumentation
from .._wire.messages import Reply, Request
from ..status import Ending, may_come_back
from ..typing import Unset
from .permission_steps import permission_steps
from .steps import (
    Runs,
    Step,
    as_reply,
    dehydrate,
    finish,
    handle,
    hook_of,
    hydrate,
    load,
    mark_start,
    settled,
    spelling,
)
from .throttle_steps import Throttles, finish_with_limits

FAIR_SHARE: Final = 16
"""Items after which a stream lets others run, so that one that never waits cannot hold the loop."""

_END: Final = object()

Items = AsyncGenerator[Any, None]


def stream(cls: type, route: Route) -> Step:
    """The handler is iterated, and ``request.emit`` takes each item, spelt by ``dehydrate=``, and waits for its room.

    The step's result is the final reply. What ends it early closes the generator, whether that waits at a ``yield`` or
    anywhere else.
    """
    attr = route.attr
    handler = getattr(cls, attr)
    spell = spelling(cls, route)
    opened: Callable[[Request, Any], Items]
    if inspect.isasyncgenfunction(handler):
        opened = _as_it_is
    elif Runs.of(handler) is Runs.ON_LOOP:
        opened = partial(_pulled, _here, None)
    elif spell.runs is Runs.AWAITED:
        opened = partial(_pulled, database.in_thread, None)
    else:  # in the hop that pulls it
        opened, spell = partial(_pulled, database.in_thread, spell), Step(Runs.ON_LOOP, _as_it_is)

    async def run(request: Request, value: Any) -> Reply:
        emit = request.emit
        assert emit is not None
        emitted = 0
        # Looked up at each call, as every handler is.
        async with aclosing(opened(request, getattr(request.consumer, attr)(request))) as items:
            async for item in items:
                await emit(await _spelt(spell, request, item))
                emitted += 1
                if emitted % FAIR_SHARE == 0:
                    await asyncio.sleep(0)
        return Reply(None, 200)

    return Step(Runs.AWAITED, run)


async def _pulled(run: Callable[..., Awaitable[Any]], spell: Step | None, request: Request, items: Any) -> Items:
    """The items of a sync generator, each pulled, and spelt, by ``run``: here or in the database thread."""

    def pull() -> Any:
        item = next(items, _END)
        return item if spell is None or item is _END else _spelt_here(spell, request, item)

    try:
        while (item := await run(pull)) is not _END:
            yield item
    finally:
        # A thread that is still in the generator comes to its end first, whatever happens to this task meanwhile.
        await asyncio.shield(asyncio.ensure_future(run(items.close)))


async def _here(function: Callable[[], Any]) -> Any:
    return function()


def _as_it_is(request: Request, value: Any) -> Any:
    return value


async def _spelt(spell: Step, request: Request, item: Any) -> Any:
    if spell.runs is Runs.ON_LOOP:
        return _spelt_here(spell, request, item)
    if spell.runs is Runs.IN_THREAD:
        return await database.in_thread(_spelt_here, spell, request, item)
    return item if _is_plain_none(item) else await spell.call(request, item)


def _spelt_here(spell: Step, request: Request, item: Any) -> Any:
    return item if _is_plain_none(item) else settled(spell.call(request, item), spell.call)


def _is_plain_none(item: Any) -> bool:
    if isinstance(item, Reply):
        raise TypeError("A stream yielded a Reply, but an item has no status of its own: yield the payload.")
    return item is None


CallNext = Callable[[Request], Awaitable[Reply]]

Middleware = Callable[[Request, CallNext], Awaitable[Any]]


class Call(NamedTuple):
    """A step as it is called; ``awaited``: its result is awaited."""

    function: Callable[[Request, Any], Any]
    awaited: bool


class Answering(Protocol):
    """What is done for the requests of one name."""

    route: Route
    streams: bool

    @property
    def declared(self) -> tuple[Route, ...]:
        """The declarations behind it."""
        ...

    def timeout_of(self, request: Request) -> float | Unset | None:
        """Seconds that the handler of ``request`` may take; unset: what the settings say."""
        ...

    async def run(self, request: Request, outer: tuple[Middleware, ...]) -> Reply:
        """The reply to ``request``; ``outer`` is the settings' middleware."""
        ...


class Plan:
    """What is done for a request of one route: ``await plan.run(request, ())`` gives its :class:`Reply`.

    Errors of any kind come through; the caller is the error boundary.
    """

    __slots__ = ("_after", "_all", "_before", "_handler", "_middleware", "_refresh", "route", "streams", "timeout")

    def __init__(
        self,
        route: Route,
        timeout: float | Unset | None,
        before: Sequence[Step],
        handler: Sequence[Step],
        after: Sequence[Step],
        middleware: tuple[Middleware, ...],
        *,
        isolated: bool,
    ) -> None:
        self.route = route
        self.timeout = timeout
        self.streams = route.streams
        self._middleware = middleware
        self._refresh = database.refresh_current if isolated else database.refresh
        self._before = _merged(before)
        self._handler = _merged(handler)
        self._after = _merged(after)
        self._all = _merged((*before, *handler, *after))

    @property
    def declared(self) -> tuple[Route, ...]:
        return (self.route,)

    def timeout_of(self, request: Request) -> float | Unset | None:
        return self.timeout

    async def run(self, request: Request, outer: tuple[Middleware, ...]) -> Reply:
        """The reply to ``request``; ``outer`` is the settings' middleware, which is called first."""
        self._refresh()
        if outer or self._middleware:
            return await self._run_around(request, outer + self._middleware)
        value: Any = None
        for call, awaited in self._all:
            value = call(request, value)
            if awaited:
                value = await value
        reply: Reply = value
        return reply

    async def _run_around(self, request: Request, functions: tuple[Middleware, ...]) -> Reply:
        await _walk(self._before, request, None)
        call: CallNext = partial(_walk, self._handler, value=None)
        for middleware in reversed(functions):
            call = partial(_through, middleware, call, self.route)
        reply: Reply = await _walk(self._after, request, await call(request))
        return reply


async def _walk(steps: Sequence[Call], request: Request, value: Any) -> Any:
    for call, awaited in steps:
        value = call(request, value)
        if awaited:
            value = await value
    return value


async def _through(middleware: Middleware, call: CallNext, route: Route, request: Request) -> Reply:
    return as_reply(route, await middleware(request, call))


def compile_route(
    cls: type,
    route: Route,
    timeout: float | Unset | None,
    middleware: tuple[Middleware, ...],
    throttles: Throttles,
    *,
    isolated: bool,
    entering: Sequence[Step] = (),
) -> Plan:
    """The plan of ``route`` on ``cls``, with the steps ``entering`` behind all that may refuse a request.

    :class:`RouteSetupError` for a hook or permission that cannot be called.
    """
    permissions, before = _asking(cls, route)
    before += entering
    throttle = throttles.steps(route)
    handler = [stream(cls, route) if route.streams else handle(cls, route)]
    if handler[0].runs is Runs.IN_THREAD:
        handler.insert(0, Step(Runs.IN_THREAD, mark_start))  # where it may have waited for its turn
    elif any(step.runs is not Runs.ON_LOOP for step in (*permissions, *throttle[:-1], *before)):
        handler.insert(0, Step(Runs.ON_LOOP, mark_start))  # the last step of a throttle marks it itself
    handler.append(finish_with_limits(route) if throttle else finish(route))
    after = [dehydrate(cls, route)] if route.dehydrate is not None and not route.streams else []
    before = [*permissions, *throttle, *before]
    return Plan(route, timeout, before, handler, after, middleware + route.middleware, isolated=isolated)


def compile_check(cls: type, route: Route, timeout: float | Unset | None, *, isolated: bool) -> Plan:
    """What of ``route`` may deny a request: its permissions, and what they need to look at. The plan has no reply."""
    permissions, before = _asking(cls, route)
    return Plan(route, timeout, [*permissions, *before], (), (), (), isolated=isolated)


def _asking(cls: type, route: Route) -> tuple[list[Step], list[Step]]:
    """The permissions of ``route``, and the steps that load what it is about, with the permissions of that."""
    permissions, object_permissions = permission_steps(cls, route)
    before: list[Step] = []
    if route.schema is not None:
        before.append(load(route.schema))
    if route.hydrate is not None:
        before.append(hydrate(hook_of(cls, route, "hydrate", route.hydrate)))
    return permissions, before + object_permissions


class ConnectionCheck:
    """What a socket has to pass before it is served: the throttle of the class's sockets."""

    __slots__ = ("_calls",)

    def __init__(self, throttles: Throttles) -> None:
        self._calls = _merged(throttles.door())

    async def ending(self, consumer: Any) -> Ending | None:
        """How the socket of ``consumer`` is to be closed at once; ``None``: it has passed."""
        if not self._calls:
            return None
        request = Request("", consumer=consumer)
        try:
            await _walk(self._calls, request, None)
        except (asyncio.CancelledError, GeneratorExit):
            raise
        except BaseException as exc:  # a function of the user's may raise SystemExit, too
            error = instrumentation.error_for(exc, consumer, request)
            after = error.headers.get("Retry-After")
            return Ending(4000 + error.status, error.detail, may_come_back(error.status), after)
        return None


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

    return partial(database.in_thread, run_all)
