"""The marks that `@route` and its siblings leave on methods, and collecting them from a class."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import cached_property, wraps
from types import FrameType
from typing import Any, ClassVar, Final, ParamSpec, TypeVar

from channels.generic.websocket import AsyncJsonWebsocketConsumer

from .._runtime.callables import is_bound, takes
from ..exceptions import RouteSetupError

_MARKS: Final = "__routesock_marks__"

_CHANNELS_NAMES: Final = frozenset(
    (*dir(AsyncJsonWebsocketConsumer), "scope", "channel_layer", "channel_name", "channel_receive", "base_send"),
)
"""Methods of Channels' consumers, and the attributes that their ``__call__`` sets on each instance."""

Handler = TypeVar("Handler", bound=Callable[..., Any])

M = TypeVar("M", bound="Mark")

P = ParamSpec("P")

R = TypeVar("R")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """A declaration on the method ``attr``: the name that it handles, and options. Each decorator has a subclass."""

    noun: ClassVar[str]
    """The kind of thing that the method handles, which is also the decorator's name."""
    argument: ClassVar[str]
    """The name of the method's parameter."""

    name: str
    attr: str = ""

    @classmethod
    def checked(cls, name: Any) -> str:
        """``name`` if it is valid. Raises :class:`RouteSetupError` otherwise."""
        raise NotImplementedError

    @classmethod
    def a(cls) -> str:
        """The noun with its article."""
        return f"{'an' if cls.noun[0] in 'aeio' else 'a'} {cls.noun}"


def marking(mark: Mark) -> Callable[[Handler], Handler]:
    """A decorator that adds ``mark`` to a method and returns the method itself."""
    decorator = f"@{mark.noun}({mark.name!r})"

    def decorate(handler: Handler) -> Handler:
        if isinstance(handler, type) or not (callable(handler) or isinstance(handler, classmethod)):
            raise RouteSetupError(f"{decorator} decorates a method, not {handler!r}.")
        marks: tuple[Mark, ...] = getattr(handler, _MARKS, ())
        for other in marks:
            if type(other) is not type(mark):
                raise RouteSetupError(
                    f"{decorator} decorates {handler.__qualname__}, which handles {other.a()} already, "
                    f"{other.name!r}. Write a method for each."
                )
            if other.name == mark.name:
                raise RouteSetupError(f"{decorator} decorates {handler.__qualname__} twice. Remove one.")
        setattr(handler, _MARKS, (mark, *marks))
        _remember(handler, mark)
        return handler

    return decorate


_DECLARED: Final = "__routesock_declared__"


def _remember(handler: Any, mark: Mark) -> None:
    """Note in the class body that is being executed that ``handler`` has ``mark``, if it is defined there.

    Nothing else knows of a handler that is lost before its class exists, as its name was given to something else.
    """
    name: str = getattr(handler, "__qualname__", "")
    owner = name.rpartition(".")[0]
    frame: FrameType | None = sys._getframe(2)
    while frame is not None and frame.f_code.co_qualname != owner:
        frame = frame.f_back
    if frame is not None and not frame.f_code.co_flags & inspect.CO_OPTIMIZED:  # a class body, not a function
        frame.f_locals.setdefault(_DECLARED, []).append((handler, mark))


def _check_declared(base: type) -> None:
    """Check that the handlers that were defined in the body of ``base`` are on the class.

    Raises:
        RouteSetupError: Something else has the name of one.
    """
    declared = vars(base).get(_DECLARED)
    if declared is None:
        return
    present = {id(mark) for definition in vars(base).values() for mark in _marks_of([definition])}
    for handler, mark in declared:
        if id(mark) in present or handler.__name__ not in vars(base):
            continue
        other = vars(base)[handler.__name__]
        if other is None:
            continue
        where = f"{base.__name__}.{handler.__name__}"
        if getattr(_unwrapped(other), "__qualname__", None) == handler.__qualname__:
            raise RouteSetupError(
                f"{base.__name__} defines {handler.__name__} twice, so {mark.a()}, {mark.name!r}, is lost. "
                "Rename one of the methods."
            )
        raise RouteSetupError(
            f"{where} handles {mark.a()}, {mark.name!r}, and is replaced with {other!r}, which does not. "
            f"If that is a decorator above @{mark.noun}, use functools.wraps in it, or write @{mark.noun} above it."
        )


