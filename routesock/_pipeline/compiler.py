"""Compiles a consumer class: its plans, and the Channels methods that it overrides."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any, Final, TypeAlias

from channels.consumer import AsyncConsumer, SyncConsumer
from channels.generic.websocket import (
    AsyncJsonWebsocketConsumer,
    AsyncWebsocketConsumer,
    JsonWebsocketConsumer,
    WebsocketConsumer,
)

from .. import conf
from .._routing import class_options
from .._routing.class_options import Limits
from .._routing.event import Event, EventMark, collect_events
from .._routing.push import Pushes, check_asks, collect_pushes
from .._routing.route import Route, collect
from .._routing.topic import Topic, collect_topics
from .._runtime import database
from .._runtime.instrumentation import printable
from ..dialects import Dialect
from ..dialects.base import can_read_headers, dialect_for
from ..exceptions import Invalid, RouteSetupError
from ..permissions.base import from_settings
from ..schemas.base import loader_of
from ..typing import UNSET, Unset
from .permission_steps import check_objects
from .plan import ConnectionCheck, Plan, RequestPlan, compile_route
from .steps import Runs, Step, checked_result, may_follow_settings
from .throttle_steps import Throttles
from .topic_plan import TopicPlan, topic_plans


class EventRefused(Exception):
    """The payload of an event does not pass the schema of its handler."""


class EventPlan:
    """Runs the handler of one event: ``await plan.run(event, consumer)``.

    The plan catches nothing: the caller logs exceptions.
    """

    __slots__ = ("_load_payload", "_loads", "_refresh", "_runs", "attr")

    def __init__(self, cls: type, mark: EventMark, *, dedicated_threads: bool) -> None:
        self.attr = mark.attr
        self._load_payload = None if mark.schema is None else loader_of(mark.schema)
        self._loads = Runs.IN_THREAD if mark.schema is not None and mark.schema.runs_in_thread else Runs.ON_LOOP
        self._runs = Runs.of(getattr(cls, mark.attr))
        self._refresh = database.refresh_current if dedicated_threads else database.refresh

    async def run(self, event: Event, consumer: Any) -> None:
        self._refresh()
        if self._loads is Runs.ON_LOOP:
            self._load(event)
            if self._runs is Runs.IN_THREAD:
                await database.in_thread(self._call, event, consumer)
                return
        elif self._runs is Runs.IN_THREAD:
            await database.in_thread(self._load_and_call, event, consumer)
            return
        else:
            await database.in_thread(self._load, event)
        if self._runs is Runs.AWAITED:
            await getattr(consumer, self.attr)(event)
        else:
            self._call(event, consumer)

    def _load_and_call(self, event: Event, consumer: Any) -> None:
        self._load(event)
        self._call(event, consumer)

    def _load(self, event: Event) -> None:
        if self._load_payload is None:
            return
        try:
            event.payload = self._load_payload(event.payload, None)  # an event belongs to no request
        except Invalid as exc:
            raise EventRefused(f"The schema of {self.attr} rejects the payload: {printable(exc.errors)}") from exc

    # Looked up for each call, so that tests can patch it on the class or on one consumer.
    def _call(self, event: Event, consumer: Any) -> None:
        checked_result(getattr(consumer, self.attr)(event), self.attr)


_CHANNELS: Final = ("channels.consumer", "channels.generic.websocket")


PROTOCOL: Final = 1
"""The version of the protocol. It changes where a client would have to change."""


@dataclass(frozen=True, slots=True)
class ConsumerPlan:
    """A compiled consumer class: its plans by route name, its options, and the Channels methods that it overrides."""

    plans: Mapping[str, RequestPlan]
    """The plans without the permissions and transactions from the settings."""
    current_plans: Callable[[], Mapping[str, RequestPlan]]
    """Returns the plans with them. Raises :class:`RouteSetupError` for a ``PERMISSIONS`` setting that cannot work."""
    connection_check: ConnectionCheck
    throttled: bool
    """Whether a route or opening a socket is throttled."""
    topics: tuple[Topic, ...]
    events: Mapping[str, EventPlan]
    pushes: Pushes
    """The pushes that the class declares, by their names."""
    handlers: frozenset[str]
    """The handler methods of routes, topics and events: no channel-layer message may call them."""
    parallel_routes: frozenset[str]
    """The names of the routes that run in parallel (``parallel=True`` and streams)."""
    public: frozenset[str]
    """The names of the routes that are answered before authentication (``public=True``)."""
    hello: bool
    """Whether the client is sent :meth:`connection_info` when the socket is accepted."""
    concurrency: int | Unset
    max_frame: int | Unset
    overflow: str | Unset
    dialect: Dialect
    closes_on_foreign_errors: bool
    """Whether an exception of the consumer's own code ends the socket, as under Channels, instead of being answered."""
    grace: float | Unset
    dedicated_threads: bool
    """Whether sync work runs in dedicated threads instead of Django's shared one."""
    thread_context: Callable[[Any], AbstractContextManager[Any]] | None
    """Returns the context manager to enter around each piece of sync work of a consumer."""
    limits: Limits
    ends_with_session: bool | Unset
    revalidate: float | None
    """Seconds between two look-ups of the user; ``None``: never."""
    sync: bool
    attributes: list[dict[str, Any]]
    """The attributes of the class and of its bases when it was compiled. Empty once the class has been served."""
    overrides: frozenset[str]
    """The names of the methods of Channels that the class overrides. The attributes that follow are read from it."""
    dispatch: bool
    overrides_dispatch: bool
    """The class overrides ``dispatch`` or ``websocket_receive``, so every frame has to pass through it."""
    receive: bool
    """The class overrides ``receive``, which gets foreign frames of every kind."""
    receive_json: bool
    """The class overrides ``receive_json``, which gets the foreign frames that ``decode_json`` accepts."""
    decode: bool
    encode: bool
    send: bool
    send_json: bool

    def connection_info(self) -> dict[str, Any]:
        """Return what a client needs to know of its connection: the payload of HELLO. Times are in seconds."""
        info: dict[str, Any] = {"protocol": PROTOCOL}
        heartbeat = self.limits.heartbeat
        if heartbeat is not None:
            info["heartbeat"] = {"interval": heartbeat.interval, "timeout": heartbeat.timeout}
        info["max_frame"] = conf.get("MAX_FRAME") if self.max_frame is UNSET else self.max_frame
        info["max_queued"] = conf.get("MAX_QUEUED")
        return info


