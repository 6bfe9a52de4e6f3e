"""Django middleware that keeps sockets open when the key of their session changes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.conf import settings
from django.contrib.auth import SESSION_KEY
from django.http import HttpRequest

from .auth._login import revocation
from .auth._login.signal_receivers import SessionRequest, current_session_request

__all__ = ["KeepSocketsMiddleware"]

logger: Final = logging.getLogger("routesock.socket")

_SIGNED_COOKIES: Final = "django.contrib.sessions.backends.signed_cookies"
"""A session engine whose keys contain the data, so that a key does not identify a session."""


class KeepSocketsMiddleware:
    """Django middleware that keeps the sockets of a session open when its key changes.

    When users change their password, ``update_session_auth_hash()`` gives the current session a new key. Without this
    middleware routesock closes the sockets of that session too, and not only those of the user's other sessions. Add it
    to ``MIDDLEWARE``, above or below Django's ``SessionMiddleware``. It works under WSGI and ASGI.
    """

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        self.get_response = get_response
        self._is_async = iscoroutinefunction(get_response)
        if self._is_async:
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> Any:
        if self._is_async:
            return self._call_async(request)
        with _announcing_new_key(request):
            return self.get_response(request)

    async def _call_async(self, request: HttpRequest) -> Any:
        with _announcing_new_key(request):
            return await self.get_response(request)


@contextmanager
def _announcing_new_key(request: HttpRequest) -> Iterator[None]:
    key = request.COOKIES.get(settings.SESSION_COOKIE_NAME)
    if not key or settings.SESSION_ENGINE == _SIGNED_COOKIES:
        yield
        return
    session_request = SessionRequest(revocation.digest(key))
    token = current_session_request.set(session_request)
    try:
        yield
    finally:
        current_session_request.reset(token)
        try:
            _announce(session_request, getattr(request, "session", None))
        except Exception:
            logger.exception("The new key of a session could not be announced to its sockets.")


def _announce(request: SessionRequest, session: Any) -> None:
    digest = None if session is None else revocation.digest_of(session)
    if digest is not None and digest != request.session and SESSION_KEY in session:
        user = revocation.name_in(session)
        moved = {"event": "moved", "session": request.session, "to": digest, "stamp": revocation.stamp_in(session)}
        revocation.announce(user, moved)
        request.saved.discard(user)
    for user in request.saved:
        revocation.announce(user, {"event": "check"})
