"""The `route_*` options of a consumer class, read and checked."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, fields
from difflib import get_close_matches
from math import isfinite
from typing import Any, Final, NamedTuple, cast

from .. import conf
from .._runtime.callables import is_async, takes
from ..dialects import Dialect
from ..exceptions import RouteSetupError
from ..permissions.base import Tree, as_permissions
from ..typing import UNSET, Unset
from .arguments import checked_middleware, checked_text, checked_timeout


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """When the server sends a PING; the value of ``route_heartbeat``.

    Args:
        interval: Seconds without a frame from the client after which the server sends a PING.
        timeout: Seconds that the client then has to send a PONG or any other frame. Otherwise it is sent a CLOSE notice
            and closed with 4408; it may reconnect.

    Raises:
        ValueError: One of them is no positive number.
    """

    interval: float = 25
    timeout: float = 10

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if type(value) not in (int, float) or not (value > 0 and isfinite(value)):
                raise ValueError(f"A heartbeat's {field.name} must be a positive number of seconds; got {value!r}.")


class Limits(NamedTuple):
    """The limits of a socket in seconds: ``None`` for no limit, :data:`UNSET` for that of the settings."""

    heartbeat: Heartbeat | None = None
    idle: float | Unset | None = UNSET
    anonymous: float | Unset | None = UNSET


def check_names(cls: type, mixin: type) -> None:
    """Check that each attribute ``route_*`` of ``cls`` is an option of ``mixin``, and stands where it takes effect.

    Methods may have such names, and so may classes behind the mixin that do not know it.

    Raises :class:`RouteSetupError` for a name that nothing reads, and for an option that the mixin in front hides.
    """
    options = [name for name in vars(mixin) if name.startswith("route_")]
    position = cls.__mro__.index(mixin)
    for index, base in enumerate(cls.__mro__):
        for name in vars(base):
            if not name.startswith("route_"):
                continue
            if index > position and name in options:
                raise RouteSetupError(
                    f"{base.__name__}.{name} has no effect, since {mixin.__name__} stands in front of {base.__name__} "
                    f"and has that option itself. Set it on {cls.__name__}, or write {base.__name__} in front of "
                    f"{mixin.__name__}."
                )
            if index < position and name not in options and not _is_method(cls, name):
                raise RouteSetupError(
                    f"{base.__name__}.{name} is no option, so nothing reads it. {_nearest(name, options)}"
                )


def check_late(cls: type, mixin: type, name: str, where: str) -> None:
    """Check that ``name`` is no option of ``mixin``: those are read from the class, when it is created.

    Args:
        cls: The consumer class.
        mixin: The class that declares the options.
        name: An attribute of a consumer, or an argument of ``as_asgi()``.
        where: What has no effect there, such as ``"self.route_timeout = ..."``.

    Raises:
        RouteSetupError: It is an option, or a misspelt one.
    """
    options = [option for option in vars(mixin) if option.startswith("route_")]
    nearest = get_close_matches(name, options, n=1, cutoff=_MISSPELT)
    if nearest:
        raise RouteSetupError(
            f"{where} has no effect, since options are read from the class. "
            f"Write `{nearest[0]} = ...` in the body of {cls.__name__}."
        )


_MISSPELT: Final = 0.9
"""The similarity above which an attribute's name is taken for a misspelt option."""


def _nearest(name: str, options: list[str]) -> str:
    prefix = len("route_")
    nearest = get_close_matches(name[prefix:], [option[prefix:] for option in options], n=1)
    return f"Did you mean route_{nearest[0]}?" if nearest else f"The options are {', '.join(sorted(options))}."


def _is_method(cls: type, name: str) -> bool:
    """Whether ``name`` is a method or a property, be it one that ``None`` removes."""
    definitions = [vars(base)[name] for base in cls.__mro__ if name in vars(base)]
    return any(hasattr(type(definition), "__get__") for definition in definitions)


def summary_of(cls: type) -> str:
    return checked_text(f"{cls.__name__}.route_summary", getattr(cls, "route_summary", ""))


def dialect_of(cls: type) -> Dialect:
    dialect = getattr(cls, "route_dialect", None)
    if isinstance(dialect, Dialect):
        return dialect
    raise RouteSetupError(
        f"{cls.__name__}.route_dialect must be an instance of a Dialect, such as Keys(route='action'); got {dialect!r}."
    )


def timeout_of(cls: type) -> float | Unset | None:
    return checked_timeout(f"{cls.__name__}.route_timeout", getattr(cls, "route_timeout", UNSET))


def middleware_of(cls: type) -> tuple[Callable[..., Any], ...]:
    return checked_middleware(f"{cls.__name__}.route_middleware", getattr(cls, "route_middleware", ()))


def grace_of(cls: type) -> float | Unset:
    grace: Any = getattr(cls, "route_disconnect_grace", UNSET)
    if grace is UNSET or (isinstance(grace, int | float) and not isinstance(grace, bool) and grace >= 0):
        return grace
    raise RouteSetupError(
        f"{cls.__name__}.route_disconnect_grace must be a number of seconds, 0 for none; got {grace!r}."
    )


