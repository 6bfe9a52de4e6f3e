"""System checks of consumers and of the ASGI application: handlers, permissions and ``as_asgi()``."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any, Final

from channels.consumer import AsyncConsumer
from channels.generic.websocket import JsonWebsocketConsumer
from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning
from django.utils.module_loading import import_string

from .. import conf
from .._pipeline.permission_steps import object_permissions, permission_functions
from .._routing.marks import declarations
from .._routing.route import Route
from .._runtime.asgi_tree import Endpoint, endpoints, wrapped_consumers
from .._runtime.callables import is_async
from ..auth import RequestMiddleware
from ..consumers import RouteMixin, refresh_plan
from ..exceptions import RouteSetupError
from ..permissions.base import from_settings
from ..typing import UNSET
from .guards import check_guards
from .settings import Id, setting_if_valid, text_of


def consumers() -> dict[type[RouteMixin], None]:
    """Return the consumer classes with routes, base classes before their subclasses.

    It imports the ASGI application, so that the classes exist. Django may run the checks in any order.
    """
    import_if_possible(getattr(settings, "ASGI_APPLICATION", None))
    return _subclasses(RouteMixin)


def _subclasses(cls: type[RouteMixin]) -> dict[type[RouteMixin], None]:
    """Return all subclasses of ``cls``, except those whose creation raised.

    Python keeps such a class in ``__subclasses__()`` until it is garbage collected.
    """
    found: dict[type[RouteMixin], None] = {}
    for subclass in direct_subclasses(cls):
        with suppress(RouteSetupError):
            if subclass._routesock is not None:
                refresh_plan(subclass)
                found[subclass] = None
        found |= _subclasses(subclass)
    return found


def direct_subclasses(cls: type) -> list[Any]:
    """Return the classes that name ``cls`` as a base. Tests of checks leave out those of other tests."""
    return cls.__subclasses__()


def check_handlers() -> Iterator[CheckMessage]:
    """Check that the handlers and hooks of sync consumers are sync."""
    seen: set[int] = set()
    for cls in consumers():
        for attr in _methods(cls) if cls._routesock.sync else ():
            definition = id(inspect.getattr_static(cls, attr))
            if _is_on_loop(getattr(cls, attr)) and definition not in seen:
                seen.add(definition)  # reported once, for the class that defines it and not for its subclasses
                yield Warning(
                    f"{cls.__name__}.{attr} is async on a sync consumer. It runs on the event loop, where self.send(), "
                    "self.close() and the ORM cannot be used.",
                    hint=f"Use `def {attr}`, or derive the class from {_async_base(cls)}.",
                    obj=cls,
                    id=Id.ASYNC_ON_SYNC,
                )


def _async_base(cls: type[RouteMixin]) -> str:
    """Return the name of Channels' async class that calls the same methods as the sync base class of ``cls``."""
    return "AsyncJsonWebsocketConsumer" if issubclass(cls, JsonWebsocketConsumer) else "AsyncWebsocketConsumer"


def _is_on_loop(function: Any) -> bool:
    return is_async(function) or inspect.isasyncgenfunction(function)


def _methods(cls: type[RouteMixin]) -> dict[str, None]:
    """Return the names of the methods that are handlers or hooks.

    Hooks that are functions are not included. They get a request and not the consumer, so they may be async.
    """
    compiled = cls._routesock
    routes = [route for plan in compiled.plans.values() for route in plan.declared]
    names = [
        name for route in routes for name in (route.attr, *permission_functions(route), route.hydrate, route.dehydrate)
    ]
    names += [topic.unsubscribe for topic in compiled.topics]
    names += (event.attr for event in compiled.events.values())
    return dict.fromkeys(name for name in names if isinstance(name, str))


