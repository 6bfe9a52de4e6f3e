"""Closes a socket from the server: the CLOSE notice, the close frame, and their limits."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from typing import Any, Final

from .._wire.messages import Scope
from ..dialects import Dialect
from ..status import PRIVATE_RESTART, Ending
from .fair_timeout import FairTimeout
from .supervision import safe_logger

logger: Final = safe_logger("routesock.socket")

Send = Callable[[Any], Awaitable[None]]

CLOSE_WAIT: Final = 1.0
"""Seconds to wait for a client that does not read: once for the CLOSE notice, once for the close frame."""

MAX_REASON_BYTES: Final = 123
"""A close frame holds 125 bytes, of which the code takes two (RFC 6455, section 5.5)."""

_FIRST_PRIVATE: Final = 3000
"""Every server can send the close codes from here on."""


def send_message(data: str | bytes) -> dict[str, Any]:
    """Return the ASGI message that sends ``data``, as text or as bytes."""
    return {"type": "websocket.send", "text" if isinstance(data, str) else "bytes": data}


def cut_reason(reason: str) -> str:
    """Return ``reason``, or as many whole characters of it as a close frame holds."""
    return reason.encode("utf-8", "replace")[:MAX_REASON_BYTES].decode("utf-8", "ignore")


def close_notice(ending: Ending) -> dict[str, Any]:
    """Return the payload of the CLOSE notice. Its reason is that of the close frame."""
    notice: dict[str, Any] = {"code": ending.code, "reason": cut_reason(ending.reason), "reconnect": ending.reconnect}
    if ending.retry_after is not None:
        notice["retry_after"] = ending.retry_after
    return notice


def accept_message(scope: Scope) -> dict[str, Any]:
    """Return the ``websocket.accept`` for a socket that is accepted only to be closed.

    It selects the first subprotocol that the client offers: browsers drop a connection that selects none.
    """
    return {"type": "websocket.accept", "subprotocol": first_subprotocol(scope.get("subprotocols") or ())}


def first_subprotocol(offered: Iterable[str]) -> str | None:
    """Return the first subprotocol that is not a token: the response is in logs where no token should be."""
    return next((name for name in offered if len(name) <= _MAX_NAME_CHARS and not _TOKEN.match(name)), None)


_MAX_NAME_CHARS: Final = 64

_TOKEN: Final = re.compile(r"(base64(url)?\.)?(access[-_]?token|authorization|bearer|jwt|token)\b|eyJ", re.IGNORECASE)
"""The beginning of a subprotocol that is a token: a prefix such as ``bearer.``, or a JWT."""


async def send_close(send: Send, ending: Ending) -> None:
    """Send the close frame, with another code where the server cannot send this one.

    Raises what ``send`` raises.
    """
    message = {"type": "websocket.close", "code": ending.code, "reason": cut_reason(ending.reason)}
    try:
        await send(message)
    except Exception as exc:
        if means_gone(exc) or ending.code >= _FIRST_PRIVATE:
            raise
        await send({**message, "code": PRIVATE_RESTART})


async def send_notice_and_close(send: Send, ending: Ending, dialect: Dialect) -> None:
    """Send the CLOSE notice and the close frame, where there is no consumer.

    Never raises, and does not wait for a client that does not read.
    """
    data = None
    try:
        frame = dialect.push("CLOSE", close_notice(ending))
        data = None if frame is None else dialect.encode(frame)
    except Exception:  # of a dialect: the close frame has the code and the reason, too
        logger.exception("The CLOSE notice could not be encoded.")
    try:
        if data is not None:
            await within_close_wait(send(send_message(data)))
        await within_close_wait(send_close(send, ending))
    except Exception:
        logger.debug("A socket could not be closed.", exc_info=True)


async def within_close_wait(sending: Awaitable[None]) -> None:
    """Await ``sending``, but no longer than :data:`CLOSE_WAIT`. The process's own lateness does not count."""
    with suppress(TimeoutError):
        async with FairTimeout(CLOSE_WAIT):
            await sending


def means_gone(exc: Exception) -> bool:
    """Whether a server says with ``exc`` that the client has left: an ``OSError`` (ASGI 2.4), or what daphne raises."""
    return isinstance(exc, OSError) or any(
        f"{cls.__module__}.{cls.__qualname__}" == "autobahn.exception.Disconnected" for cls in type(exc).__mro__
    )
