"""Plans for SUBSCRIBE and UNSUBSCRIBE."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final, Protocol

from .._routing.route import Route
from .._routing.topic import MAX_TOPIC_CHARS, SUBSCRIBE, UNSUBSCRIBE, Pattern, Topic
from .._runtime.callables import runs
from .._wire import problems
from .._wire.messages import Reply, Request
from ..exceptions import UnknownTopic
from ..typing import UNSET, Unset
from .plan import Middleware, Plan, RequestPlan, compile_check
from .steps import Runs, Step, checked_result, hook_of

_SUCCESS: Final = range(200, 400)


class SubscriptionOwner(Protocol):
    """The subscriptions of one socket."""

    async def begin(self, name: str, plan: TopicPlan) -> None:
        """Reserve a subscription for ``name``. Raises the error for the client if it cannot be."""

    async def enter(self, request: Request) -> None:
        """Join the group of ``request.topic``, since the permissions allow it. Raises what the layer raises."""

    async def establish(self, name: str) -> None:
        """Keep the subscription, since the handler has succeeded."""

    async def undo(self, name: str) -> None:
        """Undo :meth:`begin` and :meth:`enter`: the handler has failed, or its reply could not be sent."""

    async def unsubscribe(self, request: Request) -> None:
        """Leave the group of ``request.topic``, and call the hook. Raises the error for the client."""


class TopicPlan:
    """A compiled topic of ``cls``. ``compiled(route, steps)`` compiles the plan of a route.

    Raises:
        RouteSetupError: A hook or a permission cannot be called.
    """

    __slots__ = ("check", "entering", "hook", "pattern")

    def __init__(
        self, cls: type, topic: Topic, compiled: Callable[[Route, Sequence[Step]], Plan], *, dedicated_threads: bool
    ) -> None:
        self.pattern: Pattern = topic.pattern
        self.entering = plan = compiled(topic.route, (_ENTER,))
        self.check: Plan | None = None
        """The permissions to check before each push (``recheck=True``)."""
        self.hook: Plan | None = None
        """The ``unsubscribe=`` hook, called when a subscription ends."""
        if topic.recheck:
            self.check = compile_check(cls, plan.route, plan.timeout, dedicated_threads=dedicated_threads)
        if topic.unsubscribe is not None:
            call = _unsubscribe_step(hook_of(cls, plan.route, "unsubscribe", topic.unsubscribe))
            self.hook = Plan(plan.route, plan.timeout, (call,), dedicated_threads=dedicated_threads)


def topic_plans(plans: Sequence[TopicPlan], timeout: float | Unset | None) -> dict[str, RequestPlan]:
    """Return the plans of SUBSCRIBE and UNSUBSCRIBE for a class with these topics and this ``route_timeout``."""
    return {SUBSCRIBE: Subscribe(plans), UNSUBSCRIBE: Unsubscribe(timeout)} if plans else {}


class Subscribe:
    """The plan for SUBSCRIBE: finds the topic by its name and runs that topic's plan."""

    __slots__ = ("_by_length", "declared", "route", "streams")

    def __init__(self, plans: Sequence[TopicPlan]) -> None:
        self.route = Route(name=SUBSCRIBE)
        self.streams = False
        self.declared: tuple[Route, ...] = tuple(plan.entering.route for plan in plans)
        self._by_length: dict[int, list[TopicPlan]] = {}
        for plan in sorted(plans, key=lambda plan: plan.pattern.rank):
            self._by_length.setdefault(len(plan.pattern.segments), []).append(plan)

    def route_of(self, request: Request) -> Route:
        found = None if request.topic is None else self._found(request.topic)
        return self.route if found is None else found[0].entering.route

    def timeout_of(self, request: Request) -> float | Unset | None:
        name = request.topic
        if name is None and isinstance(request.payload, dict):  # the request may still be queued
            name = request.payload.get("topic")
        found = self._found(name) if isinstance(name, str) else None
        return UNSET if found is None else found[0].entering.timeout

    async def run(self, request: Request, outer: tuple[Middleware, ...]) -> Reply:
        name = _topic_name(request.payload)
        found = self._found(name)
        if found is None:
            raise UnknownTopic
        plan, request.data = found
        request.payload = request.data
        request._topic = name
        subscriptions = _subscriptions_of(request)
        await subscriptions.begin(name, plan)
        task = asyncio.current_task()
        try:
            reply = await plan.entering.run(request, outer)
        except BaseException:
            if runs(task):  # else the loop was closed and nothing can be awaited
                await subscriptions.undo(name)
            raise
        if reply.status in _SUCCESS and not hasattr(request, "_revoked"):
            request._undo = partial(subscriptions.undo, name)
            await subscriptions.establish(name)
        else:
            await subscriptions.undo(name)
        return reply

    def _found(self, name: str) -> tuple[TopicPlan, dict[str, str]] | None:
        parts = name[: MAX_TOPIC_CHARS + 1].split(".")
        for plan in self._by_length.get(len(parts), ()):
            parameters = plan.pattern.match(parts)
            if parameters is not None:
                return plan, parameters
        return None


class Unsubscribe:
    """The plan for UNSUBSCRIBE. It needs no permissions: a client can only end its own subscriptions."""

    __slots__ = ("_timeout", "declared", "route", "streams")

    def __init__(self, timeout: float | Unset | None) -> None:
        self.route = Route(name=UNSUBSCRIBE)
        self.streams = False
        self.declared: tuple[Route, ...] = ()
        self._timeout = timeout

    def route_of(self, request: Request) -> Route:
        return self.route

    def timeout_of(self, request: Request) -> float | Unset | None:
        return self._timeout

    async def run(self, request: Request, outer: tuple[Middleware, ...]) -> Reply:
        request._topic = _topic_name(request.payload)
        await _subscriptions_of(request).unsubscribe(request)
        return Reply(None, 204)


def _topic_name(payload: Any) -> str:
    """Return the topic name in ``payload``.

    Raises:
        Invalid: There is none, or it is too long.
    """
    name = payload.get("topic") if isinstance(payload, dict) else None
    if not isinstance(name, str):
        raise problems.invalid({"topic": ['The payload has to be an object whose "topic" is a string.']})
    if len(name) > MAX_TOPIC_CHARS:
        raise problems.invalid({"topic": [f"A topic name has at most {MAX_TOPIC_CHARS} characters."]})
    return name


def _subscriptions_of(request: Request) -> SubscriptionOwner:
    consumer: Any = request.consumer
    subscriptions: SubscriptionOwner = consumer._routesock_connection.subscriptions()
    return subscriptions


async def _enter(request: Request, value: Any) -> None:
    await _subscriptions_of(request).enter(request)


_ENTER: Final = Step(Runs.AWAITED, _enter)


def _unsubscribe_step(hook: Callable[[Request, Any], Any]) -> Step:
    runs = Runs.of(hook)

    def call(request: Request, value: Any) -> None:
        checked_result(hook(request, request), hook)

    async def await_call(request: Request, value: Any) -> None:
        await hook(request, request)

    return Step(runs, await_call if runs is Runs.AWAITED else call)
