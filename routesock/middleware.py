"""Django middleware that keeps sockets open when the key of their session changes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.conf import settings
from django.contrib.auth import SESSION_KEY
from django.http import HttpRequest

from ._runtime.supervision import safe_logger
from .auth._login import revocation

__all__ = ["KeepSocketsMiddleware"]

logger: Final = safe_logger("routesock.socket")

_IN_COOKIES: Final = "django.contrib.sessions.backends.signed_cookies"
"""An engine whose keys are the data, so that no key identifies a session."""


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
        with _session_followed(request):
            return self.get_response(request)

    async def _call_async(self, request: HttpRequest) -> Any:
        with _session_followed(request):
            return await self.get_response(request)


@contextmanager
def _session_followed(request: HttpRequest) -> Iterator[None]:
    key = request.COOKIES.get(settings.SESSION_COOKIE_NAME)
    if not key or settings.SESSION_ENGINE == _IN_COOKIES:
        yield
        return
    before = revocation.SessionRequest(revocation.digest(key))
    token = revocation.current_session_request.set(before)
    try:
        yield
    finally:
        revocation.current_session_request.reset(token)
        try:
            _publish_changes(before, getattr(request, "session", None))
        except Exception:
            logger.exception("The sockets of a session could not be notified of its new key.")


def _publish_changes(before: revocation.SessionRequest, session: Any) -> None:
    """Notify the sockets of a new key, and those of users that were saved and whose session did not get one."""
    now = None if session is None else revocation.digest_of(session)
    if session is not None and now is not None and now != before.session and SESSION_KEY in session:
        user = revocation.name_in(session)
        moved = {
            "event": "moved",
            "session": before.session,
            "to": now,
            "stamp": revocation.stamp_in(session),
            "key": revocation.seal(session.session_key),
        }
        revocation.publish(user, moved)
        before.saved.discard(user)
    for user in before.saved:
        revocation.publish(user, {"event": "check"})
