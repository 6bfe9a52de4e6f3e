"""Throttles and rates, quotas and decisions, the store interface, and the RateLimit headers."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from types import TracebackType
from typing import Any, Final, NamedTuple, Protocol

from ..exceptions import RouteSetupError

UNITS: Final = {
    **dict.fromkeys(("s", "sec", "second"), 1),
    **dict.fromkeys(("m", "min", "minute"), 60),
    **dict.fromkeys(("h", "hour"), 3600),
    **dict.fromkeys(("d", "day"), 86_400),
}
"""The seconds of each unit."""

MAX_LIMIT: Final = 1_000_000_000

MAX_PERIOD: Final = 366 * 86_400

_RATE: Final = re.compile(r"([1-9][0-9]{0,9})/([1-9][0-9]{0,7})?([a-z]+)", re.ASCII)


class Rate(NamedTuple):
    """At most ``limit`` in any ``period`` seconds."""

    limit: int
    period: float


def parse_rate(text: Any) -> Rate:
    """The rate that ``text`` says: a number, a slash, and a period of one or more units.

    :class:`~routesock.exceptions.RouteSetupError` for anything else.
    """
    found = _RATE.fullmatch(text) if isinstance(text, str) else None
    if found is None or found[3] not in UNITS:
        raise RouteSetupError(
            f"{text!r} is no rate. Write a number, a slash and a period, such as "
            '"5/s", "30/min", "100/15m" or "2/day"; the units are s, m (or min), h and d.'
        )
    rate = Rate(int(found[1]), int(found[2] or 1) * UNITS[found[3]])
    if rate.limit > MAX_LIMIT or rate.period > MAX_PERIOD:
        raise RouteSetupError(
            f"The rate {text!r} is too large. Write at most {MAX_LIMIT} in a period of at most 366 days."
        )
    return rate


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
        limit = parse_rate(self.rate).limit
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
        rate = parse_rate(self.rate)
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
        self.name: str = name
        self.key: str = digest(f"{owner}|{name}")
        self.tag: str = tag
        self.limit: int = rate.limit
        self.period: int = round(rate.period * MICROSECONDS)
        self.grain: int = max(self.period // GRAINS, 1) if rate.limit > GRAINS else 1


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
        ...

    def close(self) -> None:
        """Let go of connections: another store is used from now on."""


def digest(text: str) -> str:
    """``text`` as 32 characters of which nothing can be read: what a client chose stays out of keys."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


PARTS: Final = 5
"""Into so many the time is divided."""

LATE_PARTS: Final = 20
"""So many more pass uncounted, since this process was late itself."""


class FairTimeout:
    """``async with Patience(seconds)``: a ``TimeoutError`` if the block takes longer, as from ``asyncio.timeout()``.

    While the event loop is busy, nobody's answer is seen, and behind a stall the time would be over before the first
    one is read. So parts of the time are counted, and not those whose end the loop was late to see.
    """

    __slots__ = ("_handle", "_late", "_left", "_part", "_timeout")

    def __init__(self, seconds: float) -> None:
        self._part = seconds / PARTS
        self._left = PARTS
        self._late = LATE_PARTS
        self._timeout = asyncio.timeout(None)

    async def __aenter__(self) -> None:
        await self._timeout.__aenter__()
        self._handle = asyncio.get_running_loop().call_later(self._part, self._look)

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        self._handle.cancel()
        return await self._timeout.__aexit__(kind, exc, traceback)  # type: ignore[func-returns-value]

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        if self._late and now - self._handle.when() > self._part / 2:
            self._late -= 1
        else:
            self._left -= 1
        if self._left:
            self._handle = loop.call_at(now + self._part, self._look)
        else:
            self._timeout.reschedule(now)


class Fields:
    """The two headers for the windows of one route. Names that come twice are numbered."""

    def __init__(self, windows: Iterable[Window]) -> None:
        named: dict[str, Window] = {}
        for window in windows:
            again = 2
            name = window.name
            while name in named:
                name = f"{window.name} {again}"
                again += 1
            named[name] = window
        self._names = tuple(named)
        # The period as if it were whole seconds, since that is all that the header can say.
        pairs = [f'"{name}";q={window.limit};w={_seconds(window.period)}' for name, window in named.items()]
        self._policy = ", ".join(pairs)

    def of(self, quotas: Sequence[Quota]) -> Mapping[str, str]:
        """Both headers; only the policy where it is not known what is left."""
        if not quotas:
            return {"RateLimit-Policy": self._policy}
        pairs = zip(self._names, quotas, strict=True)
        left = ", ".join(f'"{name}";r={remaining};t={_seconds(reset)}' for name, (remaining, reset) in pairs)
        return {"RateLimit-Policy": self._policy, "RateLimit": left}


def _seconds(microseconds: int) -> int:
    return -(-microseconds // MICROSECONDS)
