"""Finds the parts of a document that accept more than the server does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from ..schemas._json_schema.draft7 import INEXACT, subschemas
from .validation import resolve

Document = Mapping[str, Any]


class InexactPart(NamedTuple):
    """A part of a message that is inexact.

    Attributes:
        message: The name and the part of the message, such as ``"message.send request"``.
        field: A JSON pointer into the payload; empty for the payload itself. ``*`` is any member.
        reason: What the document cannot say, such as the name of a hook.
    """

    message: str
    field: str
    reason: str

    def __str__(self) -> str:
        return f"{self.message} {self.field or '/'}: {self.reason}"


def inexact_parts(document: Document) -> list[InexactPart]:
    """Return the inexact parts of all messages of ``document``, sorted, each once."""
    found = set()
    for channel in document["channels"].values():
        where = channel["address"] or channel.get("x-routesock-pattern", "")
        for message in channel["messages"].values():
            name = f"{where} {message['name']} {message['x-routesock-part']}"
            schema = message.get("x-routesock-payload", message["payload"])
            for field, reason in _inside(schema, document, "", frozenset()):
                found.add(InexactPart(name, field, reason))
    return sorted(found)


def _inside(schema: Any, document: Document, field: str, through: frozenset[str]) -> Iterator[tuple[str, str]]:
    if not isinstance(schema, Mapping):
        return
    for reason in schema.get(INEXACT, ()):
        yield field, reason
    reference = schema.get("$ref")
    if reference is not None:
        if reference not in through:  # else it is inside itself
            yield from _inside(resolve(reference, document), document, field, through | {reference})
        return
    for pointer, part in subschemas(schema):
        yield from _inside(part, document, field + _place(pointer), through)


def _place(pointer: str) -> str:
    """Return where in a value the subschema at ``pointer`` applies."""
    keyword, _, name = pointer.removeprefix("/").partition("/")
    if keyword == "properties":
        return f"/{name}"
    if keyword == "items" and name:
        return f"/{name}"
    return "/*" if keyword in ("items", "additionalItems", "additionalProperties") else ""
