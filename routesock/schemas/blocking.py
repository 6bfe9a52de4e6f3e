"""The mark for a schema that queries the database."""

from __future__ import annotations

from typing import Any

from .base import SchemaAdapter
from .resolve import resolve


class Blocking(SchemaAdapter):
    """A schema whose hooks or validators use the ORM: ``schema=Blocking(SendSchema)``.

    It runs in Django's database thread instead of on the event loop, where Django refuses every query
    (``SynchronousOnlyOperation``). DRF serializers run there without this mark.
    """

    blocking = True

    def __init__(self, schema: Any) -> None:
        self._schema = resolve(schema)

    def __repr__(self) -> str:
        return f"Blocking({self._schema!r})"

    def load(self, payload: Any) -> Any:
        return self._schema.load(payload)

    def dump(self, value: Any) -> Any:
        return self._schema.dump(value)

    def dump_checked(self, value: Any) -> Any:
        return self._schema.dump_checked(value)
