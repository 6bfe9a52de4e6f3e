"""msgspec: the adapter of `Struct` classes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, get_args, get_origin

import msgspec

from .._wire.problems import invalid
from ..exceptions import Invalid
from .base import (
    UNFIT,
    WHOLE,
    Described,
    Mode,
    SchemaAdapter,
    as_list,
    is_several,
    one_expected,
    refuse_async,
    too_deep,
    unfit,
)

if TYPE_CHECKING:
    from .._wire.messages import Request


class MsgspecAdapter(SchemaAdapter):
    """The adapter of a ``Struct`` or ``list[Struct]``.

    ``load`` is ``msgspec.convert``, as strict as msgspec's own decoding of JSON. ``dump`` takes a ``Struct``, a dict,
    or an object with the attributes of the ``Struct``, such as a Django model.
    """

    def __init__(self, schema: Any, struct: type[msgspec.Struct]) -> None:
        refuse_async(getattr(struct, "__post_init__", None), struct.__qualname__, "__post_init__")
        self._type = schema
        self._is_list = schema is not struct
        self._is_object = schema is struct and not struct.__struct_config__.array_like

    def __repr__(self) -> str:
        return f"MsgspecAdapter({self._type!r})"

    def __str__(self) -> str:
        if get_origin(self._type) is list:
            return f"list[{get_args(self._type)[0].__qualname__}]"
        return str(self._type.__qualname__)

    def load(self, payload: Any, request: Request | None = None) -> Any:
        try:
            return msgspec.convert(payload, self._type, str_keys=True)
        except msgspec.ValidationError as exc:
            raise refusal(exc) from exc
        except UnicodeEncodeError as exc:
            # JSON allows a lone surrogate in a text, msgspec does not.
            raise invalid({WHOLE: ["A text is not valid Unicode."]}) from exc
        except RecursionError as exc:
            raise too_deep(payload) or exc from exc

    def dump(self, value: Any, request: Request | None = None) -> Any:
        if self._is_list:
            value = as_list(value)
        elif self._is_object and is_several(value):
            name = self._type.__qualname__
            raise one_expected(name, value, f"list[{name}]")
        struct = msgspec.convert(value, self._type, from_attributes=True, str_keys=True)
        return msgspec.to_builtins(struct, str_keys=True)

    def dump_checked(self, value: Any) -> Any:
        """Dump ``value``, and validate the result as :meth:`load` does: a ``Struct`` does not validate at creation."""
        try:
            dumped = self.dump(value)
        except (msgspec.ValidationError, *UNFIT) as exc:
            raise unfit(exc) from exc
        self.load(dumped)
        return dumped

    def json_schema(self, mode: Mode) -> Described:
        """Describe what ``msgspec.convert`` accepts, or what is dumped. Inexact is ``__post_init__``."""
        from ._json_schema.msgspec import describe

        return describe(self._type, mode)


def adapter_for(schema: Any) -> SchemaAdapter | None:
    struct = get_args(schema)[0] if get_origin(schema) is list else schema
    if isinstance(struct, type) and issubclass(struct, msgspec.Struct):
        return MsgspecAdapter(schema, struct)
    return None


_LOCATED = re.compile(r"(?s)(?P<text>.*) - at `(?:key` in `)?\$(?P<path>.*)`")

_PART = re.compile(r"\.(?P<name>[^.\[]+)|\[(?P<index>\d+|\.\.\.)\]")

_OF_FIELD = re.compile(r"(?s)Object (?:missing required|contains unknown) field `(?P<name>.*)`")


def refusal(exc: Exception) -> Invalid:
    """The client's error of a ``ValidationError``, whose one message names the place, such as ``$.items[0].name``."""
    text = str(exc)
    return invalid({WHOLE: [text]}, [_located(text)])


def _located(text: str) -> tuple[tuple[Any, ...], str]:
    """The path in ``text``, and ``text`` without it. A key that msgspec does not name is ``*``."""
    located = _LOCATED.fullmatch(text)
    message = located["text"] if located else text
    parts = [_part(match) for match in _PART.finditer(located["path"])] if located else []
    of_field = _OF_FIELD.fullmatch(message)
    return (*parts, of_field["name"]) if of_field else tuple(parts), message


def _part(match: re.Match[str]) -> str:
    return match["name"] or match["index"].replace("...", "*")
