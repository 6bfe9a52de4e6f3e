"""Announces ended logins to the sockets of a user, in every process."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Callable, Iterator
from functools import partial
from hashlib import blake2b
from typing import Any, Final, Protocol

from asgiref.sync import async_to_sync
from channels.layers import get_channel_layer
from django.conf import settings
from django.contrib.auth import HASH_SESSION_KEY, SESSION_KEY, get_user_model
from django.contrib.sessions.backends import signed_cookies
from django.core import signing
from django.db import connections, transaction

from ..._compat import reaches_other_processes
from ..._runtime.clients import is_signed_in
from ..._wire.messages import Scope

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


TYPE: Final = "routesock.revocation"
"""The type of our messages in the channel layer. Consumers never see one: it goes to a hub's channel."""

SEND_WAIT: Final = 2.0
"""Seconds that a channel layer has to take a message. A logout, or the save of a user, waits no longer for it."""

Event = dict[str, Any]


class Listener(Protocol):
    """The login of one socket."""

    @property
    def scope(self) -> Any: ...

    @property
    def session(self) -> str | None:
        """The digest of its session, ``None`` for a login without one."""

    logs_out: bool
    """A handler of this socket ends the session, and is to be answered itself."""

    @property
    def loop(self) -> asyncio.AbstractEventLoop: ...

    def told(self, event: Event) -> None:
        """Act on ``event``; called on the loop."""


_listeners: Final[dict[str, set[Listener]]] = {}

# Loops of several threads share them. Reentrant, since the garbage collector may end a socket at any place.
_lock = threading.RLock()


def listen(user: str, listener: Listener) -> None:
    """Tell ``listener`` what happens to the logins of ``user``."""
    with _lock:
        _listeners.setdefault(user, set()).add(listener)


def ignore(user: str, listener: Listener) -> None:
    """The opposite of :func:`listen`."""
    with _lock:
        listeners = _listeners.get(user, set())
        listeners.discard(listener)
        if not listeners:
            _listeners.pop(user, None)


def _listeners_of(user: str) -> tuple[Listener, ...]:
    with _lock:
        return tuple(_listeners.get(user, ()))


def group_of(user: str) -> str:
    """The channel-layer group of the sockets of ``user``: any primary key makes a name that Channels accepts."""
    return f"routesock.user.{digest(user)}"


def listener_with(name: str, user: object) -> Listener | None:
    """That of the socket of this process whose ``scope["user"]`` is this very object."""
    return next((one for one in _listeners_of(name) if one.scope.get("user") is user), None)


def received(message: Any) -> None:
    """Tell the sockets of the running loop what a message of :data:`TYPE` says; nothing, if it is not from us."""
    try:
        event = signing.loads(message["event"], salt=TYPE)
        listeners = _listeners_of(event["user"])
    except Exception:  # anything may be in it: a page may choose what a careless project puts into its layer
        logger.warning("A message about a login that does not come from routesock was ignored.")
        return
    loop = asyncio.get_running_loop()
    for listener in listeners:
        if listener.loop is loop:
            listener.told(event)


def announce(user: str, event: Event, *, using: str | None = None) -> None:
    """Tell the sockets of ``user`` in all processes, once the transaction on the database ``using`` is committed.

    From sync code and async, in any thread. Raises nothing: what fails is logged.
    """
    try:
        about = {**event, "user": user}

        def deliver() -> None:  # no partial: Django logs the name of what fails
            _deliver(user, about)

        if using is not None and connections[using].in_atomic_block:
            transaction.on_commit(deliver, using=using, robust=True)
        else:
            deliver()
    except Exception:
        logger.exception("The sockets of a user could not be told that a login may have ended.")


_sending: Final[set[asyncio.Task[None]]] = set()


def _deliver(user: str, event: Event) -> None:
    for listener in _listeners_of(user):
        _call(listener.loop, partial(listener.told, event))
    message = {"type": TYPE, "event": signing.dumps(event, salt=TYPE)}
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        async_to_sync(_send)(user, message)
        return
    task = loop.create_task(_send(user, message))
    _sending.add(task)
    task.add_done_callback(_sending.discard)


def _call(loop: asyncio.AbstractEventLoop, function: Callable[[], None]) -> None:
    try:
        loop.call_soon_threadsafe(function)
    except RuntimeError:  # the loop was thrown away, and the socket with it
        logger.debug("A socket's loop is closed.", exc_info=True)


async def _send(user: str, message: dict[str, Any]) -> None:
    group = group_of(user)
    for alias, layer in _layers():
        try:
            async with asyncio.timeout(SEND_WAIT):
                await layer.group_send(group, message)
        except Exception:
            logger.exception("The channel layer %r was not told that a login may have ended.", alias)


def _layers() -> Iterator[tuple[str, Any]]:
    for alias in getattr(settings, "CHANNEL_LAYERS", {}):
        layer = get_channel_layer(alias)
        if reaches_other_processes(layer):
            yield alias, layer


def _begin_anew() -> None:
    global _lock
    _lock = threading.RLock()
    _listeners.clear()


if hasattr(os, "register_at_fork"):
    # The sockets are its parent's, and a thread that does not run here may have the lock.
    os.register_at_fork(after_in_child=_begin_anew)
