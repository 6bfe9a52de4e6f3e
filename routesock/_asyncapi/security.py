"""The security schemes of an endpoint, from the middleware around its consumer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from channels.sessions import SessionMiddleware
from django.conf import settings

from .._pipeline.effective import EffectiveRoute
from .._runtime.asgi_tree import Endpoint
from ..auth import HandshakeMiddleware, TokenMiddleware
from ..auth._handshake.gatekeeper import Terms
from ..auth._handshake.middleware import Mode
from .names import digits_of, slug

Scheme = Mapping[str, Any]


class Handshake(NamedTuple):
    """A handshake in front of a consumer: its terms, and whether it is required."""

    terms: Terms
    required: bool


@dataclass(frozen=True)
class Security:
    """The ways in which a client may authenticate.

    Attributes:
        request: The schemes of the HTTP request, by their keys.
        frame: The scheme of AUTH, by its key.
        handshake: The handshake, if there is one.
        takes_auth: Whether AUTH is answered.
        query: The parameters of the query string with a token.
    """

    request: Mapping[str, Scheme]
    frame: Mapping[str, Scheme]
    handshake: Handshake | None
    takes_auth: bool
    query: tuple[str, ...]

    def keys_for(self, route: EffectiveRoute) -> list[str]:
        """Return the keys of the schemes of which a request of ``route`` needs one; none if it needs no login."""
        is_required = self.handshake is not None and self.handshake.required
        if (is_required and route.route.public) or (not is_required and route.is_open):
            return []
        return [*self.request, *self.frame]


_HTTP: Final = {"bearer": "bearer", "basic": "basic", "digest": "digest"}
"""Registered schemes, whose names AsyncAPI writes in lowercase."""


def security_of(endpoint: Endpoint) -> Security:
    """Return what the middleware around ``endpoint`` accepts."""
    request: dict[str, Scheme] = {}
    frame: dict[str, Scheme] = {}
    handshake: Handshake | None = None
    takes_auth = False
    query: list[str] = []
    for middleware in endpoint.through:
        if isinstance(middleware, SessionMiddleware):
            request["sessionCookie"] = {
                "type": "httpApiKey",
                "in": "cookie",
                "name": settings.SESSION_COOKIE_NAME,
                "description": "The session cookie of Django, of a user who is logged in.",
            }
        elif isinstance(middleware, TokenMiddleware):
            takes_auth = True
            request |= _keyed(_of_token(middleware))
            if middleware._query is not None:
                query.append(middleware._query)
        elif isinstance(middleware, HandshakeMiddleware) and middleware._mode is not Mode.DISABLED:
            takes_auth = True
            handshake = Handshake(middleware._terms, middleware._terms.required)
            frame |= _keyed([("handshake", _of_handshake(middleware))])
    return Security(request, frame, handshake, takes_auth, tuple(query))


def _keyed(schemes: Any) -> dict[str, Scheme]:
    return {slug(key): scheme for key, scheme in schemes}


def _of_token(middleware: TokenMiddleware) -> Iterator[tuple[str, Scheme]]:
    if middleware._header:
        for name in dict.fromkeys(scheme for each in middleware._authenticators for scheme in each.schemes):
            yield (
                f"header-{name.lower()}",
                {
                    "type": "http",
                    "scheme": _HTTP.get(name.lower(), name),
                    "description": f"A token in the header Authorization of the handshake, behind {name!r}.",
                },
            )
    if middleware._prefix is not None:
        prefix = middleware._prefix
        key = "subprotocol-token" if prefix == "bearer." else f"subprotocol-token-{digits_of(prefix)}"
        yield (
            key,
            {
                "type": "httpApiKey",
                "in": "header",
                "name": "Sec-WebSocket-Protocol",
                "description": f"A token as one of the subprotocols that a client offers, behind {prefix!r}.",
                "x-routesock-prefix": prefix,
            },
        )
    if middleware._query is not None:
        yield (
            f"query-{middleware._query}",
            {
                "type": "httpApiKey",
                "in": "query",
                "name": middleware._query,
                "description": "A token in the query string. Proxies and servers write it to their logs.",
            },
        )


def _of_handshake(middleware: HandshakeMiddleware) -> Scheme:
    terms = middleware._terms
    return {
        "type": "apiKey",
        "in": "user",
        "description": "A token in the payload of AUTH, the first frame that a client sends.",
        "x-routesock-handshake": {
            "mode": str(middleware._mode),
            "timeout": terms.timeout,
            "attempts": terms.attempts,
        },
    }
