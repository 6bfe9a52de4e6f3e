"""Checks of consumer classes, found through the ASGI application: handlers, permissions, as_asgi()."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any, Final

from channels.consumer import AsyncConsumer
from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning
from django.utils.module_loading import import_string

from .._pipeline.permission_steps import object_permissions, permission_functions
from .._routing.route import Route
from .._runtime.asgi_tree import Endpoint, endpoints
from .._runtime.callables import is_async
from ..consumers import RouteMixin
from ..exceptions import RouteSetupError
from ..permissions.base import from_settings
from ..typing import UNSET
from .settings import Id, setting_if_valid, text_of


def consumers() -> dict[type[RouteMixin], None]:
    """The consumers with routes, a base before what derives from it.

    Django runs checks in any order, so each that asks imports the application where they are.
    """
    with suppress(Exception):  # which check_consumers() tells
        import_string(getattr(settings, "ASGI_APPLICATION", ""))
    return _below(RouteMixin)


def _below(cls: type[RouteMixin]) -> dict[type[RouteMixin], None]:
    """The subclasses of ``cls`` that are consumers.

    One whose declaration raised stays among the subclasses until garbage is collected, and has nothing to look at.
    """
    found: dict[type[RouteMixin], None] = {}
    for subclass in cls.__subclasses__():
        if "_routesock" in vars(subclass):
            found[subclass] = None
        found |= _below(subclass)
    return found


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
    names = [
        name for route in routes for name in (route.attr, *permission_functions(route), route.hydrate, route.dehydrate)
    ]
    names += [topic.unsubscribe for topic in compiled.topics]
    names += (telling.attr for telling in compiled.events.values())
    return dict.fromkeys(name for name in names if isinstance(name, str))


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


_AS_ASGI: Final[Any] = vars(AsyncConsumer)["as_asgi"].__func__


def check_consumers(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """``ASGI_APPLICATION`` can be imported and serves its consumers right, and so do their handlers and permissions.

    One check and not four: consumers are known once the application is imported. What makes a declaration impossible
    is no check: it raises when the class is created, so it is found here as an application that cannot be imported.
    """
    messages = list(_check_application())
    messages += check_handlers()
    messages += check_permissions()
    return messages


def _check_application() -> Iterator[CheckMessage]:
    path = getattr(settings, "ASGI_APPLICATION", None)
    if path is None:
        return
    try:
        application = import_string(path)
    except Exception as exc:
        yield Error(
            f"ASGI_APPLICATION: {path!r} cannot be imported ({text_of(exc)}).",
            hint='Write the dotted path of the ASGI application, such as "config.asgi.application".',
            id=Id.APPLICATION_NOT_FOUND,
        )
        return
    for endpoint in endpoints(application):
        yield from _check_endpoint(endpoint)


def _check_endpoint(endpoint: Endpoint) -> Iterator[CheckMessage]:
    application = endpoint.application
    cls: Any = application
    if isinstance(application, RouteMixin):
        cls, wrong = type(application), "one instance for all sockets: replies go to the wrong client"
    elif isinstance(application, type):
        wrong = "a class, which is no ASGI application: every connection fails"
    elif inspect.ismethod(application) and application.__func__ is _AS_ASGI:
        cls, wrong = application.__self__, "a method that was not called: every connection fails"
    else:
        return
    if issubclass(cls, RouteMixin):
        yield Error(
            f"What serves the path {endpoint.path!r} is {wrong}.",
            hint=f"Write {cls.__name__}.as_asgi().",
            obj=cls,
            id=Id.WITHOUT_AS_ASGI,
        )
