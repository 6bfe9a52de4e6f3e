"""Plans for SUBSCRIBE and UNSUBSCRIBE."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextvars import copy_context
from functools import partial
from typing import Any, Final, Protocol

from .. import conf
from .._routing.route import Route
from .._routing.topic import MAX_TOPIC_CHARS, RESUME, SUBSCRIBE, UNSUBSCRIBE, Pattern, Topic
from .._runtime import instrumentation
from .._runtime.callables import is_from_outside, runs
from .._wire import problems
from .._wire.camel_case import Verbatim
from .._wire.messages import Reply, Request
from ..dialects.base import POSITION_HEADER, RECOVERED_HEADER
from ..exceptions import UnknownTopic
from ..typing import UNSET, Unset
from .plan import Middleware, Plan, RequestPlan, compile_check
from .steps import Runs, Step, checked_result, hook_of

_SUCCESS: Final = range(200, 400)


class SubscriptionOwner(Protocol):
    """The subscriptions of one socket."""

    async def begin(self, name: str, plan: TopicPlan) -> None:
        """Reserve a subscription for ``name``. Raises the error for the client if it cannot be."""

    async def enter(self, request: Request) -> Reply | None:
        """Join the group of ``request.topic``, since the permissions allow it. Raises what the layer raises.

        Returns the reply in place of the handler's if the client goes on where it was.
        """

    def follow(self, name: str) -> tuple[Mapping[str, Any], Callable[[], None]] | None:
        """Return further headers of the reply, and what to call behind it; ``None`` for a topic without a history."""

    async def establish(self, name: str) -> None:
        """Keep the subscription, since the handler has succeeded."""

    async def undo(self, name: str) -> None:
        """Undo :meth:`begin` and :meth:`enter`: the handler has failed, or its reply could not be sent."""

    async def unsubscribe(self, request: Request) -> None:
        """Leave the group of ``request.topic``, and call the hook. Raises the error for the client."""


class TopicPlan:
    """A compiled topic of ``cls``. ``compiled(route, steps, may_answer=...)`` compiles the plan of a
    route.

    Raises:
        RouteSetupError: A hook or a permission cannot be called.
    """

    __slots__ = ("check", "entering", "hook", "pattern", "recover")

    def __init__(self, cls: type, topic: Topic, compiled: Callable[..., Plan], *, dedicated_threads: bool) -> None:
        self.pattern: Pattern = topic.pattern
        self.recover = topic.recover
        self.entering = plan = compiled(topic.route, (_ENTER,), may_answer=bool(topic.recover))
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
    if not plans:
        return {}
    subscribe = Subscribe(plans)
    found: dict[str, RequestPlan] = {SUBSCRIBE: subscribe, UNSUBSCRIBE: Unsubscribe(timeout)}
    if any(plan.recover for plan in plans):
        found[RESUME] = Resume(subscribe, timeout)
    return found


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
        reply, follow = await self.subscribe(request, outer)
        if follow is not None:
            _call_behind_reply(request, follow)
        return reply

    async def subscribe(
        self, request: Request, outer: tuple[Middleware, ...]
    ) -> tuple[Reply, Callable[[], None] | None]:
        """Return the reply to ``request``, and what to call when it was sent."""
        sent = request.payload
        name = _topic_name(sent)
        found = self._found(name)
        if found is None:
            raise UnknownTopic
        plan, request.data = found
        request.payload = request.data
        request._topic = name
        if plan.recover and sent.get("since") is not None:
            request._since = _position(sent["since"])
        subscriptions = _subscriptions_of(request)
        await subscriptions.begin(name, plan)
        task = asyncio.current_task()
        try:
            reply = await plan.entering.run(request, outer)
        except BaseException:
            if runs(task):  # else the loop was closed and nothing can be awaited
                await subscriptions.undo(name)
            raise
        if reply.status not in _SUCCESS or hasattr(request, "_revoked"):
            await subscriptions.undo(name)
            return reply, None
        request._undo = partial(subscriptions.undo, name)
        following = subscriptions.follow(name) if plan.recover else None
        await subscriptions.establish(name)
        if following is None:
            return reply, None
        headers, follow = following
        return Reply(reply.payload, reply.status, {**reply.headers, **headers}), follow

    def _found(self, name: str) -> tuple[TopicPlan, dict[str, str]] | None:
        parts = name[: MAX_TOPIC_CHARS + 1].split(".")
        for plan in self._by_length.get(len(parts), ()):
            parameters = plan.pattern.match(parts)
            if parameters is not None:
                return plan, parameters
        return None


class Resume:
    """The plan for RESUME: subscribes to several topics, each as SUBSCRIBE does, and answers once.

    One topic comes after the other, since permissions and handlers of a socket never run at the same time.
    """

    __slots__ = ("_subscribe", "_timeout", "declared", "route", "streams")

    def __init__(self, subscribe: Subscribe, timeout: float | Unset | None) -> None:
        self.route = Route(name=RESUME)
        self.streams = False
        self.declared: tuple[Route, ...] = ()
        self._subscribe = subscribe
        self._timeout = timeout

    def route_of(self, request: Request) -> Route:
        return self.route

    def timeout_of(self, request: Request) -> float | Unset | None:
        return self._timeout

    async def run(self, request: Request, outer: tuple[Middleware, ...]) -> Reply:
        topics = _topics(request.payload)
        undos: list[Callable[[], Awaitable[None]]] = []
        follows: list[Callable[[], None]] = []
        results = Verbatim()

        async def undo() -> None:
            for call in undos:
                await call()

        task = asyncio.current_task()
        try:
            for name, since in topics.items():
                results[name] = await self._resume(request, name, since, outer, undos, follows)
        except BaseException:
            if runs(task):
                await undo()
            raise
        if hasattr(request, "_revoked"):
            await undo()
        request._undo = undo
        _call_behind_reply(request, *follows)
        return Reply(results)

    async def _resume(
        self,
        request: Request,
        name: str,
        since: str,
        outer: tuple[Middleware, ...],
        undos: list[Callable[[], Awaitable[None]]],
        follows: list[Callable[[], None]],
    ) -> dict[str, Any]:
        one = Request(SUBSCRIBE, request.id, {"topic": name, "since": since}, request.headers, request.consumer)
        task = asyncio.current_task()
        try:
            reply, follow = await self._subscribe.subscribe(one, outer)
        except BaseException as exc:
            if is_from_outside(exc, task) or hasattr(request, "_revoked"):
                raise
            error = instrumentation.error_for(exc, request.consumer, one)
            return {"status": error.status, "payload": error.problem()}
        if hasattr(one, "_undo"):
            undos.append(one._undo)
        if follow is not None:
            follows.append(follow)
        result: dict[str, Any] = {"status": reply.status}
        for header, member in ((POSITION_HEADER, "position"), (RECOVERED_HEADER, "recovered")):
            if header in reply.headers:
                result[member] = reply.headers[header]
        result["payload"] = None if reply.status == 204 else reply.payload
        return result


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


def _topics(payload: Any) -> dict[str, str]:
    """Return the positions by the names of topics in ``payload``.

    Raises:
        Invalid: It has none, or too many.
    """
    topics = payload.get("topics") if isinstance(payload, dict) else None
    if not isinstance(topics, dict) or not all(isinstance(since, str) for since in topics.values()):
        raise problems.invalid(
            {"topics": ['The payload has to be an object whose "topics" is an object from names to positions.']}
        )
    most: int = conf.get("MAX_SUBSCRIPTIONS")
    if len(topics) > most:
        raise problems.invalid({"topics": [f"A socket has at most {most} subscriptions."]})
    return topics


def _position(value: Any) -> Any:
    from .._store.histories import parse_position  # most projects need it not

    position = parse_position(value)
    if position is None:
        raise problems.invalid({"since": ['A position is a string such as "Zk3fQ1a9:17".']})
    return position


def _call_behind_reply(request: Request, *calls: Callable[[], None]) -> None:
    """Have ``calls`` called when the reply to ``request`` was sent."""

    def replied() -> None:
        for call in calls:
            call()

    request._replied = replied
    if not hasattr(request, "_context"):
        request._context = copy_context()  # the dispatcher looks for _replied behind it


def _subscriptions_of(request: Request) -> SubscriptionOwner:
    consumer: Any = request.consumer
    subscriptions: SubscriptionOwner = consumer._routesock_connection.subscriptions()
    return subscriptions


async def _enter(request: Request, value: Any) -> Reply | None:
    return await _subscriptions_of(request).enter(request)


_ENTER: Final = Step(Runs.AWAITED, _enter)


def _unsubscribe_step(hook: Callable[[Request, Any], Any]) -> Step:
    runs = Runs.of(hook)

    def call(request: Request, value: Any) -> None:
        checked_result(hook(request, request), hook)

    async def await_call(request: Request, value: Any) -> None:
        await hook(request, request)

    return Step(runs, await_call if runs is Runs.AWAITED else call)
