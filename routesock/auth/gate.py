"""What a routed consumer knows of the handshake in front of it: that the socket is accepted, and who comes through."""

from __future__ import annotations

from typing import Any, Final

from channels.routing import ProtocolTypeRouter, URLRouter
from django.urls.exceptions import Resolver404

from ..caps import Place, add_user
from ..messages import Scope
from .base import Identity, fill

GATE: Final = "routesock.gate"
"""The key of the scope that holds the gate of a socket."""

_WRAPPED: Final = ("inner", "application", "app")
"""Attributes under which middleware keeps what it wraps: Channels', Django's and Starlette's."""


class Gate:
    """The gate in front of one socket, which was accepted in its consumer's place.

    A consumer with public routes may be there while the gate is shut; ``websocket.connect`` comes when it is open.
    """

    __slots__ = ("_place", "_waits", "entered", "identity", "is_open")

    def __init__(self) -> None:
        self.is_open = False
        self.entered = False
        """A routed consumer serves the socket."""
        self.identity: Identity | None = None
        self._waits = False
        self._place: Place | None = None

    def enter(self, scope: Scope) -> None:
        """The consumer of ``scope`` begins. While the gate is shut nobody is signed in there."""
        self.entered = True
        if not self.is_open:
            from django.contrib.auth.models import AnonymousUser  # a model, which needs the app registry

            self._waits = True
            scope["user"] = AnonymousUser()

    def keep(self, place: Place) -> None:
        """The socket has this ``place``."""
        self._place = place

    def admit(self, scope: Scope) -> bool:
        """The consumer of ``scope`` is to connect, as whoever has come through; ``False``: one socket too many."""
        if not self._waits:  # the scope said so from the beginning
            return True
        if self.identity is not None:
            fill(scope, self.identity)
        return self._place is None or add_user(self._place, scope)


def consumer_at(application: Any, scope: Scope) -> Any:
    """The consumer class that serves the path of ``scope``; ``None`` where there is none, or nobody can tell.

    It looks through Channels' routers and through middleware objects, not into the closure of a middleware function.
    """
    path = scope.get("path", "").removeprefix(scope.get("root_path", "")).lstrip("/")
    return _consumer_below(application, path, 0)


_DEEPEST: Final = 50
"""Levels of what wraps what: middleware may wrap itself by mistake."""


def _consumer_below(application: Any, path: str, level: int) -> Any:
    if level > _DEEPEST:
        return None
    if isinstance(application, ProtocolTypeRouter):
        return _consumer_below(application.application_mapping.get("websocket"), path, level + 1)
    if isinstance(application, URLRouter):
        routes: Any = application.routes
        for route in routes:
            try:
                match = route.pattern.match(path.lstrip("/"))
            except Resolver404:
                continue
            if match:
                return _consumer_below(route.callback, match[0], level + 1)
        return None
    attributes = getattr(application, "__dict__", {})
    if "consumer_class" in attributes:
        return attributes["consumer_class"]
    for name in _WRAPPED:
        if callable(attributes.get(name)):
            return _consumer_below(attributes[name], path, level + 1)
    return None
