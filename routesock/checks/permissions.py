"""The checks of who may call routes."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator

from django.core.checks import CheckMessage, Error, Warning

from ..access import object_permissions
from ..consumers import RouteMixin
from ..exceptions import RouteSetupError
from ..permissions.resolve import from_settings
from ..routing import Route
from ..typing import UNSET
from .classes import consumers
from .messages import Id
from .settings import setting_if_valid


def check_permissions() -> Iterator[CheckMessage]:
    """``PERMISSIONS`` leads to permissions, no route is open by oversight, and those for objects have an object."""
    names = setting_if_valid("PERMISSIONS")
    if names is None:
        return
    told: set[tuple[str, int]] = set()
    try:
        for name in names:
            from_settings(name)
        for cls in consumers():
            for message, routes in (_open_routes(cls), _routes_without_objects(cls)):
                keys = {(message.id or "", id(inspect.getattr_static(cls, route.attr))) for route in routes}
                if keys - told:
                    told |= keys  # said once, of the class that has them, and not of each subclass
                    yield message
    except RouteSetupError as exc:
        yield Error(
            f"ROUTESOCK['PERMISSIONS']: {exc} Every connection fails.",
            hint='Write dotted paths, such as "routesock.permissions.IsAuthenticated", or "app_label.codename".',
            id=Id.NO_PERMISSION,
        )


def _open_routes(cls: type[RouteMixin]) -> tuple[CheckMessage, list[Route]]:
    """The routes about which nobody says who may call them, where others of the class do say so."""
    routes = _routes_now(cls)
    unsaid = [route for route in routes if route.permissions is UNSET]
    message = Warning(
        f"{cls.__name__} says who may call some of its routes, but everybody may call {_names_of(unsaid)}.",
        hint="Give the class route_permissions, or write permissions=() on the routes that are open on purpose.",
        obj=cls,
        id=Id.OPEN_ROUTES,
    )
    return message, unsaid if len(unsaid) < len(routes) else []


def _routes_without_objects(cls: type[RouteMixin]) -> tuple[CheckMessage, list[Route]]:
    """The routes that have permissions for objects, but no object."""
    routes = [route for route in _routes_now(cls) if route.hydrate is None and any(object_permissions(route))]
    names = dict.fromkeys(leaf.name for route in routes for leaf in object_permissions(route))
    message = Warning(
        f"{cls.__name__}: {', '.join(names)} would look at objects, but {_names_of(routes)} without hydrate= has none.",
        hint="Write hydrate=, or permissions= without them for these routes.",
        obj=cls,
        id=Id.NO_OBJECTS,
    )
    return message, routes


def _routes_now(cls: type[RouteMixin]) -> list[Route]:
    return [route for plan in cls._routesock.plans_now().values() for route in plan.declared]


def _names_of(routes: Iterable[Route]) -> str:
    return ", ".join(repr(route.name) for route in routes)
