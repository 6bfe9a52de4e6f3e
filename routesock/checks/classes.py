"""The consumer classes that checks look at."""

from __future__ import annotations

from contextlib import suppress

from django.conf import settings
from django.utils.module_loading import import_string

from ..consumers import RouteMixin


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
