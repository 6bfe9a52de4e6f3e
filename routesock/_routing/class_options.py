"""The `route_*` options of a consumer class, read and checked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from math import isfinite
from typing import Any, NamedTuple

from .. import conf
from ..dialects import Dialect
from ..exceptions import RouteSetupError
from ..permissions.base import Tree, as_permissions
from ..typing import UNSET, Unset
from .route import checked_middleware, checked_timeout


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """The server's own PING, for ``route_heartbeat`` of a class.

    ``interval``
        Seconds without any frame from the client, after which it is sent a PING.
    ``timeout``
        Seconds that it then has to send something, be it the PONG or any other frame. A client that stays silent gets a
        CLOSE notice and is closed with 4408; it may reconnect.

    ``ValueError`` for anything but a positive number of seconds.
    """

    interval: float = 25
    timeout: float = 10

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if type(value) not in (int, float) or not (value > 0 and isfinite(value)):
                raise ValueError(f"A heartbeat's {field.name} is a positive number of seconds; got {value!r}.")


class Limits(NamedTuple):
    """What holds for a socket, in seconds; ``None``: no limit. :data:`UNSET`: what the settings say."""

    heartbeat: Heartbeat | None = None
    idle: float | Unset | None = UNSET
    anonymous: float | Unset | None = UNSET


def dialect_of(cls: type) -> Dialect:
    dialect = getattr(cls, "route_dialect", None)
    if isinstance(dialect, Dialect):
        return dialect
    raise RouteSetupError(
        f"{cls.__name__}.route_dialect is an instance of a Dialect, such as Keys(route='action'); got {dialect!r}."
    )


def timeout_of(cls: type) -> float | Unset | None:
    return checked_timeout(f"{cls.__name__}.route_timeout", getattr(cls, "route_timeout", UNSET))


def middleware_of(cls: type) -> tuple[Callable[..., Any], ...]:
    return checked_middleware(f"{cls.__name__}.route_middleware", getattr(cls, "route_middleware", ()))


def grace_of(cls: type) -> float | Unset:
    grace: Any = getattr(cls, "route_disconnect_grace", UNSET)
    if grace is UNSET or (isinstance(grace, int | float) and not isinstance(grace, bool) and grace >= 0):
        return grace
    raise RouteSetupError(f"{cls.__name__}.route_disconnect_grace is a number of seconds, 0 for none; got {grace!r}.")


def limits_of(cls: type) -> Limits:
    heartbeat: Any = getattr(cls, "route_heartbeat", None)
    if heartbeat is not None and not isinstance(heartbeat, Heartbeat):
        raise RouteSetupError(
            f"{cls.__name__}.route_heartbeat is a Heartbeat(interval=25, timeout=10), or None for none; "
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
    raise RouteSetupError(f"{cls.__name__}.route_ends_with_session is True or False; got {ends!r}.")


def revalidate_interval_of(cls: type) -> float | None:
    interval = checked_timeout(
        f"{cls.__name__}.route_revalidate_interval", getattr(cls, "route_revalidate_interval", None)
    )
    return None if interval is UNSET else interval


def concurrency_of(cls: type) -> int | Unset:
    count: Any = getattr(cls, "route_concurrency", UNSET)
    if count is UNSET or (type(count) is int and count > 0):
        return count
    raise RouteSetupError(f"{cls.__name__}.route_concurrency is a positive number of requests; got {count!r}.")


def overflow_of(cls: type) -> str | Unset:
    policy: Any = getattr(cls, "route_overflow", UNSET)
    if policy is UNSET or policy in conf.OVERFLOW_POLICIES:
        return policy  # type: ignore[no-any-return]
    choice = " or ".join(repr(name) for name in conf.OVERFLOW_POLICIES)
    raise RouteSetupError(f"{cls.__name__}.route_overflow is {choice}; got {policy!r}.")


def permissions_of(cls: type) -> tuple[Tree, ...] | Unset:
    permissions: Any = getattr(cls, "route_permissions", UNSET)
    return UNSET if permissions is UNSET else as_permissions(f"{cls.__name__}.route_permissions", permissions)


def has_dedicated_threads(cls: type) -> bool:
    isolated: Any = getattr(cls, "route_dedicated_threads", False)
    if isinstance(isolated, bool):
        return isolated
    raise RouteSetupError(
        f"{cls.__name__}.route_dedicated_threads is True or False; got {isolated!r}. "
        'How many threads there are is a setting: ROUTESOCK = {"DB_THREADS": 8}.'
    )
