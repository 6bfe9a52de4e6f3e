"""Django's database thread, and whether a connection there is due to be closed.

Channels hops to that thread in front of every message only to close stale connections. Whether there is one can be read
from the event loop, so that a message which finds none does not hop.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable
from typing import Any, Final

from channels.db import database_sync_to_async
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created

_wrappers: Final[dict[int, weakref.ref[BaseDatabaseWrapper]]] = {}
"""Every connection that was opened in this process by its id, whichever thread owns it.

A plain dict, because its values can be listed while another thread adds one; a ``WeakSet``'s cannot.
"""

_visited: Final[set[int]] = set()
"""Threads that run consumers' database work; others look after their connections themselves."""


def _remember(connection: BaseDatabaseWrapper, **kwargs: Any) -> None:
    key = id(connection)
    if key not in _wrappers:
        _wrappers[key] = weakref.ref(connection, lambda _: _wrappers.pop(key, None))


connection_created.connect(_remember, dispatch_uid="routesock.db")


def is_due(wrapper: BaseDatabaseWrapper, now: float) -> bool:
    """Whether ``close_old_connections()`` would do more than nothing to ``wrapper``, read without touching it."""
    if wrapper.connection is None or wrapper.in_atomic_block:
        return False
    return bool(
        wrapper.errors_occurred
        or wrapper.settings_dict.get("CONN_HEALTH_CHECKS")
        or wrapper.autocommit != wrapper.settings_dict["AUTOCOMMIT"]
        or (wrapper.close_at is not None and now >= wrapper.close_at)
    )


def any_due() -> bool:
    """Whether a connection of the database thread is due; no thread is entered to find out."""
    if not _wrappers:
        return False
    now = time.monotonic()
    for reference in list(_wrappers.values()):
        wrapper = reference()
        if wrapper is not None and is_due(wrapper, now):
            thread = getattr(wrapper, "_thread_ident", None)
            if not _visited or thread in _visited:
                return True
    return False


async def close_due() -> None:
    """Close what is due, in the thread that owns it, as Channels does in front of every message."""
    await in_thread(lambda: None)  # database_sync_to_async closes before it calls


def _outcome(function: Callable[..., Any], args: tuple[Any, ...]) -> tuple[Any, BaseException | None]:
    _visited.add(threading.get_ident())
    try:
        return function(*args), None
    except BaseException as exc:  # handed over as a value: see in_thread
        return None, exc


_in_thread: Final = database_sync_to_async(_outcome)


async def in_thread(function: Callable[..., Any], *args: Any) -> Any:
    """``function(*args)`` in Django's database thread, with stale connections closed before and after.

    What it raises is raised here. It crosses the thread as a value, because a future never resolves with a
    ``StopIteration``, and a ``SystemExit`` there must not reach the event loop. A cancelled caller goes on at once;
    the thread runs to its end.
    """
    value, exc = await _in_thread(function, args)
    if exc is not None:
        raise exc
    return value
