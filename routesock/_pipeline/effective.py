"""Resolves the options of routes and topics against those of the class and the settings, for documents and commands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .. import conf
from .._routing import class_options
from .._routing.arguments import checked_throttles
from .._routing.route import Route, collect
from .._routing.topic import Topic, collect_topics
from .._runtime import database
from ..permissions.base import Tree, permits_everyone
from ..throttling import Throttle
from ..typing import UNSET
from .steps import aliases_of


@dataclass(frozen=True, slots=True, kw_only=True)
class EffectiveRoute:
    """A route or a topic of a class, with its options as they apply to requests.

    Attributes:
        declared: The declaration.
        permissions: What has to permit a request. Without any, everyone may call the route.
        is_explicit: Whether ``permissions=`` or ``route_permissions`` says so. Otherwise it is the setting
            ``PERMISSIONS``, or nothing.
        throttles: Those of the class, and its own.
        timeout: Seconds, or ``None`` for no limit.
        databases: The aliases of the databases whose transactions surround the handler.
    """

    declared: Route | Topic
    permissions: tuple[Tree, ...]
    is_explicit: bool
    throttles: tuple[Throttle, ...]
    timeout: float | None
    databases: tuple[str, ...]

    @property
    def route(self) -> Route:
        """The options of the route; of a topic, those of SUBSCRIBE."""
        return self.declared.route if isinstance(self.declared, Topic) else self.declared

    @property
    def is_open(self) -> bool:
        """Whether everyone may call it."""
        has_object = self.route.hydrate is not None
        return all(permits_everyone(tree, has_object=has_object) for tree in self.permissions)

    @property
    def is_open_on_purpose(self) -> bool:
        """Whether the route or its class says that everyone may call it, with ``()`` or ``AllowAny``."""
        return self.is_explicit and all(permits_everyone(tree, has_object=True) for tree in self.permissions)


def effective_routes(cls: Any) -> list[EffectiveRoute]:
    """Return the routes of ``cls`` and then its topics, each sorted by name.

    Raises:
        RouteSetupError: The setting ``PERMISSIONS`` cannot work.
    """
    routes, topics = collect(cls), collect_topics(cls)
    declared: list[Route | Topic] = sorted(routes.values(), key=lambda route: route.name)
    declared += sorted(topics, key=lambda topic: topic.name)
    plans = cls._routesock.current_plans()
    current: dict[str, Route] = {route.name: route for plan in plans.values() for route in plan.declared}
    shared = checked_throttles(f"{cls.__name__}.route_throttle", cls.route_throttle)
    assert shared is not UNSET
    default = class_options.timeout_of(cls)
    is_class_explicit = class_options.permissions_of(cls) is not UNSET

    def effective(item: Route | Topic) -> EffectiveRoute:
        route = item.route if isinstance(item, Topic) else item
        permissions = current[route.name].permissions
        timeout = default if route.timeout is UNSET else route.timeout
        own = () if route.throttles is UNSET else route.throttles
        return EffectiveRoute(
            declared=item,
            permissions=() if permissions is UNSET else permissions,
            is_explicit=is_class_explicit or route.permissions is not UNSET,
            throttles=() if route.throttles == () else (*shared, *own),
            timeout=conf.get("TIMEOUT") if timeout is UNSET else timeout,
            databases=aliases_of(cls, route, database.atomic_requests()),
        )

    return [effective(item) for item in declared]
