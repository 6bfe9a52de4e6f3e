"""How a function, a method or an object with ``__call__`` can be called."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

from asgiref.sync import iscoroutinefunction


def is_bound(cls: type, attr: str) -> bool:
    """Whether ``cls.attr`` takes no ``self`` any more: a static or a class method."""
    return isinstance(inspect.getattr_static(cls, attr), staticmethod | classmethod)


def takes(function: Callable[..., Any], count: int) -> bool:
    """Whether ``function`` can be called with ``count`` arguments; true for one that does not tell."""
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
    """Whether calling ``function`` gives a generator."""
    return inspect.isasyncgenfunction(function) or inspect.isgeneratorfunction(function)


def is_async(function: Any) -> bool:
    """Whether calling ``function`` (a function, a partial, an object with ``__call__``) gives a coroutine."""
    while isinstance(function, partial):
        function = function.func
    return iscoroutinefunction(function) or iscoroutinefunction(getattr(type(function), "__call__", None))  # noqa: B004
