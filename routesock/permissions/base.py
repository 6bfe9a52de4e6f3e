"""Permission classes, the operators that combine them, and resolving `permissions=`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterator
from copy import copy
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Final, NoReturn, TypeAlias

from django.core.exceptions import ImproperlyConfigured
from django.utils.functional import LazyObject
from django.utils.module_loading import import_string

from .._compat import forget_permissions
from .._wire.messages import Request
from ..exceptions import RouteSetupError


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
    :func:`~routesock.run_on_loop`. Whatever they raise denies, too: the errors of :mod:`routesock.exceptions`, Django's
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
        self.operands: tuple[Any, ...] = operands


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


class AllowAny(BasePermission):
    """Everybody; ``permissions=()`` says the same."""

    def has_permission(self, request: Request) -> bool:
        return True


class IsAuthenticated(BasePermission):
    """Whoever is signed in."""

    def has_permission(self, request: Request) -> bool:
        return request.user.is_authenticated is True


class IsStaff(BasePermission):
    """Whoever may enter Django's admin: ``is_staff``, and ``is_active``."""

    def has_permission(self, request: Request) -> bool:
        user = request.user
        return user.is_staff is True and user.is_active is True


class HasPerm(BasePermission):
    """Whoever has all of these permissions of Django's: ``HasPerm("chat.add_message")``, or the string alone.

    ``user.has_perm`` is asked in the database thread, anew for each request: a permission that is taken away is missed
    at the next one, although the socket's user stays the same object. ``RouteSetupError`` for what is no
    ``"app_label.codename"``.
    """

    def __init__(self, *perms: str) -> None:
        for perm in perms:
            if not isinstance(perm, str) or not all(perm.partition(".")):
                raise RouteSetupError(f'A permission of Django\'s is written "app_label.codename"; got {perm!r}.')
        if not perms:
            raise RouteSetupError('HasPerm needs a permission, as in HasPerm("chat.add_message").')
        self._perms = perms

    def __repr__(self) -> str:
        return f"HasPerm({', '.join(map(repr, self._perms))})"

    def has_permission(self, request: Request) -> bool:
        user = without_cached_permissions(request.user)
        return all(user.has_perm(perm) is True for perm in self._perms)


AT_ONCE: Final = (AllowAny.has_permission, IsAuthenticated.has_permission, IsStaff.has_permission)
"""What neither waits nor returns anything but a ``bool``."""


def without_cached_permissions(user: Any) -> Any:
    """``user``, or of a model a copy that asks the backends anew.

    Django's keep on the user what they have looked up, for the length of a request; a socket's user lasts longer.
    """
    if isinstance(user, LazyObject):
        user = copy(user)
    if not hasattr(user, "_meta"):
        return user
    user = copy(user)
    forget_permissions(user)
    return user


_LIBRARIES: Final = {"rest_framework": ".rest_framework"}
"""Library to the module with its adapter. A module is imported for an object of its library, so never on a guess."""


@dataclass(frozen=True, slots=True)
class Leaf:
    """One permission.

    ``maker`` takes the name of a route's method and gives what makes the permission that is asked, an object with
    :class:`BasePermission`'s methods and attributes. ``general`` and ``on_object`` are its two methods as they were
    written, ``None`` where it leaves one out.
    """

    name: str
    maker: Callable[[str], Callable[[], Any]]
    general: Callable[..., Any] | None
    on_object: Callable[..., Any] | None


@dataclass(frozen=True, slots=True)
class Hook:
    """A function that takes the request, or the name of a method that does."""

    function: Callable[..., Any] | str


Tree: TypeAlias = Leaf | Hook | Expression
"""An expression whose operands are trees."""


class Foreign(Operand, ABC):
    """Permissions of a library, with options for its adapter."""

    @property
    @abstractmethod
    def tree(self) -> Tree:
        """What it stands for. :class:`RouteSetupError` if it is none."""


def as_permissions(option: str, permissions: Any) -> tuple[Tree, ...]:
    """What ``permissions=`` or ``route_permissions`` holds. :class:`RouteSetupError` for what is no list of these."""
    if not isinstance(permissions, list | tuple):
        raise RouteSetupError(
            f"{option} is a list of permissions, such as [IsAuthenticated], or () to be open to everybody; "
            f"got {permissions!r}."
        )
    return tuple(map(as_permission, permissions))


