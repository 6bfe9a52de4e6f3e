"""HTTP requests that give their session another key: its sockets stay with it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final

from asgiref.sync import iscoroutinefunction
from django.conf import settings
from django.contrib.auth import SESSION_KEY
from django.http import HttpRequest
from django.utils.decorators import sync_and_async_middleware

from . import logins, revocation

logger: Final = logging.getLogger("routesock.socket")

_IN_COOKIES: Final = "django.contrib.sessions.backends.signed_cookies"
"""An engine whose keys are the data, so that nothing says which session it is."""


class _Request:
    """The session that a request came with, and the users that it has saved meanwhile."""

    def __init__(self, session: str) -> None:
        self.session = session
        self.saved: set[str] = set()


_current: Final[ContextVar[_Request | None]] = ContextVar("routesock_request", default=None)


@sync_and_async_middleware
def keep_sockets(get_response: Callable[[HttpRequest], Any]) -> Callable[[HttpRequest], Any]:
    """Django middleware: the sockets of a session outlive its change of keys.

    ``update_session_auth_hash`` gives the session in which a password was changed another key. Without this middleware
    its sockets end with those of the other sessions. It stands in ``MIDDLEWARE`` above or below Django's sessions.
    """
    if iscoroutinefunction(get_response):

        async def kept(request: HttpRequest) -> Any:
            with _following(request):
                return await get_response(request)

        return kept

    def kept_sync(request: HttpRequest) -> Any:
        with _following(request):
            return get_response(request)

    return kept_sync


def spare(user: str) -> str | None:
    """The digest of the session whose request saves ``user`` now: what becomes of that one is told when it ends."""
    request = _current.get()
    if request is None:
        return None
    request.saved.add(user)
    return request.session


@contextmanager
def _following(request: HttpRequest) -> Iterator[None]:
    key = request.COOKIES.get(settings.SESSION_COOKIE_NAME)
    if not key or settings.SESSION_ENGINE == _IN_COOKIES:
        yield
        return
    came = _Request(logins.digest(key))
    token = _current.set(came)
    try:
        yield
    finally:
        _current.reset(token)
        try:
            _tell(came, getattr(request, "session", None))
        except Exception:
            logger.exception("The sockets of a session could not be told what became of it.")


def _tell(came: _Request, session: Any) -> None:
    now = None if session is None else logins.digest_of(session)
    if now is not None and now != came.session and SESSION_KEY in session:
        user = logins.name_in(session)
        moved = {"event": "moved", "session": came.session, "to": now, "stamp": logins.stamp_in(session)}
        revocation.announce(user, moved)
        came.saved.discard(user)
    for user in came.saved:
        revocation.announce(user, {"event": "check"})
