"""Schemas of texts that libraries parse, such as dates, numbers, UUIDs and addresses, with patterns of ECMA-262.

Where a library accepts less than a ``format`` of JSON Schema says, one of these stands beside the format.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from . import patterns
from .draft7 import Schema
from .regex import SPACES

_DAY: Final = "(?!0000)[0-9]{4}-[0-9]{2}-[0-9]{2}"
_MINUTE: Final = "([01][0-9]|2[0-3]):[0-5][0-9]"
_FRACTION: Final = r"(\.[0-9]{1,6})?"
_CLOCK: Final = f"{_MINUTE}:[0-5][0-9]{_FRACTION}"
_OFFSET: Final = f"([Zz]|[+-]{_MINUTE})"
_HEX: Final = "[0-9a-fA-F]"


def text(pattern: str, **others: Any) -> Schema:
    """The schema of a text that matches ``pattern`` from its beginning to its end."""
    return {"type": "string", **others, "pattern": f"^{pattern}$"}


def date() -> Schema:
    return text(_DAY, format="date")


def aware_datetime() -> Schema:
    """A date and a time with an offset, as JavaScript's ``toISOString()`` writes them."""
    return text(f"{_DAY}[Tt]{_CLOCK}{_OFFSET}", format="date-time")


def naive_datetime() -> Schema:
    return text(f"{patterns.CALENDAR_DATE}[Tt]{_CLOCK}")


def any_datetime() -> Schema:
    """With an offset or without one, as libraries dump datetimes."""
    return text(f"{patterns.CALENDAR_DATE}T{_CLOCK}(Z|[+-]{_MINUTE}(:[0-5][0-9]{_FRACTION})?)?")


def time(*, tz: bool | None = None, seconds: bool = True) -> Schema:
    """A time of day. JSON Schema's ``format: time`` requires an offset, which few times of day have.

    Args:
        tz: Whether it has an offset; ``None``: it may have one.
        seconds: Whether it has seconds; ``False``: it may have them.
    """
    clock = _CLOCK if seconds else f"{_MINUTE}(:[0-5][0-9]{_FRACTION})?"
    return text(clock + {None: f"{_OFFSET}?", True: _OFFSET, False: ""}[tz])


def uuid(version: int | None = None) -> Schema:
    if version is None:
        return text(f"{_HEX}{{8}}(-{_HEX}{{4}}){{3}}-{_HEX}{{12}}", format="uuid")
    return text(f"{_HEX}{{8}}-{_HEX}{{4}}-{version}{_HEX}{{3}}-[89abAB]{_HEX}{{3}}-{_HEX}{{12}}", format="uuid")


NUMBER: Final = r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,3})?"
"""A number as ``decimal.Decimal`` reads it, but for its exponents of four digits and more, underscores and spaces."""


def digits(most: int | None, places: int | None, limits: Mapping[str, Any], *, zeros: bool = False) -> str:
    """A number of at most ``most`` digits, ``places`` of them after the point. Of ``limits``, it says those at zero.

    Args:
        most: How many digits; ``None``: any number of them.
        places: How many of them may follow the point; ``None``: all.
        limits: The keywords for the bounds.
        zeros: Whether zeros at the end do not count.
    """
    sign = "[+]?" if limits.keys() & {"minimum", "exclusiveMinimum"} else "[+-]?"
    sign += "(?=.*[1-9])" if "exclusiveMinimum" in limits else ""
    if places is None:
        return f"{sign}(?=0*([.]?[0-9]){{1,{most}}}[.]?$)([0-9]+([.][0-9]*)?|[.][0-9]+)"
    end = "0*" if zeros else ""
    whole = "" if most is None else most - places
    if whole == 0:
        return f"{sign}0*[.][0-9]{{1,{places}}}{end}"
    before = f"0*[0-9]{{1,{whole}}}"
    if not places:
        return f"{sign}{before}[.]?{end}" if zeros else f"{sign}{before}[.]?"
    return f"{sign}({before}([.][0-9]{{0,{places}}}{end})?|[.][0-9]{{1,{places}}}{end})"


def all_of(*given: str) -> Schema:
    """The keywords for a text that all patterns in ``given`` match."""
    schema: Schema = {"pattern": given[0]} if given else {}
    return {**schema, "allOf": [{"pattern": pattern} for pattern in given[1:]]} if given[1:] else schema


NOT_A_NUMBER: Final = "[+-]?([Nn][Aa][Nn]|[Ii][Nn][Ff]([Ii][Nn][Ii][Tt][Yy])?)"

DUMPED_NUMBER: Final = r"-?[0-9]+(\.[0-9]+)?(E[+-]?[0-9]+)?"
"""Matches ``str()`` of a finite ``Decimal``."""


def base64(alphabet: str = "+/", least: int | None = None, most: int | None = None) -> Schema:
    """Base64 with padding, of ``least`` to ``most`` bytes."""
    char = f"[A-Za-z0-9{alphabet}]"
    endings = ["", f"{char}{{2}}==", f"{char}{{3}}="]
    if not least and most is None:
        return text(f"({char}{{4}})*({endings[1]}|{endings[2]})?")
    choices = []
    for rest, ending in enumerate(endings):  # three bytes are four characters
        fewest, limit = max(0, -(-((least or 0) - rest) // 3)), "" if most is None else (most - rest) // 3
        if limit == "" or fewest <= int(limit):
            choices.append(f"({char}{{4}}){{{fewest},{limit}}}{ending}")
    return text(f"({'|'.join(choices)})") if choices else {"not": {}}


def ip(version: int) -> Schema:
    return {"type": "string", "format": f"ipv{version}"}


def ip_interface(version: int) -> Schema:
    """An address, and maybe the length of its network's prefix."""
    return {"type": "string", "pattern": patterns.IPV4_INTERFACE if version == 4 else patterns.IPV6_INTERFACE}


_ATOM: Final = "[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_LABEL: Final = "(?!..--)[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"


def email(*not_in: str) -> Schema:
    """An address of ASCII characters, without quotes and comments. ``not_in`` are domains that a library refuses."""
    refused = "".join(f"(?![^@]*@(.*[.])?{either_case(domain)}$)" for domain in sorted(not_in))
    host = f"({_LABEL}[.])+(?!..--)[A-Za-z]([A-Za-z0-9-]{{0,61}}[A-Za-z])"
    return text(f"(?=.{{1,254}}$)(?=[^@]{{1,64}}@){refused}{_ATOM}([.]{_ATOM})*@{host}", format="email")


def either_case(word: str) -> str:
    """A pattern for ``word``, of letters and digits, in upper or lower case."""
    return "".join(f"[{char.upper()}{char.lower()}]" if char.isalpha() else char for char in word)


TRIMMED: Final = rf"^([^{SPACES}]([\s\S]*[^{SPACES}])?)?$"
"""A text that neither begins nor ends with what Python or Rust count as white space."""

NOT_BLANK: Final = rf"^[^\x00]*[^{SPACES}\x00][^\x00]*$"
"""A text without null characters that is not white space alone."""
