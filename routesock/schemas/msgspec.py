"""msgspec as a schema."""

from __future__ import annotations

from typing import Any, get_args, get_origin

import msgspec

from .._wire.problems import invalid
from .base import UNFIT, WHOLE, SchemaAdapter, refuse_async, too_deep, unfit


class MsgspecAdapter(SchemaAdapter):
    """A ``Struct`` or ``list[Struct]``.

    ``load`` is ``msgspec.convert``: strict, as when msgspec reads the JSON itself. ``dump`` takes a ``Struct``, a dict,
    or any object with the ``Struct``'s attributes (a Django model).
    """

    def __init__(self, schema: Any, struct: type[msgspec.Struct]) -> None:
        refuse_async(getattr(struct, "__post_init__", None), struct.__qualname__, "__post_init__")
        self._type = schema

    def __repr__(self) -> str:
        return f"MsgspecAdapter({self._type!r})"

    def load(self, payload: Any) -> Any:
        try:
            return msgspec.convert(payload, self._type, str_keys=True)
        except msgspec.ValidationError as exc:
            raise invalid({WHOLE: [str(exc)]}) from exc
        except UnicodeEncodeError as exc:
            # Half a surrogate pair is JSON, but no text that msgspec can read.
            raise invalid({WHOLE: ["A text is not valid Unicode."]}) from exc
        except RecursionError as exc:
            raise too_deep(payload) or exc from exc

    def dump(self, value: Any) -> Any:
        struct = msgspec.convert(value, self._type, from_attributes=True, str_keys=True)
        return msgspec.to_builtins(struct, str_keys=True)

    def dump_checked(self, value: Any) -> Any:
        """As :meth:`load` would take it: a ``Struct`` does not look at what its own code put into it."""
        try:
            dumped = self.dump(value)
        except (msgspec.ValidationError, *UNFIT) as exc:
            raise unfit(exc) from exc
        self.load(dumped)
        return dumped


def adapter_for(schema: Any) -> SchemaAdapter | None:
    struct = get_args(schema)[0] if get_origin(schema) is list else schema
    if isinstance(struct, type) and issubclass(struct, msgspec.Struct):
        return MsgspecAdapter(schema, struct)
    return None
