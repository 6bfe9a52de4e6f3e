"""Watches the login behind a socket and closes the socket when the login ends."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Coroutine
from math import inf
from typing import Any, Final, Protocol

from channels.auth import get_user
from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, load_backend
from django.contrib.sessions.backends import cache as cache_sessions
from django.core.cache import caches
from django.db.models import Model

from ... import conf
from ..._runtime import database
from ..._runtime.clients import is_signed_in
from ..._runtime.timers import Alarm, running_timer
from ...status import Ending
from ...typing import UNSET, Unset
from . import revocation
from .revocation import Event, stamp_of

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


logger: Final = logging.getLogger("routesock.socket")

ENDED: Final = Ending(4401, "You are not signed in any more.", reconnect=False)

EXPIRED: Final = Ending(4401, "Your token has expired.", reconnect=False)

AGAIN: Final = 2.0
"""Seconds after which a login is looked up once more: a replica of the database may lag behind, and Channels'
``logout()`` tells of itself before it does anything."""

RETRY: Final = 5.0
"""Seconds until the next try where a login could not be looked up."""

_EARLIEST: Final = 0.8
"""Of the interval, after which the next look-up may come: those of sockets that opened together drift apart."""


class WatchedSocket(Protocol):
    """What is asked of the socket. Nothing waits."""

    def sign_out(self, ending: Ending) -> None:
        """Answer what is in flight 401, and close it."""

    async def follow_login(self) -> None:
        """Begin anew with whoever is signed in by now."""

    def start(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Start a task that ends with the socket."""
        ...


