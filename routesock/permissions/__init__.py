"""Who may ask a route: permissions of our own, and how they are put together. None of this imports DRF."""

from __future__ import annotations

from .base import AllowAny, BasePermission, HasPerm, IsAuthenticated, IsStaff, as_permission

__all__ = ["AllowAny", "BasePermission", "HasPerm", "IsAuthenticated", "IsStaff", "as_permission"]
