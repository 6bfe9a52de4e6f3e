"""Django's own session as a token: its key, for clients that have no cookies."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from django.conf import settings
from django.http import HttpRequest

from .. import db
from .base import Credentials, Identity, Source


class SessionKeyAuthentication:
    """The key of a Django session as a token. Who is signed in there is for ``django.contrib.auth`` to say.

    So a session that was flushed, whose user may not sign in any more, or has changed the password since, is refused.
    """

    schemes = ("Session",)
    handshake_only = False
    reads_request = False

    def __repr__(self) -> str:
        return "SessionKeyAuthentication()"

    async def __call__(self, credentials: Credentials) -> Identity | None:
        if credentials.source is Source.REQUEST:
            return None
        identity: Identity | None = await db.in_thread(_identity_of, credentials.token)
        return identity


def _identity_of(key: str) -> Identity | None:
    from django.contrib.auth import get_user  # models, which need the app registry

    if not key.isascii() or not key.isalnum():  # stores do not expect a NUL or a path
        return None
    store: Any = import_module(settings.SESSION_ENGINE).SessionStore
    request = HttpRequest()
    request.session = session = store(key)
    user = get_user(request)
    return Identity(user, None, session) if user.is_authenticated else None
