"""What ``throttle=`` takes, and what a store of counts promises."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any, Final, NamedTuple, Protocol

from ..exceptions import RouteSetupError
from .rates import Rate, parse

SCOPES: Final = ("user", "ip", "socket")

GRAINS: Final = 100
"""A log of calls has at most one entry more: a rate of more calls keeps them in so many parts of its period."""

MICROSECONDS: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Throttle:
    """How often something may be called: at most N times in *any* period of that length.

    ``rate``
        ``N/[K]unit``: ``"5/s"``, ``"30/min"``, ``"100/15m"``, ``"2/day"``. The units are ``s`` (``sec``, ``second``),
        ``m`` (``min``, ``minute``), ``h`` (``hour``) and ``d`` (``day``).
    ``scope``
        Whose calls count together. ``"user"``: a user's, by primary key; of those who are not signed in, an address's.
        ``"ip"``: an address's. ``"socket"``: a socket's. Or a function of the :class:`~routesock.Request`, sync or
        async, that returns a string or an integer.
    ``burst``
        How many of the N may come at once; the others are let through evenly over the period. Without it all may.
    ``cost``
        How many calls one counts for: an integer, or a function of the request that returns one; 0 is always let
        through.

    Raises :class:`~routesock.exceptions.RouteSetupError` for what makes no sense.
    """

    rate: str
    _: KW_ONLY
    scope: str | Callable[..., Any] = "user"
    burst: int | None = None
    cost: int | Callable[..., Any] = 1

    def __post_init__(self) -> None:
        limit = parse(self.rate).limit
        if not callable(self.scope) and self.scope not in SCOPES:
            raise RouteSetupError(f'scope= is "user", "ip", "socket" or a function of the request; got {self.scope!r}.')
        if self.burst is not None and not (type(self.burst) is int and 1 <= self.burst <= limit):
            raise RouteSetupError(
                f"burst= is how many of the {limit} of {self.rate!r} may come at once, 1 to {limit}; "
                f"got {self.burst!r}. Write a list of two rates for more."
            )
        most = limit if self.burst is None else self.burst
        if not callable(self.cost) and not (type(self.cost) is int and 1 <= self.cost <= most):
            raise RouteSetupError(
                f"cost= is an integer from 1 to {most}, since nothing that costs more would ever be let through, "
                f"or a function of the request; got {self.cost!r}."
            )

    def rates(self) -> Iterator[tuple[str, Rate]]:
        """The rates that hold at the same time, each with a name: that of ``rate``, and that of ``burst``."""
        rate = parse(self.rate)
        scope = self.scope if isinstance(self.scope, str) else "own"
        name = self.rate if scope == "user" else f"{self.rate} {scope}"
        yield name, rate
        if self.burst is not None and self.burst < rate.limit:
            # As many in their part of the period: even enough, and one kind of log does for both.
            yield f"{name} burst", Rate(self.burst, rate.period * self.burst / rate.limit)


class Window:
    """One rate of one route or class: at most ``limit`` in any ``period`` microseconds, for each caller.

    ``name`` says it to clients. ``key`` stands for it in stores, and what has the same ``tag`` lies together there;
    where that is empty, what belongs to one caller. A log keeps times rounded up to ``grain`` microseconds: 1, unless
    it could have more than :data:`GRAINS` entries.
    """

    __slots__ = ("grain", "key", "limit", "name", "period", "tag")

    def __init__(self, owner: str, name: str, rate: Rate, tag: str = "") -> None:
        self.name = name
        self.key = digest(f"{owner}|{name}")
        self.tag = tag
        self.limit = rate.limit
        self.period = round(rate.period * MICROSECONDS)
        self.grain = max(self.period // GRAINS, 1) if rate.limit > GRAINS else 1


Bucket = tuple[Window, str, int]
"""What one call takes: of what the window gives a caller, so much."""


class Quota(NamedTuple):
    """What a caller has left of a window, and the microseconds after which there is more."""

    remaining: int
    reset: int


class Decision(NamedTuple):
    """``wait``: seconds after which the call may be let through; 0: it is. ``quotas``: of each bucket, if known."""

    wait: float
    quotas: Sequence[Quota] = ()


PASSED: Final = Decision(0)


class StoreError(Exception):
    """A store cannot decide: it is down, slow, full, or answers an error."""


class Store(Protocol):
    """Keeps who has called when."""

    async def take(self, buckets: Sequence[Bucket], timeout: float, *, quotas: bool) -> Decision:
        """Take from all of ``buckets``, or from none if one of them has not enough: one atomic operation.

        ``quotas`` asks for those of the buckets, too. :class:`StoreError` where nothing can be decided within
        ``timeout`` seconds.
        """

    def close(self) -> None:
        """Let go of connections: another store is used from now on."""


def digest(text: str) -> str:
    """``text`` as 32 characters of which nothing can be read: what a client chose stays out of keys."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
