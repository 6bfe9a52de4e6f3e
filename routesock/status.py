"""Status codes, their titles and what a close code says to a client."""

from __future__ import annotations

from typing import Final, NamedTuple

CLIENT_CLOSED_REQUEST: Final = 499
"""The client cancelled the request: nginx's number, which no RFC defines."""

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
"""RFC 9110 titles. Our own table: ``http.HTTPStatus`` words them differently in each Python."""


class Ending(NamedTuple):
    """How a socket is closed: the CLOSE notice, whose code the close itself has, too."""

    code: int
    reason: str
    reconnect: bool
    retry_after: float | None = None


RESTART: Final = 1012
"""Service Restart, the close code when the process ends (IANA's registry of RFC 6455, section 11.7)."""

RESTARTS: Final = "The server restarts."

SENDABLE: Final = 4503
"""Instead of a registered code, for a server that sends none; daphne's autobahn takes 1000 and 3000 to 4999 only."""


def restarting(retry_after: float) -> Ending:
    """How a socket is closed when the process ends."""
    return Ending(RESTART, RESTARTS, reconnect=True, retry_after=retry_after)


def title_of(status: int) -> str:
    """The standard title of ``status``; for an unknown one that of its class (x00)."""
    return TITLES.get(status) or TITLES.get(status // 100 * 100, "Unknown")


def may_come_back(status: int) -> bool:
    """Whether the same client may succeed later with nothing but time: after 408, 429 and 5xx."""
    return status >= 500 or status in (408, 429)


ANONYMOUS: Final = Ending(4401, "Nobody has signed in.", reconnect=False)
