"""Steps that apply throttles, and the caller that a throttle counts for."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, TypeAlias

from .. import conf
from .._routing.arguments import checked_throttles
from .._routing.route import Route
from .._runtime.callables import takes, yields
from .._runtime.clients import client_address, customer_at
from .._store.opening import StoreError
from .._wire.messages import NO_REPLY, Reply, Request, Scope, reply_with
from ..exceptions import RouteSetupError, Throttled, Unavailable
from ..throttling import Throttle
from ..throttling.base import ALLOWED, Bucket, RateLimitHeaders, Window, digest
from ..throttling.stores import MonitoredStore, get_store
from ..typing import UNSET
from .steps import Runs, Step, checked_result, finish, mark_start


class Caller:
    """The keys under which throttles count one socket, and the settings for it, read at its first throttled request."""

    __slots__ = ("_address", "_proxies", "_scope", "_socket", "cache", "closed", "headers", "store", "timeout")

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self._proxies: int = conf.get("NUM_PROXIES")
        self._address: str | None = None
        self._socket: str | None = None
        self.cache: str = conf.get("THROTTLE_CACHE")
        self.timeout: float = conf.get("THROTTLE_TIMEOUT")
        self.closed: bool = conf.get("THROTTLE_FAIL") == "closed"
        self.headers: bool = conf.get("THROTTLE_HEADERS")
        self.store: MonitoredStore | None = None

    def user(self) -> str:
        """Return the key of the user signed in now, else that of the address."""
        user = self._scope.get("user")
        # "is True": on the class AnonymousUser this is a property, and so something true.
        if user is not None and getattr(user, "is_authenticated", None) is True:
            pk = getattr(user, "pk", None)
            if pk is not None:
                return f"user:{pk}"
        return self._address or self.ip()

    def ip(self) -> str:
        """Return the key of the address or IPv6 network; without one, the key of the socket."""
        if self._address is None:
            address = client_address(self._scope, self._proxies)
            self._address = self.socket() if address is None else f"ip:{customer_at(address)}"
        return self._address

    def socket(self) -> str:
        """Return the key of this socket."""
        if self._socket is None:
            self._socket = f"socket:{uuid.uuid4().hex}"
        return self._socket


RETRY_AFTER: Final = 1
"""Seconds for ``Retry-After`` when the store fails and ``THROTTLE_FAIL`` is ``"closed"``."""

_CALLERS: Final[Mapping[Any, Callable[[Caller], str]]] = {
    "user": Caller.user,
    "ip": Caller.ip,
    "socket": Caller.socket,
}

_Limit: TypeAlias = tuple[Throttle, tuple[Window, ...]]

_Buckets: TypeAlias = Callable[[Caller, Any], Sequence[Bucket]]


class Throttles:
    """The throttles of a consumer class: for new sockets, for all routes together, and for each route.

    Raises:
        RouteSetupError: A declaration cannot work.
    """

    def __init__(self, cls: type, routes: Iterable[Route]) -> None:
        self._cls = cls
        self._common = _declared(cls, "route_throttle")
        self._connecting = _declared(cls, "route_connection_throttle")
        if any(throttle.scope == "socket" for throttle in self._connecting):
            raise RouteSetupError(
                f'{cls.__name__}.route_connection_throttle counts new sockets, so scope="socket" never '
                'limits anything. Write scope="user" or scope="ip".'
            )
        own = [throttle for route in routes if route.throttles is not UNSET for throttle in route.throttles]
        self._tag = self._tag_for([*self._common, *own])
        self.any = bool(self._common or self._connecting or own)

    def steps(self, route: Route) -> list[Step]:
        """Return the throttle steps of ``route``: the users' ``scope=`` and ``cost=`` functions, then the counting."""
        own = () if route.throttles is UNSET else route.throttles
        if route.throttles == () or not (self._common or own):
            return []
        limits = [*self._limits("class", self._common, self._tag), *self._limits(f"route:{route.name}", own, self._tag)]
        return _throttle_steps(f"{self._cls.__name__}.{route.attr}", limits)

    def connection_steps(self) -> list[Step]:
        """Return the throttle steps for a new socket."""
        if not self._connecting:
            return []
        limits = self._limits("connection", self._connecting, self._tag_for(self._connecting))
        return _throttle_steps(f"{self._cls.__name__}.route_connection_throttle", limits)

    def _limits(self, what: str, throttles: Sequence[Throttle], tag: str) -> list[_Limit]:
        # Names of routes have a prefix, so that none of them is one of the other two words.
        owner = f"{self._cls.__module__}.{self._cls.__qualname__}|{what}"
        return [
            (throttle, tuple(Window(f"{owner}|{number}", name, rate, tag) for name, rate in throttle.rates()))
            for number, throttle in enumerate(throttles)
        ]

    def _tag_for(self, throttles: Sequence[Throttle]) -> str:
        """Return the Redis Cluster hash tag for windows that one call takes from, since they have to share a slot.

        If all throttles have the same scope, each caller gets a separate slot (no tag). Else the class has one slot.
        """
        scopes = {throttle.scope if isinstance(throttle.scope, str) else id(throttle.scope) for throttle in throttles}
        return "" if len(scopes) < 2 else digest(f"{self._cls.__module__}.{self._cls.__qualname__}")


