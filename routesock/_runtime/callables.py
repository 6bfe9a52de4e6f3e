"""Inspects callables: their arguments, and whether they are async. Tells a task's own cancellation from others."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

from asgiref.sync import iscoroutinefunction


def is_bound(cls: type, attr: str) -> bool:
    """Whether ``cls.attr`` takes no ``self``: a static or a class method."""
    return isinstance(inspect.getattr_static(cls, attr), staticmethod | classmethod)


def takes(function: Callable[..., Any], count: int) -> bool:
    """Whether ``function`` can be called with ``count`` arguments; true for one without a signature."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return True
    try:
        signature.bind(*range(count))
    except TypeError:
        return False
    return True


def yields(function: Any) -> bool:
    """Whether calling ``function`` returns a generator."""
    return inspect.isasyncgenfunction(function) or inspect.isgeneratorfunction(function)


def is_async(function: Any) -> bool:
    """Whether calling ``function`` (a function, a partial, an object with ``__call__``) returns a coroutine."""
    while isinstance(function, partial):
        function = function.func
    return iscoroutinefunction(function) or iscoroutinefunction(getattr(type(function), "__call__", None))  # noqa: B004


def is_predicate(function: Any) -> bool:
    """Whether ``function`` is a sync function of one argument, which may return a bool.

    A coroutine or a generator would be true whatever it stands for, and so would an instance of a class.
    """
    is_function = callable(function) and not isinstance(function, type)
    return is_function and not is_async(function) and not yields(function) and takes(function, 1)


def runs(task: asyncio.Task[Any] | None) -> bool:
    """Whether ``task`` runs this code, and not code that closes the task's coroutine."""
    try:
        return asyncio.current_task() is task
    except RuntimeError:  # no loop runs
        return False


def is_from_outside(exc: BaseException, task: asyncio.Task[Any] | None) -> bool:
    """Whether ``exc``, which ``task`` has caught, ends it: its cancellation, or that of its loop being thrown away.

    Code that runs in the task may raise a ``CancelledError`` or a ``GeneratorExit`` by itself; these do not end it.
    """
    if isinstance(exc, GeneratorExit):
        return not runs(task)
    return isinstance(exc, asyncio.CancelledError) and task is not None and bool(task.cancelling())
