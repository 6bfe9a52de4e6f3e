"""Django middleware: keeps a socket open when its HTTP session gets another key."""

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

_IN_COOKIES: Final = "django.contrib.sessions.backends.signed_cookies"
"""An engine whose keys are the data, so that nothing says which session it is."""


class KeepSocketsMiddleware:
    """Django middleware: keeps the sockets of a session open when its key changes.

    ``update_session_auth_hash`` gives the session in which a password was changed a new key. Without this middleware
    its sockets are closed together with those of the user's other sessions. Put it into ``MIDDLEWARE`` above or below
    Django's ``SessionMiddleware``. It works under WSGI and ASGI.
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
        with _following(request):
            return self.get_response(request)

    async def _call_async(self, request: HttpRequest) -> Any:
        with _following(request):
            return await self.get_response(request)


@contextmanager
def _following(request: HttpRequest) -> Iterator[None]:
    key = request.COOKIES.get(settings.SESSION_COOKIE_NAME)
    if not key or settings.SESSION_ENGINE == _IN_COOKIES:
        yield
        return
    came = SessionRequest(revocation.digest(key))
    token = current_session_request.set(came)
    try:
        yield
    finally:
        current_session_request.reset(token)
        try:
            _tell(came, getattr(request, "session", None))
        except Exception:
            logger.exception("The sockets of a session could not be told what became of it.")


def _tell(came: SessionRequest, session: Any) -> None:
    now = None if session is None else revocation.digest_of(session)
    if session is not None and now is not None and now != came.session and SESSION_KEY in session:
        user = revocation.name_in(session)
        moved = {"event": "moved", "session": came.session, "to": now, "stamp": revocation.stamp_in(session)}
        revocation.announce(user, moved)
        came.saved.discard(user)
    for user in came.saved:
        revocation.announce(user, {"event": "check"})
