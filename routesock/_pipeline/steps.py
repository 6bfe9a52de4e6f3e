"""The steps of a request (load, hydrate, handle, dehydrate), where each of them runs, and in which transaction."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from enum import Enum
from types import CoroutineType, GeneratorType
from typing import Any, Final, NamedTuple

from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, transaction

from .._routing.route import Route
from .._runtime.callables import is_async, is_bound, takes, yields
from .._runtime.supervision import safe_logger
from .._wire.messages import NO_HEADERS, NO_REPLY, Reply, Request, new_reply, reply_with
from ..exceptions import RouteSetupError
from ..schemas.base import SchemaAdapter, dumper_of, runs_in_thread, takes_request
from ..schemas.running import run_on_loop, stays_on_loop
from ..typing import UNSET

logger: Final = safe_logger("routesock.request")

_PLAIN_TYPES: Final = frozenset((dict, list, tuple, str, int, float, bool, type(None)))
"""Types that are never awaitable. inspect.isawaitable() takes about as long as loading a small schema."""

_REPLY_OR_TUPLE: Final = (Reply, tuple)


class DehydrateError(Exception):
    """The handler's result does not fit the ``dehydrate=`` schema; answered as a 500.

    The library's error is its ``__cause__``.
    """


class Runs(Enum):
    """The place where the function of a step runs."""

    ON_LOOP = "on the loop"
    AWAITED = "awaited"
    IN_THREAD = "in the database thread"

    @classmethod
    def of(cls, function: Any) -> Runs:
        if is_async(function):
            return cls.AWAITED
        return cls.IN_THREAD if runs_in_thread(function, default=True) else cls.ON_LOOP


class Step(NamedTuple):
    """One step. ``call(request, value)`` gets the value of the step before and returns the value for the next one."""

    runs: Runs
    call: Callable[[Request, Any], Any]


def as_reply(route: Route, value: Any) -> Reply:
    """Return ``value`` as a :class:`Reply`: with the status of the route, else 200, or 204 for ``None``.

    A success of a route with ``reply=None`` is :data:`NO_REPLY`.
    """
    if not route.replies and not (isinstance(value, Reply) and value.status >= 400):
        return NO_REPLY
    if isinstance(value, Reply):
        return value
    return Reply(value, route.status or (204 if value is None else 200))


def finish(route: Route) -> Step:
    """Turn the handler's result into a :class:`Reply`."""
    if not route.replies:
        return Step(Runs.ON_LOOP, lambda request, value: as_reply(route, value))

    status = route.status or 200
    status_of_none = route.status or 204

    def make(request: Request, value: Any) -> Reply:
        if isinstance(value, _REPLY_OR_TUPLE):
            if isinstance(value, Reply):
                return value
            if type(value) is tuple and settings.DEBUG:
                _warn_of_status(route, value)
        reply = new_reply(Reply)  # this is reply_with(), without a call
        reply.payload = value
        reply.status = status_of_none if value is None else status
        reply.headers = NO_HEADERS
        return reply

    return Step(Runs.ON_LOOP, make)


_warned: Final[set[str]] = set()
"""The routes that a warning was logged for."""


def _warn_of_status(route: Route, value: tuple[Any, ...]) -> None:
    """Log a warning if ``value`` is a payload and a status, as handlers of other libraries return them."""
    is_pair = len(value) == 2 and isinstance(value[1], int) and not isinstance(value[1], bool)
    if is_pair and 200 <= value[1] <= 599 and route.name not in _warned:
        _warned.add(route.name)
        logger.warning(
            "Route %r returned a tuple that ends with %d, which is sent as a list with status %d. If it is meant as "
            "the status, write `return Reply(payload, status=%d)`.",
            route.name,
            value[1],
            route.status or 200,
            value[1],
        )


def mark_start(request: Request, value: Any) -> Any:
    """Record when the handler starts. Its deadline counts from there."""
    request.started = time.monotonic()
    return value


def note_beginning(runs: Runs) -> Step:
    """Note on the idempotency key of a request, if it has one, that its handler begins. ``runs`` is where that runs."""

    def note(request: Request, value: Any) -> Any:
        claim = getattr(request, "_claim", None)
        if claim is not None:
            claim.begin()
        return value

    return Step(Runs.IN_THREAD if runs is Runs.IN_THREAD else Runs.ON_LOOP, note)


def load(schema: SchemaAdapter) -> Step:
    """Validate the payload and replace it with what the schema loaded."""

    load: Callable[..., Any] = schema.load

    def set_data(request: Request, value: Any) -> None:
        request.payload = request.data = load(request.payload, request)

    def set_data_of_payload(request: Request, value: Any) -> None:
        request.payload = request.data = load(request.payload)

    call = set_data if takes_request(load) else set_data_of_payload
    return Step(Runs.IN_THREAD if schema.runs_in_thread else Runs.ON_LOOP, call)