def compile_consumer(cls: type) -> ConsumerPlan:
    """Collect and compile what ``cls`` declares.

    Raises:
        RouteSetupError: A class option, a route or a hook cannot work.
    """
    dialect = class_options.dialect_of(cls)
    class_options.summary_of(cls)  # only checked: documents read it from the class
    timeout = class_options.timeout_of(cls)
    middleware = class_options.middleware_of(cls)
    dedicated_threads = class_options.has_dedicated_threads(cls)
    routes = collect(cls)
    topics = collect_topics(cls)
    declared = [*routes.values(), *(topic.route for topic in topics)]
    events = {
        name: EventPlan(cls, mark, dedicated_threads=dedicated_threads) for name, mark in collect_events(cls).items()
    }
    if not can_read_headers(dialect):
        _check_keys(cls, routes.values(), dialect)
    pushes = collect_pushes(cls)
    check_asks(cls, pushes, dialect)
    throttles = Throttles(cls, declared)
    permissions = class_options.permissions_of(cls)

    def compiled(names: tuple[str, ...], atomic_requests: tuple[str, ...]) -> dict[str, RequestPlan]:
        common = tuple(map(from_settings, names)) if names else permissions

        def plan(route: Route, entering: Sequence[Step] = (), *, may_answer: bool = False) -> Plan:
            return compile_route(
                cls,
                replace(route, permissions=common) if route.permissions is UNSET else route,
                timeout if route.timeout is UNSET else route.timeout,
                middleware,
                throttles,
                dedicated_threads=dedicated_threads,
                entering=entering,
                may_answer=may_answer,
                atomic_requests=atomic_requests,
            )

        plans: dict[str, RequestPlan] = {name: plan(route) for name, route in routes.items()}
        return plans | topic_plans(
            [TopicPlan(cls, topic, plan, dedicated_threads=dedicated_threads) for topic in topics], timeout
        )

    for route in declared:
        check_objects(cls, route)
    plans = compiled((), ())
    return ConsumerPlan(
        plans=plans,
        current_plans=_PlansWithSettings(
            plans,
            compiled,
            has_open=permissions is UNSET and any(route.permissions is UNSET for route in declared),
            may_be_atomic=any(may_follow_settings(cls, route) for route in declared),
        ),
        connection_check=ConnectionCheck(throttles),
        throttled=throttles.any,
        topics=topics,
        events=events,
        pushes=pushes,
        handlers=frozenset([route.attr for route in declared] + [event.attr for event in events.values()]),
        parallel_routes=frozenset(name for name, route in routes.items() if route.parallel or route.streams),
        public=frozenset(name for name, route in routes.items() if route.public),
        hello=class_options.says_hello(cls),
        concurrency=class_options.concurrency_of(cls),
        max_frame=class_options.max_frame_of(cls),
        overflow=class_options.overflow_of(cls),
        dialect=dialect,
        closes_on_foreign_errors=class_options.closes_on_foreign_errors(cls),
        grace=class_options.grace_of(cls),
        dedicated_threads=dedicated_threads,
        thread_context=class_options.thread_context_of(cls),
        limits=class_options.limits_of(cls),
        ends_with_session=class_options.ends_with_session(cls),
        revalidate=class_options.revalidate_interval_of(cls),
        sync=issubclass(cls, SyncConsumer),
        attributes=[],
        **_attributes_for(_overrides(cls, ())),
    )


