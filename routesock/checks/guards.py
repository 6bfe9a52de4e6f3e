"""The system check of class attributes that other libraries use as guards, and that do not guard routes."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from django.core.checks import CheckMessage, Warning

from .._routing.route import Route
from ..consumers import RouteMixin
from ..typing import UNSET
from .settings import Id, setting_if_valid


@dataclass(frozen=True)
class Guard:
    """An attribute or a method of consumer classes that another library uses as a guard.

    Attributes:
        instead: What to write so that routes are guarded.
        throttles: Whether it limits how often something is called. Otherwise it limits who may call it.
        at_connect: Whether the library uses it when a socket connects. Then it guards routes too, as long as the class
            has the library's methods.
        is_hook: Whether it is a method of the library, which guards only if a class overrides it.
    """

    instead: str
    throttles: bool = False
    at_connect: bool = False
    is_hook: bool = False


_OPEN: Final = "Routes that are open on purpose have permissions=()."

_PERMISSIONS: Final = (
    "Set `route_permissions = [...]` on the class, or permissions= on the routes. Both take permission classes of "
    f"Django REST framework as they are. {_OPEN}"
)

_DJANGO_PERMISSIONS: Final = (
    f'Set `route_permissions = ["app_label.codename"]` on the class, or permissions= on the routes. {_OPEN}'
)

_THROTTLES: Final = 'Set `route_throttle = "100/min"` on the class, or throttle= on the routes.'

_AUTHENTICATION: Final = (
    "Authenticate in asgi.py with HandshakeMiddleware or TokenMiddleware, which take authentication classes of Django "
    "REST framework, and set `route_permissions = [IsAuthenticated]` on the class."
)

_CUSTOM: Final = f"Set `route_permissions = [...]` on the class, or permissions= on the routes. {_OPEN}"

GUARDS: Final[dict[str, Guard]] = {
    "permission_classes": Guard(_PERMISSIONS),
    "permission_classes_by_action": Guard(_PERMISSIONS),
    "permission_action_classes": Guard(_PERMISSIONS),
    "permission_required": Guard(_DJANGO_PERMISSIONS),
    "access_policy": Guard(_PERMISSIONS),
    "get_permissions": Guard(_PERMISSIONS, is_hook=True),
    "check_permissions": Guard(_PERMISSIONS, is_hook=True),
    "throttle_classes": Guard(_THROTTLES, throttles=True),
    "throttle_scope": Guard(_THROTTLES, throttles=True),
    "get_throttles": Guard(_THROTTLES, throttles=True, is_hook=True),
    "check_throttles": Guard(_THROTTLES, throttles=True, is_hook=True),
    "authentication_classes": Guard(_AUTHENTICATION, at_connect=True),
    "authenticator_class": Guard(_AUTHENTICATION, at_connect=True),
}
"""Guards of Django REST framework and its extensions, djangochannelsrestframework, chanx, django-wsx and of Django's
views, by name. The setting ``GUARD_ATTRIBUTES`` adds names."""

_ENTRANCES: Final = frozenset({"__call__", "dispatch", "connect", "websocket_connect", "websocket_receive"})
"""Methods that routed frames have passed through, or that a socket has to pass before its first frame."""

_OTHERS: Final = frozenset({"channels", "djangochannelsrestframework", "routesock"})
"""Packages whose methods enforce nothing for routes: djangochannelsrestframework's ``websocket_connect`` asks
``can_connect`` only."""


def check_guards(consumers: Iterable[type[RouteMixin]]) -> Iterator[CheckMessage]:
    """Check that no class has a guard of another library that looks active and does not guard its routes."""
    reported: set[tuple[str, int, int]] = set()
    for cls in consumers:
        for name, guard in active_guards(cls):
            routes = _unguarded(cls, guard)
            value = id(inspect.getattr_static(cls, name))
            keys = {(name, value, id(inspect.getattr_static(cls, route.attr))) for route in routes}
            if keys - reported:
                reported |= keys  # reported once, for the class that defines them and not for its subclasses
                yield Warning(
                    f"{cls.__name__}.{name} does not guard routes: nothing checks it before "
                    f"{', '.join(repr(route.name) for route in routes)}.",
                    hint=guard.instead,
                    obj=cls,
                    id=Id.UNREAD_GUARD,
                )


def active_guards(cls: type) -> Iterator[tuple[str, Guard]]:
    """Yield the guards of other libraries that ``cls`` has and that look active, by name."""
    names = dict.fromkeys(setting_if_valid("GUARD_ATTRIBUTES") or (), Guard(_CUSTOM)) | GUARDS
    for name, guard in names.items():
        if _looks_active(cls, name, guard):
            yield name, guard


def _looks_active(cls: type, name: str, guard: Guard) -> bool:
    """Return whether ``cls`` has a guard of this name that refuses something and that no method enforces for routes."""
    definitions = [vars(base)[name] for base in cls.__mro__ if name in vars(base)]
    if not definitions or _permits_all(definitions[0]):
        return False
    if guard.is_hook and len(definitions) < 2:
        return False
    return not _is_enforced(cls, name, anywhere=guard.at_connect)


def _permits_all(value: Any) -> bool:
    """Return whether a guard refuses nothing: it is empty, or has ``AllowAny`` of some library only."""
    if isinstance(value, list | tuple | set | frozenset):
        return all(_name_of(item) == "AllowAny" for item in value)
    if isinstance(value, dict):
        return all(map(_permits_all, value.values()))
    return value is None or value is False or value == "" or _name_of(value) == "AllowAny"


def _name_of(item: Any) -> str:
    """Return the name of a class, of the class of an instance, or of the class at the end of a dotted path."""
    if isinstance(item, str):
        return item.rpartition(".")[2]
    return (item if isinstance(item, type) else type(item)).__name__


def _is_enforced(cls: type, name: str, *, anywhere: bool) -> bool:
    """Return whether a method that routed frames depend on reads the attribute ``name``; with ``anywhere``, any method.

    Methods that get at it through other methods are not found. The warning can be silenced there.
    """
    for base in cls.__mro__:
        if base.__module__.partition(".")[0] in _OTHERS:
            continue
        methods = [vars(base)[attr] for attr in vars(base) if anywhere or attr in _ENTRANCES]
        if any(name in inspect.unwrap(method).__code__.co_names for method in methods if inspect.isfunction(method)):
            return True
    return False


def _unguarded(cls: type[RouteMixin], guard: Guard) -> list[Route]:
    """Return the routes and topics of ``cls`` that declare nothing in place of ``guard``, nor does the class."""
    routes = [route for plan in cls._routesock.plans.values() for route in plan.declared]
    if not guard.throttles:
        return [route for route in routes if route.permissions is UNSET]
    return [] if cls.route_throttle else [route for route in routes if route.throttles is UNSET]
