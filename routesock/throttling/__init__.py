"""Throttling: rate limits for routes and sockets, and the stores that count calls."""

from __future__ import annotations

from .base import Throttle

__all__ = ["Throttle"]
