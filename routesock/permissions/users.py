"""Permissions that ask who is signed in."""

from __future__ import annotations

from copy import copy
from typing import Any, Final

from django.utils.functional import LazyObject

from routesock.exceptions import RouteSetupError
from routesock.messages import Request

from .base import BasePermission


class AllowAny(BasePermission):
    """Everybody; ``permissions=()`` says the same."""

    def has_permission(self, request: Request) -> bool:
        return True


class IsAuthenticated(BasePermission):
    """Whoever is signed in."""

    def has_permission(self, request: Request) -> bool:
        return request.user.is_authenticated is True


class IsStaff(BasePermission):
    """Whoever may enter Django's admin: ``is_staff``, and ``is_active``."""

    def has_permission(self, request: Request) -> bool:
        user = request.user
        return user.is_staff is True and user.is_active is True


class HasPerm(BasePermission):
    """Whoever has all of these permissions of Django's: ``HasPerm("chat.add_message")``, or the string alone.

    ``user.has_perm`` is asked in the database thread, anew for each request: a permission that is taken away is missed
    at the next one, although the socket's user stays the same object. ``RouteSetupError`` for what is no
    ``"app_label.codename"``.
    """

    def __init__(self, *perms: str) -> None:
        for perm in perms:
            if not isinstance(perm, str) or not all(perm.partition(".")):
                raise RouteSetupError(f'A permission of Django\'s is written "app_label.codename"; got {perm!r}.')
        if not perms:
            raise RouteSetupError('HasPerm needs a permission, as in HasPerm("chat.add_message").')
        self._perms = perms

    def __repr__(self) -> str:
        return f"HasPerm({', '.join(map(repr, self._perms))})"

    def has_permission(self, request: Request) -> bool:
        user = without_cached_permissions(request.user)
        return all(user.has_perm(perm) is True for perm in self._perms)


AT_ONCE: Final = (AllowAny.has_permission, IsAuthenticated.has_permission, IsStaff.has_permission)
"""What neither waits nor returns anything but a ``bool``."""


def without_cached_permissions(user: Any) -> Any:
    """``user``, or of a model a copy that asks the backends anew.

    Django's keep on the user what they have looked up, for the length of a request; a socket's user lasts longer.
    """
    if isinstance(user, LazyObject):
        user = copy(user)
    if not hasattr(user, "_meta"):
        return user
    user = copy(user)
    for name in [name for name in vars(user) if name.endswith("_perm_cache")]:
        delattr(user, name)
    return user
