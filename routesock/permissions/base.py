"""Permission classes, the operators that combine them, and the trees that `permissions=` is turned into."""

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
    """``&``, ``|`` and ``~``; the other operand may be anything that ``permissions=`` accepts."""

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
    """An instance that can be combined. Its truth value raises; that of a class does not, since many tools read it."""

    __slots__ = ()

    def __bool__(self) -> NoReturn:
        """Raise ``TypeError``: Python's ``and``, ``or`` and ``not`` would silently drop one operand."""
        raise TypeError(f"{self!r} is neither true nor false. Write & for `and`, | for `or`, ~ for `not`.")


class PermissionType(Operators, type):  # type: ignore[misc]  # to mypy, a class may only be part of a union
    """The metaclass of permissions, with which classes can be combined like their instances."""


class BasePermission(Operand, metaclass=PermissionType):
    """Base class of permissions. Override one of the two methods, or both. Only ``True`` permits.

    The methods may be async. Sync ones run in Django's database thread, unless they are decorated with
    :func:`~routesock.run_on_loop`. An exception denies, too: those of :mod:`routesock.exceptions`, Django's
    ``PermissionDenied`` and ``Http404``, and DRF's with their status, any other with 500.

    List the class in ``permissions=``, and each check makes an instance; or an instance, which all sockets share.
    """

    message: Any = None
    """The ``detail`` of the 403 if this permission denies; ``None`` for the standard sentence."""

    code: str | None = None
    """The ``code`` of the 403; ``None`` for ``permission_denied``."""

    def has_permission(self, request: Request) -> bool | Awaitable[bool]:
        """Whether the client may call the route.

        Args:
            request: The request. Its payload is what the client sent, before ``schema=``.
        """
        return True

    def has_object_permission(self, request: Request, obj: Any) -> bool | Awaitable[bool]:
        """Whether the client may call the route for this object. Runs after :meth:`has_permission`, with ``hydrate=``.

        Args:
            request: The request.
            obj: The result of ``hydrate=``, whatever it is: ``None`` and lists, too.
        """
        return True


class Expression(Operand):
    """A combination of permissions. Its ``operands`` are not validated yet."""

    __slots__ = ("operands",)

    def __init__(self, *operands: Any) -> None:
        self.operands: tuple[Any, ...] = operands


class And(Expression):
    """Permits if all operands permit."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "({!r} & {!r})".format(*self.operands)

    def __str__(self) -> str:
        return "({} & {})".format(*self.operands)


class Or(Expression):
    """Permits if one of the operands permits."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "({!r} | {!r})".format(*self.operands)

    def __str__(self) -> str:
        return "({} | {})".format(*self.operands)


class Not(Expression):
    """Permits if the operand does not."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "~{!r}".format(*self.operands)

    def __str__(self) -> str:
        return "~{}".format(*self.operands)


class AllowAny(BasePermission):
    """Permits everyone, like ``permissions=()``."""

    def has_permission(self, request: Request) -> bool:
        return True


class IsAuthenticated(BasePermission):
    """Permits users who are signed in."""

    def has_permission(self, request: Request) -> bool:
        return request.user.is_authenticated is True


class IsStaff(BasePermission):
    """Permits users with access to Django's admin: ``is_staff`` and ``is_active``."""

    def has_permission(self, request: Request) -> bool:
        user = request.user
        return user.is_staff is True and user.is_active is True


class HasPerm(BasePermission):
    """Permits users with all of the given Django permissions: ``HasPerm("chat.add_message")``, or the string alone.

    ``user.has_perm`` runs in the database thread for each request, without the user's permission cache: a permission
    that was removed is missing at the next request, although the socket keeps its user.

    Args:
        perms: Permissions as ``"app_label.codename"``.

    Raises:
        RouteSetupError: One of them is not written like that, or there is none.
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
"""Methods that never wait and always return a ``bool``."""


def without_cached_permissions(user: Any) -> Any:
    """``user``; of a model, a copy without cached permissions.

    Django's backends cache them on the user for the duration of a request, and a socket's user lives longer.
    """
    if isinstance(user, LazyObject):
        user = copy(user)
    if not hasattr(user, "_meta"):
        return user
    user = copy(user)
    forget_permissions(user)
    return user


_LIBRARIES: Final = {"rest_framework": ".rest_framework"}
"""The modules of the adapters by library. A module is imported only for an object of its library."""


@dataclass(frozen=True, slots=True)
class Leaf:
    """A single permission in a tree.

    ``maker`` takes the name of the handler and returns a factory of the permission, an object with the methods and
    attributes of :class:`BasePermission`. ``general`` and ``on_object`` are its two methods, ``None`` where it does not
    define one.
    """

    name: str
    maker: Callable[[str], Callable[[], Any]]
    general: Callable[..., Any] | None
    on_object: Callable[..., Any] | None

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class Hook:
    """A function of the request in a tree, or the name of a method."""

    function: Callable[..., Any] | str

    def __str__(self) -> str:
        if isinstance(self.function, str):
            return self.function
        name: str = getattr(self.function, "__qualname__", type(self.function).__qualname__)
        return name


Tree: TypeAlias = Leaf | Hook | Expression
"""A validated permission; an expression's operands are trees as well."""


