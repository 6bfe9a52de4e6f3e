"""The check of what answers routes, topics and events."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

from django.core.checks import CheckMessage, Warning

from ..access import functions_asked
from ..callables import is_async
from ..consumers import RouteMixin
from .classes import consumers
from .messages import Id


def check_handlers() -> Iterator[CheckMessage]:
    """What answers the routes, topics and events of a sync consumer is sync."""
    seen: set[int] = set()
    for cls in consumers():
        for attr in _methods(cls) if cls._routesock.sync else ():
            definition = id(inspect.getattr_static(cls, attr))
            if _is_on_loop(getattr(cls, attr)) and definition not in seen:
                seen.add(definition)  # said once, of the class that has it, and not of each subclass
                yield Warning(
                    f"{cls.__name__}.{attr} is async on a sync consumer: it runs on the event loop, where self.send(), "
                    "self.close() and the ORM refuse to.",
                    hint=f"Write `def {attr}`, or derive the class from AsyncJsonWebsocketConsumer.",
                    obj=cls,
                    id=Id.ASYNC_ON_SYNC,
                )


def _is_on_loop(function: Any) -> bool:
    return is_async(function) or inspect.isasyncgenfunction(function)


def _methods(cls: type[RouteMixin]) -> dict[str, None]:
    """The names of what answers routes, topics and events: handlers, and the hooks that are methods.

    A hook that is a function is left out: it gets a request and not the consumer, and may serve either kind.
    """
    compiled = cls._routesock
    routes = [route for plan in compiled.plans.values() for route in plan.declared]
    names = [name for route in routes for name in (route.attr, *functions_asked(route), route.hydrate, route.dehydrate)]
    names += [topic.unsubscribe for topic in compiled.topics]
    names += (telling.attr for telling in compiled.events.values())
    return dict.fromkeys(name for name in names if isinstance(name, str))
