"""What the pipeline asks of a schema, whichever library it comes from."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from typing import Any, ClassVar, Final

from routesock.codec import deeper_than
from routesock.exceptions import Invalid, RouteSetupError
from routesock.problems import invalid

WHOLE: Final = "_schema"
"""Where messages stand that belong to no field, as in marshmallow."""

_SHALLOW_LEVELS: Final = 8


class SchemaAdapter(ABC):
    """One schema, resolved when a class is created and kept for all its messages.

    An adapter is shared by every socket, so ``load`` and ``dump`` hold no state between calls. Subclass it for a
    library that routesock does not know, and give an instance as ``schema=``.
    """

    blocking: ClassVar[bool] = False
    """Whether ``load`` and ``dump`` may touch the database, so that they run in Django's database thread."""

    @abstractmethod
    def load(self, payload: Any) -> Any:
        """What the schema makes of a client's ``payload``.

        Raises :class:`~routesock.exceptions.Invalid` where the schema refuses it, with the library's own messages in
        ``errors``; whatever else is raised is a fault of the schema.
        """

    @abstractmethod
    def dump(self, value: Any) -> Any:
        """``value`` (a handler's result) as the JSON encoder can spell it.

        Raises what the library raises where ``value`` does not fit: that is the server's fault, never the client's.
        """

    def dump_checked(self, value: Any) -> Any:
        """What :meth:`dump` gives for ``value``, of which the schema says that it may be sent: for a declared push.

        Raises :class:`~routesock.exceptions.Invalid` where a required field is missing, or one has a type or a value
        that the schema does not allow. Libraries validate what comes in, so each adapter says what it can see of what
        goes out; it never refuses a value for a rule that is meant for clients only. As it comes nothing is checked.
        """
        return self.dump(value)


def gives_awaitable(function: Any) -> bool:
    """Whether calling ``function`` (a function, a partial, an object with ``__call__``) does not run it to its end."""
    calls = (function, getattr(type(function), "__call__", None))  # noqa: B004
    return any(inspect.iscoroutinefunction(call) or inspect.isasyncgenfunction(call) for call in calls)


def refuse_async(function: Any, owner: str, hook: str) -> None:
    """Raise :class:`RouteSetupError` if ``function`` is async: schema libraries call their hooks without awaiting them.

    The hook would seem to pass every time, since a coroutine that nobody awaits raises nothing.
    """
    if gives_awaitable(function):
        raise RouteSetupError(
            f"{owner}.{hook} is async, and a schema's hooks are called without await: it would never run. Make it a "
            "plain function (with Blocking(...) around the schema if it queries the database), or do this in hydrate=."
        )


UNFIT: Final = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
"""What libraries raise while they dump a value that lacks a field or has one of the wrong type."""


def unfit(exc: Exception) -> Invalid:
    """The refusal for a value that a library could not dump."""
    return invalid({WHOLE: [f"{type(exc).__name__}: {exc}"]})


def defines(cls: type, method: str) -> type:
    """The class that ``cls`` has its ``method`` from."""
    return next(base for base in cls.__mro__ if method in vars(base))


def too_deep(payload: Any) -> Invalid | None:
    """The refusal for a schema that ran out of stack; ``None`` if ``payload`` is too flat to be the reason."""
    return invalid({WHOLE: ["Nested too deeply."]}) if deeper_than(_SHALLOW_LEVELS, payload) else None