class LoginWatcher:
    """The login behind one socket. Times are those of the loop, where all of its methods are called."""

    __slots__ = (
        "_again", "_alarm", "_asking", "_expires", "_follows", "_interval", "_over", "_recheck", "_socket", "_stamp",
        "_turn", "_user", "logs_out", "loop", "scope", "session",
    )  # fmt: skip

    def __init__(self, socket: WatchedSocket, scope: Any, *, follows: bool, interval: float | None) -> None:
        self._socket = socket
        self._follows = follows
        self._interval = interval
        self._alarm: Alarm | None = None
        self._asking = False
        self._over = False
        self._turn = 0  # counts the logins, and their sessions: an answer about an earlier one says nothing
        self._user: str | None = None
        self._stamp: str | None = None  # what the password has to be, where the store is not asked for the session
        self._again = self._expires = self._recheck = inf
        self.loop = asyncio.get_running_loop()
        self.logs_out = False
        self.scope = scope
        self.session: str | None = None

    # What the connection calls

    def begin(self) -> None:
        """Follow the login."""
        if self._interval is not None and self._recheck == inf:
            self._recheck = self._after(self._interval)
        self.follow()

    def follow(self) -> None:
        """Whoever is signed in now is who the socket belongs to."""
        self._turn += 1
        name = revocation.name_in_scope(self.scope)
        identity = revocation.identity_in(self.scope)
        session = revocation.session_in(self.scope)
        if name != self._user and self._follows:
            self._ignore()
            if name is not None:
                revocation.listen(name, self)
        self._user = name
        expires = None if identity is None else identity.expires
        self._expires = inf if expires is None else running_timer().now() + expires - time.time()
        # One that was signed in over the socket need not be in the store, nor need it ever come there.
        self._stamp = revocation.stamp_in(session) if session is not None and session.modified else None
        self.session = None if session is None else revocation.digest_of(session)
        self._arm()

    def forget(self) -> None:
        """The socket has ended. Does nothing the second time."""
        self._over = True
        self._ignore()
        if self._alarm is not None:
            self._alarm.cancel()

    # What the announcements say

    def told(self, event: Event) -> None:
        """Something has happened to the logins of a user: end this one if it has ended, look it up if that may be."""
        if self._over or event.get("user") != self._user:
            return
        match event.get("event"):
            case "deleted":
                self._end(ENDED)
            case "logout":
                if event.get("session") == self.session:
                    self.check() if self.logs_out else self._end(ENDED)
            case "moved":
                if event.get("session") == self.session:
                    self.session, self._stamp = event.get("to"), event.get("stamp")
                    self._turn += 1
                    self.check()
            case "saved":
                if not event.get("active") or self._has_another_password(event):
                    self.check()
            case _:
                self.check()

    def check(self) -> None:
        """Look the login up, now and once more a little later."""
        self._again = self.loop.time() + AGAIN
        self._arm()
        self._look_up()

    # What the timer asks

    def look(self, now: float) -> float | None:
        if self._expires <= now:
            self._end(EXPIRED)
            return None
        if self._recheck <= now:
            assert self._interval is not None
            self._recheck = self._after(self._interval)
            self._follow_changes()
            self._look_up()
        if self._again <= now:
            self._again = inf
            self._look_up()
        return self._due()

    def _follow_changes(self) -> None:
        """The consumer may have put another user into its scope."""
        if revocation.name_in_scope(self.scope) != self._user:
            _ = self._socket.start(self._socket.follow_login())

    def _look_up(self) -> None:
        if self._asking or self._user is None:
            return
        user, identity = self.scope["user"], revocation.identity_in(self.scope)
        question: Callable[..., bool] = token_holds
        args: tuple[Any, ...] = (user, None if identity is None else identity.auth)
        if self._stamp is not None:
            question, args = password_holds, (user, self.scope["session"], self._stamp)
        elif self.session is not None:
            question, args = session_holds, (user, self.scope["session"])
        self._asking = True
        _ = self._socket.start(self._ask(self._turn, question, args))

    async def _ask(self, turn: int, question: Callable[..., bool], args: tuple[Any, ...]) -> None:
        try:
            holds = await database.in_thread(question, *args)
        except asyncio.CancelledError:
            raise
        except BaseException as exc:  # of the database, or of a backend's code, which says nothing about the user
            _trouble.failed(exc)
            self._again = self.loop.time() + RETRY
            self._arm()
        else:
            _trouble.over()
            if not holds and turn == self._turn:
                self._end(ENDED)
        finally:
            self._asking = False

    def _end(self, ending: Ending) -> None:
        if not self._over:
            self.forget()
            self._socket.sign_out(ending)

    def _due(self) -> float | None:
        due = min(self._again, self._expires, self._recheck)
        return due if due < inf else None

    def _arm(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        due = self._due()
        if due is not None and not self._over:
            self._alarm = running_timer().set(self, due)

    def _after(self, interval: float) -> float:
        return self.loop.time() + random.uniform(_EARLIEST, 1) * interval

    def _ignore(self) -> None:
        if self._user is not None:
            revocation.ignore(self._user, self)

    def _has_another_password(self, event: Event) -> bool:
        if self.session is None or event.get("spare") == self.session:
            return False
        return event.get("stamp") != (self._stamp or revocation.stamp_in(self.scope["session"]))


class _Trouble:
    """Says once that logins cannot be looked up, and not for each socket."""

    def __init__(self) -> None:
        self._told = False

    def failed(self, exc: BaseException) -> None:
        if not self._told:
            self._told = True
            logger.error("Whether users are still signed in cannot be looked up; their sockets stay.", exc_info=exc)

    def over(self) -> None:
        if self._told:
            self._told = False
            logger.info("Whether users are still signed in can be looked up again.")


_trouble: Final = _Trouble()


def watch_login(
    socket: WatchedSocket, scope: Any, ends_with_session: bool | Unset, interval: float | None
) -> LoginWatcher | None:
    """Return a watcher for the login in ``scope``, or ``None`` if there is no login to watch.

    ``ends_with_session`` is the option of the consumer class; :data:`UNSET` means the setting ``END_WITH_SESSION``.
    ``interval`` is in seconds: how often to look the user up, ``None`` for never.
    """
    signed_in = is_signed_in(scope)
    if not signed_in and interval is None:
        return None
    follows: bool = conf.get("END_WITH_SESSION") if ends_with_session is UNSET else ends_with_session
    identity = scope.get("routesock.identity")
    if not follows and interval is None and (identity is None or identity.expires is None):
        return None
    return LoginWatcher(socket, scope, follows=follows, interval=interval)
