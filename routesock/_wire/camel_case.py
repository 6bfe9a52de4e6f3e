"""Converts the names in a payload between snake_case and camelCase."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final

_SNAKE_CASE: Final = re.compile(r"[a-z][a-z0-9_]*")

_CAMEL_CASE: Final = re.compile(r"[a-z][A-Za-z0-9_]*")

_WORD: Final = re.compile(r"(?<=[a-z0-9])_([a-z])")

_CAPITAL: Final = re.compile(r"[A-Z]")

_CACHED: Final = 1024

_LONGEST: Final = 64
"""Longer names are converted without the cache, so that a client cannot fill it with large ones."""


class FieldPath(str):
    """The path of a field in an error, ``items.0.first_name``. Each name in it is converted.

    It has its own type, so that flattening or cutting errors twice changes nothing.
    """


class Verbatim(dict[str, Any]):
    """A mapping whose keys are no names of members, such as those of topics, and stay as they are."""


def to_camel_case(value: Any) -> Any:
    """Return ``value`` with all keys of its dicts in camelCase, nested ones included. Values stay as they are.

    Keys that are no snake_case names, such as ``"Content-Type"``, stay as they are as well.
    """
    return _renamed(value, _camel)


def to_snake_case(value: Any) -> Any:
    """Return ``value`` with all keys of its dicts in snake_case, nested ones included. Values stay as they are.

    Each capital begins a word, so that ``to_snake_case(to_camel_case(value))`` is ``value`` again.
    """
    return _renamed(value, _snake)


def to_camel_case_errors(errors: Any) -> Any:
    """Return messages by field with the names of the fields in camelCase, those in a ``loc`` of pydantic too."""
    if isinstance(errors, dict) and isinstance(errors.get("msg"), str) and isinstance(errors.get("loc"), list | tuple):
        return {**errors, "loc": [_camel(part) if isinstance(part, str) else part for part in errors["loc"]]}
    if isinstance(errors, list | tuple):
        return [to_camel_case_errors(error) for error in errors]
    return to_camel_case(errors)


# Where two keys of one dict would become the same name, all keep theirs: nothing that was sent is lost.
def _renamed(value: Any, rename: Callable[[str], str]) -> Any:
    if isinstance(value, dict):
        names = [rename(name) if isinstance(name, str) else name for name in value]
        if len(set(names)) < len(names) or isinstance(value, Verbatim):
            names = list(value)
        return {name: _renamed(item, rename) for name, item in zip(names, value.values(), strict=True)}
    if isinstance(value, list | tuple):
        return [_renamed(item, rename) for item in value]
    return value


def _camel(name: str) -> str:
    if isinstance(name, FieldPath):
        return FieldPath(".".join(map(_camel, name.split("."))))
    return _cached_camel(name) if len(name) <= _LONGEST else _to_camel(name)


def _snake(name: str) -> str:
    return _cached_snake(name) if len(name) <= _LONGEST else _to_snake(name)


def _to_camel(name: str) -> str:
    return _WORD.sub(lambda found: found[1].upper(), name) if _SNAKE_CASE.fullmatch(name) else name


def _to_snake(name: str) -> str:
    return _CAPITAL.sub(lambda found: "_" + found[0].lower(), name) if _CAMEL_CASE.fullmatch(name) else name


_cached_camel: Final = lru_cache(_CACHED)(_to_camel)

_cached_snake: Final = lru_cache(_CACHED)(_to_snake)
