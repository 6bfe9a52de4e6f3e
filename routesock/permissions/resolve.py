"""Whatever stands in ``permissions=``, settled once: a tree of three kinds of nodes over leaves of two kinds."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Final, TypeAlias

from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

from routesock.exceptions import RouteSetupError

from .base import And, BasePermission, Expression, Operand
from .users import HasPerm

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


def resolve_all(option: str, permissions: Any) -> tuple[Tree, ...]:
    """What ``permissions=`` or ``route_permissions`` holds. :class:`RouteSetupError` for what is no list of these."""
    if not isinstance(permissions, list | tuple):
        raise RouteSetupError(
            f"{option} is a list of permissions, such as [IsAuthenticated], or () to be open to everybody; "
            f"got {permissions!r}."
        )
    return tuple(map(resolve, permissions))


def resolve(permission: Any) -> Tree:
    """The tree of ``permission``, which is one of:

    - a :class:`~routesock.permissions.BasePermission`, class or instance;
    - a permission of Django's, as ``"app_label.codename"``;
    - a function of the request, or the name of a method of the consumer;
    - a DRF permission, class or instance, composed ones too;
    - any of these put together with ``&``, ``|`` and ``~``.

    :class:`~routesock.exceptions.RouteSetupError` for anything else.
    """
    if isinstance(permission, Expression):
        return type(permission)(*map(resolve, permission.operands))
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
        return resolve(path)
    try:
        return resolve(import_string(path))
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
