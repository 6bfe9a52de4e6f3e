"""The closed lists of values that servers accept and documents do not mention, by library.

``docs/howto/documents.rst`` lists them in the same words.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Coercion:
    """Values that a library converts.

    Args:
        text: The entry in the documentation.
        kinds: What the names of the kinds of fields begin with.
        applies: Whether a value is one of them.
    """

    text: str
    kinds: tuple[str, ...]
    applies: Callable[[Any], bool]

    def covers(self, kind: str, value: Any) -> bool:
        return kind.startswith(self.kinds) and self.applies(value)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


MARSHMALLOW = (
    Coercion(
        'numbers as text, such as ``"5"``',
        ("Integer", "Float", "DateTime, timestamp", "TimeDelta"),
        lambda value: _is_text(value) and not value.strip("0123456789.-e_ \u0663\u0664NaInfity"),
    ),
    Coercion(
        "a number with a fraction for an ``Integer``, and in marshmallow 3 for a ``TimeDelta``, which drop it",
        ("Integer", "TimeDelta"),
        _is_number,
    ),
    Coercion(
        'numbers for a ``Decimal``, and text in other notations, such as ``"1e5"``',
        ("Decimal",),
        lambda value: _is_number(value) or _is_text(value),
    ),
    Coercion(
        '``0``, ``1`` and words such as ``"yes"`` for a ``Boolean``',
        ("Boolean",),
        lambda value: value in (0, 1, "0", "1", "true", "yes"),
    ),
    Coercion(
        "``true`` and ``false`` for ``1`` and ``0``",
        ("TimeDelta", "Enum, by value", "DateTime, timestamp"),
        lambda value: isinstance(value, bool),
    ),
    Coercion("a ``UUID`` without dashes", ("UUID",), lambda value: _is_text(value) and len(value) == 32),
    Coercion(
        "other notations of ISO 8601 for dates and times: without ``T``, seconds, dashes, colons or a zone",
        ("Date", "Time", "DateTime", "NaiveDateTime", "AwareDateTime"),
        lambda value: _is_text(value) and value[:1].isdigit(),
    ),
    Coercion(
        "a newline at the end where a regular expression ends with ``$``",
        ("String, Regexp",),
        lambda value: _is_text(value) and value.endswith("\n"),
    ),
    Coercion(
        r"digits of other scripts where a regular expression has ``\d``",
        ("String, Regexp",),
        lambda value: _is_text(value) and value.isdigit() and not value.isascii(),
    ),
    Coercion("e-mail addresses that are not ASCII", ("Email",), lambda value: not value.isascii()),
    Coercion("the scope of an IPv6 address, such as ``%eth0``", ("IP",), lambda value: "%" in value),
    Coercion(
        "a netmask in place of the length of a prefix", ("IPInterface",), lambda value: value.endswith("/255.0.0.0")
    ),
)
