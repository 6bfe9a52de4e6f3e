"""Database threads beside the shared one, for the sockets of consumers with ``route_db_isolation``."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Final

from asgiref.sync import AsyncToSync, SyncToAsync, ThreadSensitiveContext
from django.db import connections

from . import conf, db


class IsolatedThread(ThreadSensitiveContext):
    """A thread for the sync work of some sockets: asgiref asks a context for such an object, and finds its thread."""

    def __init__(self) -> None:
        super().__init__()
        self.sockets = 0
        opened: db.Opened = {}
        self._worker = ThreadPoolExecutor(1, "routesock-db", db.remember_in, (opened,))
        self.refresh = db.DatabaseThread(self._worker.submit, opened).refresh
        SyncToAsync.context_to_thread_executor[self] = self._worker

    def end(self) -> None:
        """Close the thread's connections and end it, behind what it still does.

        A task of the user's own that goes on gets another thread of asgiref's, as one that outlives an HTTP request.
        """
        SyncToAsync.context_to_thread_executor.pop(self, None)
        with suppress(RuntimeError):  # the interpreter is about to end: no executor takes anything any more
            self._worker.submit(connections.close_all)
        self._worker.shutdown(wait=False)


class _Threads:
    """Those that are in use, at most ``DB_THREADS`` of them."""

    def __init__(self) -> None:
        # Sockets of several loops share them. Reentrant, since the garbage collector may end a socket at any place.
        self._lock = threading.RLock()
        self._used: list[IsolatedThread] = []

    def take(self) -> IsolatedThread:
        """One with the fewest sockets."""
        limit: int = conf.get("DB_THREADS")
        with self._lock:
            if len(self._used) < limit:
                self._used.append(IsolatedThread())
            thread = min(self._used, key=lambda thread: thread.sockets)
            thread.sockets += 1
            return thread

    def give_back(self, thread: IsolatedThread) -> None:
        """The last socket to do so ends the thread."""
        with self._lock:
            thread.sockets -= 1
            if thread.sockets:
                return
            self._used.remove(thread)
        thread.end()


_threads: Final = _Threads()

give_back: Final = _threads.give_back
"""The socket that took the thread has ended."""


def take(context: contextvars.Context) -> IsolatedThread | None:
    """Have the sync work of ``context`` done in a thread beside the shared one, until it is given back.

    ``None``, and nothing done, where that work has to stay in the thread that it has: see :func:`_is_bound`.
    ``ImproperlyConfigured`` for a ``DB_THREADS`` that is no count.
    """
    if _is_bound(context):
        return None
    thread = _threads.take()
    context.run(SyncToAsync.thread_sensitive_context.set, thread)
    return thread


def refresh() -> None:
    """As ``db.refresh()``, for the thread of the socket that calls it."""
    thread = SyncToAsync.thread_sensitive_context.get(None)
    if isinstance(thread, IsolatedThread):
        thread.refresh()
    else:
        db.refresh()


def _is_bound(context: contextvars.Context) -> bool:
    """Whether somebody relies on the thread that sync work has by now.

    That is: who has entered a ``ThreadSensitiveContext``; who waits for this loop in a thread of theirs
    (``async_to_sync``, Django's async tests, the blocking test client); and a ``TestCase``, where nothing is committed.
    """
    return (
        context.get(SyncToAsync.thread_sensitive_context) is not None
        or asyncio.get_running_loop() in AsyncToSync.loop_thread_executors
        or db.in_test_case()
    )
