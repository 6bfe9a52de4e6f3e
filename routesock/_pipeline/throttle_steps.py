"""Steps that apply throttles, and the caller that a throttle counts for."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, TypeAlias

from .. import conf
from .._routing.route import Route, checked_throttles
from .._runtime.callables import takes, yields
from .._runtime.clients import client_address, customer_at
from .._wire.messages import Reply, Request, Scope
from ..exceptions import RouteSetupError, Throttled, Unavailable
from ..throttling import Throttle
from ..throttling.base import ALLOWED, Bucket, RateLimitHeaders, StoreError, Window, digest
from ..throttling.stores import MonitoredStore, get_store
from ..typing import UNSET
from .steps import Runs, Step, as_reply, mark_start, settled


class Caller:
    """One socket as throttles see it. The settings are read when it first meets one."""

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
        """Who is signed in, at this moment; else the address."""
        user = self._scope.get("user")
        # "is True": on the class AnonymousUser this is a property, and so something true.
        if user is not None and getattr(user, "is_authenticated", None) is True:
            pk = getattr(user, "pk", None)
            if pk is not None:
                return f"user:{pk}"
        return self._address or self.ip()

    def ip(self) -> str:
        """The client's address or IPv6 network; else the socket, since clients without one are not one."""
        if self._address is None:
            address = client_address(self._scope, self._proxies)
            self._address = self.socket() if address is None else f"ip:{customer_at(address)}"
        return self._address

    def socket(self) -> str:
        """The socket itself."""
        if self._socket is None:
            self._socket = f"socket:{uuid.uuid4().hex}"
        return self._socket


RETRY_AFTER: Final = 1
"""Seconds after which to try again what a failing store could not decide."""

_CALLERS: Final[Mapping[Any, Callable[[Caller], str]]] = {
    "user": Caller.user,
    "ip": Caller.ip,
    "socket": Caller.socket,
}

_Limit: TypeAlias = tuple[Throttle, tuple[Window, ...]]

_Buckets: TypeAlias = Callable[[Caller, Any], Sequence[Bucket]]


class Throttles:
    """The throttles of a consumer class: of its sockets, of all its routes together, and of each.

    :class:`RouteSetupError` for a declaration that cannot work.
    """

    def __init__(self, cls: type, routes: Iterable[Route]) -> None:
        self._cls = cls
        self._common = _declared(cls, "route_throttle")
        self._connecting = _declared(cls, "route_connection_throttle")
        if any(throttle.scope == "socket" for throttle in self._connecting):
            raise RouteSetupError(
                f"{cls.__name__}.route_connection_throttle counts sockets, and each is but one: "
                'write scope="user" or scope="ip".'
            )
        own = [throttle for route in routes if route.throttles is not UNSET for throttle in route.throttles]
        self._tag = self._tag_for([*self._common, *own])
        self.any = bool(self._common or self._connecting or own)

    def steps(self, route: Route) -> list[Step]:
        """The steps of ``route`` in front of its schema: the functions that are asked, and the one that counts."""
        own = () if route.throttles is UNSET else route.throttles
        if route.throttles == () or not (self._common or own):
            return []
        limits = [*self._limits("*", self._common, self._tag), *self._limits(route.name, own, self._tag)]
        return _before(f"{self._cls.__name__}.{route.attr}", limits)

    def door(self) -> list[Step]:
        """The steps in front of a socket."""
        if not self._connecting:
            return []
        limits = self._limits("connect", self._connecting, self._tag_for(self._connecting))
        return _before(f"{self._cls.__name__}.route_connection_throttle", limits)

    def _limits(self, what: str, throttles: Sequence[Throttle], tag: str) -> list[_Limit]:
        owner = f"{self._cls.__module__}.{self._cls.__qualname__}|{what}"
        return [
            (throttle, tuple(Window(f"{owner}|{number}", name, rate, tag) for name, rate in throttle.rates()))
            for number, throttle in enumerate(throttles)
        ]

    def _tag_for(self, throttles: Sequence[Throttle]) -> str:
        """The tag of windows from which one call may take: they have to lie together.

        What belongs to one caller does, where all throttles mean the same caller; else all that belongs to the class.
        """
        scopes = {throttle.scope if isinstance(throttle.scope, str) else id(throttle.scope) for throttle in throttles}
        return "" if len(scopes) < 2 else digest(f"{self._cls.__module__}.{self._cls.__qualname__}")


