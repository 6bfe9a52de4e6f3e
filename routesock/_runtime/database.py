"""The threads that run the ORM: Django's shared one and dedicated ones, and closing stale connections there."""

from __future__ import annotations

import asyncio
import contextvars
import threading
import time
import weakref
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Final

from asgiref.sync import ThreadSensitiveContext
from channels.db import database_sync_to_async
from django.db import close_old_connections, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created

from .. import _compat, conf

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
            if wrapper is not None and is_due(wrapper, now) and self._ident in (None, _compat.thread_of(wrapper)):
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
    return any(_compat.is_test_case_transaction(wrapper) for wrapper in wrappers if wrapper is not None)


_shared: Final = DatabaseThread(_compat.submit_to_shared_thread, _everywhere)

refresh: Final = _shared.refresh
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
    _compat.clear_deadlock_mark()


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


class DedicatedThread(ThreadSensitiveContext):
    """A thread for the sync work of some sockets: asgiref asks a context for such an object, and finds its thread."""

    def __init__(self) -> None:
        super().__init__()
        self.sockets = 0
        opened: Opened = {}
        self._worker = ThreadPoolExecutor(1, "routesock-db", remember_in, (opened,))
        self.refresh = DatabaseThread(self._worker.submit, opened).refresh
        _compat.assign_thread(self, self._worker)

    def end(self) -> None:
        """Close the thread's connections and end it, behind what it still does.

        A task of the user's own that goes on gets another thread of asgiref's, as one that outlives an HTTP request.
        """
        _compat.release_thread(self)
        with suppress(RuntimeError):  # the interpreter is about to end: no executor takes anything any more
            self._worker.submit(connections.close_all)
        self._worker.shutdown(wait=False)


class _DedicatedThreads:
    """Those that are in use, at most ``DB_THREADS`` of them."""

    def __init__(self) -> None:
        # Sockets of several loops share them. Reentrant, since the garbage collector may end a socket at any place.
        self._lock = threading.RLock()
        self._used: list[DedicatedThread] = []

    def take(self) -> DedicatedThread:
        """One with the fewest sockets."""
        limit: int = conf.get("DB_THREADS")
        with self._lock:
            if len(self._used) < limit:
                self._used.append(DedicatedThread())
            thread = min(self._used, key=lambda thread: thread.sockets)
            thread.sockets += 1
            return thread

    def give_back(self, thread: DedicatedThread) -> None:
        """The last socket to do so ends the thread."""
        with self._lock:
            thread.sockets -= 1
            if thread.sockets:
                return
            self._used.remove(thread)
        thread.end()


_dedicated: Final = _DedicatedThreads()

release_dedicated_thread: Final = _dedicated.give_back
"""The socket that took the thread has ended."""


def take_dedicated_thread(context: contextvars.Context) -> DedicatedThread | None:
    """Have the sync work of ``context`` done in a thread beside the shared one, until it is given back.

    ``None``, and nothing done, where that work has to stay in the thread that it has: see :func:`_is_bound`.
    ``ImproperlyConfigured`` for a ``DB_THREADS`` that is no count.
    """
    if _is_bound_to_thread(context):
        return None
    thread = _dedicated.take()
    _compat.set_thread_key(context, thread)
    return thread


def refresh_current() -> None:
    """As ``db.refresh()``, for the thread of the socket that calls it."""
    thread = _compat.thread_key()
    if isinstance(thread, DedicatedThread):
        thread.refresh()
    else:
        refresh()


def _is_bound_to_thread(context: contextvars.Context) -> bool:
    """Whether somebody relies on the thread that sync work has by now.

    That is: who has entered a ``ThreadSensitiveContext``; who waits for this loop in a thread of theirs
    (``async_to_sync``, Django's async tests, the blocking test client); and a ``TestCase``, where nothing is committed.
    """
    return (
        _compat.thread_key(context) is not None
        or _compat.has_waiting_thread(asyncio.get_running_loop())
        or in_test_case()
    )
