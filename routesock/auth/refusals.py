"""Refuses handshakes: with a close code that browsers can read, or with an HTTP response."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Iterable
from logging import INFO
from typing import Any, Final
from urllib.parse import urlparse

from django.urls.exceptions import Resolver404

from .._runtime.closing import Send as Send
from .._runtime.closing import accept_message, cut_reason, send_close, send_notice_and_close
from .._runtime.instrumentation import log_socket, socket_is_refused
from .._wire.messages import Scope
from ..dialects import Dialect, Keys
from ..status import Ending, ending_for, title_of

Receive = Callable[[], Awaitable[Any]]

Application = Callable[[Scope, Receive, Send], Awaitable[None]]

RESPONSE: Final = "websocket.http.response"
"""The extension of a server that can answer a handshake with an HTTP response (ASGI, "Websocket Denial Response")."""

REFUSALS: Final = ("close", "http")
"""The two ways: :func:`reject` and :func:`deny`."""

Headers = Iterable[tuple[bytes, bytes]]


def reject(
    status: int,
    reason: str = "",
    *,
    reconnect: bool | None = None,
    retry_after: float | None = None,
    dialect: Dialect | None = None,
) -> Application:
    """Return an ASGI application that accepts a socket only to close it, so that a browser can read why.

    Browsers tell a page nothing about a handshake that failed, but they do tell the code and reason of a close.

    Args:
        status: An HTTP status. The close code is 4000 + ``status``.
        reason: The reason of the CLOSE notice and of the close frame, of which 123 bytes are sent.
        reconnect: Whether the client should connect again; by default after 408, 429 and 5xx.
        retry_after: In how many seconds.
        dialect: Encodes the CLOSE notice.

    Raises:
        ValueError: If ``status`` is not an HTTP status.
    """
    ending = ending_for(status, reason, reconnect, retry_after)

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        log_socket(INFO, Handshake(scope), "A socket is refused with %d: %s", ending.code, ending.reason)
        socket_is_refused(ending.code)
        await receive()
        await send(accept_message(scope))
        await send_notice_and_close(send, ending, dialect or Keys())

    return application


def deny(status: int, reason: str = "", *, headers: Headers = (), body: bytes | None = None) -> Application:
    """Return an ASGI application that answers the handshake with an HTTP response.

    A server without the extension for it answers 403 whatever the status.

    Args:
        status: The status of the response.
        reason: Sent as plain text if there is no ``body``.
        headers: Headers of the response.
        body: Body of the response.

    Raises:
        ValueError: If ``status`` is not an HTTP status from 300 to 599.
    """
    if not isinstance(status, int) or not 300 <= status <= 599:
        raise ValueError(f"The status must be an HTTP status from 300 to 599; got {status!r}.")

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        log_socket(INFO, Handshake(scope), "A handshake is answered %d: %s", status, reason)
        socket_is_refused(4000 + status)
        await receive()
        if not can_respond(scope):
            await send({"type": "websocket.close", "code": 4000 + status, "reason": cut_reason(reason)})
            return
        await respond(send, status, reason, headers=headers, body=body)

    return application


async def respond(
    send: Send,
    status: int,
    reason: str = "",
    retry_after: float | None = None,
    *,
    headers: Headers = (),
    body: bytes | None = None,
) -> None:
    """Send the HTTP response. Without a ``body`` the reason is sent as plain text."""
    sent = [(name.lower(), value) for name, value in headers]
    if body is None:
        body = (reason or title_of(status)).encode()
        sent.append((b"content-type", b"text/plain; charset=utf-8"))
    if retry_after is not None:
        sent.append((b"retry-after", b"%d" % math.ceil(retry_after)))
    if all(name != b"content-length" for name, _ in sent):
        sent.append((b"content-length", b"%d" % len(body)))
    await send({"type": f"{RESPONSE}.start", "status": status, "headers": sent})
    await send({"type": f"{RESPONSE}.body", "body": body})


async def refuse(scope: Scope, send: Send, ending: Ending) -> None:
    """Refuse a handshake that is not answered yet, with an HTTP status where ``ending`` has one and the server can."""
    if 4300 <= ending.code <= 4599 and can_respond(scope):
        await respond(send, ending.code - 4000, ending.reason, ending.retry_after)
    else:
        await send_close(send, ending)


def can_respond(scope: Scope) -> bool:
    """Whether the server of ``scope`` can answer the handshake with any HTTP status."""
    return RESPONSE in (scope.get("extensions") or ())


_NO_ROUTE: Final = "No route found for path"
"""The first words of the ``ValueError`` that Channels' URLRouter raises."""


class Handshake:
    """Takes the place of the consumer in log records while there is none."""

    def __init__(self, scope: Scope) -> None:
        self.scope = scope


async def enter(inner: Application, scope: Scope, receive: Receive, send: Send) -> None:
    """Serve ``scope`` with ``inner``. Answers 404 if its ``URLRouter`` has no such path."""
    has_sent = False

    async def forward(message: Any) -> None:
        nonlocal has_sent
        has_sent = True
        await send(message)

    try:
        await inner(scope, receive, forward)
    except (ValueError, Resolver404) as exc:
        if has_sent or not is_unknown_path(exc):
            raise
        await deny(404)(scope, receive, send)


def is_unknown_path(exc: BaseException) -> bool:
    """Whether ``exc`` is what Channels' URLRouter raises for a path that none of its patterns matches."""
    return isinstance(exc, ValueError | Resolver404) and bool(exc.args) and str(exc.args[0]).startswith(_NO_ROUTE)


def has_odd_origin(scope: Scope) -> bool:
    """Whether an ``Origin`` header of ``scope`` cannot be read as a URL, at which Channels' OriginValidator raises."""
    for name, value in scope.get("headers", ()):
        if name.lower() == b"origin":
            try:
                _ = urlparse(value.decode("latin-1")).port
            except ValueError:
                return True
    return False
