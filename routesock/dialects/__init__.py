"""Dialects: map requests, replies and pushes to the frames on the wire, and back.

No other package knows a key of a frame.
"""

from __future__ import annotations

from .base import Dialect, Frame, Incoming, Problem
from .dcrf import Dcrf
from .json_rpc import JsonRpc
from .keys import Keys, ObservableSocket

__all__ = [
    "Dcrf",
    "Dialect",
    "Frame",
    "Incoming",
    "JsonRpc",
    "Keys",
    "ObservableSocket",
    "Problem",
]
