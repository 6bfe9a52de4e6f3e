"""Notifies the sockets of a user, in every process, of ended logins; receives Django's login and user signals."""

from __future__ import annotations

import asyncio
import secrets
import threading
from collections.abc import Callable
from contextvars import ContextVar
from functools import partial, wraps
from hashlib import blake2b
from typing import Any, Final, Protocol

from asgiref.sync import async_to_sync
from channels.layers import get_channel_layer
from django.apps import apps
from django.conf import settings
from django.contrib.auth import HASH_SESSION_KEY, SESSION_KEY, get_user_model
from django.contrib.auth.signals import user_logged_in, user_logged_out
from django.contrib.sessions.backends import signed_cookies
from django.core import signing
from django.core.exceptions import ImproperlyConfigured
from django.db import connections, transaction
from django.db.models.signals import post_delete, post_save
from django.utils.crypto import salted_hmac

from ..._compat import reaches_other_processes
from ..._runtime import shutdown
from ..._runtime.clients import is_signed_in
from ..._runtime.layer_calls import call
from ..._runtime.supervision import Guard, plain_task, reset_after_fork, safe_logger
from ..._wire.messages import Scope

logger: Final = safe_logger("routesock.socket")

_LISTENER: Final = Guard("Notifying a socket that a login may have ended")

_IN_A_COOKIE: Final = "cookie"
"""In place of a session's digest where the key changes with each save: it stands for all such sessions of a user."""


MAX_SEALED: Final = 64
"""Bytes of a session's key that a message can carry: those of a SHA-512."""


def name_of(user: Any) -> str | None:
    """A name of ``user``, a model instance, that is the same in all processes; ``None`` if it is not saved."""
    meta = getattr(user, "_meta", None)
    if meta is None or user.pk is None:
        return None
    return f"{meta.concrete_model._meta.label_lower}:{user.pk}"


def name_in(session: Any) -> str:
    """The name of the user signed in with ``session``."""
    model: Any = get_user_model()
    return f"{model._meta.concrete_model._meta.label_lower}:{session[SESSION_KEY]}"


def name_in_scope(scope: Scope) -> str | None:
    """The name of the user of ``scope``; ``None`` if it is anonymous."""
    return name_of(scope["user"]) if is_signed_in(scope) else None


def digest(text: str) -> str:
    """A digest of a secret: someone who reads the channel layer must not be able to sign in with what is there."""
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def seal(key: str) -> str | None:
    """Encrypt the ``key`` of a session with ``SECRET_KEY``; ``None`` for one that is longer than any of Django's.

    Other processes have to look the session up in its store, and those who read the channel layer must not learn the
    key. Each key is combined with a new stream of an HMAC; the message around it is signed.
    """
    plain = key.encode()
    if len(plain) > MAX_SEALED:
        return None
    nonce = secrets.token_hex(16)
    return f"{nonce}:{_combined(plain, nonce, settings.SECRET_KEY).hex()}"


def unseal(sealed: Any, expected: Any) -> str | None:
    """Return the key in ``sealed`` whose digest is ``expected``; ``None`` if there is none, as in older messages."""
    if not isinstance(sealed, str):
        return None
    nonce, _, text = sealed.partition(":")
    for secret in (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS):
        key = _combined(bytes.fromhex(text), nonce, secret).decode("utf-8", "replace")
        if digest(key) == expected:
            return key
    return None


def _combined(data: bytes, nonce: str, secret: str | bytes) -> bytes:
    stream = salted_hmac("routesock.session", nonce, secret=secret, algorithm="sha512").digest()
    return bytes(one ^ other for one, other in zip(data, stream, strict=False))


def digest_of(session: Any) -> str | None:
    """The digest of ``session``; ``None`` if it was never saved."""
    if isinstance(session, signed_cookies.SessionStore):
        return _IN_A_COOKIE
    return digest(session.session_key) if session.session_key else None


def stamp_in(session: Any) -> str:
    """The digest of the password hash that ``session`` was signed in with."""
    return digest(session.get(HASH_SESSION_KEY) or "")


def stamp_of(user: Any) -> str:
    """The digest of the password hash of ``user``."""
    return digest(user.get_session_auth_hash() if hasattr(user, "get_session_auth_hash") else "")


