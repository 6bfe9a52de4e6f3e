"""What is promised of a window, in the plainest words: to compare stores with."""

from __future__ import annotations

from typing import Final

from hypothesis import strategies as st

from routesock.throttling.base import MAX_TIMES, Rate, Window

PERIOD: Final = 1000
"""Seconds. A script that has a clock of a test's own still lets keys expire by the server's."""


class Model:
    """Every call that was let through, in a list."""

    def __init__(self, window: Window) -> None:
        self.window = window
        self.calls: list[tuple[int, int]] = []

    def used(self, now: int, period: int) -> int:
        return sum(cost for when, cost in self.calls if when > now - period)

    def has_room(self, now: int, cost: int, *, late: int = 0) -> bool:
        """Whether ``cost`` fits in; ``late``: if places are given back so much later."""
        return self.used(now, self.window.period + late) + cost <= self.window.limit

    def add(self, now: int, cost: int) -> None:
        self.calls.append((now, cost))
        assert self.used(now, self.window.period) <= self.window.limit  # the promise


def window(limit: int, *, period: float = PERIOD, name: str = "window", tag: str = "together") -> Window:
    return Window("tests", name, Rate(limit, period), tag)


few: Final = st.integers(1, MAX_TIMES)
"""Limits of windows that keep single times."""

many: Final = st.integers(MAX_TIMES + 1, 10 * MAX_TIMES)
"""Limits of windows that keep parts of their period."""

pauses: Final = st.integers(0, 3) | st.integers(0, PERIOD * 300_000) | st.integers(0, PERIOD * 2_500_000)
"""Microseconds between two calls: next to nothing, a part of a period, or more than one."""
