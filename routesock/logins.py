"""Who is signed in, and with what: names and digests that say it to other processes without a secret."""

from __future__ import annotations

import logging
from hashlib import blake2b
from typing import Any, Final

from django.contrib.auth import HASH_SESSION_KEY, SESSION_KEY, get_user_model
from django.contrib.sessions.backends import signed_cookies

from .caps import is_signed_in
from .messages import Scope

logger: Final = logging.getLogger("routesock.socket")

_IN_A_COOKIE: Final = "cookie"
"""In place of a session's digest where the key changes with each save: one such session stands for all of its user."""


def name_of(user: Any) -> str | None:
    """What ``user``, an instance of a model, is called in all processes; ``None`` for one that no database knows."""
    meta = getattr(user, "_meta", None)
    if meta is None or user.pk is None:
        return None
    return f"{meta.concrete_model._meta.label_lower}:{user.pk}"


def name_in(session: Any) -> str:
    """The same of the user who is signed in with ``session``."""
    model: Any = get_user_model()
    return f"{model._meta.concrete_model._meta.label_lower}:{session[SESSION_KEY]}"


def name_in_scope(scope: Scope) -> str | None:
    """The same of the user of ``scope``, ``None`` if nobody is signed in."""
    return name_of(scope["user"]) if is_signed_in(scope) else None


def digest(text: str) -> str:
    """Stands for a secret: whoever reads the channel layer must not be able to sign in with what is there."""
    return blake2b(text.encode(), digest_size=16).hexdigest()


def digest_of(session: Any) -> str | None:
    """What stands for ``session``; ``None`` if it was never saved."""
    if isinstance(session, signed_cookies.SessionStore):
        return _IN_A_COOKIE
    return digest(session.session_key) if session.session_key else None


def stamp_in(session: Any) -> str:
    """What stands for the password that ``session`` was signed in with."""
    return digest(session.get(HASH_SESSION_KEY) or "")


def stamp_of(user: Any) -> str:
    """What stands for the password of ``user``."""
    return digest(user.get_session_auth_hash() if hasattr(user, "get_session_auth_hash") else "")


def identity_in(scope: Scope) -> Any:
    """What a token said about the user of ``scope``, if a token did."""
    identity = scope.get("routesock.identity")
    return identity if identity is not None and identity.user == scope.get("user") else None


def session_in(scope: Scope) -> Any:
    """The session that signs the user of ``scope`` in; ``None`` where a token does, or nobody is known to."""
    identity, session = identity_in(scope), scope.get("session")
    if session is None or (identity is not None and not _may_be_of(session, identity)):
        return None
    try:  # one that nobody has read must not be read on the event loop
        if name_in_scope(scope) is not None and session.accessed and _signs_in(session, scope["user"]):
            return session
    except Exception:
        logger.exception("The session of a socket cannot be read.")
    return None


def _may_be_of(session: Any, identity: Any) -> bool:
    """Whether the token behind ``identity`` is ``session`` itself, or says nothing that a session would not say."""
    return identity.auth is session or (identity.auth is None and identity.expires is None)


def _signs_in(session: Any, user: Any) -> bool:
    return bool(session.get(SESSION_KEY) == user._meta.pk.value_to_string(user))