def _check_keys(cls: type, routes: Iterable[Route], dialect: Dialect) -> None:
    """Raise :class:`RouteSetupError` if a route needs keys in headers, which no request in ``dialect`` has."""
    for route in routes:
        if route.idempotent is not None:
            raise RouteSetupError(
                f"{cls.__name__}.{route.attr}: idempotent= needs the header Idempotency-Key, and requests in the "
                f"dialect {dialect!r} have no headers. Remove idempotent=, or use another dialect."
            )


def with_overrides(plan: ConsumerPlan, consumer: Any) -> ConsumerPlan:
    """Return ``plan`` with the methods that ``consumer`` overrides now, and the dialect of this socket.

    A class decorator or a patch may have replaced a method since the class was created, and ``__init__`` may have set
    one on the consumer itself.
    """
    changes: dict[str, Any] = {}
    overrides = _overrides(type(consumer), vars(consumer))
    if overrides != plan.overrides:
        changes = _attributes_for(overrides)
    dialect = dialect_for(plan.dialect, consumer)
    if dialect is not plan.dialect:
        changes["dialect"] = dialect
    return replace(plan, **changes) if changes else plan


def _overrides(cls: type, attributes: Container[str]) -> frozenset[str]:
    """Return the names of Channels' methods that ``cls`` overrides, or that are in a consumer's own ``attributes``."""
    is_json = issubclass(cls, AsyncJsonWebsocketConsumer | JsonWebsocketConsumer)
    names = (*_METHODS, *_JSON_METHODS) if is_json else _METHODS
    return frozenset(name for name in names if name in attributes or _is_own(cls, name))


def _attributes_for(overrides: frozenset[str]) -> dict[str, Any]:
    """Return the attributes of a :class:`ConsumerPlan` that depend on ``overrides``."""
    return {
        "overrides": overrides,
        "dispatch": "dispatch" in overrides,
        "overrides_dispatch": not overrides.isdisjoint(("dispatch", "websocket_receive")),
        "receive": "receive" in overrides,
        "receive_json": "receive_json" in overrides,
        "decode": "decode_json" in overrides,
        "encode": "encode_json" in overrides,
        "send": "send" in overrides,
        "send_json": "send_json" in overrides,
    }


_Settings: TypeAlias = tuple[tuple[str, ...], tuple[str, ...]]
"""The permissions of the settings, and the databases with ``ATOMIC_REQUESTS``."""


