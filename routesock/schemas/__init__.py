"""One face for every schema library; none is imported unless a schema of it is used."""

from __future__ import annotations

from .base import SchemaAdapter
from .blocking import Blocking
from .resolve import library_adapter, resolve

__all__ = ["Blocking", "SchemaAdapter", "library_adapter", "resolve"]