def check_mixins() -> Iterator[CheckMessage]:
    """Check that consumer classes with routes have ``RouteMixin``, or a subclass with it that is served instead."""
    application = import_if_possible(getattr(settings, "ASGI_APPLICATION", None))
    served = {getattr(endpoint.application, "consumer_class", None) for endpoint in endpoints(application)}
    reported: list[type] = []
    for cls in _all_subclasses(AsyncConsumer):
        if issubclass(cls, (RouteMixin, *reported)):
            continue
        subclasses = _all_subclasses(cls)
        is_base = cls not in served and any(issubclass(subclass, RouteMixin) for subclass in subclasses)
        names = [] if is_base else declarations(cls)
        if names:
            reported.append(cls)  # its subclasses are not reported
            base = next((base for base in cls.__bases__ if issubclass(base, AsyncConsumer)), AsyncConsumer)
            yield Warning(
                f"{cls.__name__} has no RouteMixin, so nothing reads {', '.join(names)}.",
                hint=f"Write `class {cls.__name__}(RouteMixin, {base.__name__})`.",
                obj=cls,
                id=Id.WITHOUT_MIXIN,
            )


def check_origins() -> Iterator[CheckMessage]:
    """Check that an ``OriginValidator`` stands around consumers whose users come from the session cookie."""
    application = import_if_possible(getattr(settings, "ASGI_APPLICATION", None))
    open_to_all: dict[str, None] = {}
    for cls, around in wrapped_consumers(application):
        is_validated = any("origin" in type(wrapper).__name__.lower() for wrapper in around)
        reads_session = any(map(_reads_session_cookie, around))
        if issubclass(cls, RouteMixin) and reads_session and not is_validated:
            open_to_all[cls.__name__] = None
    if open_to_all:
        yield Warning(
            f"Pages of any site can open sockets of {', '.join(open_to_all)} as the user who visits them, since "
            "browsers send the session cookie along.",
            hint="Put AllowedHostsOriginValidator(...) of channels.security.websocket around them in asgi.py.",
            id=Id.ANY_ORIGIN,
        )


def _reads_session_cookie(wrapper: Any) -> bool:
    """Return whether ``wrapper`` is Channels' session middleware, or runs Django's on the handshake."""
    from channels.sessions import SessionMiddleware  # these need Django's sessions, which a project need not have
    from django.contrib.sessions import middleware

    if not isinstance(wrapper, RequestMiddleware):
        return isinstance(wrapper, SessionMiddleware)
    loaded = map(import_string, wrapper.middleware)
    return any(isinstance(cls, type) and issubclass(cls, middleware.SessionMiddleware) for cls in loaded)


def _all_subclasses(cls: type) -> dict[type, None]:
    """Return the subclasses of ``cls``, base classes before their subclasses."""
    found: dict[type, None] = dict.fromkeys(direct_subclasses(cls))
    for subclass in [*found]:
        found |= _all_subclasses(subclass)
    return found


def import_if_possible(path: Any) -> Any:
    """Return the object at a dotted path, or ``None`` if it cannot be imported."""
    with suppress(Exception):  # check_consumers() reports it
        return import_string(path)
    return None


def check_permissions() -> Iterator[CheckMessage]:
    """Check that ``PERMISSIONS`` is valid, routes are not open by mistake, and object permissions have an object."""
    names = setting_if_valid("PERMISSIONS")
    if names is None:
        return
    reported: set[tuple[str, int]] = set()
    try:
        for name in names:
            from_settings(name)
        for cls in consumers():
            for message, routes in (_open_routes(cls), _routes_without_objects(cls)):
                keys = {(message.id or "", id(inspect.getattr_static(cls, route.attr))) for route in routes}
                if keys - reported:
                    reported |= keys  # reported once, for the class that defines them and not for its subclasses
                    yield message
    except RouteSetupError as exc:
        yield Error(
            f"ROUTESOCK['PERMISSIONS']: {exc} Every connection fails.",
            hint='Use dotted paths such as "routesock.permissions.IsAuthenticated", or "app_label.codename".',
            id=Id.NO_PERMISSION,
        )


