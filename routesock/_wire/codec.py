"""Encodes and decodes strict JSON (RFC 8259).

The scanner and the encoder are created once: ``json.dumps`` with an encoder class builds a new encoder for each call.
``json.loads`` also accepts NaN and Infinity, which no other JSON parser reads.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, NoReturn

from django.core.serializers.json import DjangoJSONEncoder

from .._compat import c_encoder
from ..exceptions import ParseError

_SPACE: Final = " \t\n\r"


def _refuse_constant(name: str) -> NoReturn:
    raise ParseError(f"{name} is not valid JSON.")


def _finite(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise ParseError("A number is too large.")
    return number


_decoder: Final[Any] = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_finite)

_scan: Final = _decoder.scan_once


def decode(text: str, max_depth: int) -> Any:
    """Return the value of the JSON text ``text``.

    Raises:
        ParseError: ``text`` is not exactly one JSON value, or it contains NaN, an infinity (also as ``1e999``), an
            integer of more digits than Python converts (4300), or half a surrogate pair (RFC 7493, section 2.1), or is
            nested deeper than ``max_depth`` levels.
    """
    try:
        value, end = _scan(text, 0)
    except StopIteration:  # no value begins here
        stripped = text.lstrip(_SPACE)
        if stripped == text:
            raise ParseError from None
        return decode(stripped, max_depth)
    except (ValueError, RecursionError):  # int() raises ValueError for too many digits
        raise ParseError from None
    if end != len(text) and text[end:].strip(_SPACE):
        raise ParseError("The frame contains more than one JSON value.")
    # A cheap test first: n levels take at least 2n characters. Brackets inside strings count too, so the exact test
    # decides.
    if len(text) > 2 * max_depth and text.count("[") + text.count("{") > max_depth and deeper_than(max_depth, value):
        raise ParseError(f"The frame is nested deeper than {max_depth} levels.")
    if not text.isascii():
        _refuse_surrogates(text)
    # Looking for one character is the cheapest. What it finds then is most likely an escaped pair.
    if "\\" in text and ("\\ud" in text or "\\uD" in text):
        _refuse_surrogates("".join(_texts_in(value)))
    return value


def _refuse_surrogates(text: str) -> None:
    """Raise :class:`ParseError` if ``text`` has half a surrogate pair, which no database and no encoder takes."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ParseError("A text is not valid Unicode: it has half a surrogate pair.") from None


def _texts_in(value: Any) -> Iterator[str]:
    """All texts in ``value``, keys included. Works without recursion."""
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, str):
            yield item
        elif isinstance(item, list):
            waiting += item
        elif isinstance(item, dict):
            waiting += item.values()
            yield from item


def deeper_than(levels: int, value: Any) -> bool:
    """Return whether lists and dicts are nested deeper than ``levels``. Works level by level, without recursion."""
    level = [value]
    for _ in range(levels + 1):
        level = [container for container in level if isinstance(container, list | dict)]
        if not level:
            return False
        level = [item for box in level for item in (box.values() if isinstance(box, dict) else box)]
    return True


def _kept_encoder() -> Callable[[Any, int], Iterable[str]]:
    """Return ``DjangoJSONEncoder(allow_nan=False).iterencode`` without its set-up for each value."""
    encoder = DjangoJSONEncoder(allow_nan=False)
    return c_encoder(encoder) or (lambda value, level: (encoder.encode(value),))


_chunks: Final = _kept_encoder()


def encode(value: Any) -> str:
    """Return the JSON text of ``value``, as ``DjangoJSONEncoder`` writes it; ASCII only.

    Raises ``TypeError`` for types that it cannot encode, ``ValueError`` for NaN and the infinities, ``RecursionError``
    for a value that contains itself, and what the value's own methods raise.
    """
    return "".join(_chunks(value, 0))


def size_of(data: str | bytes | None) -> int:
    """Return the size of a frame's data in bytes; a text counts as UTF-8."""
    if not data:
        return 0
    if isinstance(data, bytes) or data.isascii():
        return len(data)
    return len(data.encode("utf-8", "surrogatepass"))


class FrameTooLarge(ValueError):
    """A frame has more than ``MAX_REPLY`` bytes. Servers drop larger frames without telling the client."""


class EncodeError(Exception):
    """Encoding a value raised an exception that would end the task, such as SystemExit."""


def serialise(frame: Any) -> str:
    """Return ``frame``, or a part of one, as JSON text.

    Raises:
        EncodeError: A value raised something that is not an ``Exception``, such as SystemExit.
        Exception: Whatever :func:`encode` raises.
    """
    try:
        return "".join(_chunks(frame, 0))  # this is encode(), without a call
    except Exception:
        raise
    except BaseException as exc:  # such as a lazy text whose function exits
        raise EncodeError(f"A value raised {type(exc).__name__} when it was encoded.") from exc
