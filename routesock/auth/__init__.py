"""Who is there: credentials of a handshake or a frame, and what makes a user of them."""

from .base import Authenticator, Credentials, Identity, resolve

__all__ = ["Authenticator", "Credentials", "Identity", "resolve"]