def _open_routes(cls: type[RouteMixin]) -> tuple[CheckMessage, list[Route]]:
    """Return the routes without ``permissions=``, if other routes of the class have them, and the warning."""
    routes = _current_routes(cls)
    open_routes = [route for route in routes if route.permissions is UNSET]
    message = Warning(
        f"{cls.__name__} has routes with permissions, but everyone may call {_names_of(open_routes)}.",
        hint="Set route_permissions on the class, or permissions=() on the routes that are open on purpose.",
        obj=cls,
        id=Id.OPEN_ROUTES,
    )
    return message, open_routes if len(open_routes) < len(routes) else []


def _routes_without_objects(cls: type[RouteMixin]) -> tuple[CheckMessage, list[Route]]:
    """Return the routes that have object permissions but no ``hydrate=``, and the warning."""
    routes = [route for route in _current_routes(cls) if route.hydrate is None and any(object_permissions(route))]
    names = dict.fromkeys(leaf.name for route in routes for leaf in object_permissions(route))
    message = Warning(
        f"{cls.__name__}: the object permissions of {', '.join(names)} are never checked. "
        f"Routes without hydrate=: {_names_of(routes)}.",
        hint="Add hydrate= to these routes, or remove the permissions from them.",
        obj=cls,
        id=Id.NO_OBJECTS,
    )
    return message, routes


def _current_routes(cls: type[RouteMixin]) -> list[Route]:
    return [route for plan in cls._routesock.current_plans().values() for route in plan.declared]


def _names_of(routes: Iterable[Route]) -> str:
    return ", ".join(repr(route.name) for route in routes)


_AS_ASGI: Final[Any] = tuple(vars(cls)["as_asgi"].__func__ for cls in (RouteMixin, AsyncConsumer))


def check_deadlines() -> Iterator[CheckMessage]:
    """Check that idempotent routes have a deadline, where the setting ``TIMEOUT`` has none."""
    if conf.project_settings().get("TIMEOUT", conf.SETTINGS["TIMEOUT"].default) is not None:
        return
    for cls in consumers():
        names = sorted(name for name, plan in idempotent_plans(cls) if plan.timeout is UNSET)
        if names:
            yield Error(
                f"The setting TIMEOUT is None, and so is the timeout of idempotent routes of {cls.__name__}: "
                f"{', '.join(names)}. A request that never ends keeps its key.",
                hint="Set TIMEOUT, route_timeout of the class, or timeout= of these routes.",
                obj=cls,
                id=Id.ENDLESS_CLAIM,
            )


def idempotent_plans(cls: type[RouteMixin]) -> list[tuple[str, Any]]:
    """Return the names and plans of the routes of ``cls`` with ``idempotent=``."""
    return [(name, plan) for name, plan in cls._routesock.plans.items() if plan.route.idempotent is not None]


def check_consumers(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Check that ``ASGI_APPLICATION`` can be imported and serves its consumers with ``as_asgi()``; check the consumers.

    This is one check, since the consumers are known only after the application was imported. A wrong declaration raises
    when its class is created, so it is reported as an application that cannot be imported.
    """
    messages = list(_check_application())
    messages += check_handlers()
    messages += check_permissions()
    messages += check_guards(consumers())
    messages += check_mixins()
    messages += check_origins()
    messages += check_deadlines()
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
            hint='Use the dotted path of the ASGI application, such as "config.asgi.application".',
            id=Id.APPLICATION_NOT_FOUND,
        )
        return
    for endpoint in endpoints(application):
        yield from _check_endpoint(endpoint)


def _check_endpoint(endpoint: Endpoint) -> Iterator[CheckMessage]:
    application = endpoint.application
    cls: Any = application
    if isinstance(application, RouteMixin):
        cls, problem = type(application), "an instance, which all sockets share. Replies go to the wrong client"
    elif isinstance(application, type):
        problem = "a class, which is not an ASGI application. Every connection fails"
    elif inspect.ismethod(application) and application.__func__ in _AS_ASGI:
        cls, problem = application.__self__, "the method as_asgi without a call. Every connection fails"
    else:
        return
    if issubclass(cls, RouteMixin):
        yield Error(
            f"The application for the path {endpoint.path!r} is {problem}.",
            hint=f"Use {cls.__name__}.as_asgi().",
            obj=cls,
            id=Id.WITHOUT_AS_ASGI,
        )
