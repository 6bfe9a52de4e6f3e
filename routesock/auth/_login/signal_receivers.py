"""Receives Django's login, logout and user signals and announces what they end."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextvars import ContextVar
from functools import wraps
from typing import Any, Final

from django.apps import apps
from django.contrib.auth import get_user_model
from django.contrib.auth.signals import user_logged_in, user_logged_out
from django.core.exceptions import ImproperlyConfigured
from django.db.models.signals import post_delete, post_save

from ..._runtime import shutdown
from . import revocation


class SessionRequest:
    """The session that a request came with, and the users that it has saved meanwhile."""

    def __init__(self, session: str) -> None:
        self.session = session
        self.saved: set[str] = set()


current_session_request: Final[ContextVar[SessionRequest | None]] = ContextVar("routesock_request", default=None)


def session_to_spare(user: str) -> str | None:
    """The digest of the session whose request saves ``user`` now: what becomes of that one is told when it ends."""
    request = current_session_request.get()
    if request is None:
        return None
    request.saved.add(user)
    return request.session


logger: Final = logging.getLogger("routesock.socket")

_SECURITY_FIELDS: Final = frozenset({"password", "is_active"})


def connect() -> None:
    """Receive the signals from now on; those of the user model, its proxies and its subclasses, if there is one."""
    user_logged_in.connect(_logged_in, dispatch_uid="routesock.logged_in")
    user_logged_out.connect(_logged_out, dispatch_uid="routesock.logged_out")
    try:
        user_model = get_user_model()
    except ImproperlyConfigured:  # a project without users
        return
    # By sender: a receiver for all models would slow the deletion of each of them down.
    for model in apps.get_models():
        if issubclass(model, user_model):
            post_save.connect(_saved, sender=model, dispatch_uid="routesock.saved")
            post_delete.connect(_deleted, sender=model, dispatch_uid="routesock.deleted")


def _harmless(receiver: Callable[..., None]) -> Callable[..., None]:
    """Log what ``receiver`` raises: a logout, or the save of a user, must not fail for the sake of sockets."""

    @wraps(receiver)
    def guarded(**kwargs: Any) -> None:
        try:
            receiver(**kwargs)
        except Exception:
            logger.exception("The sockets of a user could not be told that a login may have ended.")

    return guarded


@_harmless
def _logged_in(user: Any, request: Any, **kwargs: Any) -> None:
    if request is None:  # Channels' login(), which has put the user into the scope of a socket
        for socket in shutdown.open_sockets():
            socket.signed_in(user)


@_harmless
def _logged_out(user: Any, request: Any, **kwargs: Any) -> None:
    name = None if user is None else revocation.name_of(user)
    if user is None or name is None:
        return
    session = getattr(request, "session", None)
    ended = None if session is None else revocation.digest_of(session)
    socket = revocation.listener_with(name, user) if session is None else None
    if socket is not None:  # Channels' logout(), whose next step is to end the session
        socket.logs_out = True
        ended = socket.session
    event = {"event": "check"} if ended is None else {"event": "logout", "session": ended}
    revocation.announce(name, event, using=user._state.db)


@_harmless
def _saved(instance: Any, created: bool, update_fields: frozenset[str] | None, using: str, **kwargs: Any) -> None:
    name = revocation.name_of(instance)
    if name is None or created or (update_fields is not None and not _concerns_login(instance, update_fields)):
        return
    event = {
        "event": "saved",
        "active": bool(getattr(instance, "is_active", True)),
        "stamp": revocation.stamp_of(instance),
        "spare": session_to_spare(name),
    }
    revocation.announce(name, event, using=using)


def _concerns_login(user: Any, fields: frozenset[str]) -> bool:
    from django.contrib.auth.base_user import AbstractBaseUser  # a model, which takes a project that is set up

    if getattr(type(user), "get_session_auth_hash", None) is AbstractBaseUser.get_session_auth_hash:
        return not _SECURITY_FIELDS.isdisjoint(fields)
    return fields != {"last_login"}  # which each login saves; any other may be in the hash


@_harmless
def _deleted(instance: Any, using: str, **kwargs: Any) -> None:
    name = revocation.name_of(instance)
    if name is not None:
        revocation.announce(name, {"event": "deleted"}, using=using)
