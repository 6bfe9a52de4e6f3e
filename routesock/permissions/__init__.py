"""Who may ask a route: permissions of our own, and how they are put together. None of this imports DRF."""

from __future__ import annotations

from .base import BasePermission
from .users import AllowAny, HasPerm, IsAuthenticated, IsStaff

__all__ = ["AllowAny", "BasePermission", "HasPerm", "IsAuthenticated", "IsStaff"]
