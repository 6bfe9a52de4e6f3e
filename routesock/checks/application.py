"""The check of the application, and of the consumers that are known once it is imported."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from typing import Any, Final

from channels.consumer import AsyncConsumer
from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Error
from django.utils.module_loading import import_string

from ..consumers import RouteMixin
from ..discovery import Endpoint, endpoints
from .handlers import check_handlers
from .messages import Id, text_of
from .permissions import check_permissions

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