def identity_in(scope: Scope) -> Any:
    """The identity that a token gave the user of ``scope``; ``None`` if no token did."""
    identity = scope.get("routesock.identity")
    return identity if identity is not None and identity.user == scope.get("user") else None


def session_in(scope: Scope) -> Any:
    """The session that signs the user of ``scope`` in; ``None`` if a token does, or the user is anonymous."""
    identity, session = identity_in(scope), scope.get("session")
    if session is None or (identity is not None and not _may_be_of(session, identity)):
        return None
    try:  # a session that was not accessed yet must not be loaded on the event loop
        if name_in_scope(scope) is not None and session.accessed and _signs_in(session, scope["user"]):
            return session
    except Exception:
        logger.exception("The session of a socket cannot be read.")
    return None


def _may_be_of(session: Any, identity: Any) -> bool:
    """Whether the token behind ``identity`` is ``session`` itself, or gives nothing beyond a session."""
    return identity.auth is session or (identity.auth is None and identity.expires is None)


def _signs_in(session: Any, user: Any) -> bool:
    return bool(session.get(SESSION_KEY) == user._meta.pk.value_to_string(user))


TYPE: Final = "routesock.revocation"
"""The type of these messages in the channel layer. Consumers never see one: it goes to a hub's channel."""

SEND_WAIT: Final = 2.0
"""Seconds that a logout, or the save of a user, waits for a channel layer to take a message."""

Event = dict[str, Any]


class Listener(Protocol):
    """The login of one socket."""

    @property
    def scope(self) -> Any: ...

    @property
    def session(self) -> str | None:
        """The digest of its session, ``None`` for a login without one."""

    logs_out: bool
    """A handler of this socket ends the session, so its reply must still be sent."""

    @property
    def loop(self) -> asyncio.AbstractEventLoop: ...

    def notify(self, event: Event) -> None:
        """Act on ``event``. Called on the loop."""


_listeners: Final[dict[str, set[Listener]]] = {}

# Loops of several threads share them. Reentrant, since the garbage collector may end a socket at any point.
_lock = threading.RLock()


def listen(user: str, listener: Listener) -> None:
    """Notify ``listener`` of what happens to the logins of ``user``."""
    with _lock:
        _listeners.setdefault(user, set()).add(listener)


def stop_listening(user: str, listener: Listener) -> None:
    """Undo :func:`listen`."""
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
    """The listener of the socket in this process whose ``scope["user"]`` is this very object."""
    return next((one for one in _listeners_of(name) if one.scope.get("user") is user), None)


def received(message: Any) -> None:
    """Notify the sockets of the running loop of a message of :data:`TYPE`. One that is not signed is ignored."""
    try:
        event = signing.loads(message["event"], salt=TYPE)
        listeners = _listeners_of(event["user"])
    except Exception:  # anything may be in it: a page may choose what a careless project puts into its layer
        logger.warning("A message about a login was ignored, since its signature is not valid.")
        return
    loop = asyncio.get_running_loop()
    for listener in listeners:
        with _LISTENER:
            if listener.loop is loop:
                listener.notify(event)


