"""Whether a login still holds: asked of the database, the way that Django and Channels ask. Runs in a thread."""

from __future__ import annotations

from typing import Any, Final

from channels.auth import get_user
from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, load_backend
from django.contrib.sessions.backends import cache as cache_sessions
from django.core.cache import caches
from django.db.models import Model

from .logins import stamp_of

_get_user: Final[Any] = vars(get_user)["func"]
"""As it runs in a thread."""

_PROBE: Final = "routesock.probe"


class SessionsUnavailable(Exception):
    """The cache that holds the sessions does not answer, so a session that is not there says nothing."""


class _Snapshot(dict[str, Any]):
    """The data of a session. Looking at it must not end it: a request may be about to give it a new hash."""

    def flush(self) -> None:
        self.clear()


def session_holds(user: Any, session: Any) -> bool:
    """Whether the session behind ``session``, read anew, still signs ``user`` in. Raises what its store raises."""
    fresh = _get_user({"session": _Snapshot(_loaded(session))})
    return bool(fresh.is_authenticated and fresh == user)


def password_holds(user: Any, session: Any, stamp: str) -> bool:
    """The same where the session has got another key since: its backend knows the user, whose password is that one."""
    path = session[BACKEND_SESSION_KEY]
    if path not in settings.AUTHENTICATION_BACKENDS:
        return False
    fresh = load_backend(path).get_user(user.pk)
    return fresh is not None and fresh == user and stamp_of(fresh) == stamp


def token_holds(user: Any, auth: Any) -> bool:
    """Whether ``user`` is still there and active, and so is ``auth`` if a database holds it, as DRF's ``Token``."""
    if not isinstance(user, Model):
        return True
    model: Any = user.__class__  # which a lazy user has of the one that it stands for
    fresh = model._default_manager.filter(pk=user.pk).first()
    if fresh is None or not getattr(fresh, "is_active", True):
        return False
    return not isinstance(auth, Model) or type(auth)._default_manager.filter(pk=auth.pk).exists()


def _loaded(session: Any) -> dict[str, Any]:
    store = session.__class__(session.session_key)
    data: dict[str, Any] = store.load()
    if not data and isinstance(store, cache_sessions.SessionStore) and not _cache_answers():
        raise SessionsUnavailable
    return data


def _cache_answers() -> bool:
    cache = caches[settings.SESSION_CACHE_ALIAS]
    cache.set(_PROBE, True, 60)
    return cache.get(_PROBE) is True
