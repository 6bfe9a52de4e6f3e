"""Handshakes that Channels' own stack answers with a 500: an Origin that is no URL, a path that nobody serves."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import urlparse

from django.urls.exceptions import Resolver404

from ..messages import Scope
from .refusals import Application, Receive, Send, deny

_NO_ROUTE: Final = "No route found for path"
"""How the ``ValueError`` of Channels' URLRouter begins."""


class At:
    """What a record of the log is about where there is no consumer yet."""

    def __init__(self, scope: Scope) -> None:
        self.scope = scope


async def enter(inner: Application, scope: Scope, receive: Receive, send: Send) -> None:
    """Serve ``scope`` with ``inner``; 404 where its URLRouter knows no such path."""
    begun = False

    async def noting(message: Any) -> None:
        nonlocal begun
        begun = True
        await send(message)

    try:
        await inner(scope, receive, noting)
    except (ValueError, Resolver404) as exc:
        if begun or not is_unknown_path(exc):
            raise
        await deny(404)(scope, receive, send)


def is_unknown_path(exc: BaseException) -> bool:
    """Whether ``exc`` is what Channels' URLRouter raises for a path that none of its patterns matches."""
    return isinstance(exc, ValueError | Resolver404) and bool(exc.args) and str(exc.args[0]).startswith(_NO_ROUTE)


def has_odd_origin(scope: Scope) -> bool:
    """Whether an ``Origin`` header of ``scope`` cannot be read as a URL, at which Channels' OriginValidator raises."""
    for name, value in scope.get("headers", ()):
        if name.lower() == b"origin":
            try:
                _ = urlparse(value.decode("latin-1")).port
            except ValueError:
                return True
    return False
