"""The handshake of a WebSocket as the HTTP request that it is, for code that reads Django's requests."""

from __future__ import annotations

import io
from typing import Any

from django.core.handlers.asgi import ASGIRequest

from ..messages import Scope


def request_of(scope: Scope, authorization: str | None = None) -> ASGIRequest:
    """The GET request that opened the socket of ``scope``: ``META`` with address, query and headers, and cookies.

    ``user`` and ``session`` are those of the scope, where it has any. ``authorization`` stands in the place of the
    header of that name. What a client wrote is decoded whatever it is.
    """
    query: Any = scope.get("query_string", b"")
    if isinstance(query, bytes):
        query = query.decode("utf-8", "replace")
    http: dict[str, Any] = {
        **scope,
        "type": "http",
        "method": "GET",
        "scheme": "https" if scope.get("scheme") == "wss" else "http",
        "query_string": query,
        "headers": [(bytes(name).lower(), bytes(value)) for name, value in scope.get("headers", ())],
    }
    request = ASGIRequest(http, io.BytesIO())
    if authorization is not None:
        request.META["HTTP_AUTHORIZATION"] = authorization
    for name in ("user", "session"):
        if name in scope:
            setattr(request, name, scope[name])
    return request
