"""What is measured otherwise than in microseconds per message: a few figures of each way."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple


class Most(NamedTuple):
    """What a figure should not exceed: in its own unit, or (``of_first``) as a part of the first way's."""

    value: float
    of_first: bool = False


@dataclass(frozen=True)
class Table:
    """One figure per column for each way; the first way is what the others are compared to."""

    unit: str
    columns: Sequence[str]
    rows: Mapping[str, Sequence[float]]
    targets: Sequence[Most | None] = ()

    def ratio(self, name: str, column: int) -> float:
        """NaN where a quick run has measured nothing of the first way: memory grows by pages."""
        first = next(iter(self.rows.values()))
        return self.rows[name][column] / first[column] if first[column] else math.nan

    def is_above(self, name: str, column: int) -> bool:
        """Whether that figure misses its target."""
        target = self.targets[column] if self.targets else None
        if target is None:
            return False
        return (self.ratio(name, column) if target.of_first else self.rows[name][column]) > target.value

    def aim(self) -> str:
        """The targets of the columns, as they are printed."""
        return " ".join(
            "-" if target is None else f"{target.value:g}{'' if target.of_first or not self.unit else f' {self.unit}'}"
            for target in self.targets
        )


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest of the values that so many percent of them do not exceed."""
    return sorted(values)[math.ceil(len(values) * percent / 100) - 1]
