"""One face for every schema library; none is imported unless a schema of it is used."""

from __future__ import annotations

from .base import PlainAdapter, SchemaAdapter, as_schema, library_adapter

__all__ = ["PlainAdapter", "SchemaAdapter", "as_schema", "library_adapter"]
