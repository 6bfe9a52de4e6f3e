"""Whose code runs, and who has ended it."""

from __future__ import annotations

import asyncio
from typing import Any


def runs(task: asyncio.Task[Any] | None) -> bool:
    """Whether this code is run by ``task``, not by somebody who closes its coroutine."""
    try:
        return asyncio.current_task() is task
    except RuntimeError:  # no loop runs
        return False


def is_from_outside(exc: BaseException, task: asyncio.Task[Any] | None) -> bool:
    """Whether ``exc`` ends ``task``, which caught it: its cancellation, or its being thrown away with its loop.

    Code that runs in it may raise a ``CancelledError`` or a ``GeneratorExit`` of its own.
    """
    if isinstance(exc, GeneratorExit):
        return not runs(task)
    return isinstance(exc, asyncio.CancelledError) and task is not None and bool(task.cancelling())
