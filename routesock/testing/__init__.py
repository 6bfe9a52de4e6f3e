"""The test client for consumers, without a server: ``async with RouteClient(...)`` or ``with RouteClient(...)``."""

from __future__ import annotations

from .._store.opening import forget_stores
from ..throttling.stores import forget_throttles
from .async_client import ReplyStream
from .blocking import BlockingRouteClient
from .client import RouteClient
from .frames import (
    Ask,
    ClientReply,
    ClientTimeout,
    Close,
    ConnectionClosed,
    ConnectionRefused,
    NoReply,
    Push,
    UndocumentedFrame,
)

__all__ = [
    "Ask",
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
    "UndocumentedFrame",
    "forget_stores",
    "forget_throttles",
]
