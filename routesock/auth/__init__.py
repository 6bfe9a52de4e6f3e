"""Authentication: ASGI middleware that authenticates WebSocket handshakes, authenticators, and refusals."""

from __future__ import annotations

from ._handshake.middleware import HandshakeMiddleware
from .authenticators import (
    Authenticator,
    Credentials,
    CredentialSource,
    Identity,
    SessionKeyAuthentication,
    as_authenticator,
)
from .refusals import deny, reject
from .request_middleware import RequestMiddleware
from .token import TokenMiddleware

__all__ = [
    "Authenticator",
    "CredentialSource",
    "Credentials",
    "HandshakeMiddleware",
    "Identity",
    "RequestMiddleware",
    "SessionKeyAuthentication",
    "TokenMiddleware",
    "as_authenticator",
    "deny",
    "reject",
]
