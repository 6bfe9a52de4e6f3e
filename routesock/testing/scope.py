"""The ASGI scope of a websocket that a test opens."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from django.utils.functional import LazyObject, empty

from routesock.messages import Scope

HeaderValue = str | bytes
Headers = Mapping[str, HeaderValue | None] | Iterable[tuple[HeaderValue, HeaderValue | None]]
"""Handshake headers by name, or as pairs where a name comes twice; ``None`` removes a default."""

HOST = "testserver"  # the one that Django's test runner adds to ALLOWED_HOSTS


def websocket_scope(path: str, headers: Headers, subprotocols: Iterable[str]) -> Scope:
    """The scope of a handshake for ``path`` (with its query string, if any).

    The headers ``host`` and ``origin`` are those of a browser that has a page of ``http://testserver`` open, unless
    they are given: without an origin, Channels' origin validators refuse.
    """
    parts = urlsplit(path)
    return {
        "type": "websocket",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "scheme": "ws",
        "path": unquote(parts.path),
        "raw_path": quote(parts.path, safe="/%:@!$&'()*+,;=~").encode("ascii"),
        "query_string": parts.query.encode(),
        "root_path": "",
        "headers": _pairs(headers),
        "client": ("127.0.0.1", 50000),
        "server": (HOST, 80),
        "subprotocols": list(subprotocols),
        "state": {},
        "extensions": {},
    }


def signed_in(user: Any) -> Any:
    """``user`` in the form that stays in ``scope["user"]`` under Channels' ``AuthMiddleware``.

    That middleware assigns the session's user to the ``_wrapped`` of what it finds: no harm to a model instance, but it
    would replace the user inside a lazy object such as ``request.user``.
    """
    if not isinstance(user, LazyObject):
        return user
    if user._wrapped is empty:
        user._setup()
    return user._wrapped


def _pairs(headers: Headers) -> list[tuple[bytes, bytes]]:
    given = [
        (_bytes(name).lower(), value) for name, value in (headers.items() if isinstance(headers, Mapping) else headers)
    ]
    names = {name for name, _ in given}
    defaults = [(b"host", HOST), (b"origin", f"http://{HOST}")]
    return [
        (name, _bytes(value))
        for name, value in [*(pair for pair in defaults if pair[0] not in names), *given]
        if value is not None
    ]


def _bytes(text: HeaderValue) -> bytes:
    return text.encode("latin-1") if isinstance(text, str) else text