def naming_options(decorator: Callable[P, R]) -> Callable[P, R]:
    """Make ``decorator`` raise :class:`RouteSetupError` for an unknown option, with the nearest one."""
    options = [
        parameter.name
        for parameter in inspect.signature(decorator).parameters.values()
        if parameter.kind is parameter.KEYWORD_ONLY
    ]

    @wraps(decorator)
    def checked(*args: P.args, **kwargs: P.kwargs) -> R:
        for option in kwargs:
            if option not in options and option != "name":
                nearest = get_close_matches(option, options, n=1)
                listed = ", ".join(f"{name}=" for name in options)
                hint = f"Did you mean {nearest[0]}=?" if nearest else f"The options are {listed}."
                raise RouteSetupError(f"@{decorator.__name__} has no option {option}=. {hint}")
        return decorator(*args, **kwargs)

    return checked


def collected(cls: type, kind: type[M], prefix: str = "") -> dict[str, M]:
    """The marks of ``kind`` on the methods of ``cls`` and its bases, by their names with ``prefix`` in front.

    An override without marks keeps those of the method that it overrides, and ``None`` removes them. Raises
    :class:`RouteSetupError` if two methods have one name.
    """
    found: dict[str, M] = {}
    for attr, marks in _marked(cls):
        for mark in marks:
            if not isinstance(mark, kind):
                continue
            full = kind.checked(prefix + mark.name)
            if full in found:
                other = found[full].attr
                raise RouteSetupError(
                    f"Both {cls.__name__}.{other} and {cls.__name__}.{attr} handle the {kind.noun} {full!r}. "
                    f"Rename one, or remove an inherited one with `{other} = None`."
                )
            found[full] = replace(mark, name=full, attr=attr)
    return found


def _marked(cls: type) -> Iterator[tuple[str, tuple[Mark, ...]]]:
    """Each attribute of ``cls`` that has marks, those of its bases first, with the marks that apply."""
    for attr in _marked_attrs(cls):
        if marks := _marks_of(vars(owner)[attr] for owner in cls.__mro__ if attr in vars(owner)):
            _check_handler(cls, attr, type(marks[0]))
            yield attr, marks


def _marked_attrs(cls: type) -> list[str]:
    """Return the names of which a definition in ``cls`` or a base has marks, those of its bases first."""
    attrs: dict[str, bool] = {}
    for base in reversed(cls.__mro__):
        _check_declared(base)
        for attr, definition in vars(base).items():
            is_marked = _MARKS in getattr(_unwrapped(definition), "__dict__", ())
            attrs[attr] = attrs.get(attr, False) or is_marked
    return [attr for attr, is_marked in attrs.items() if is_marked]


def declarations(cls: type) -> list[str]:
    """Return what ``cls`` and its bases declare with decorators, such as ``"@route('chat.send')"``."""
    attrs = dict.fromkeys(attr for base in reversed(cls.__mro__) for attr in vars(base))
    found = [_marks_of(vars(owner)[attr] for owner in cls.__mro__ if attr in vars(owner)) for attr in attrs]
    return [f"@{mark.noun}({mark.name!r})" for marks in found for mark in marks]


def _marks_of(definitions: Iterable[Any]) -> tuple[Mark, ...]:
    """The marks of the first definition that has some, up to a ``None``; ``definitions`` are in MRO order."""
    for definition in definitions:
        if definition is None:
            break
        # From __dict__, so that a lazy object on a class is not evaluated by the search.
        marks: tuple[Mark, ...] = getattr(_unwrapped(definition), "__dict__", {}).get(_MARKS, ())
        if marks:
            return marks
    return ()


def _unwrapped(definition: Any) -> Any:
    """The function inside a builtin descriptor, which does not pass on the function's attributes."""
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
            f"{where} overrides {kind.a()} with {handler!r}. Write a method, or None to remove the {kind.noun}."
        )
    if attr in _CHANNELS_NAMES or attr.startswith("websocket_"):
        raise RouteSetupError(f"{where} cannot be {kind.a()}: Channels uses the name {attr}. Rename the handler.")
    if not takes(handler, 1 if is_bound(cls, attr) else 2):
        raise RouteSetupError(
            f"{where}{inspect.signature(handler)} cannot be called as a handler. "
            f"Write `def {attr}(self, {kind.argument})`."
        )
