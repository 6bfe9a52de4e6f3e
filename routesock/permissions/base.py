"""Permissions, and expressions of them."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, NoReturn

from routesock.messages import Request


class Operators:
    """``&``, ``|`` and ``~``, with anything on the other side that ``permissions=`` takes."""

    __slots__ = ()

    def __and__(self, other: Any) -> And:
        return And(self, other)

    def __rand__(self, other: Any) -> And:
        return And(other, self)

    def __or__(self, other: Any) -> Or:
        return Or(self, other)

    def __ror__(self, other: Any) -> Or:
        return Or(other, self)

    def __invert__(self) -> Not:
        return Not(self)


class Operand(Operators):
    """What may be put together and is no class; of a class, too many tools ask for its truth."""

    __slots__ = ()

    def __bool__(self) -> NoReturn:
        """Raise ``TypeError``: Python's ``and``, ``or`` and ``not`` would drop one side without a word."""
        raise TypeError(f"{self!r} is neither true nor false. Write & for `and`, | for `or`, ~ for `not`.")


class PermissionType(Operators, type):  # type: ignore[misc]  # to mypy, a class may only be part of a union
    """The class of permission classes, which can be put together as their instances can."""


class BasePermission(Operand, metaclass=PermissionType):
    """A permission: override one of the two methods, or both. Only ``True`` permits.

    A method may be ``async``. One that is not runs in Django's database thread, unless it is marked with
    :func:`~routesock.nonblocking`. Whatever they raise denies, too: the errors of :mod:`routesock.exceptions`, Django's
    ``PermissionDenied`` and ``Http404``, and DRF's with their own status, anything else with 500.

    Of a class in ``permissions=`` each check makes an instance. An instance there is shared by all sockets.
    """

    message: Any = None
    """``detail`` of the 403, where this permission denied; without it the standard sentence."""

    code: str | None = None
    """``code`` of the 403; without it ``permission_denied``."""

    def has_permission(self, request: Request) -> bool | Awaitable[bool]:
        """Whether ``request`` may be answered. Its payload is what the client sent: no schema has looked at it yet."""
        return True

    def has_object_permission(self, request: Request, obj: Any) -> bool | Awaitable[bool]:
        """Whether ``request`` may have ``obj``, which is what ``hydrate=`` returned, ``None`` and lists included.

        Asked in addition to :meth:`has_permission`, on routes with ``hydrate=``.
        """
        return True


class Expression(Operand):
    """Permissions put together: its ``operands`` are what was given, and nothing has looked at them yet."""

    __slots__ = ("operands",)

    def __init__(self, *operands: Any) -> None:
        self.operands = operands


class And(Expression):
    """All of them permit."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "({!r} & {!r})".format(*self.operands)


class Or(Expression):
    """One of them permits."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "({!r} | {!r})".format(*self.operands)


class Not(Expression):
    """It does not permit."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "~{!r}".format(*self.operands)
