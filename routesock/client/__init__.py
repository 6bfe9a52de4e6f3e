"""A client for routesock servers, on asyncio and ``websockets``. It needs no Django and no settings.

Install it with ``pip install routesock[client]``.
"""

from __future__ import annotations

from ._client import Client, Items, Subscription
from ._codec import Dialect, Keys
from ._transport import Events, Transport
from ._types import (
    Ask,
    ClientError,
    Clock,
    ConnectionLost,
    IncomingFrame,
    OutgoingFrame,
    Push,
    Reply,
    RouteError,
    Snapshot,
    State,
    StreamOverflow,
    Timer,
    Why,
)

__all__ = [
    "Ask",
    "Client",
    "ClientError",
    "Clock",
    "ConnectionLost",
    "Dialect",
    "Events",
    "IncomingFrame",
    "Items",
    "Keys",
    "OutgoingFrame",
    "Push",
    "Reply",
    "RouteError",
    "Snapshot",
    "State",
    "StreamOverflow",
    "Subscription",
    "Timer",
    "Transport",
    "Why",
]