def hydrate(hook: Callable[[Request, Any], Any]) -> Step:
    """Call the ``hydrate=`` hook and replace the payload with its result."""
    runs = Runs.of(hook)

    def set_payload(request: Request, value: Any) -> None:
        request.payload = checked_result(hook(request, request), hook)

    async def await_payload(request: Request, value: Any) -> None:
        request.payload = await hook(request, request)

    return Step(runs, await_payload if runs is Runs.AWAITED else set_payload)


def handle(cls: type, route: Route) -> Step:
    """Call the handler."""
    attr = route.attr
    runs = Runs.of(getattr(cls, attr))

    # Looked up at each call, so that a test can patch it on the class or on one consumer.
    def call(request: Request, value: Any) -> Any:
        return getattr(request.consumer, attr)(request)

    def call_settled(request: Request, value: Any) -> Any:
        return checked_result(getattr(request.consumer, attr)(request), attr)

    # A generator expression is a list for a schema. The generator of a stream is none of these.
    def call_settled_or_lazy(request: Request, value: Any) -> Any:
        result = getattr(request.consumer, attr)(request)
        return result if type(result) is GeneratorType else checked_result(result, attr)

    if runs is Runs.AWAITED:
        return Step(runs, call)
    return Step(runs, call_settled_or_lazy if isinstance(route.dehydrate, SchemaAdapter) else call_settled)


def dehydrate(cls: type, route: Route) -> Step:
    """Serialise the payload of a 2xx reply with ``dehydrate=``. ``None`` stays ``None``.

    A schema runs where the handler does: a sync handler may return a ``QuerySet``, or objects whose relations are
    loaded when they are read.
    """
    if isinstance(route.dehydrate, SchemaAdapter):
        step = _dump(route.dehydrate)
        if Runs.of(getattr(cls, route.attr)) is Runs.IN_THREAD and not stays_on_loop(route.dehydrate):
            return Step(Runs.IN_THREAD, step.call)
        return step
    runs, hook = dehydrate_value(cls, route)

    def serialise(request: Request, reply: Reply) -> Reply:
        if reply.payload is None or reply.status >= 300:
            return reply
        return reply_with(checked_result(hook(request, reply.payload), hook), reply.status, reply.headers)

    async def await_serialise(request: Request, reply: Reply) -> Reply:
        if reply.payload is None or reply.status >= 300:
            return reply
        return reply_with(await hook(request, reply.payload), reply.status, reply.headers)

    return Step(runs, await_serialise if runs is Runs.AWAITED else serialise)


def _dump(schema: SchemaAdapter) -> Step:
    """As :func:`dehydrate` for a schema. One function instead of three nested ones, since it runs for each reply."""
    dump = dumper_of(schema)

    def serialise(request: Request, reply: Reply) -> Reply:
        payload = reply.payload
        if payload is None or reply.status >= 300:
            return reply
        if type(payload) is CoroutineType:  # libraries find no field in it, and some would send {}
            payload.close()
            raise TypeError(f"Route {request.route!r} returned a coroutine. Write `await` in front of the call.")
        try:
            dumped = dump(payload, request)
        except Exception as exc:
            raise _dehydrate_error(schema, exc) from exc
        if type(dumped) not in _PLAIN_TYPES:
            checked_result(dumped, schema)
        return reply_with(dumped, reply.status, reply.headers)

    return Step(Runs.IN_THREAD if schema.runs_in_thread else Runs.ON_LOOP, serialise)


def dehydrate_value(cls: type, route: Route) -> Step:
    """Return the step that applies ``dehydrate=`` to one value. Without the option it changes nothing."""
    if route.dehydrate is None:
        return Step(Runs.ON_LOOP, lambda request, value: value)
    if isinstance(route.dehydrate, SchemaAdapter):
        dump = _dump_or_server_error(route.dehydrate)
        runs = Runs.IN_THREAD if route.dehydrate.runs_in_thread else Runs.ON_LOOP
        return Step(runs, lambda request, value: dump(value, request))
    hook = hook_of(cls, route, "dehydrate", route.dehydrate)
    return Step(Runs.of(hook), hook)


def _dump_or_server_error(schema: SchemaAdapter) -> Callable[[Any, Request], Any]:
    """Return ``schema.dump`` with its errors wrapped: a validation error there is the server's fault and not a 422."""
    function = dumper_of(schema)

    def dump(value: Any, request: Request) -> Any:
        try:
            return function(value, request)
        except Exception as exc:
            raise _dehydrate_error(schema, exc) from exc

    return dump


def _dehydrate_error(schema: SchemaAdapter, exc: Exception) -> DehydrateError:
    return DehydrateError(f"{schema!r} cannot serialise the handler's result: {type(exc).__name__}")


