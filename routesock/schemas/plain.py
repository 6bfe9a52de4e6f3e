"""A plain function as a schema."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, get_origin

from routesock.exceptions import Invalid, RouteSetupError
from routesock.problems import error_of, invalid

from .base import WHOLE, SchemaAdapter, gives_awaitable


def is_plain(schema: Any) -> bool:
    """Whether ``schema`` is a function or an object with ``__call__``.

    A class is not: one that only stores what it is given (a Django form, a dataclass) would let everything through.
    """
    return callable(schema) and not isinstance(schema, type) and get_origin(schema) is None


class PlainAdapter(SchemaAdapter):
    """``schema=function``: what ``function(payload)`` returns is the payload.

    ``ValueError`` is its refusal, and its text goes to the client under ``"_schema"``; so do not let one through whose
    text the client must not read. pydantic's and msgspec's errors are refusals too. Anything else that it raises is
    what it is when a handler raises it: Django's ``ValidationError`` a refusal with messages by field, a ``TypeError``
    or ``KeyError`` a fault. ``dump`` calls the function as well, for ``dehydrate=Blocking(function)``; there, whatever
    it raises is a fault.
    """

    def __init__(self, function: Callable[[Any], Any]) -> None:
        if gives_awaitable(function) or inspect.isgeneratorfunction(function):
            raise RouteSetupError(
                f"{function!r} is async or a generator, and a schema is a plain function. Wrap what it does in "
                "Blocking(...) if it queries the database, or do it in hydrate=, which may be async."
            )
        self._function = function

    def __repr__(self) -> str:
        return f"PlainAdapter({self._function!r})"

    def load(self, payload: Any) -> Any:
        try:
            return self._called(payload)
        except Exception as exc:
            refusal = _refusal(exc)
            if refusal is None:
                raise
            raise refusal from exc

    def dump(self, value: Any) -> Any:
        return self._called(value)

    def dump_checked(self, value: Any) -> Any:
        """What the function returns; its refusals are those of :meth:`load`, and the validation errors of libraries."""
        try:
            return self.load(value)
        except Exception as exc:
            error = error_of(exc)
            if error is None or error is exc or error.errors is None:
                raise
            raise invalid(error.errors) from exc

    def _called(self, value: Any) -> Any:
        result = self._function(value)
        if inspect.isawaitable(result):
            if inspect.iscoroutine(result):
                result.close()
            raise TypeError(f"The schema {self._function!r} returned an awaitable; a schema is a plain function.")
        return result


def _refusal(exc: Exception) -> Invalid | None:
    """The refusal that ``exc`` is; ``None`` for any other error."""
    library = type(exc).__module__.partition(".")[0]
    if library == "pydantic_core" and isinstance(exc, ValueError):
        from .pydantic import refusal  # its own text would show the input

        return refusal(exc)
    # msgspec's errors are ValueErrors in its newest versions only.
    return invalid({WHOLE: [str(exc)]}) if isinstance(exc, ValueError) or library == "msgspec" else None
