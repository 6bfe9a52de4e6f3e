"""Routes for Django Channels consumers: status-coded, validated replies through one mixin and one decorator."""

from __future__ import annotations

from ._groups.broadcasting import (
    abroadcast,
    apush_to_user,
    asend_event,
    broadcast,
    push_to_user,
    send_event,
)
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
from .schemas.base import run_in_thread, run_on_loop
from .throttling import Throttle

__version__ = "0.1.0"

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
    "apush_to_user",
    "asend_event",
    "broadcast",
    "delivery_counts",
    "event",
    "push_to_user",
    "route",
    "run_in_thread",
    "run_on_loop",
    "send_event",
    "topic",
]
