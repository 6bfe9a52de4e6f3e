"""Marks on methods, such as ``@route`` leaves them, and what of them holds for a class."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar, Final, TypeVar

from channels.generic.websocket import AsyncJsonWebsocketConsumer

from .callables import is_bound, takes
from .exceptions import RouteSetupError

_MARKS: Final = "__routesock_marks__"

_CHANNELS_NAMES: Final = frozenset(
    (*dir(AsyncJsonWebsocketConsumer), "scope", "channel_layer", "channel_name", "channel_receive", "base_send"),
)
"""Methods of the consumers, and what their ``__call__`` sets on each instance, in front of a method of that name."""

Handler = TypeVar("Handler", bound=Callable[..., Any])
M = TypeVar("M", bound="Mark")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """What a decorator says about the method ``attr``: the name that it answers, and how. Each decorator has its own
    class of them."""

    noun: ClassVar[str]
    """What the decorator makes of a method, and its own name."""
    argument: ClassVar[str]
    """What such a method takes."""

    name: str
    attr: str = ""

    @classmethod
    def checked(cls, name: Any) -> str:
        """``name`` if a method can be marked with it. Raises :class:`RouteSetupError`."""
        raise NotImplementedError

    @classmethod
    def a(cls) -> str:
        """The noun with its article."""
        return f"{'an' if cls.noun[0] in 'aeio' else 'a'} {cls.noun}"


def marking(mark: Mark) -> Callable[[Handler], Handler]:
    """The decorator that puts ``mark`` on a method, and leaves the method itself as it is."""
    decorator = f"@{mark.noun}({mark.name!r})"

    def decorate(handler: Handler) -> Handler:
        if isinstance(handler, type) or not (callable(handler) or isinstance(handler, classmethod)):
            raise RouteSetupError(f"{decorator} decorates a method, not {handler!r}.")
        marks: tuple[Mark, ...] = getattr(handler, _MARKS, ())
        for other in marks:
            if type(other) is not type(mark):
                raise RouteSetupError(
                    f"{decorator} stands on {handler.__qualname__}, which is the handler of {other.a()}, "
                    f"{other.name!r}. Write a method for each."
                )
            if other.name == mark.name:
                raise RouteSetupError(f"{decorator} stands twice on {handler.__qualname__}.")
        setattr(handler, _MARKS, (mark, *marks))
        return handler

    return decorate


def collected(cls: type, kind: type[M], prefix: str = "") -> dict[str, M]:
    """The marks of ``kind`` on methods of ``cls``, its own and inherited ones, by their names behind ``prefix``.

    The first definition along the MRO answers; without marks of its own it keeps those that it overrides, and ``None``
    removes them. Raises :class:`RouteSetupError` if two methods claim one name.
    """
    found: dict[str, M] = {}
    for attr, marks in _marked(cls):
        for mark in marks:
            if not isinstance(mark, kind):
                continue
            full = kind.checked(prefix + mark.name)
            if full in found:
                raise RouteSetupError(
                    f"Both {cls.__name__}.{found[full].attr} and {cls.__name__}.{attr} claim the {kind.noun} {full!r}. "
                    f"Rename one, or remove an inherited one with `{found[full].attr} = None`."
                )
            found[full] = replace(mark, name=full, attr=attr)
    return found


def _marked(cls: type) -> Iterator[tuple[str, tuple[Mark, ...]]]:
    """Each attribute of ``cls`` that has marks, bases first, with those that hold for it."""
    seen: set[str] = set()
    for base in reversed(cls.__mro__):
        for attr in vars(base):
            if attr in seen:
                continue
            seen.add(attr)
            if marks := _marks_of(vars(owner)[attr] for owner in cls.__mro__ if attr in vars(owner)):
                _check_handler(cls, attr, type(marks[0]))
                yield attr, marks


def _marks_of(definitions: Iterable[Any]) -> tuple[Mark, ...]:
    """The marks that hold for an attribute defined so along the MRO: those of the first marked one up to a ``None``."""
    for definition in definitions:
        if definition is None:
            break
        # From __dict__, so that a lazy object on a class is not evaluated by the search.
        marks: tuple[Mark, ...] = getattr(_unwrapped(definition), "__dict__", {}).get(_MARKS, ())
        if marks:
            return marks
    return ()


def _unwrapped(definition: Any) -> Any:
    """The function inside one of the builtin descriptors, which do not hand on its attributes."""
    kind = type(definition)  # isinstance() would ask a lazy object for its __class__
    if issubclass(kind, staticmethod | classmethod):
        return definition if _MARKS in vars(definition) else definition.__func__
    if issubclass(kind, property):
        return definition.fget
    if issubclass(kind, cached_property):
        return definition.func
    return definition


def _check_handler(cls: type, attr: str, kind: type[Mark]) -> None:
    handler = getattr(cls, attr)
    where = f"{cls.__name__}.{attr}"
    if not callable(handler):
        raise RouteSetupError(
            f"{where} overrides {kind.a()} with {handler!r}. Write a method; None removes the {kind.noun}."
        )
    if attr in _CHANNELS_NAMES or attr.startswith("websocket_"):
        raise RouteSetupError(f"{where} cannot be {kind.a()}: the name {attr} is Channels' own. Rename the handler.")
    if not takes(handler, 1 if is_bound(cls, attr) else 2):
        raise RouteSetupError(
            f"{where}{inspect.signature(handler)} cannot be called as a handler. "
            f"Write `def {attr}(self, {kind.argument})`."
        )
