"""Routes for Django Channels consumers: status-coded, validated replies through one mixin and one decorator."""

from .consumers import RouteMixin
from .dialects import Dialect, Keys
from .events import Event, event
from .exceptions import RouteSetupError, RoutesockError
from .heartbeat import Heartbeat
from .losses import DeliveryCounts, delivery_counts
from .messages import Reply, Request
from .pushes import Push
from .pushing import (
    abroadcast,
    apush_to_user,
    asend_event,
    broadcast,
    broadcast_on_commit,
    push_to_user,
    send_event,
)
from .routing import route
from .steps import nonblocking
from .throttling import Throttle
from .topics import topic

__version__ = "0.1.0"

__all__ = [
    "DeliveryCounts",
    "Dialect",
    "Event",
    "Heartbeat",
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
    "broadcast_on_commit",
    "delivery_counts",
    "event",
    "nonblocking",
    "push_to_user",
    "route",
    "send_event",
    "topic",
]
