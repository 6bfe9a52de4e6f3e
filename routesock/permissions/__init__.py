"""Permissions: the built-in ones, and `as_permission`, which accepts those of Django and DRF. Does not import DRF."""

from __future__ import annotations

from .base import AllowAny, BasePermission, HasPerm, IsAuthenticated, IsStaff, as_permission

__all__ = ["AllowAny", "BasePermission", "HasPerm", "IsAuthenticated", "IsStaff", "as_permission"]
