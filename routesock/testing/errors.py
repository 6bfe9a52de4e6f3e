"""What a test is told when the application does not do what the test waits for."""

from __future__ import annotations


class ClientTimeout(AssertionError, TimeoutError):
    """What the client waited for did not happen in time; the message lists what arrived instead.

    An ``AssertionError``, so that test runners count a failure and not an error. The application goes on running.
    """


class NoReply(ClientTimeout):
    """A request got no reply in time."""


class ConnectionClosed(ConnectionError):
    """The application closed the socket, so what the client waited for cannot come any more.

    ``code`` is 1006 where the application ended without a close.
    """

    def __init__(self, message: str, code: int, reason: str = "") -> None:
        super().__init__(f"{message} (code {code}{f', {reason!r}' if reason else ''}).")
        self.code = code
        self.reason = reason


class ConnectionRefused(ConnectionClosed):
    """The application closed the socket instead of accepting it. A real server answers HTTP 403 then."""
