"""Django's database thread, and the connections there that are due to be closed.

Channels hops to that thread and back in front of every message, only to close stale connections. Whether there is one
can be read from the event loop; and where there is one, closing it only has to come before that thread's next work, and
the thread takes its work in order. So nobody waits for it.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Final

from asgiref.sync import SyncToAsync
from channels.db import database_sync_to_async
from django.db import close_old_connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created


class _DatabaseThread:
    """The one thread in which a server runs thread-sensitive work, and the connections that it opened."""

    def __init__(self) -> None:
        # A plain dict: its values can be listed while another thread adds one; those of a WeakSet cannot.
        self._wrappers: dict[int, weakref.ref[BaseDatabaseWrapper]] = {}
        self._ident: int | None = None
        self._cleaning: Future[None] | None = None

    def remember(self, connection: BaseDatabaseWrapper, **kwargs: Any) -> None:
        """Receives ``connection_created``, from whichever thread."""
        key = id(connection)
        if key not in self._wrappers:
            self._wrappers[key] = weakref.ref(connection, lambda _: self._wrappers.pop(key, None))

    def refresh(self) -> None:
        """Have what is due closed in front of the thread's next work; return at once."""
        if not self._wrappers or not self._any_due():
            return
        if self._cleaning is None or self._cleaning.running() or self._cleaning.done():
            self._cleaning = SyncToAsync.single_thread_executor.submit(self._clean)

    def _any_due(self) -> bool:
        now = time.monotonic()
        for reference in list(self._wrappers.values()):
            wrapper = reference()
            # Other threads look after their connections themselves.
            if wrapper is not None and is_due(wrapper, now) and self._ident in (None, _thread_of(wrapper)):
                return True
        return False

    def _clean(self) -> None:
        self._ident = threading.get_ident()
        close_old_connections()


def is_due(wrapper: BaseDatabaseWrapper, now: float) -> bool:
    """Whether ``close_old_connections()`` would do anything to ``wrapper``; read without touching it."""
    if wrapper.connection is None or wrapper.in_atomic_block:
        return False
    return bool(
        wrapper.errors_occurred
        or wrapper.settings_dict.get("CONN_HEALTH_CHECKS")
        or wrapper.autocommit != wrapper.settings_dict["AUTOCOMMIT"]
        or (wrapper.close_at is not None and now >= wrapper.close_at)
    )


def _thread_of(wrapper: BaseDatabaseWrapper) -> int | None:
    return getattr(wrapper, "_thread_ident", None)


_thread: Final = _DatabaseThread()
connection_created.connect(_thread.remember, dispatch_uid="routesock.db")

refresh: Final = _thread.refresh
"""Have stale connections closed before whatever the database thread does next; nothing waits for it."""


def _outcome(function: Callable[..., Any], args: tuple[Any, ...]) -> tuple[Any, BaseException | None]:
    try:
        return function(*args), None
    except BaseException as exc:
        return None, exc


_in_thread: Final = database_sync_to_async(_outcome)


def forget_waiting() -> None:
    """Take away asgiref's mark that this context waits for the thread.

    The tasks of a socket share one context, and to asgiref a call of one of them while another waits looks like a call
    from inside that other one, which would never end.
    """
    SyncToAsync.deadlock_context.set(False)


async def in_thread(function: Callable[..., Any], *args: Any) -> Any:
    """``function(*args)`` in Django's database thread, with stale connections closed before and after.

    What it raises is raised here. It crosses the thread as a value, because a future never resolves with a
    ``StopIteration``, and a ``SystemExit`` there must not reach the event loop. A cancelled caller goes on at once; the
    thread runs to its end.
    """
    forget_waiting()
    value, exc = await _in_thread(function, args)
    if exc is not None:
        raise exc
    return value