def hook_of(cls: type, route: Route, option: str, hook: Any) -> Callable[[Request, Any], Any]:
    """Return ``hook``, a function or the name of a method, as ``call(request, argument)``.

    The result runs where the hook itself would: on the loop, awaited, or in the thread.

    Raises:
        RouteSetupError: There is no such method, or it cannot be called with one argument.
    """
    if isinstance(hook, str):
        name = hook
        function = getattr(cls, name, None)
        if not callable(function):
            raise RouteSetupError(
                f"{cls.__name__}.{route.attr}: {option}={name!r} is not a method of the class. "
                f"Write `def {name}(self, ...)`, or pass the function itself."
            )
        if yields(function) or not takes(function, 1 if is_bound(cls, name) else 2):
            raise RouteSetupError(
                f"{cls.__name__}.{route.attr}: {option}={name!r} is a method that cannot be called as a hook. "
                f"Write `def {name}(self, {'result' if option == 'dehydrate' else 'request'})` that returns a value."
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


def checked_result(value: Any, source: Any) -> Any:
    """Return ``value``, which a plain ``def`` returned.

    Raises:
        TypeError: It is a coroutine or a generator, which nothing would run.
    """
    if type(value) in _PLAIN_TYPES:
        return value
    if inspect.isawaitable(value):
        if inspect.iscoroutine(value):
            value.close()
        raise TypeError(
            f"{source} returned a coroutine. Write the function, and any decorator around it, as `async def`. "
            "@transaction.atomic decorates sync functions alone: with it, write `def`."
        )
    if inspect.isgenerator(value) or inspect.isasyncgen(value):
        raise TypeError(f"{source} returned a generator. Write the decorator around it as a generator function too.")
    return value


_OPT_OUT: Final = "_non_atomic_requests"
"""The attribute that Django's ``@transaction.non_atomic_requests`` gives a view: a set of aliases."""


def may_follow_settings(cls: type, route: Route) -> bool:
    """Whether ``ATOMIC_REQUESTS`` may apply to ``route``."""
    return route.atomic is UNSET and not route.streams and Runs.of(getattr(cls, route.attr)) is Runs.IN_THREAD


def aliases_of(cls: type, route: Route, atomic_requests: Sequence[str]) -> tuple[str, ...]:
    """Return the databases whose transactions surround ``route``. ``atomic_requests`` are those of the settings.

    Raises:
        RouteSetupError: The handler opts out of a transaction that ``atomic=`` asks for.
    """
    opted_out = getattr(getattr(cls, route.attr), _OPT_OUT, ())
    if route.atomic is UNSET:
        if not may_follow_settings(cls, route):
            return ()
        return tuple(alias for alias in atomic_requests if alias not in opted_out)
    aliases = (DEFAULT_DB_ALIAS,) if route.atomic is True else route.atomic or ()
    assert isinstance(aliases, tuple)
    if any(alias in opted_out for alias in aliases):
        raise RouteSetupError(
            f"{cls.__name__}.{route.attr}: atomic= asks for a transaction, and @non_atomic_requests for none. "
            "Remove one of them."
        )
    return aliases


def atomic_steps(
    cls: type, route: Route, aliases: Sequence[str], before: Sequence[Step], handler: Sequence[Step], after: list[Step]
) -> list[Step]:
    """Return the steps with ``hydrate``, the handler and ``dehydrate`` in one transaction on each of ``aliases``.

    Args:
        before: The steps from ``hydrate`` up to the handler.

    Raises:
        RouteSetupError: ``atomic=`` is set, and one of the steps does not run in the database thread.
    """
    if route.atomic is not UNSET:
        _check_atomic(cls, route, before, after)
    outside, inside = [*before], [*handler]
    while outside and outside[-1].runs is not Runs.AWAITED:
        inside.insert(0, outside.pop())
    if after and after[0].runs is not Runs.AWAITED:
        inside, after = [*inside, *after], []
    return [*outside, _in_transaction(aliases, inside), *after]


def _in_transaction(aliases: Sequence[str], steps: Sequence[Step]) -> Step:
    calls = [step.call for step in steps]

    def run(request: Request, value: Any) -> Any:
        with ExitStack() as stack:
            for alias in aliases:
                stack.enter_context(transaction.atomic(using=alias))
            for call in calls:
                value = call(request, value)
            if isinstance(value, Reply) and value.status >= 400:
                for alias in aliases:
                    transaction.set_rollback(True, using=alias)
        return value

    return Step(Runs.IN_THREAD, run)


def _check_atomic(cls: type, route: Route, before: Sequence[Step], after: Sequence[Step]) -> None:
    where = f"{cls.__name__}.{route.attr}"
    if route.streams:
        raise RouteSetupError(
            f"{where} yields, so with atomic= its transaction would stay open while the client reads. "
            "Remove atomic=, and write `with transaction.atomic():` around the queries for one item."
        )
    runs = Runs.of(getattr(cls, route.attr))
    if runs is Runs.AWAITED:
        raise RouteSetupError(
            f"{where} is async, and a transaction stays in one thread, so atomic= cannot surround it. Write `def "
            f"{route.attr}`, or remove atomic= and call a sync function that is decorated with @transaction.atomic "
            "through database_sync_to_async."
        )
    if runs is Runs.ON_LOOP:
        raise RouteSetupError(
            f"{where} is decorated with @run_on_loop, where no query may run. Remove that or atomic=."
        )
    if any(step.runs is Runs.AWAITED for step in (*before, *after)):
        raise RouteSetupError(
            f"{where}: atomic= puts hydrate=, the permissions for objects, the handler and dehydrate= into one "
            "transaction, which stays in one thread. Write all of them as `def`, or remove atomic=."
        )
