"""Patterns of texts that schema libraries parse: dates, times, decimals, IP addresses, e-mail addresses.

They are valid in ECMA-262 and in Python, and accept what RFC 3339 and the like define and no other notation.
"""

from __future__ import annotations

from typing import Final

CLOCK: Final = r"(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]{1,12})?"
OFFSET: Final = r"(?:Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])"

_LEAP_YEAR: Final = "(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:0[48]|[2468][048]|[13579][26])00)"
CALENDAR_DATE: Final = (
    "(?:(?!0000)[0-9]{4}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)"
    f"|02-(?:0[1-9]|1[0-9]|2[0-8]))|{_LEAP_YEAR}-02-29)"
)
"""A date of the Gregorian calendar: for places without the format ``date``, which refuses February 30 already."""

DATE: Final = "^(?!0000)"
"""Beside the format ``date``: Python has no year 0."""

DATE_TIME: Final = rf"^(?!0000)[0-9-]{{10}}T{CLOCK}{OFFSET}$"
"""Beside the format ``date-time``: Python has neither a year 0 nor leap seconds."""

NAIVE_DATE_TIME: Final = rf"^{CALENDAR_DATE}T{CLOCK}$"

TIME: Final = rf"^{CLOCK}$"
"""A time without a zone. The format ``time`` requires one."""

_WRITTEN_CLOCK: Final = r"[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{6})?"
_WRITTEN_OFFSET: Final = r"(?:[+-][0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]{6})?)?)?"

WRITTEN_DATE_TIME: Final = rf"^[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}T{_WRITTEN_CLOCK}{_WRITTEN_OFFSET}$"
"""Matches what ``datetime.isoformat()`` returns, with or without a zone."""

WRITTEN_TIME: Final = rf"^{_WRITTEN_CLOCK}{_WRITTEN_OFFSET}$"
"""Matches what ``time.isoformat()`` returns."""

INTEGER: Final = "^-?[0-9]{1,4300}$"
"""An integer as text. Python converts no more digits."""

WRITTEN_INTEGER: Final = "^-?[0-9]+$"

NUMBER: Final = r"^-?[0-9]{1,308}(?:\.[0-9]+)?$"
"""A finite number as text."""

WRITTEN_NUMBER: Final = r"^(?:-?[0-9]+(?:\.[0-9]+)?(?:e[+-]?[0-9]+)?|-?inf|nan)$"
"""Matches what ``str(float)`` returns."""

DECIMAL: Final = r"^-?[0-9]+(?:\.[0-9]+)?$"

WRITTEN_DECIMAL: Final = r"^-?[0-9]+(?:\.[0-9]+)?(?:E[+-]?[0-9]+)?$"
"""Matches what ``str(Decimal)`` returns for a finite number."""

_BYTE: Final = "(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_IPV4: Final = rf"{_BYTE}(?:\.{_BYTE}){{3}}"


def _ipv6() -> str:
    group = "[0-9A-Fa-f]{1,4}"
    forms = [f"(?:{group}:){{7}}{group}", f"(?:{group}:){{6}}{_IPV4}"]
    for before in range(8):  # "::" stands for at least one group
        left = f"{group}(?::{group}){{{before - 1}}}" if before else ""
        right = f"{group}(?::{group}){{0,{6 - before}}}" if before < 7 else ""
        tails = [right] if right else []
        if before < 6:
            tails.append(f"(?:{group}:){{0,{5 - before}}}{_IPV4}")
        forms.append(f"{left}::" + (f"(?:{'|'.join(tails)})?" if tails else ""))
    return f"(?:{'|'.join(forms)})"


_IPV6: Final = _ipv6()

IPV4: Final = f"^{_IPV4}$"
IPV4_INTERFACE: Final = f"^{_IPV4}(?:/(?:3[0-2]|[12]?[0-9]))?$"
IPV6_INTERFACE: Final = f"^{_IPV6}(?:/(?:12[0-8]|1[01][0-9]|[1-9]?[0-9]))?$"

_ATOM: Final = r"[-!#$%&'*+/=?^`{}|~0-9A-Z_a-z]+"
_QUOTED: Final = r'"(?:[\x01-\x08\x0b\x0c\x0e-\x1f!#-\[\]-\x7f]|\\[\x01-\x09\x0b\x0c\x0e-\x7f])*"'
_LABEL: Final = "[0-9A-Za-z](?:[0-9A-Za-z-]{0,61}[0-9A-Za-z])?"

EMAIL: Final = (
    rf"^(?:{_ATOM}(?:\.{_ATOM})*|{_QUOTED})@(?:localhost|(?:{_LABEL}\.)+(?:[A-Za-z]{{2,6}}|[0-9A-Za-z-]{{2,}})"
    rf"|\[{_BYTE}(?:\.{_BYTE}){{3}}\])$"
)
"""An ASCII e-mail address that Django and marshmallow accept."""
