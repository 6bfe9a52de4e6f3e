"""Django REST framework's authentication classes as authenticators."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from asgiref.sync import iscoroutinefunction
from rest_framework.authentication import BaseAuthentication  # type: ignore[import-untyped, unused-ignore]
from rest_framework.exceptions import APIException  # type: ignore[import-untyped, unused-ignore]
from rest_framework.request import Request  # type: ignore[import-untyped, unused-ignore]

from .._runtime import database
from ..exceptions import NotAuthenticated
from .authenticators import REFUSED, Authenticator, Credentials, CredentialSource, Identity
from .request_middleware import request_of

_SCHEME: Final = "Bearer"
"""In front of the token for a class that does not say what stands there (RFC 6750)."""


class RestFrameworkAuthenticator:
    """An authentication class of DRF, which reads the handshake as a request with the token where it looks for it.

    ``authenticate`` runs in Django's database thread. One with ``handshake_compatible = True`` is for the handshake
    alone.
    """

    def __init__(self, authentication: Any) -> None:
        self._authentication = authentication
        self.handshake_only: bool = getattr(authentication, "handshake_compatible", False) is True
        self.reads_request: bool = not self.handshake_only
        self._is_async = iscoroutinefunction(authentication.authenticate)
        self._known_schemes: tuple[str, ...] | None = None

    def __repr__(self) -> str:
        return f"RestFrameworkAuthenticator({type(self._authentication).__qualname__})"

    @property
    def schemes(self) -> tuple[str, ...]:
        if self._known_schemes is None:
            challenge = self._authentication.authenticate_header(Request(request_of({"path": "/"}))) or _SCHEME
            self._known_schemes = (challenge.split()[0],)
        return self._known_schemes

    async def __call__(self, credentials: Credentials) -> Identity | None:
        authorization = None
        if credentials.source is not CredentialSource.REQUEST:
            authorization = f"{credentials.scheme or self.schemes[0]} {credentials.token}"
        request = Request(request_of(credentials.scope, authorization), authenticators=[self._authentication])
        authenticate = self._authentication.authenticate
        try:
            found = await (authenticate(request) if self._is_async else database.in_thread(authenticate, request))
        except APIException as exc:
            if exc.status_code >= 500:
                raise
            raise NotAuthenticated(REFUSED) from exc
        if found is None:
            return None
        user, auth = found
        return Identity(user, _expiry_of(auth), auth)


def adapter_for(authentication: Any) -> Authenticator | None:
    if isinstance(authentication, type) and issubclass(authentication, BaseAuthentication):
        return RestFrameworkAuthenticator(authentication())
    if isinstance(authentication, BaseAuthentication):
        return RestFrameworkAuthenticator(authentication)
    return None


def _expiry_of(auth: Any) -> float | None:
    """The claim ``exp`` (RFC 7519, section 4.1.4) of a token that has claims: a mapping, or one in its ``payload``."""
    claims = auth if isinstance(auth, Mapping) else getattr(auth, "payload", None)
    expires = claims.get("exp") if isinstance(claims, Mapping) else None
    return float(expires) if isinstance(expires, int | float) and not isinstance(expires, bool) else None
