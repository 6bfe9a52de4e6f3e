"""A client for tests of consumers, without a server: ``async with RouteClient(...)`` or ``with RouteClient(...)``."""

from __future__ import annotations

from ..throttling.stores import forget_throttles
from .blocking import BlockingRouteClient
from .client import RouteClient
from .conversation import ReplyStream
from .frames import ClientReply, ClientTimeout, Close, ConnectionClosed, ConnectionRefused, NoReply, Push

__all__ = [
    "BlockingRouteClient",
    "ClientReply",
    "ClientTimeout",
    "Close",
    "ConnectionClosed",
    "ConnectionRefused",
    "NoReply",
    "Push",
    "ReplyStream",
    "RouteClient",
    "forget_throttles",
]