class _PlansWithSettings:
    """Returns the plans of a class with the permissions and the transactions that the settings name now."""

    def __init__(
        self,
        plans: Mapping[str, RequestPlan],
        compiled: Callable[[tuple[str, ...], tuple[str, ...]], Mapping[str, RequestPlan]],
        *,
        has_open: bool,
        may_be_atomic: bool,
    ) -> None:
        self._has_open = has_open
        self._may_be_atomic = may_be_atomic
        self._compiled = compiled
        self._plans = plans
        self._last: tuple[_Settings, Mapping[str, RequestPlan]] = (((), ()), plans)

    def __call__(self) -> Mapping[str, RequestPlan]:
        names = tuple(conf.get("PERMISSIONS")) if self._has_open else ()
        aliases = database.atomic_requests() if self._may_be_atomic else ()
        if not names and not aliases:
            return self._plans
        last, plans = self._last
        if (names, aliases) != last:
            plans = self._compiled(names, aliases)
            self._last = (names, aliases), plans
        return plans


_METHODS: Final = ("dispatch", "websocket_receive", "receive", "send")

_JSON_METHODS: Final = ("receive_json", "decode_json", "encode_json", "send_json")


def check_bases(cls: type, mixin: type) -> bool:
    """Return whether ``cls`` is a WebSocket consumer; ``False`` for a mixin that is not combined with one yet.

    Raises:
        RouteSetupError: The mixin would have no effect on ``cls``.
    """
    mro = cls.__mro__
    behind = mro[mro.index(mixin) + 1 :]
    if not issubclass(cls, AsyncConsumer):
        for base in behind:
            if not _SERVING.isdisjoint(vars(base)):
                raise not_a_consumer(cls, base)
        return False
    if not issubclass(cls, AsyncWebsocketConsumer | WebsocketConsumer):
        raise RouteSetupError(f"{cls.__name__} is not a WebSocket consumer, so RouteMixin has no frames to route.")
    consumers = [base for base in mro if issubclass(base, AsyncConsumer) and not issubclass(base, mixin)]
    if AsyncConsumer not in behind:
        raise RouteSetupError(
            f"RouteMixin comes after {consumers[0].__name__} and has no effect there. "
            f"Write `class {cls.__name__}(RouteMixin, {consumers[0].__name__})`."
        )
    for base in behind:
        if "__call__" in vars(base) and base.__module__ not in _CHANNELS:
            raise RouteSetupError(
                f"{base.__name__} overrides __call__, which RouteMixin in front of it would replace. "
                "If it passes the frames on to other consumers, as a demultiplexer does, put the mixin into those "
                f"consumers. If it wraps the whole socket and calls super().__call__(), put {base.__name__} in front: "
                f"write `class Routed(RouteMixin, {_channels_base(cls)})` with the routes, and "
                f"`class {cls.__name__}({base.__name__}, Routed)`."
            )
    class_options.check_names(cls, mixin)
    return True


_SERVING: Final = frozenset({"__call__", "__await__", "as_view"})
"""Methods by which a server or Django calls a class. A class that has one is complete, and not a plain mixin."""


def not_a_consumer(cls: type, base: type) -> RouteSetupError:
    """Return the error for ``cls``, which has the mixin in front of ``base`` and no consumer of Channels."""
    front = "" if base is cls else f" in front of {base.__name__}"
    return RouteSetupError(
        f"{cls.__name__} is not a Channels consumer, so RouteMixin{front} has no frames to route. "
        f"Write `class {cls.__name__}(RouteMixin, AsyncJsonWebsocketConsumer)`, or another WebSocket consumer of "
        "channels.generic.websocket."
    )


def _channels_base(cls: type) -> str:
    """Return the name of the class of Channels that ``cls`` derives from."""
    return next(base.__name__ for base in cls.__mro__ if base.__module__ in _CHANNELS)


def _is_own(cls: type, name: str) -> bool:
    return next(base.__module__ not in _CHANNELS for base in cls.__mro__ if name in vars(base))
