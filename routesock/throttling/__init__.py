"""How often something may be called: what routes declare, and the stores that count."""

from __future__ import annotations

from .base import Throttle

__all__ = ["Throttle"]
