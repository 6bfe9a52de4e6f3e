"""Keeps an application under test from closing the connections that the test needs."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper

_lock = threading.Lock()
_users = 0
_close_if_due = BaseDatabaseWrapper.close_if_unusable_or_obsolete


@contextmanager
def kept_connections() -> Iterator[None]:
    """Inside, ``close_old_connections()`` leaves two kinds of connections alone.

    Channels calls it around every event. It takes a connection with an open transaction, which is what a ``TestCase``
    runs in, for one that was left in a wrong state; and where a test may not use the database it would raise.
    """
    global _users
    with _lock:
        _users += 1
        BaseDatabaseWrapper.close_if_unusable_or_obsolete = _close_if_not_the_tests  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if not _users:
                BaseDatabaseWrapper.close_if_unusable_or_obsolete = _close_if_due  # type: ignore[method-assign]


def _close_if_not_the_tests(connection: Any) -> None:
    if connection.connection is None or connection.in_atomic_block:
        return
    try:
        connection.ensure_connection()  # it exists, so this does nothing but ask whether it may be used
    except Exception:
        return
    _close_if_due(connection)
