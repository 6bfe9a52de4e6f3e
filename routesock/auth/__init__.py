"""Who is there: credentials of a handshake or a frame, and what makes a user of them."""

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
