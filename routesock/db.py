"""The threads of the ORM's work, and the connections there that are due to be closed.

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

# A plain dict: its values can be listed while another thread adds one; those of a WeakSet cannot.
Opened = dict[int, weakref.ref[BaseDatabaseWrapper]]
"""Connections by their ``id()``."""


class DatabaseThread:
    """A thread that does its work in order, and the connections that it opened. ``submit`` gives it something to do."""

    def __init__(self, submit: Callable[[Callable[[], None]], Future[None]], opened: Opened) -> None:
        self._submit = submit
        self._opened = opened
        self._ident: int | None = None
        self._cleaning: Future[None] | None = None

    def refresh(self) -> None:
        """Have what is due closed in front of the thread's next work; return at once."""
        if not self._opened or not self._any_due():
            return
        if self._cleaning is None or self._cleaning.running() or self._cleaning.done():
            self._cleaning = self._submit(self._clean)

    def _any_due(self) -> bool:
        now = time.monotonic()
        for reference in list(self._opened.values()):
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


_everywhere: Final[Opened] = {}
_here: Final = threading.local()


def remember_in(opened: Opened) -> None:
    """From now on, keep what this thread opens in ``opened``, apart from the connections of other threads."""
    _here.opened = opened


def _remember(connection: BaseDatabaseWrapper, **kwargs: Any) -> None:
    """Receives ``connection_created``, in the thread that has opened it."""
    opened: Opened = getattr(_here, "opened", _everywhere)
    key = id(connection)
    if key not in opened:
        opened[key] = weakref.ref(connection, lambda _: opened.pop(key, None))


connection_created.connect(_remember, dispatch_uid="routesock.db")


def in_test_case() -> bool:
    """Whether a transaction of a ``TestCase`` is open, on a connection of whichever thread but the isolated ones."""
    wrappers = [reference() for reference in list(_everywhere.values())]
    blocks: list[list[Any]] = [wrapper.atomic_blocks for wrapper in wrappers if wrapper is not None]
    return any(outer[0]._from_testcase for outer in blocks if outer)


_thread: Final = DatabaseThread(lambda work: SyncToAsync.single_thread_executor.submit(work), _everywhere)

refresh: Final = _thread.refresh
"""Have stale connections closed before whatever the shared database thread does next; nothing waits for it."""


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
    """``function(*args)`` in the context's database thread, with stale connections closed before and after.

    What it raises is raised here. It crosses the thread as a value, because a future never resolves with a
    ``StopIteration``, and a ``SystemExit`` there must not reach the event loop. A cancelled caller goes on at once; the
    thread runs to its end.
    """
    forget_waiting()
    value, exc = await _in_thread(function, args)
    if exc is not None:
        raise exc
    return value
