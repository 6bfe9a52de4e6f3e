"""Dialects: map requests, replies and pushes to the frames on the wire, and back.

No other package knows a key of a frame.
"""

from __future__ import annotations

from .base import Dialect, Frame, Incoming, Problem
from .chanx import Chanx
from .dcrf import Dcrf
from .json_rpc import JsonRpc
from .keys import Keys, ObservableSocket
from .wsx import Wsx

__all__ = [
    "Chanx",
    "Dcrf",
    "Dialect",
    "Frame",
    "Incoming",
    "JsonRpc",
    "Keys",
    "ObservableSocket",
    "Problem",
    "Wsx",
]
