"""The consumer classes that checks look at."""

from __future__ import annotations

from channels.consumer import AsyncConsumer

from ..consumers import RouteMixin


def consumers() -> dict[type[RouteMixin], None]:
    """The consumers with routes, a base before what derives from it."""
    return _below(RouteMixin)


def _below(cls: type[RouteMixin]) -> dict[type[RouteMixin], None]:
    """The subclasses of ``cls`` that are consumers."""
    found: dict[type[RouteMixin], None] = {}
    for subclass in cls.__subclasses__():
        if issubclass(subclass, AsyncConsumer):
            found[subclass] = None
        found |= _below(subclass)
    return found
