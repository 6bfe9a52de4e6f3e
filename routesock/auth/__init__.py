"""Who is there: credentials of a handshake or a frame, and what makes a user of them."""

from .base import Authenticator, Credentials, Identity, Source, resolve
from .handshake import HandshakeMiddleware
from .refusals import deny, reject
from .request_middleware import RequestMiddleware
from .sessions import SessionKeyAuthentication
from .token import TokenMiddleware

__all__ = [
    "Authenticator",
    "Credentials",
    "HandshakeMiddleware",
    "Identity",
    "RequestMiddleware",
    "SessionKeyAuthentication",
    "Source",
    "TokenMiddleware",
    "deny",
    "reject",
    "resolve",
]
