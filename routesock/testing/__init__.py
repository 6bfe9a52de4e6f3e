"""A client for tests of consumers, without a server: ``async with RouteClient(...)`` or ``with RouteClient(...)``."""

from ..throttling.stores import forget_throttles
from .blocking import BlockingRouteClient
from .client import RouteClient
from .errors import ClientTimeout, ConnectionClosed, ConnectionRefused, NoReply
from .frames import ClientReply, Close, Push
from .stream import ReplyStream

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
