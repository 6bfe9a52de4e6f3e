"""Names of groups: any string outside, what channel layers accept inside."""

from __future__ import annotations

import re
from hashlib import blake2b
from typing import Final

_READABLE: Final = re.compile(r"[A-Za-z0-9_.-]{1,80}")
_UNSAFE: Final = re.compile(r"[^A-Za-z0-9_.-]+")
_MAX_HINT: Final = 32


def layer_group(name: str) -> str:
    """What the group ``name`` is called in a channel layer: at most 96 ASCII letters, digits, hyphens, underscores and
    periods, which is what Channels allows.

    Different names are called differently. One that is allowed as it is stays readable in it; of any other a digest
    follows what can be read. ``TypeError`` for anything but a string.
    """
    if not isinstance(name, str):
        raise TypeError(f"A group's name is a string; got {name!r}.")
    if _READABLE.fullmatch(name):
        return f"routesock.group.{name}"
    hint = _UNSAFE.sub("-", name[: 2 * _MAX_HINT])[:_MAX_HINT]
    digest = blake2b(name.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
    return f"routesock.named.{hint}.{digest}"
