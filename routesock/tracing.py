"""Trace ids as W3C Trace Context defines them (https://www.w3.org/TR/trace-context/)."""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from typing import Any, Final

_HEADER: Final = "traceparent"

_TRACEPARENT: Final = re.compile(
    r"(?!ff)(?P<version>[0-9a-f]{2})"
    r"-(?!0{32})(?P<trace_id>[0-9a-f]{32})"
    r"-(?!0{16})[0-9a-f]{16}"
    r"-[0-9a-f]{2}(?P<rest>-.*)?",
    re.DOTALL,
)


def parse(traceparent: str) -> str | None:
    """The trace id of a ``traceparent`` (section 3.2); ``None`` for one that has to be ignored.

    Version 00 ends after its flags. A higher one may go on behind a dash, and is read as if it were 00 up to there.
    """
    found = _TRACEPARENT.fullmatch(traceparent)
    if found is None or (found["version"] == "00" and found["rest"] is not None):
        return None
    return found["trace_id"]


def trace_id_for(headers: Any, scope: Mapping[str, Any]) -> str:
    """The trace that a request belongs to: that of its own ``headers``, else of the handshake in ``scope``, else a new
    one.
    """
    return _given(headers) or _given(scope.get("headers")) or uuid.uuid4().hex  # whose version keeps it from being 0


def _given(headers: Any) -> str | None:
    """The trace id in ``headers``, a mapping or ASGI's pairs of bytes, with names in any case.

    ``None`` also for several to choose from, and for what is no headers: nobody's log line fails for that.
    """
    try:
        pairs = headers.items() if isinstance(headers, Mapping) else headers or ()
        values = [value for name, value in pairs if _text(name).lower() == _HEADER]
        return parse(_text(values[0])) if len(values) == 1 else None
    except Exception:
        return None


def _text(part: Any) -> str:
    return part.decode("latin-1") if isinstance(part, bytes) else str(part)