def _declared(cls: type, option: str) -> tuple[Throttle, ...]:
    throttles = checked_throttles(f"{cls.__name__}.{option}", getattr(cls, option, UNSET))
    return () if throttles is UNSET else throttles


def _throttle_steps(where: str, limits: Sequence[_Limit]) -> list[Step]:
    hook_steps: list[Step] = []
    for throttle, _ in limits:
        for option, hook, read in (("scope", throttle.scope, _as_caller), ("cost", throttle.cost, _as_cost)):
            if callable(hook):
                if yields(hook) or not takes(hook, 1):
                    raise RouteSetupError(
                        f"{where}: {option}={hook!r} cannot be called. Write `def {option}(request)`."
                    )
                hook_steps.append(_hook_step(hook, read, first=not hook_steps))
    headers = RateLimitHeaders(window for _, windows in limits for window in windows)
    return [
        *hook_steps,
        Step(Runs.AWAITED, _take(_buckets_from_hooks(limits) if hook_steps else _fixed_buckets(limits), headers)),
    ]


def _hook_step(hook: Callable[[Request], Any], read: Callable[[Any, Any], Any], *, first: bool) -> Step:
    """Return the step that calls a user's ``scope=`` or ``cost=`` function and appends its answer."""
    runs = Runs.of(hook)

    def call_hook(request: Request, answers: Any) -> Any:
        answer = read(hook, checked_result(hook(request), hook))
        return (answer,) if first else (*answers, answer)

    async def await_answer(request: Request, answers: Any) -> Any:
        answer = read(hook, await hook(request))
        return (answer,) if first else (*answers, answer)

    return Step(runs, await_answer if runs is Runs.AWAITED else call_hook)


def _as_caller(hook: Any, answer: Any) -> str:
    if isinstance(answer, str | int) and not isinstance(answer, bool):
        return f"own:{answer}"
    raise TypeError(f"{hook!r} returned {answer!r}: the scope of a throttle has to be a string or an integer.")


def _as_cost(hook: Any, answer: Any) -> int:
    if isinstance(answer, int) and not isinstance(answer, bool) and answer >= 0:
        return int(answer)
    raise TypeError(f"{hook!r} returned {answer!r}: the cost of a call has to be an integer of 0 or more.")


def _fixed_buckets(limits: Sequence[_Limit]) -> _Buckets:
    each: list[tuple[Window, Callable[[Caller], str], Any]] = [
        (window, _CALLERS[throttle.scope], throttle.cost) for throttle, windows in limits for window in windows
    ]
    if len(each) > 1:
        return lambda caller, answers: [(window, identify(caller), cost) for window, identify, cost in each]
    [(window, identify, cost)] = each
    return lambda caller, answers: ((window, identify(caller), cost),)


def _buckets_from_hooks(limits: Sequence[_Limit]) -> _Buckets:
    def buckets(caller: Caller, answers: Any) -> Sequence[Bucket]:
        following = iter(answers)
        found: list[Bucket] = []
        for throttle, windows in limits:
            who = next(following) if callable(throttle.scope) else _CALLERS[throttle.scope](caller)
            cost = next(following) if callable(throttle.cost) else throttle.cost
            if any(cost > window.limit for window in windows):
                raise Throttled("This request costs more than the limit allows at once.")
            found += [(window, who, cost) for window in windows]
        return found

    return buckets


def _take(buckets: _Buckets, headers: RateLimitHeaders) -> Callable[[Request, Any], Any]:
    async def take(request: Request, answers: Any) -> None:
        consumer: Any = request.consumer
        try:
            caller: Caller = consumer._routesock_caller
        except AttributeError:
            caller = consumer._routesock_caller = Caller(consumer.scope)
        monitored = caller.store
        if monitored is None:
            monitored = caller.store = await get_store(caller.cache)
        try:
            if monitored.memory is not None:
                decision = monitored.memory.decide(buckets(caller, answers), caller.headers)
            else:
                decision = await monitored.store.take(buckets(caller, answers), caller.timeout, quotas=caller.headers)
        except StoreError as exc:
            monitored.record_failure(exc, fail_closed=caller.closed)
            if caller.closed:
                raise Unavailable("The rate limit cannot be checked at the moment.", wait=RETRY_AFTER) from exc
            decision = ALLOWED
        else:
            if monitored.outage.is_on:
                monitored.record_success()
        if monitored.memory is None:
            mark_start(request, None)
        limits = request._rate_limits = headers.build(decision.quotas) if caller.headers else None
        if decision.wait:
            raise Throttled(wait=decision.wait, headers=limits)

    return take


def finish_with_limits(route: Route) -> Step:
    """As :func:`~routesock._pipeline.steps.finish`; adds the rate limit headers to the reply."""
    without_limits = finish(route).call

    def make(request: Request, value: Any) -> Reply:
        reply: Reply = without_limits(request, value)
        limits = request._rate_limits
        if limits is None or reply is NO_REPLY:
            return reply
        return reply_with(reply.payload, reply.status, {**reply.headers, **limits})

    return Step(Runs.ON_LOOP, make)