def _declared(cls: type, option: str) -> tuple[Throttle, ...]:
    throttles = checked_throttles(f"{cls.__name__}.{option}", getattr(cls, option, UNSET))
    return () if throttles is UNSET else throttles


def _before(where: str, limits: Sequence[_Limit]) -> list[Step]:
    asked: list[Step] = []
    for throttle, _ in limits:
        for option, hook, read in (("scope", throttle.scope, _as_caller), ("cost", throttle.cost, _as_cost)):
            if callable(hook):
                if yields(hook) or not takes(hook, 1):
                    raise RouteSetupError(f"{where}: {option}={hook!r} is called with the request and returns a value.")
                asked.append(_ask(hook, read, first=not asked))
    headers = RateLimitHeaders(window for _, windows in limits for window in windows)
    return [*asked, Step(Runs.AWAITED, _take(_answered(limits) if asked else _fixed(limits), headers))]


def _ask(hook: Callable[[Request], Any], read: Callable[[Any, Any], Any], *, first: bool) -> Step:
    """A function of the user's is called, where such functions run; its answer stands behind those before it."""
    runs = Runs.of(hook)

    def ask(request: Request, answers: Any) -> Any:
        answer = read(hook, settled(hook(request), hook))
        return (answer,) if first else (*answers, answer)

    async def await_answer(request: Request, answers: Any) -> Any:
        answer = read(hook, await hook(request))
        return (answer,) if first else (*answers, answer)

    return Step(runs, await_answer if runs is Runs.AWAITED else ask)


def _as_caller(hook: Any, answer: Any) -> str:
    if isinstance(answer, str | int) and not isinstance(answer, bool):
        return f"own:{answer}"
    raise TypeError(f"{hook!r} returned {answer!r}: the scope of a throttle is a string or an integer.")


def _as_cost(hook: Any, answer: Any) -> int:
    if isinstance(answer, int) and not isinstance(answer, bool) and answer >= 0:
        return int(answer)
    raise TypeError(f"{hook!r} returned {answer!r}: the cost of a call is an integer, 0 or more.")


def _fixed(limits: Sequence[_Limit]) -> _Buckets:
    each: list[tuple[Window, Callable[[Caller], str], Any]] = [
        (window, _CALLERS[throttle.scope], throttle.cost) for throttle, windows in limits for window in windows
    ]
    if len(each) > 1:
        return lambda caller, answers: [(window, identify(caller), cost) for window, identify, cost in each]
    [(window, identify, cost)] = each
    return lambda caller, answers: ((window, identify(caller), cost),)


def _answered(limits: Sequence[_Limit]) -> _Buckets:
    def buckets(caller: Caller, answers: Any) -> Sequence[Bucket]:
        following = iter(answers)
        found: list[Bucket] = []
        for throttle, windows in limits:
            who = next(following) if callable(throttle.scope) else _CALLERS[throttle.scope](caller)
            cost = next(following) if callable(throttle.cost) else throttle.cost
            if any(cost > window.limit for window in windows):
                raise Throttled("This is more than is let through at any time.")
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
                raise Unavailable(
                    "It cannot be told for the moment whether this is too much.", wait=RETRY_AFTER
                ) from exc
            decision = ALLOWED
        else:
            if monitored.is_failing:
                monitored.record_success()
        if monitored.memory is None:
            mark_start(request, None)
        told = request._rate_limits = headers.build(decision.quotas) if caller.headers else None
        if decision.wait:
            raise Throttled(wait=decision.wait, headers=told)

    return take


def finish_with_limits(route: Route) -> Step:
    """As :func:`~routesock._pipeline.steps.finish`; the reply tells what is left, where that was asked for."""

    def make(request: Request, value: Any) -> Reply:
        reply = as_reply(route, value)
        told = request._rate_limits
        return reply if told is None else Reply(reply.payload, reply.status, {**reply.headers, **told})

    return Step(Runs.ON_LOOP, make)
