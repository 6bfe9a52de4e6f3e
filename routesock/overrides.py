"""What a consumer class brings of its own, found out once when it is created."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from channels.consumer import AsyncConsumer, SyncConsumer
from channels.generic.websocket import (
    AsyncJsonWebsocketConsumer,
    AsyncWebsocketConsumer,
    JsonWebsocketConsumer,
    WebsocketConsumer,
)

from . import conf, options
from .access import check_objects
from .dialects import Dialect
from .events import collect_events
from .exceptions import RouteSetupError
from .liveness import Limits
from .permissions.resolve import Tree, from_settings
from .pipeline import Answering, Door, Plan, compile_route
from .quota import Throttles
from .routing import Route, collect
from .steps import Step
from .subscribing import TopicPlan, topic_plans
from .telling import Telling
from .topics import Topic, collect_topics
from .typing import UNSET, Unset

_CHANNELS: Final = ("channels.consumer", "channels.generic.websocket")


@dataclass(frozen=True, slots=True)
class Compiled:
    """A consumer class as a connection sees it: its plans by route name, and what of Channels it overrides."""

    plans: Mapping[str, Answering]
    """Without the permissions of the settings."""
    plans_now: Callable[[], Mapping[str, Answering]]
    """With them; :class:`RouteSetupError` for a setting ``PERMISSIONS`` that cannot work."""
    door: Door
    throttled: bool
    """A route, or the opening of a socket, is throttled."""
    topics: tuple[Topic, ...]
    events: Mapping[str, Telling]
    handlers: frozenset[str]
    """The attributes that answer routes, subscriptions and events: no channel-layer message may call them."""
    beside: frozenset[str]
    """The routes that run beside the order."""
    public: frozenset[str]
    """The routes that are answered before a handshake."""
    concurrency: int | Unset
    overflow: str | Unset
    dialect: Dialect
    grace: float | Unset
    isolated: bool
    """Each of its sockets has its sync work done in a thread beside the shared one."""
    limits: Limits
    ends_with_session: bool | Unset
    revalidate: float | None
    """Seconds between two looks at the user of a socket."""
    sync: bool
    dispatch: bool
    guarded: bool
    """``dispatch`` or ``websocket_receive`` is the class's own, so every frame has to pass through it."""
    receive: bool
    """``receive`` is its own: foreign frames of every kind belong to it."""
    receive_json: bool
    """``receive_json`` is its own: foreign frames that ``decode_json`` accepts belong to it."""
    decode: bool
    encode: bool
    send: bool
    send_json: bool


def compile_consumer(cls: type) -> Compiled:
    """Collect and compile what ``cls`` declares.

    Raises :class:`RouteSetupError` for a class option, a route or a hook that cannot work.
    """
    dialect = options.dialect_of(cls)
    timeout = options.timeout_of(cls)
    middleware = options.middleware_of(cls)
    isolated = options.is_isolated(cls)
    routes = collect(cls)
    topics = collect_topics(cls)
    declared = [*routes.values(), *(topic.route for topic in topics)]
    events = {name: Telling(cls, mark, isolated=isolated) for name, mark in collect_events(cls).items()}
    throttles = Throttles(cls, declared)
    is_json = issubclass(cls, AsyncJsonWebsocketConsumer | JsonWebsocketConsumer)
    own = {name: _is_own(cls, name) for name in ("dispatch", "websocket_receive", "receive", "send")}
    own |= {name: is_json and _is_own(cls, name) for name in _JSON_METHODS}
    permissions = options.permissions_of(cls)

    def compiled(permissions: tuple[Tree, ...] | Unset) -> dict[str, Answering]:
        def plan(route: Route, entering: Sequence[Step] = ()) -> Plan:
            return compile_route(
                cls,
                replace(route, permissions=permissions) if route.permissions is UNSET else route,
                timeout if route.timeout is UNSET else route.timeout,
                middleware,
                throttles,
                isolated=isolated,
                entering=entering,
            )

        plans: dict[str, Answering] = {name: plan(route) for name, route in routes.items()}
        return plans | topic_plans([TopicPlan(cls, topic, plan, isolated=isolated) for topic in topics], timeout)

    for route in declared:
        check_objects(cls, route)
    plans = compiled(permissions)
    return Compiled(
        plans=plans,
        plans_now=_Current(plans, compiled),
        door=Door(throttles),
        throttled=throttles.any,
        topics=topics,
        events=events,
        handlers=frozenset([route.attr for route in declared] + [telling.attr for telling in events.values()]),
        beside=frozenset(name for name, route in routes.items() if route.parallel or route.streams),
        public=frozenset(name for name, route in routes.items() if route.public),
        concurrency=options.concurrency_of(cls),
        overflow=options.overflow_of(cls),
        dialect=dialect,
        grace=options.grace_of(cls),
        isolated=isolated,
        limits=options.limits_of(cls),
        ends_with_session=options.ends_with_session(cls),
        revalidate=options.revalidate_of(cls),
        sync=issubclass(cls, SyncConsumer),
        dispatch=own["dispatch"],
        guarded=own["dispatch"] or own["websocket_receive"],
        receive=own["receive"],
        receive_json=own["receive_json"],
        decode=own["decode_json"],
        encode=own["encode_json"],
        send=own["send"],
        send_json=own["send_json"],
    )


class _Current:
    """The plans of a class with the permissions that the settings name at the moment."""

    def __init__(
        self, plans: Mapping[str, Answering], compiled: Callable[[tuple[Tree, ...]], Mapping[str, Answering]]
    ) -> None:
        self._open = any(route.permissions is UNSET for plan in plans.values() for route in plan.declared)
        self._compiled = compiled
        self._plans = plans
        self._last: tuple[tuple[str, ...], Mapping[str, Answering]] = ((), plans)

    def __call__(self) -> Mapping[str, Answering]:
        if not self._open:
            return self._plans
        names = tuple(conf.get("PERMISSIONS"))
        if not names:
            return self._plans
        last, plans = self._last
        if names != last:
            plans = self._compiled(tuple(map(from_settings, names)))
            self._last = names, plans
        return plans


_JSON_METHODS: Final = ("receive_json", "decode_json", "encode_json", "send_json")


def check_bases(cls: type, mixin: type) -> bool:
    """Whether ``cls`` is a WebSocket consumer; ``False`` for a mixin that is still to be mixed into one.

    Raises :class:`RouteSetupError` where the mixin could not take effect.
    """
    if not issubclass(cls, AsyncConsumer):
        return False
    if not issubclass(cls, AsyncWebsocketConsumer | WebsocketConsumer):
        raise RouteSetupError(f"{cls.__name__} is no WebSocket consumer: RouteMixin has no frames to route there.")
    mro = cls.__mro__
    behind = mro[mro.index(mixin) + 1 :]
    consumers = [base for base in mro if issubclass(base, AsyncConsumer) and not issubclass(base, mixin)]
    if AsyncConsumer not in behind:
        raise RouteSetupError(
            f"RouteMixin stands behind {consumers[0].__name__}, where it has no effect. "
            f"Write `class {cls.__name__}(RouteMixin, {consumers[0].__name__})`."
        )
    for base in behind:
        if "__call__" in vars(base) and base.__module__ not in _CHANNELS:
            raise RouteSetupError(
                f"{base.__name__} overrides __call__, which RouteMixin in front of it would replace. "
                f"Put the mixin further back: `class {base.__name__}(RouteMixin, ...)`."
            )
    return True


def _is_own(cls: type, name: str) -> bool:
    return next(base.__module__ not in _CHANNELS for base in cls.__mro__ if name in vars(base))
