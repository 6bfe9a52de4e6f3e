"""Watches the login behind a socket and closes the socket when the login ends."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Coroutine
from math import inf
from typing import Any, Final, NamedTuple

from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, SESSION_KEY, load_backend
from django.contrib.sessions.backends import cache as cache_sessions
from django.core.cache import caches
from django.db.models import Model

from ... import conf
from ..._compat import get_user_in_thread
from ..._runtime import database
from ..._runtime.clients import is_signed_in
from ..._runtime.supervision import safe_logger
from ..._runtime.timers import Alarm, running_timer
from ...status import Ending
from ...typing import UNSET, Unset
from . import revocation
from .revocation import Event, stamp_of

_PROBE: Final = "routesock.probe"


class SessionsUnavailable(Exception):
    """The cache that holds the sessions does not answer, so a missing session proves nothing."""


class _Snapshot(dict[str, Any]):
    """The data of a session. Reading it must not end the session: a request may be about to give it a new hash."""

    def flush(self) -> None:
        self.clear()


def session_holds(user: Any, session: Any) -> bool:
    """Whether ``session``, loaded again from its store, still signs ``user`` in. Raises what the store raises."""
    return _signs_in(user, _loaded(session))


def _signs_in(user: Any, data: dict[str, Any]) -> bool:
    fresh = get_user_in_thread({"session": _Snapshot(data)})
    return bool(fresh.is_authenticated and fresh == user)


def password_holds(user: Any, session: Any, stamp: str) -> bool:
    """The same for a session that is not in its store: whether its backend finds the user, with that password stamp."""
    path = session[BACKEND_SESSION_KEY]
    if path not in settings.AUTHENTICATION_BACKENDS:
        return False
    fresh = load_backend(path).get_user(user.pk)
    return fresh is not None and fresh == user and stamp_of(fresh) == stamp


class Found(NamedTuple):
    """The answer about a session that may not be in its store yet."""

    holds: bool
    is_stored: bool


def unsaved_session_holds(user: Any, session: Any, stored: Any, stamp: str) -> Found:
    """The same for a session that may not be saved yet: by its store if ``stored``, the same session, is there."""
    data = _loaded(stored)
    # Django creates a new key with the old data. They have the required password once the request is over.
    if SESSION_KEY in data and revocation.stamp_in(data) == stamp:
        return Found(_signs_in(user, data), is_stored=True)
    return Found(password_holds(user, session, stamp), is_stored=False)


def token_holds(user: Any, auth: Any) -> bool:
    """Whether ``user`` still exists and is active, and ``auth`` still exists if it is a model, as DRF's ``Token``."""
    if not isinstance(user, Model):
        return True
    model: Any = user.__class__  # a lazy user has that of the user inside
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


logger: Final = safe_logger("routesock.socket")

ENDED: Final = Ending(4401, "You are no longer signed in.", reconnect=False)

EXPIRED: Final = Ending(4401, "Your token has expired.", reconnect=False)

AGAIN: Final = 2.0
"""Seconds after which a login is looked up once more: a database replica may lag behind, and Channels' ``logout()``
sends its signal before it ends the session."""

RETRY: Final = 5.0
"""Seconds until the next try after a login could not be looked up."""

_EARLIEST: Final = 0.8
"""Share of the interval after which the next look-up may come, so that sockets that opened together drift apart."""


