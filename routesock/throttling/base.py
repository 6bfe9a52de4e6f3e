"""Throttles, rates, the interface of stores, the timeout of stores, and the RateLimit headers."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any, Final, NamedTuple, Protocol

from ..exceptions import RouteSetupError

UNITS: Final = {
    **dict.fromkeys(("s", "sec", "second"), 1),
    **dict.fromkeys(("m", "min", "minute"), 60),
    **dict.fromkeys(("h", "hour"), 3600),
    **dict.fromkeys(("d", "day"), 86_400),
}
"""Unit to seconds."""

MAX_LIMIT: Final = 1_000_000_000
"""The largest number of calls in a rate."""

MAX_PERIOD: Final = 366 * 86_400
"""The longest period of a rate, in seconds."""

_RATE: Final = re.compile(r"([1-9][0-9]{0,9})/([1-9][0-9]{0,7})?([a-z]+)", re.ASCII)


class Rate(NamedTuple):
    """At most ``limit`` calls in any ``period`` seconds."""

    limit: int
    period: float


def parse_rate(text: Any) -> Rate:
    """Parse a rate such as ``"30/min"``: a number, a slash, and a period of one or more units.

    Raises:
        RouteSetupError: If ``text`` is not a rate, or exceeds :data:`MAX_LIMIT` or :data:`MAX_PERIOD`.
    """
    found = _RATE.fullmatch(text) if isinstance(text, str) else None
    if found is None or found[3] not in UNITS:
        raise RouteSetupError(
            f"{text!r} is not a rate. Write a number, a slash and a period, such as "
            '"5/s", "30/min", "100/15m" or "2/day"; the units are s, m (or min), h and d.'
        )
    rate = Rate(int(found[1]), int(found[2] or 1) * UNITS[found[3]])
    if rate.limit > MAX_LIMIT or rate.period > MAX_PERIOD:
        raise RouteSetupError(
            f"The rate {text!r} is too large. Write at most {MAX_LIMIT} calls in a period of at most 366 days."
        )
    return rate


SCOPES: Final = ("user", "ip", "socket")

MAX_TIMES: Final = 100
"""The number of different times in a period that a log of calls keeps. Rates with a higher limit round their times."""

MICROSECONDS: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Throttle:
    """A rate limit: at most N calls in *any* period of the given length.

    Args:
        rate: ``N/[K]unit``, such as ``"5/s"``, ``"30/min"``, ``"100/15m"`` or ``"2/day"``. The units are ``s``
            (``sec``, ``second``), ``m`` (``min``, ``minute``), ``h`` (``hour``) and ``d`` (``day``).
        scope: Which calls count together. ``"user"``: those of a user, by primary key; calls of anonymous users count
            by address. ``"ip"``: those of an address. ``"socket"``: those of a socket. A function, sync or async, gets
            the :class:`~routesock.Request` and returns a string or an integer; calls with equal values count together.
        burst: The maximum number of calls at once, from 1 to N. The others are allowed evenly over the period. By
            default all N may come at once.
        cost: The number of calls that one call counts for. A function, sync or async, gets the request and returns an
            integer; a call that costs 0 is always allowed.

    Raises:
        RouteSetupError: If an argument is not valid.
    """

    rate: str
    _: KW_ONLY
    scope: str | Callable[..., Any] = "user"
    burst: int | None = None
    cost: int | Callable[..., Any] = 1

    def __post_init__(self) -> None:
        limit = parse_rate(self.rate).limit
        if not callable(self.scope) and self.scope not in SCOPES:
            raise RouteSetupError(
                f'scope= must be "user", "ip", "socket" or a function that takes the request; got {self.scope!r}.'
            )
        if self.burst is not None and not (type(self.burst) is int and 1 <= self.burst <= limit):
            raise RouteSetupError(
                f"burst= must be an integer from 1 to {limit}, the limit of {self.rate!r}; got {self.burst!r}. "
                "To allow more at once, use a list of two rates instead."
            )
        max_cost = limit if self.burst is None else self.burst
        if not callable(self.cost) and not (type(self.cost) is int and 1 <= self.cost <= max_cost):
            raise RouteSetupError(
                f"cost= must be an integer from 1 to {max_cost} or a function that takes the request; "
                f"got {self.cost!r}. A call with a higher cost would never be allowed."
            )

    def __str__(self) -> str:
        """Return the limit for people, such as ``"30/min per ip, burst 5"``."""
        scope = "" if self.scope == "user" else f" per {_name(self.scope)}"
        burst = "" if self.burst is None else f", burst {self.burst}"
        cost = "" if self.cost == 1 else f", cost {_name(self.cost)}"
        return f"{self.rate}{scope}{burst}{cost}"

    def rates(self) -> Iterator[tuple[str, Rate]]:
        """Yield the rates that apply together, each with a name: the rate itself, and one for ``burst`` if needed."""
        rate = parse_rate(self.rate)
        scope = self.scope if isinstance(self.scope, str) else "own"
        name = self.rate if scope == "user" else f"{self.rate} {scope}"
        yield name, rate
        if self.burst is not None and self.burst < rate.limit:
            # The same average rate over a shorter period, so that stores need no second algorithm.
            yield f"{name} burst", Rate(self.burst, rate.period * self.burst / rate.limit)


def _name(value: Any) -> str:
    """The name of a function; of an object with ``__call__``, that of its class; any other value as a text."""
    name: str = getattr(value, "__qualname__", type(value).__qualname__) if callable(value) else str(value)
    return name


class Window:
    """A sliding window, one rate of one route or class: at most ``limit`` calls in any ``period``, for each caller.

    Attributes:
        name: Its name in the RateLimit headers.
        key: Its key in stores.
        tag: Stores keep windows with the same tag on one server; those with an empty tag by their caller.
        limit: The number of calls.
        period: The length in microseconds.
        resolution: Stores round the times of calls up to a multiple of this many microseconds: 1, or a hundredth of the
            period if the limit is above :data:`MAX_TIMES`, so that a log stays small.
    """

    __slots__ = ("key", "limit", "name", "period", "resolution", "tag")

    def __init__(self, owner: str, name: str, rate: Rate, tag: str = "") -> None:
        self.name: str = name
        self.key: str = digest(f"{owner}|{name}")
        self.tag: str = tag
        self.limit: int = rate.limit
        self.period: int = round(rate.period * MICROSECONDS)
        self.resolution: int = max(self.period // MAX_TIMES, 1) if rate.limit > MAX_TIMES else 1


Bucket = tuple[Window, str, int]
"""The window, the caller and the cost of one call."""


class Quota(NamedTuple):
    """The calls that a caller has left in a window, and the microseconds until there are more."""

    remaining: int
    reset: int


class Decision(NamedTuple):
    """The answer of a store.

    ``wait`` is 0 if the call is allowed, otherwise the seconds until it may be. ``quotas`` has a quota for each bucket,
    or nothing if the store does not know them.
    """

    wait: float
    quotas: Sequence[Quota] = ()


ALLOWED: Final = Decision(0)


class Store(Protocol):
    """A store counts the calls of each caller."""

    async def take(self, buckets: Sequence[Bucket], timeout: float, *, quotas: bool) -> Decision:
        """Take from all of ``buckets``, or from none if one of them has not enough, in one atomic operation.

        Args:
            buckets: What the call takes from each window.
            timeout: Seconds that the store may take.
            quotas: Whether the decision should include the quotas.

        Raises:
            StoreError: If the store cannot decide within ``timeout``.
            ImproperlyConfigured: If it never will.
        """
        ...

    def close(self) -> None:
        """Close the connections, when another store replaces this one."""


def digest(text: str) -> str:
    """Return a hash of ``text`` with 32 characters, so that text from clients does not get into keys."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


class RateLimitHeaders:
    """The headers ``RateLimit-Policy`` and ``RateLimit`` of one route (draft-ietf-httpapi-ratelimit-headers).

    Windows with the same name get a number after it.
    """

    def __init__(self, windows: Iterable[Window]) -> None:
        named: dict[str, Window] = {}
        for window in windows:
            number = 2
            name = window.name
            while name in named:
                name = f"{window.name} {number}"
                number += 1
            named[name] = window
        self._names = tuple(named)
        # The header has whole seconds only.
        pairs = [f'"{name}";q={window.limit};w={_seconds(window.period)}' for name, window in named.items()]
        self._policy = ", ".join(pairs)

    def build(self, quotas: Sequence[Quota]) -> Mapping[str, str]:
        """Return both headers; only the policy if ``quotas`` is empty because the store does not know them."""
        if not quotas:
            return {"RateLimit-Policy": self._policy}
        pairs = zip(self._names, quotas, strict=True)
        left = ", ".join(f'"{name}";r={remaining};t={_seconds(reset)}' for name, (remaining, reset) in pairs)
        return {"RateLimit-Policy": self._policy, "RateLimit": left}


def _seconds(microseconds: int) -> int:
    return -(-microseconds // MICROSECONDS)
