"""Shared types: the marker ``UNSET`` for options that were not given."""

from __future__ import annotations

from enum import Enum
from typing import Final


class Unset(Enum):
    """The type of :data:`UNSET`. It is an ``Enum``, so that type checkers distinguish its member from ``None``."""

    UNSET = "UNSET"

    def __repr__(self) -> str:
        return "UNSET"


UNSET: Final = Unset.UNSET
"""The default of options for which ``None`` is a valid value."""