def as_permission(permission: Any) -> Tree:
    """The tree of ``permission``, which is one of:

    - a :class:`~routesock.permissions.BasePermission`, class or instance;
    - a permission of Django's, as ``"app_label.codename"``;
    - a function of the request, or the name of a method of the consumer;
    - a DRF permission, class or instance, composed ones too;
    - any of these put together with ``&``, ``|`` and ``~``.

    :class:`~routesock.exceptions.RouteSetupError` for anything else.
    """
    if isinstance(permission, Expression):
        return type(permission)(*map(as_permission, permission.operands))
    if isinstance(permission, BasePermission) or _is_class(permission, BasePermission):
        return _leaf(permission)
    if isinstance(permission, str) and "." in permission:
        return _leaf(HasPerm(permission))
    if isinstance(permission, str) and permission.isidentifier():
        return Hook(permission)
    if isinstance(permission, Foreign):
        return permission.tree
    adapted = _of_library(permission)
    if adapted is not None:
        return adapted
    if callable(permission) and not isinstance(permission, type) and not hasattr(permission, "has_permission"):
        return Hook(permission)
    hint = " Write ~ for `not`." if permission is False else ""
    raise RouteSetupError(
        f"{permission!r} is no permission.{hint} Accepted are a BasePermission (class or instance), a permission of "
        'Django\'s such as "chat.add_message", a function that takes the request or the name of a method, and a DRF '
        "permission."
    )


def from_settings(path: str) -> Tree:
    """The permission that an item of the setting ``PERMISSIONS`` names.

    With one dot it is one of Django's, with more the dotted path of anything that ``permissions=`` takes.
    :class:`RouteSetupError` for what cannot be imported or is no permission.
    """
    if path.count(".") == 1:
        return as_permission(path)
    try:
        return as_permission(import_string(path))
    except ImproperlyConfigured:
        raise
    except Exception as exc:
        raise RouteSetupError(f"{path!r} cannot be imported ({type(exc).__name__}: {exc}).") from exc


def leaves_of(tree: Tree) -> Iterator[Leaf | Hook]:
    """The leaves of ``tree`` from left to right."""
    if isinstance(tree, Expression):
        for operand in tree.operands:
            yield from leaves_of(operand)
    else:
        yield tree


def conjuncts_of(tree: Tree) -> Iterator[Tree]:
    """The trees that all have to permit, for ``tree`` to permit."""
    if isinstance(tree, And):
        for operand in tree.operands:
            yield from conjuncts_of(operand)
    else:
        yield tree


def overridden(cls: type, name: str, base: type) -> Any:
    """``cls.name``, or ``None`` where that is the one of ``base``."""
    function = getattr(cls, name, None)
    return None if function is getattr(base, name) else function


def _leaf(permission: Any) -> Leaf:
    cls = permission if isinstance(permission, type) else type(permission)
    general, on_object = (overridden(cls, name, BasePermission) for name in ("has_permission", "has_object_permission"))
    if general is None and on_object is None:
        raise RouteSetupError(
            f"{cls.__name__} overrides neither has_permission nor has_object_permission: it would permit everything. "
            "Write one of them, or AllowAny."
        )
    if cls is not permission:
        return Leaf(repr(permission), lambda attr: lambda: permission, general, on_object)
    try:
        cls()
    except Exception as exc:
        raise RouteSetupError(
            f"{cls.__name__}() raises {type(exc).__name__}: {exc} Give an instance, {cls.__name__}(...)."
        ) from exc
    return Leaf(cls.__name__, lambda attr: cls, general, on_object)


def _of_library(permission: Any) -> Tree | None:
    cls = permission if isinstance(permission, type) else type(permission)
    modules = {base.__module__.partition(".")[0] for base in cls.__mro__}
    for library, module in _LIBRARIES.items():
        if library in modules:
            tree: Tree | None = import_module(module, __package__).tree_of(permission)
            if tree is not None:
                return tree
    return None


def _is_class(permission: Any, base: type) -> bool:
    return isinstance(permission, type) and issubclass(permission, base)