def publish(user: str, event: Event, *, using: str | None = None) -> None:
    """Notify the sockets of ``user`` in all processes, once the transaction on the database ``using`` is committed.

    May be called from sync and async code, in any thread. Never raises: what fails is logged.
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
        logger.exception("The sockets of a user could not be notified that a login may have ended.")


_sending: Final[set[asyncio.Task[None]]] = set()


def _deliver(user: str, event: Event) -> None:
    for listener in _listeners_of(user):
        _call(listener.loop, partial(_notify, listener, event))
    message = {"type": TYPE, "event": signing.dumps(event, salt=TYPE)}
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        async_to_sync(_send)(user, message)
        return
    task = plain_task(_send(user, message), loop)
    _sending.add(task)
    task.add_done_callback(_sending.discard)


def _notify(listener: Listener, event: Event) -> None:
    with _LISTENER:
        listener.notify(event)


def _call(loop: asyncio.AbstractEventLoop, function: Callable[[], None]) -> None:
    try:
        loop.call_soon_threadsafe(function)
    except RuntimeError:  # the loop was thrown away, and the socket with it
        logger.debug("A socket's loop is closed.", exc_info=True)


async def _send(user: str, message: dict[str, Any]) -> None:
    group = group_of(user)
    for alias in getattr(settings, "CHANNEL_LAYERS", {}):
        with Guard(f"Notifying other processes through the channel layer {alias!r} that a login may have ended"):
            layer: Any = get_channel_layer(alias)
            if reaches_other_processes(layer):
                await call(layer, layer.group_send, group, message, limit=SEND_WAIT)


@reset_after_fork
def _forget_listeners() -> None:
    global _lock
    _lock = threading.RLock()
    _listeners.clear()


class SessionRequest:
    """The session of a request, and the users that the request has saved so far."""

    def __init__(self, session: str) -> None:
        self.session = session
        self.saved: set[str] = set()


current_session_request: Final[ContextVar[SessionRequest | None]] = ContextVar("routesock_request", default=None)


def exempt_session(user: str) -> str | None:
    """The digest of the session whose request saves ``user`` now: its sockets are notified when the request ends."""
    request = current_session_request.get()
    if request is None:
        return None
    request.saved.add(user)
    return request.session


_SECURITY_FIELDS: Final = frozenset({"password", "is_active"})


def connect_signals() -> None:
    """Receive Django's signals from now on: of logins, and of the user model, its proxies and its subclasses."""
    user_logged_in.connect(_logged_in, dispatch_uid="routesock.logged_in")
    user_logged_out.connect(_logged_out, dispatch_uid="routesock.logged_out")
    try:
        user_model = get_user_model()
    except ImproperlyConfigured:  # a project without users
        return
    # By sender: a receiver for all models would slow down the deletion of each of them.
    for model in apps.get_models():
        if issubclass(model, user_model):
            post_save.connect(_saved, sender=model, dispatch_uid="routesock.saved")
            post_delete.connect(_deleted, sender=model, dispatch_uid="routesock.deleted")


def _never_raises(receiver: Callable[..., None]) -> Callable[..., None]:
    """Log what ``receiver`` raises: a logout, or the save of a user, must not fail because of sockets."""

    @wraps(receiver)
    def logging_errors(**kwargs: Any) -> None:
        try:
            receiver(**kwargs)
        except Exception:
            logger.exception("The sockets of a user could not be notified that a login may have ended.")

    return logging_errors


@_never_raises
def _logged_in(user: Any, request: Any, **kwargs: Any) -> None:
    if request is None:  # Channels' login(), which has put the user into the scope of a socket
        for socket in shutdown.open_sockets():
            with _LISTENER:
                socket.signed_in(user)


@_never_raises
def _logged_out(user: Any, request: Any, **kwargs: Any) -> None:
    name = None if user is None else name_of(user)
    if user is None or name is None:
        return
    session = getattr(request, "session", None)
    ended = None if session is None else digest_of(session)
    socket = listener_with(name, user) if session is None else None
    if socket is not None:  # Channels' logout(), whose next step is to end the session
        socket.logs_out = True
        ended = socket.session
    event = {"event": "check"} if ended is None else {"event": "logout", "session": ended}
    publish(name, event, using=user._state.db)


@_never_raises
def _saved(instance: Any, created: bool, update_fields: frozenset[str] | None, using: str, **kwargs: Any) -> None:
    name = name_of(instance)
    if name is None or created or (update_fields is not None and not _concerns_login(instance, update_fields)):
        return
    event = {
        "event": "saved",
        "active": bool(getattr(instance, "is_active", True)),
        "stamp": stamp_of(instance),
        "except": exempt_session(name),
    }
    publish(name, event, using=using)


def _concerns_login(user: Any, fields: frozenset[str]) -> bool:
    from django.contrib.auth.base_user import AbstractBaseUser  # a model, which needs the app registry

    if getattr(type(user), "get_session_auth_hash", None) is AbstractBaseUser.get_session_auth_hash:
        return not _SECURITY_FIELDS.isdisjoint(fields)
    return fields != {"last_login"}  # which each login saves; any other field may be in the hash


@_never_raises
def _deleted(instance: Any, using: str, **kwargs: Any) -> None:
    name = name_of(instance)
    if name is not None:
        publish(name, {"event": "deleted"}, using=using)
