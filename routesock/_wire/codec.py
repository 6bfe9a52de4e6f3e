"""Text to values and back: strict JSON (RFC 8259) through a scanner and an encoder that are made once.

``json.dumps`` with an encoder class builds a new encoder at each call, and ``json.loads`` accepts what no other JSON
parser reads (NaN, Infinity).
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any, Final, NoReturn

from django.core.serializers.json import DjangoJSONEncoder

from .._compat import c_encoder
from ..exceptions import ParseError

_SPACE: Final = " \t\n\r"


def _refuse_constant(name: str) -> NoReturn:
    raise ParseError(f"{name} is not JSON.")


def _finite(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise ParseError("A number is too large.")
    return number


_decoder: Final[Any] = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_finite)

_scan: Final = _decoder.scan_once


def decode(text: str, max_depth: int) -> Any:
    """The value that ``text`` spells.

    Raises :class:`ParseError` for anything but one JSON text, for NaN and the infinities (also spelt ``1e999``), for
    integers of more digits than Python converts (4300), and for arrays and objects nested deeper than ``max_depth``.
    """
    text = text.strip(_SPACE)
    try:
        value, end = _scan(text, 0)
    except (StopIteration, ValueError, RecursionError):
        # The scanner says StopIteration where no value begins, and int() says ValueError to too many digits.
        raise ParseError from None
    if end != len(text):
        raise ParseError("There is more than one JSON value in the frame.")
    # More than n levels take 2n + 2 characters at least. Brackets inside strings are counted too: then the exact look
    # is taken in vain.
    if len(text) > 2 * max_depth and text.count("[") + text.count("{") > max_depth and deeper_than(max_depth, value):
        raise ParseError(f"The frame is nested deeper than {max_depth} levels.")
    return value


def deeper_than(levels: int, value: Any) -> bool:
    """Whether lists and dicts are nested in more than ``levels`` levels; level by level, so without recursion."""
    level = [value]
    for _ in range(levels + 1):
        level = [container for container in level if isinstance(container, list | dict)]
        if not level:
            return False
        level = [item for box in level for item in (box.values() if isinstance(box, dict) else box)]
    return True


def _kept_encoder() -> Callable[[Any], str]:
    """``DjangoJSONEncoder(allow_nan=False).encode`` without what it sets up anew for each value."""
    encoder = DjangoJSONEncoder(allow_nan=False)
    chunks = c_encoder(encoder)
    if chunks is None:
        return encoder.encode

    def encode(value: Any) -> str:
        return "".join(chunks(value, 0))

    return encode


encode: Final = _kept_encoder()
"""JSON text of a value, as ``DjangoJSONEncoder`` spells it; ASCII only.

Raises ``TypeError`` for what it cannot spell, ``ValueError`` for NaN and the infinities, ``RecursionError`` for a value
that contains itself; whatever a value's own methods raise comes through.
"""


def size_of(data: str | bytes | None) -> int:
    """Bytes of a frame's data as it is sent, a text in UTF-8."""
    if not data:
        return 0
    if isinstance(data, bytes) or data.isascii():
        return len(data)
    return len(data.encode("utf-8", "surrogatepass"))


class FrameTooLarge(ValueError):
    """A frame over ``MAX_REPLY`` bytes: servers have a limit too, and do not say to the client that they met it."""


class EncodeError(Exception):
    """What a frame is made of raised what no task may raise, while it was spelt."""


def serialise(frame: Any) -> str:
    """``frame``, or what is to be in one, as JSON.

    Raises what encoding raises, with :class:`EncodeError` for what no task may raise.
    """
    try:
        return encode(frame)
    except Exception:
        raise
    except BaseException as exc:  # such as a lazy text whose function exits
        raise EncodeError(f"A value raised {type(exc).__name__} when it was spelt.") from exc
