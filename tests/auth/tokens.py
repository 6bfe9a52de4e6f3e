"""Tokens of every kind, good ones and others, and authenticators that know them."""

from __future__ import annotations

import datetime
from typing import Any

from channels.db import database_sync_to_async
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.auth.models import User
from django.contrib.sessions.backends.db import SessionStore
from rest_framework.authentication import BaseAuthentication
from rest_framework.authtoken.models import Token
from rest_framework.exceptions import AuthenticationFailed
from rest_framework_simplejwt.tokens import AccessToken

from routesock.auth import Credentials, Identity


def jwt(user: User, *, seconds: float = 60) -> str:
    """A JSON Web Token that expires in so many seconds."""
    token = AccessToken.for_user(user)
    token.set_exp(lifetime=datetime.timedelta(seconds=seconds))
    return str(token)


@database_sync_to_async
def key(user: User) -> str:
    """The key of DRF's own token."""
    token, _ = Token.objects.get_or_create(user=user)
    return str(token.key)


@database_sync_to_async
def session(user: User) -> str:
    """The key of a session in which ``user`` is signed in."""
    store = SessionStore()
    store[SESSION_KEY] = str(user.pk)
    store[BACKEND_SESSION_KEY] = "django.contrib.auth.backends.ModelBackend"
    store[HASH_SESSION_KEY] = user.get_session_auth_hash()
    store.create()
    assert store.session_key
    return store.session_key


class Account:
    """A user without a database."""

    is_authenticated = True
    is_active = True

    def __init__(self, name: str = "carol") -> None:
        self.pk = name
        self.username = name


class Once:
    """Knows each of its tokens once."""

    def __init__(self, *tokens: str) -> None:
        self.tokens = {*tokens}
        self.seen: list[Credentials] = []

    async def __call__(self, credentials: Credentials) -> Account | None:
        self.seen.append(credentials)
        if credentials.token not in self.tokens:
            return None
        self.tokens.remove(credentials.token)
        return Account()


async def by_name(credentials: Credentials) -> Identity | None:
    """Takes ``carol`` for carol's token."""
    return Identity(Account("carol")) if credentials.token == "carol" else None


class QueryKey(BaseAuthentication):
    """A class that reads the query string, and where a request came from, for itself."""

    seen: list[Any] = []

    def authenticate(self, request: Any) -> tuple[Any, Any] | None:
        if "key" not in request.query_params:
            return None
        self.seen.append((request.META["REMOTE_ADDR"], request.META.get("HTTP_X_TEAM"), request.COOKIES))
        if request.query_params["key"] != "carol":
            raise AuthenticationFailed("no such key")
        return Account("carol"), None


class FrameOnly(BaseAuthentication):
    """Is for the handshake alone."""

    handshake_compatible = True

    def authenticate(self, request: Any) -> tuple[Any, Any] | None:
        if request.META.get("HTTP_AUTHORIZATION") != "Bearer carol":
            raise AuthenticationFailed
        return Account("carol"), {"exp": 4_000_000_000}