class LoginWatcher:
    """Watches the login behind one socket. Times are those of the loop, where all of its methods are called.

    Args:
        sign_out: Closes the socket. Does not wait.
        follow_login: Starts again with the user signed in now.
        start: Starts a task that ends with the socket.
    """

    __slots__ = (
        "_again",
        "_alarm",
        "_expires",
        "_follow_login",
        "_follows",
        "_interval",
        "_is_stored",
        "_key",
        "_login",
        "_look_again",
        "_looking_up",
        "_over",
        "_recheck",
        "_sign_out",
        "_stamp",
        "_start",
        "_turn",
        "_user",
        "logs_out",
        "loop",
        "scope",
        "session",
    )  # fmt: skip

    def __init__(
        self,
        scope: Any,
        *,
        follows: bool,
        interval: float | None,
        sign_out: Callable[[Ending], None],
        follow_login: Callable[[], Coroutine[Any, Any, None]],
        start: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]],
    ) -> None:
        self._sign_out = sign_out
        self._follow_login = follow_login
        self._start = start
        self._follows = follows
        self._interval = interval
        self._alarm: Alarm | None = None
        self._looking_up = False
        self._look_again = False
        self._over = False
        self._turn = 0  # counts the logins and their sessions: an answer about an earlier one is out of date
        self._login: Any = None  # what the answer depends on
        self._user: str | None = None
        self._stamp: str | None = None  # of the required password, where the session may not be in its store yet
        self._is_stored = False  # it was found there
        self._key: str | None = None  # of the session, where that in the scope has an earlier one
        self._again = self._expires = self._recheck = inf
        self.loop = asyncio.get_running_loop()
        self.logs_out = False
        self.scope = scope
        self.session: str | None = None

    # Called by the connection

    def begin(self) -> None:
        """Follow the login, and look it up at the interval."""
        if self._interval is not None and self._recheck == inf:
            self._recheck = self._after(self._interval)
        self.follow()

    def follow(self) -> None:
        """Follow the user signed in now."""
        name = revocation.name_in_scope(self.scope)
        identity = revocation.identity_in(self.scope)
        session = revocation.session_in(self.scope)
        if name != self._user and self._follows:
            self._stop_listening()
            if name is not None:
                revocation.listen(name, self)
        self._user = name
        expires = None if identity is None else identity.expires
        self._expires = inf if expires is None else running_timer().now() + expires - time.time()
        # A session that was signed in over the socket need not be in the store, now or later.
        stamp = revocation.stamp_in(session) if session is not None and session.modified else None
        digest = None if session is None else revocation.digest_of(session)
        # A client that sends AUTH again and again must not outrun the look-ups: the same login is the same turn.
        login = (name, digest, stamp, None if identity is None else _model_key(identity.auth))
        if login != self._login:
            self._turn += 1
            self._login, self._stamp, self.session = login, stamp, digest
            self._is_stored, self._key = False, None
            if stamp is not None and self._interval is not None:  # to see it in the store before it may be deleted
                self._look_up()
        self._arm()

    def forget(self) -> None:
        """The socket has ended. Does nothing the second time."""
        self._over = True
        self._stop_listening()
        if self._alarm is not None:
            self._alarm.cancel()

    # Called for events of the user's logins

    def notify(self, event: Event) -> None:
        """End this login if ``event`` ends it; look it up if that is not certain."""
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
                    self._key = revocation.unseal(event.get("key"), event.get("to"))
                    self._is_stored = False
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
        self._look_again = self._looking_up  # which may have read what was there before
        self._look_up()

    # Called by the timer

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
        """Follow another user if the consumer has put one into its scope."""
        if revocation.name_in_scope(self.scope) != self._user:
            _ = self._start(self._follow_login())

    def _look_up(self) -> None:
        if self._looking_up or self._user is None:
            return
        user, identity = self.scope["user"], revocation.identity_in(self.scope)
        question: Callable[..., bool | Found] = token_holds
        args: tuple[Any, ...] = (user, None if identity is None else identity.auth)
        if self.session is not None:
            session = self.scope["session"]
            stored = session if self._key is None else session.__class__(self._key)
            question, args = session_holds, (user, stored)
            if self._stamp is not None and not self._is_stored:
                question, args = unsaved_session_holds, (user, session, stored, self._stamp)
        self._looking_up = True
        _ = self._start(self._answer(self._turn, question, args))

    async def _answer(self, turn: int, question: Callable[..., bool | Found], args: tuple[Any, ...]) -> None:
        try:
            found = await database.in_thread(question, *args)
        except asyncio.CancelledError:
            raise
        except BaseException as exc:  # of the database or a backend, and no evidence about the user
            _outage.failed(exc)
            self._again = self.loop.time() + RETRY
            self._arm()
        else:
            _outage.over()
            if turn != self._turn:
                self._look_again = True
            elif not (found.holds if isinstance(found, Found) else found):
                self._end(ENDED)
            elif isinstance(found, Found):
                self._is_stored = found.is_stored
        finally:
            self._looking_up = False
            if self._look_again and not self._over:
                self._look_again = False
                self._look_up()

    def _end(self, ending: Ending) -> None:
        if not self._over:
            self.forget()
            self._sign_out(ending)

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

    def _stop_listening(self) -> None:
        if self._user is not None:
            revocation.stop_listening(self._user, self)

    def _has_another_password(self, event: Event) -> bool:
        if self.session is None or event.get("except") == self.session:
            return False
        return event.get("stamp") != (self._stamp or revocation.stamp_in(self.scope["session"]))


def _model_key(auth: Any) -> Any:
    """The part of the token that identifies it where tokens are looked up."""
    return (type(auth), auth.pk) if isinstance(auth, Model) else None


class _Outage:
    """Logs once that logins cannot be looked up, and not for each socket.

    One look-up that fails is no outage yet: the connection may have gone stale.
    """

    def __init__(self) -> None:
        self._failures = 0

    def failed(self, exc: BaseException) -> None:
        self._failures += 1
        if self._failures == 1:
            logger.debug("A login could not be looked up.", exc_info=exc)
        elif self._failures == 2:
            logger.error("Logins cannot be looked up. Sockets stay open until they can.", exc_info=exc)

    def over(self) -> None:
        failures, self._failures = self._failures, 0
        if failures > 1:
            logger.error("Logins can be looked up again.")  # the level of the alarm, so that both are seen


_outage: Final = _Outage()


def watch_login(
    scope: Any,
    ends_with_session: bool | Unset,
    interval: float | None,
    *,
    sign_out: Callable[[Ending], None],
    follow_login: Callable[[], Coroutine[Any, Any, None]],
    start: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]],
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
    return LoginWatcher(
        scope, follows=follows, interval=interval, sign_out=sign_out, follow_login=follow_login, start=start
    )