class Foreign(Operand, ABC):
    """Permissions of another library, with options for their adapter."""

    @property
    @abstractmethod
    def tree(self) -> Tree:
        """The tree of the permissions. Raises :class:`RouteSetupError` if they are none."""


def as_permissions(option: str, permissions: Any) -> tuple[Tree, ...]:
    """The trees of ``permissions=`` or ``route_permissions``. Raises :class:`RouteSetupError` for a wrong value."""
    if not isinstance(permissions, list | tuple):
        raise RouteSetupError(
            f"{option} must be a list of permissions, such as [IsAuthenticated], or () to allow everyone; "
            f"got {permissions!r}."
        )
    return tuple(map(as_permission, permissions))


def as_permission(permission: Any) -> Tree:
    """Turn an item of ``permissions=`` into what routesock evaluates.

    Args:
        permission: One of these:

            - a :class:`~routesock.permissions.BasePermission`, class or instance;
            - a Django permission, as ``"app_label.codename"``;
            - a function of the request, or the name of a method of the consumer;
            - a DRF permission, class or instance, or a combination of them;
            - a combination of these with ``&``, ``|`` and ``~``.

    Raises:
        RouteSetupError: It is none of these.
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
        f"{permission!r} is not a permission.{hint} Expected a BasePermission (class or instance), a permission of "
        'Django\'s such as "chat.add_message", a function that takes the request or the name of a method, and a DRF '
        "permission."
    )


def from_settings(path: str) -> Tree:
    """The permission that an item of the setting ``PERMISSIONS`` names.

    With one dot it is a Django permission, with more the dotted path of anything that ``permissions=`` accepts. Raises
    :class:`RouteSetupError` for a path that cannot be imported or leads to no permission.
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
    """The trees that all have to permit for ``tree`` to permit."""
    if isinstance(tree, And):
        for operand in tree.operands:
            yield from conjuncts_of(operand)
    else:
        yield tree


_ALLOW_ANY: Final = (
    ("routesock.permissions.base", "AllowAny.has_permission"),
    ("rest_framework.permissions", "AllowAny.has_permission"),
)


def permits_everyone(tree: Tree, *, has_object: bool) -> bool:
    """Whether ``tree`` permits each request, as ``AllowAny`` does.

    ``has_object`` is whether there is a ``hydrate=``. Without it no permission for objects is checked.
    """
    if isinstance(tree, And | Or):
        answers = [permits_everyone(operand, has_object=has_object) for operand in tree.operands]
        return all(answers) if isinstance(tree, And) else any(answers)
    if not isinstance(tree, Leaf):
        return False
    general = tree.general
    name = (getattr(general, "__module__", None), getattr(general, "__qualname__", None))
    is_allowed = general is None or name in _ALLOW_ANY
    return is_allowed and (tree.on_object is None or not has_object)


def overridden(cls: type, name: str, base: type) -> Any:
    """``cls.name``, or ``None`` if it is that of ``base``."""
    function = getattr(cls, name, None)
    return None if function is getattr(base, name) else function


def _leaf(permission: Any) -> Leaf:
    cls = permission if isinstance(permission, type) else type(permission)
    general, on_object = (overridden(cls, name, BasePermission) for name in ("has_permission", "has_object_permission"))
    if general is None and on_object is None:
        raise RouteSetupError(
            f"{cls.__name__} overrides neither has_permission nor has_object_permission: it would permit everything. "
            "Override one of them, or use AllowAny."
        )
    if cls is not permission:
        # An address would be another one in each process, and so in each document.
        name = f"{cls.__name__}(...)" if overridden(cls, "__repr__", object) is None else repr(permission)
        return Leaf(name, lambda attr: lambda: permission, general, on_object)
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
