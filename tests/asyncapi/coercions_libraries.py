"""The closed lists of values that pydantic, msgspec and DRF accept, and documents do not mention."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .coercions import Coercion


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_boolean(value: Any) -> bool:
    return isinstance(value, bool)


def _is_large(value: Any) -> bool:
    return isinstance(value, int) and not -(2**63) <= value < 2**63


def _is_number_as_text(value: Any) -> bool:
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return _is_text(value)


def _is_iso(value: Any) -> bool:
    """A text such as a date, a time or a datetime in another notation of ISO 8601."""
    return _is_text(value) and value[:2].isdigit()


def _in(applies: Callable[[Any], bool]) -> Callable[[Any], bool]:
    """For a value, or for the items or the values of a container."""

    def inside(value: Any) -> bool:
        items = value if isinstance(value, list) else [*value.values()] if isinstance(value, dict) else [value]
        return any(map(applies, items))

    return inside


_INTEGERS = ("int", "Optional", "union", "PlainSerializer", "AfterValidator", "BeforeValidator", "WrapValidator")
_OF_INTEGERS = ("list", "Sequence", "set", "deque", "tuple", "NamedTuple", "RootModel", "ListField", "Int")
_IPS = ("IPv4", "IPv6", "IPvAny")

PYDANTIC = (
    Coercion(
        'numbers as text, such as ``"5"``, and with them ``"nan"`` and ``"inf"`` for a ``float``',
        (*_INTEGERS, *_OF_INTEGERS, "float", "Decimal, bounds"),
        _in(_is_number_as_text),
    ),
    Coercion(
        "``true`` and ``false`` for ``1`` and ``0``",
        (*_INTEGERS, *_OF_INTEGERS, *_IPS, "float", "Literal", "Enum", "Flag"),
        _in(_is_boolean),
    ),
    Coercion(
        'for a ``bool``, ``0``, ``1`` and words such as ``"yes"``',
        ("bool",),
        lambda value: value in (0, 1) or _is_text(value),
    ),
    Coercion(
        "integers of more than 64 bits, up to the digits that pydantic reads",
        _INTEGERS,
        _is_large,
    ),
    Coercion(
        "numbers for a ``Decimal`` with ``max_digits`` or ``decimal_places``",
        ("Decimal",),
        _is_number,
    ),
    Coercion(
        "spaces, underscores and digits of other scripts in a ``Decimal``",
        ("Decimal",),
        lambda value: _is_text(value) and (not value.isascii() or " " in value or "_" in value),
    ),
    Coercion(
        "numbers that are almost a multiple of ``multiple_of``",
        ("float, multiple_of",),
        lambda value: value == 1e-300,
    ),
    Coercion(
        "text that is trimmed",
        ("str, stripped",),
        lambda value: value != value.strip(),
    ),
    Coercion(
        r"digits of other scripts where a pattern has ``\d``",
        ("str, digits",),
        lambda value: value.isdigit() and not value.isascii(),
    ),
    Coercion(
        "``bytes`` with ``min_length`` whose characters take several bytes",
        ("bytes, length",),
        lambda value: not value.isascii(),
    ),
    Coercion(
        "Base64 with characters of no meaning, which pydantic ignores",
        ("Base64",),
        _is_text,
    ),
    Coercion(
        "timestamps for dates, times and durations, also as text",
        ("date", "datetime", "time", "timedelta"),
        lambda value: _is_number(value) or _is_number_as_text(value),
    ),
    Coercion(
        "other notations of ISO 8601: without ``T``, seconds, a time or a zone, and with more than six digits of a "
        "fraction",
        ("date", "datetime"),
        _is_iso,
    ),
    Coercion(
        'durations such as ``"10:20:30"``, ``"1 day"`` and ``"P1.5D"``',
        ("timedelta",),
        lambda value: value in ("10:20:30", "10:20", "15:30", "1 day", "P1.5D"),
    ),
    Coercion(
        "a ``UUID`` without dashes or in braces",
        ("UUID",),
        lambda value: len(value) in (32, 38),
    ),
    Coercion("integers for IP addresses", _IPS, _is_number),
    Coercion(
        "a netmask in place of the length of a prefix, and the scope of an IPv6 address, such as ``%eth0``",
        _IPS,
        lambda value: _is_text(value) and ("/255." in value or "%" in value),
    ),
    Coercion(
        "e-mail addresses that are not ASCII or have a name, such as ``Ann <a@b.co>``",
        ("EmailStr",),
        lambda value: not value.isascii() or "<" in value,
    ),
    Coercion("negative numbers for a ``Flag``", ("Flag",), lambda value: value == -1),
    Coercion(
        "texts for an ``Iterable``, which is validated only when your code reads it, and then any items",
        ("Iterable",),
        lambda value: _is_text(value) or isinstance(value, list | dict),
    ),
    Coercion(
        'other notations of integers as keys, such as ``"01"``',
        ("dict, integers", "dict, enum"),
        lambda value: bool({"01", "1.0"} & value.keys()),
    ),
    Coercion(
        "other names of a field: those of ``AliasChoices`` but the first, paths, and with ``populate_by_name`` the "
        "field's "
        "own",
        ("model, alias", "model, Alias"),
        lambda value: bool({"a", "more"} & value.keys()),
    ),
)

MSGSPEC = (
    Coercion("integers of more than 64 bits", ("int", "Optional", "union"), _is_large),
    Coercion(
        "spaces, underscores and digits of other scripts in a ``Decimal``",
        ("Decimal",),
        lambda value: not value.isascii() or " " in value or "_" in value,
    ),
    Coercion(
        r"digits of other scripts where a pattern has ``\d``, and a newline at the end where it ends with ``$``",
        ("str, ",),
        lambda value: (value.isdigit() and not value.isascii()) or value.endswith("\n"),
    ),
    Coercion(
        "a space in place of ``T``, datetimes without a zone, and with more than six digits of a fraction",
        ("datetime",),
        _is_iso,
    ),
    Coercion(
        'durations in lower case, and with a fraction of another unit than seconds, such as ``"P1.5D"``',
        ("timedelta",),
        lambda value: value in ("p1d", "P1.5D"),
    ),
    Coercion("a ``UUID`` without dashes", ("UUID",), lambda value: len(value) == 32),
    Coercion("negative numbers for a ``Flag``", ("Flag",), lambda value: value in (-1, 0)),  # 0 with msgspec 0.18
)

REST_FRAMEWORK = (
    Coercion(
        'numbers as text, such as ``"5"``',
        ("IntegerField", "FloatField", "DecimalField", "ListField", "ChoiceField, integers"),
        _in(_is_number_as_text),
    ),
    Coercion(
        "numbers for fields of texts",
        ("CharField", "RegexField", "SlugField", "HStoreField"),
        _in(_is_number),
    ),
    Coercion(
        "numbers for a ``DecimalField`` with ``max_digits`` or ``decimal_places``",
        ("DecimalField",),
        _is_number,
    ),
    Coercion("integers of more than 64 bits", ("IntegerField",), _is_large),
    Coercion(
        'for a ``BooleanField``, ``0``, ``1`` and words such as ``"yes"``',
        ("BooleanField",),
        lambda value: value in (0, 1) or _is_text(value),
    ),
    Coercion("``true`` and ``false`` for ``1`` and ``0``", ("FloatField", "UUIDField"), _is_boolean),
    Coercion(
        "text that is trimmed",
        ("CharField", "RegexField", "SlugField"),
        lambda value: _is_text(value) and value != value.strip(),
    ),
    Coercion(
        r"digits of other scripts where a pattern has ``\d``",
        ("RegexField, digits",),
        lambda value: _is_text(value) and value.isdigit() and not value.isascii(),
    ),
    Coercion(
        "a UUID without dashes, in braces, or as an integer",
        ("UUIDField",),
        lambda value: _is_number(value) or (_is_text(value) and len(value) in (32, 38)),
    ),
    Coercion("the scope of an IPv6 address, such as ``%eth0``", ("IPAddressField",), lambda value: "%" in value),
    Coercion(
        "other notations of ISO 8601: without ``T``, dashes, colons, seconds, a time or a zone, and with more than six "
        "digits of a fraction; the zone of a ``TimeField`` is ignored",
        ("DateTimeField", "DateField", "TimeField"),
        _is_iso,
    ),
    Coercion(
        "seconds as a number for a ``DurationField``, and other notations that Django's ``parse_duration()`` reads",
        ("DurationField",),
        lambda value: (
            _is_number(value) or _is_number_as_text(value) or value in ("", "\n", "P", "PT", "P1.5D", "P1W", "1 day")
        ),
    ),
    Coercion(
        "an object in place of a list of its names",
        ("MultipleChoiceField", "PrimaryKeyRelatedField, many"),
        lambda value: isinstance(value, dict),
    ),
)
