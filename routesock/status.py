"""Status codes with their titles, and WebSocket close codes."""

from __future__ import annotations

from typing import Final, NamedTuple

CLIENT_CLOSED_REQUEST: Final = 499
"""The status of a request that the client cancelled. nginx introduced the number; no RFC defines it."""

TITLES: Final[dict[int, str]] = {
    200: "OK",
    201: "Created",
    202: "Accepted",
    203: "Non-Authoritative Information",
    204: "No Content",
    205: "Reset Content",
    206: "Partial Content",
    207: "Multi-Status",
    208: "Already Reported",
    226: "IM Used",
    300: "Multiple Choices",
    301: "Moved Permanently",
    302: "Found",
    303: "See Other",
    304: "Not Modified",
    307: "Temporary Redirect",
    308: "Permanent Redirect",
    400: "Bad Request",
    401: "Unauthorized",
    402: "Payment Required",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    406: "Not Acceptable",
    408: "Request Timeout",
    409: "Conflict",
    410: "Gone",
    411: "Length Required",
    412: "Precondition Failed",
    413: "Content Too Large",
    414: "URI Too Long",
    415: "Unsupported Media Type",
    416: "Range Not Satisfiable",
    417: "Expectation Failed",
    418: "I'm a Teapot",
    421: "Misdirected Request",
    422: "Unprocessable Content",
    423: "Locked",
    424: "Failed Dependency",
    425: "Too Early",
    426: "Upgrade Required",
    428: "Precondition Required",
    429: "Too Many Requests",
    431: "Request Header Fields Too Large",
    451: "Unavailable For Legal Reasons",
    CLIENT_CLOSED_REQUEST: "Client Closed Request",
    500: "Internal Server Error",
    501: "Not Implemented",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Gateway Timeout",
    505: "HTTP Version Not Supported",
    506: "Variant Also Negotiates",
    507: "Insufficient Storage",
    508: "Loop Detected",
    511: "Network Authentication Required",
}
"""Status to title, as in RFC 9110. ``http.HTTPStatus`` is not used, since its phrases depend on the Python version."""


class Ending(NamedTuple):
    """How the server closes a socket: the content of the CLOSE notice, and the code and reason of the close frame.

    ``reconnect`` says whether the client should connect again, ``retry_after`` in how many seconds.
    """

    code: int
    reason: str
    reconnect: bool
    retry_after: float | None = None


RESTART: Final = 1012
"""Close code "Service Restart", sent when the process stops (IANA's registry of RFC 6455, section 11.7)."""

RESTART_REASON: Final = "The server restarts."

PRIVATE_RESTART: Final = 4503
"""Close code in place of :data:`RESTART` on servers that cannot send it: daphne accepts 1000 and 3000 to 4999 only."""


def restart_ending(retry_after: float) -> Ending:
    """Return the ending of sockets whose process stops; ``retry_after`` is in seconds."""
    return Ending(RESTART, RESTART_REASON, reconnect=True, retry_after=retry_after)


def title_of(status: int) -> str:
    """Return the title of ``status``; that of its class (x00) if the status is not registered."""
    return TITLES.get(status) or TITLES.get(status // 100 * 100, "Unknown")


def is_temporary(status: int) -> bool:
    """Whether the same request may succeed later: 408, 429 and 5xx."""
    return status >= 500 or status in (408, 429)


def is_close_code(code: int) -> bool:
    """Whether every server can send ``code`` in a close frame: 1000, and those of applications."""
    return code == 1000 or 3000 <= code <= 4999


def ending_for(
    status: int, reason: str = "", reconnect: bool | None = None, retry_after: float | None = None
) -> Ending:
    """Return how a socket is closed with the HTTP status ``status``: with the code 4000 + ``status``.

    ``reconnect`` is true by default for a temporary status. Raises ``ValueError`` for anything else.
    """
    if not isinstance(status, int) or not 100 <= status <= 599:
        raise ValueError(f"The status must be an HTTP status, such as 403; got {status!r}.")
    if reconnect is None:
        reconnect = is_temporary(status)
    return Ending(4000 + status, reason, reconnect=reconnect, retry_after=retry_after)


ANONYMOUS: Final = Ending(4401, "The client did not authenticate in time.", reconnect=False)
