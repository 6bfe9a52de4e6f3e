"""The grammar of rates: ``5/s``, ``30/min``, ``100/15m``, ``2/day``."""

from __future__ import annotations

import re
from typing import Any, Final, NamedTuple

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


def parse(text: Any) -> Rate:
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
