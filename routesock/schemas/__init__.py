"""Schema adapters: one interface for every schema library, each imported only if one of its schemas is used."""

from __future__ import annotations

from .base import Definition, Described, PlainAdapter, SchemaAdapter, as_schema, library_adapter

__all__ = ["Definition", "Described", "PlainAdapter", "SchemaAdapter", "as_schema", "library_adapter"]
