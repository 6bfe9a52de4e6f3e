"""Dialects: map requests, replies and pushes to the frames on the wire, and back.

No other package knows a key of a frame.
"""

from __future__ import annotations

from .base import Dialect, Frame, Incoming, Problem
from .keys import Keys, ObservableSocket

__all__ = [
    "Dialect",
    "Frame",
    "Incoming",
    "Keys",
    "ObservableSocket",
    "Problem",
]
