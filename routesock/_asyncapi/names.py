"""Names of the parts of a document: keys that AsyncAPI allows, each used once."""

from __future__ import annotations

import re
from collections.abc import Mapping
from hashlib import sha256
from typing import Any, Final

LEGAL: Final = re.compile(r"[A-Za-z0-9._-]+")
"""The characters in the key of a component, a channel, a message or an operation (AsyncAPI 3.0, Components Object)."""

_ILLEGAL: Final = re.compile(r"[^A-Za-z0-9._-]+")

_DIGITS: Final = 6


def digits_of(text: str) -> str:
    """Return six hexadecimal digits that are the same for the same ``text`` in every process."""
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGITS]


def slug(name: str) -> str:
    """Return ``name`` if it is a legal key; otherwise its legal part, and six digits that tell it from others."""
    if LEGAL.fullmatch(name):
        return name
    return f"{_ILLEGAL.sub('_', name)}-{digits_of(name)}"


class Keys:
    """Gives out keys for names, each once."""

    def __init__(self) -> None:
        self._taken: dict[str, str] = {}

    def claim(self, name: str, *, key: str | None = None) -> str:
        """Return the key of ``name``, which is ``key`` or a slug of it; one that is taken gets six digits behind it."""
        wanted = slug(name) if key is None else key
        found, attempt = wanted, 0
        while found in self._taken:
            attempt += 1
            found = f"{wanted}-{digits_of(f'{attempt} {name}')}"
        self._taken[found] = name
        return found


def pointer_part(name: str) -> str:
    """Return ``name`` as a part of a JSON pointer (RFC 6901)."""
    return name.replace("~", "~0").replace("/", "~1")


def reference(*parts: str) -> dict[str, str]:
    """Return the reference to a part of the document."""
    return {"$ref": "#/" + "/".join(map(pointer_part, parts))}


def without_empty(members: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``members`` without those that say nothing: ``None``, and empty texts, lists and objects."""
    return {name: value for name, value in members.items() if value is not None and value not in ("", [], {}, ())}
