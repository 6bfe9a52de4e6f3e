"""Schema adapters: one interface for every schema library, each imported only if one of its schemas is used."""

from __future__ import annotations

from .base import PlainAdapter, SchemaAdapter, as_schema, library_adapter

__all__ = ["PlainAdapter", "SchemaAdapter", "as_schema", "library_adapter"]