def limits_of(cls: type) -> Limits:
    heartbeat: Any = getattr(cls, "route_heartbeat", None)
    if heartbeat is not None and not isinstance(heartbeat, Heartbeat):
        raise RouteSetupError(
            f"{cls.__name__}.route_heartbeat must be a Heartbeat(interval=25, timeout=10), or None for none; "
            f"got {heartbeat!r}."
        )
    idle, anonymous = (
        checked_timeout(f"{cls.__name__}.{option}", getattr(cls, option, UNSET))
        for option in ("route_idle_timeout", "route_anonymous_timeout")
    )
    return Limits(heartbeat, idle, anonymous)


def ends_with_session(cls: type) -> bool | Unset:
    ends: Any = getattr(cls, "route_ends_with_session", UNSET)
    if ends is UNSET or isinstance(ends, bool):
        return ends
    raise RouteSetupError(f"{cls.__name__}.route_ends_with_session must be True or False; got {ends!r}.")


def revalidate_interval_of(cls: type) -> float | None:
    interval = checked_timeout(
        f"{cls.__name__}.route_revalidate_interval", getattr(cls, "route_revalidate_interval", None)
    )
    return None if interval is UNSET else interval


def says_hello(cls: type) -> bool:
    hello: Any = getattr(cls, "route_hello", False)
    if isinstance(hello, bool):
        return hello
    raise RouteSetupError(f"{cls.__name__}.route_hello must be True or False; got {hello!r}.")


def concurrency_of(cls: type) -> int | Unset:
    count: Any = getattr(cls, "route_concurrency", UNSET)
    if count is UNSET or (type(count) is int and count > 0):
        return count
    raise RouteSetupError(f"{cls.__name__}.route_concurrency must be a positive number of requests; got {count!r}.")


def max_frame_of(cls: type) -> int | Unset:
    most: Any = getattr(cls, "route_max_frame", UNSET)
    if most is UNSET or (type(most) is int and most > 0):
        return most
    raise RouteSetupError(f"{cls.__name__}.route_max_frame must be a positive number of bytes; got {most!r}.")


def overflow_of(cls: type) -> str | Unset:
    policy: Any = getattr(cls, "route_overflow", UNSET)
    if policy is UNSET or policy in conf.OVERFLOW_POLICIES:
        return policy  # type: ignore[no-any-return]
    choice = " or ".join(repr(name) for name in conf.OVERFLOW_POLICIES)
    raise RouteSetupError(f"{cls.__name__}.route_overflow must be {choice}; got {policy!r}.")


FOREIGN_ERRORS: Final = ("reply", "close")
"""The allowed values of ``route_foreign_errors``."""


def closes_on_foreign_errors(cls: type) -> bool:
    policy: Any = getattr(cls, "route_foreign_errors", "reply")
    if policy in FOREIGN_ERRORS:
        return bool(policy == "close")
    choice = " or ".join(map(repr, FOREIGN_ERRORS))
    raise RouteSetupError(f"{cls.__name__}.route_foreign_errors must be {choice}; got {policy!r}.")


def permissions_of(cls: type) -> tuple[Tree, ...] | Unset:
    permissions: Any = getattr(cls, "route_permissions", UNSET)
    return UNSET if permissions is UNSET else as_permissions(f"{cls.__name__}.route_permissions", permissions)


def has_dedicated_threads(cls: type) -> bool:
    dedicated_threads: Any = getattr(cls, "route_dedicated_threads", False)
    if isinstance(dedicated_threads, bool):
        return dedicated_threads
    raise RouteSetupError(
        f"{cls.__name__}.route_dedicated_threads must be True or False; got {dedicated_threads!r}. "
        'How many threads there are is a setting: ROUTESOCK = {"DB_THREADS": 8}.'
    )


def thread_context_of(cls: type) -> Callable[[Any], AbstractContextManager[Any]] | None:
    function: Any = getattr(cls, "route_thread_context", None)
    if function is None:
        return None
    where = f"{cls.__name__}.route_thread_context"
    shown = getattr(function, "__name__", "context")
    wrapped = inspect.unwrap(function) if callable(function) else function
    if not callable(function) or is_async(function) or inspect.isasyncgenfunction(wrapped):
        raise RouteSetupError(
            f"{where} must be a function that takes the consumer and returns a context manager, to be entered in the "
            f"database thread; got {function!r}. Write `@contextmanager` above `def {shown}(consumer)`."
        )
    if inspect.isgeneratorfunction(function):
        raise RouteSetupError(f"{where} yields. Write `@contextmanager` above `def {shown}(consumer)`.")
    if not takes(function, 1):
        raise RouteSetupError(f"{where} cannot be called with the consumer. Write `def {shown}(consumer)`.")
    return cast(Callable[[Any], AbstractContextManager[Any]], function)
