"""Routes for Django Channels consumers: status-coded, validated replies through one mixin and one decorator."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from ._groups.broadcasting import (
        abroadcast,
        apush_to_user,
        asend_event,
        broadcast,
        push_to_user,
        send_event,
    )
    from ._groups.census import acensus, census
    from ._groups.losses import DeliveryCounts, delivery_counts
    from ._routing.class_options import Heartbeat
    from ._routing.event import Event, event
    from ._routing.push import Push
    from ._routing.route import Idempotent, route
    from ._routing.topic import topic
    from ._wire.messages import NO_REPLY, Reply, Request
    from .consumers import RouteMixin
    from .dialects import Dialect, Keys
    from .exceptions import RouteSetupError, RoutesockError
    from .schemas.running import run_in_thread, run_on_loop
    from .throttling import Throttle

__version__ = "0.2.0"

__all__ = [
    "NO_REPLY",
    "DeliveryCounts",
    "Dialect",
    "Event",
    "Heartbeat",
    "Idempotent",
    "Keys",
    "Push",
    "Reply",
    "Request",
    "RouteMixin",
    "RouteSetupError",
    "RoutesockError",
    "Throttle",
    "abroadcast",
    "acensus",
    "apush_to_user",
    "asend_event",
    "broadcast",
    "census",
    "delivery_counts",
    "event",
    "push_to_user",
    "route",
    "run_in_thread",
    "run_on_loop",
    "send_event",
    "topic",
]

_MODULES: Final = {
    "DeliveryCounts": "._groups.losses",
    "Dialect": ".dialects",
    "Event": "._routing.event",
    "Heartbeat": "._routing.class_options",
    "Idempotent": "._routing.route",
    "Keys": ".dialects",
    "NO_REPLY": "._wire.messages",
    "Push": "._routing.push",
    "Reply": "._wire.messages",
    "Request": "._wire.messages",
    "RouteMixin": ".consumers",
    "RouteSetupError": ".exceptions",
    "RoutesockError": ".exceptions",
    "Throttle": ".throttling",
    "abroadcast": "._groups.broadcasting",
    "acensus": "._groups.census",
    "apush_to_user": "._groups.broadcasting",
    "asend_event": "._groups.broadcasting",
    "broadcast": "._groups.broadcasting",
    "census": "._groups.census",
    "delivery_counts": "._groups.losses",
    "event": "._routing.event",
    "push_to_user": "._groups.broadcasting",
    "route": "._routing.route",
    "run_in_thread": ".schemas.running",
    "run_on_loop": ".schemas.running",
    "send_event": "._groups.broadcasting",
    "topic": "._routing.topic",
}
"""The module of each name. A module is imported when its name is used: ``routesock.client`` runs without Django."""

_SUBMODULES: Final = frozenset(
    {"auth", "conf", "consumers", "dialects", "exceptions", "permissions", "schemas", "signals", "status", "throttling"}
)
"""Modules that ``import routesock`` is enough for, as in ``routesock.exceptions.NotFound``."""

if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        if name in _MODULES:
            globals()[name] = value = getattr(import_module(_MODULES[name], __name__), name)
            return value
        if name in _SUBMODULES:
            return import_module(f".{name}", __name__)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
