"""Runs an ASGI application in a test as a server would: scope, messages, timeouts and database connections."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar
from urllib.parse import quote, unquote, urlsplit

from django.db.backends.base.base import BaseDatabaseWrapper

from .._runtime.supervision import plain_task
from .._wire.messages import RequestId, Scope
from .frames import ClientTimeout, Close, ConnectionClosed, ConnectionRefused, Inbox, NoReply

T = TypeVar("T")

HeaderValue = str | bytes

Headers = Mapping[str, HeaderValue | None] | Iterable[tuple[HeaderValue, HeaderValue | None]]
"""Handshake headers: a mapping, or pairs if a name occurs twice. ``None`` removes a default header."""

HOST = "testserver"  # Django's test runner adds it to ALLOWED_HOSTS


def websocket_scope(path: str, headers: Headers, subprotocols: Iterable[str]) -> Scope:
    """Return the ASGI scope of a handshake.

    The default headers ``host`` and ``origin`` are those of a page of ``http://testserver``, since Channels' origin
    validators refuse a handshake without an origin.

    Args:
        path: The path, with a query string if needed.
        headers: The headers of the handshake.
        subprotocols: The subprotocols that the client offers.
    """
    parts = urlsplit(path)
    return {
        "type": "websocket",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "scheme": "ws",
        "path": unquote(parts.path),
        "raw_path": quote(parts.path, safe="/%:@!$&'()*+,;=~").encode("ascii"),
        "query_string": parts.query.encode(),
        "root_path": "",
        "headers": _pairs(headers),
        "client": ("127.0.0.1", 50000),
        "server": (HOST, 80),
        "subprotocols": list(subprotocols),
        "state": {},
        "extensions": {},
    }


def _pairs(headers: Headers) -> list[tuple[bytes, bytes]]:
    pairs: Any = headers.items() if isinstance(headers, Mapping) else headers
    given: list[tuple[bytes, HeaderValue | None]] = [(_bytes(name).lower(), value) for name, value in pairs]
    names = {name for name, _ in given}
    defaults = [(b"host", HOST), (b"origin", f"http://{HOST}")]
    return [
        (name, _bytes(value))
        for name, value in [*(pair for pair in defaults if pair[0] not in names), *given]
        if value is not None
    ]


def _bytes(text: HeaderValue) -> bytes:
    return text.encode("latin-1") if isinstance(text, str) else text


_lock = threading.Lock()

_open_contexts = 0

_close_if_unusable_or_obsolete = BaseDatabaseWrapper.close_if_unusable_or_obsolete


@contextmanager
def keep_test_connections() -> Iterator[None]:
    """Keep ``close_old_connections()`` from closing the database connections of the test.

    Channels calls it around every event. It would close a connection with an open transaction, which every ``TestCase``
    has, and it would raise in a test that may not use the database.
    """
    global _open_contexts
    with _lock:
        _open_contexts += 1
        BaseDatabaseWrapper.close_if_unusable_or_obsolete = _close_unless_in_use  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        with _lock:
            _open_contexts -= 1
            if not _open_contexts:
                BaseDatabaseWrapper.close_if_unusable_or_obsolete = _close_if_unusable_or_obsolete  # type: ignore[method-assign]


def _close_unless_in_use(connection: Any) -> None:
    if connection.connection is None or connection.in_atomic_block:
        return
    try:
        connection.ensure_connection()  # it is connected, so this only raises if the test may not use the database
    except Exception:
        return
    _close_if_unusable_or_obsolete(connection)


Message = Mapping[str, Any]

ASGIApplication = Callable[..., Any]

LOOP_ITERATIONS = 50


async def run_until_idle() -> None:
    """Run the event loop until all its tasks wait for a timer, a thread or a socket.

    asyncio has no public way to ask whether a loop is idle, so this runs a fixed number of iterations. From a frame to
    its reply there are about fifteen.
    """
    for _ in range(LOOP_ITERATIONS):
        await asyncio.sleep(0)


class Application:
    """Runs one instance of an ASGI application: sends it events, receives its messages, and records its end.

    Like a server, it answers a close by the application with ``websocket.disconnect``, and drops messages that the
    application sends after the client has disconnected. Only :meth:`disconnect` ends the application.
    """

    def __init__(self, application: ASGIApplication, scope: Scope, deliver: Callable[[str | bytes], None]) -> None:
        self._application = application
        self._scope = scope
        self._deliver = deliver
        self._input: asyncio.Queue[Message] = asyncio.Queue()
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None]
        self._accepted: Message | None = None
        self._is_disconnected = False
        self._has_raised = False
        self.closed: Close | None = None

    async def connect(self, seconds: float) -> Message:
        """Start the application and return its ``websocket.accept``.

        The application has ended if this raises.

        Args:
            seconds: The time to wait.

        Raises:
            ConnectionRefused: If the application closes the socket instead.
            ClientTimeout: If it does neither in time. Exceptions of the application are raised as well.
        """
        # In an empty context, as on a server: context variables of the test are not set.
        self._task = plain_task(self._run(), asyncio.get_running_loop())
        self._task.add_done_callback(lambda _: self.notify())
        self.feed({"type": "websocket.connect"})
        try:
            return await self._acceptance(seconds)
        except BaseException:
            await self.disconnect(1006, 0, suppress_errors=True)
            raise

    def feed(self, message: Message) -> None:
        """Send one event to the application."""
        self._input.put_nowait(message)

    def notify(self) -> None:
        """Wake all that wait in :meth:`wait_for_change`."""
        self._changed.set()
        self._changed.clear()

    async def wait_for_change(self, deadline: float) -> bool:
        """Wait for a message or the end of the application. Return ``False`` after ``deadline`` on the loop's clock."""
        loop = asyncio.get_running_loop()
        timer = loop.call_at(deadline, self.notify)
        try:
            await self._changed.wait()
        finally:
            timer.cancel()
        return loop.time() < deadline

    def raise_if_closed(self) -> None:
        """Raise the exception of the application, or ``ConnectionClosed`` if it has closed the socket or ended."""
        self.raise_error()
        if self.closed is not None:
            raise ConnectionClosed("The application closed the socket", *self.closed)
        if self._task.done():
            raise ConnectionClosed("The application ended without closing the socket", 1006)

    async def disconnect(self, code: int, seconds: float, *, suppress_errors: bool = False) -> None:
        """Disconnect, wait for the application to end, and cancel it if it does not end in time.

        An exception of the application is raised unless it was raised before.

        Args:
            code: The close code.
            seconds: The time to wait.
            suppress_errors: Whether to raise nothing.

        Raises:
            ClientTimeout: If the application had to be cancelled.
        """
        if not self._is_disconnected and self.closed is None:
            self.feed({"type": "websocket.disconnect", "code": code, "reason": ""})
        self._is_disconnected = True
        try:
            ended, _ = await asyncio.wait([self._task], timeout=seconds)
        finally:
            if not self._task.done():
                self._task.cancel()
                await asyncio.wait([self._task], timeout=max(seconds, 1.0))
        if suppress_errors:
            return
        if not self._has_raised:
            self.raise_error()
        if not ended:
            raise ClientTimeout(
                f"The application did not end within {seconds:g} s of the disconnect and was cancelled. "
                "A handler, a task or disconnect() was still running. Give it more time with RouteClient(timeout=...)."
            )

    def raise_error(self) -> None:
        """Raise the exception of the application, if there is one."""
        task = self._task
        if task.done() and not task.cancelled() and (error := task.exception()) is not None:
            self._has_raised = True
            raise error

    async def _acceptance(self, seconds: float) -> Message:
        deadline = asyncio.get_running_loop().time() + seconds
        in_time = True
        while self._accepted is None:
            if self.closed is not None:
                await self.disconnect(self.closed.code, seconds)
                raise ConnectionRefused("The application refused the connection", *self.closed)
            self.raise_if_closed()
            if not in_time:
                raise ClientTimeout(f"The application did not accept the connection within {seconds:g} s.")
            in_time = await self.wait_for_change(deadline)
        return self._accepted

    async def _run(self) -> None:
        await self._application(self._scope, self._input.get, self._send)

    async def _send(self, message: Message) -> None:
        if self._is_disconnected:
            return
        kind = message["type"]
        if self.closed is not None:
            raise RuntimeError(f"The application sent {kind!r} after its websocket.close. Servers refuse that.")
        if kind == "websocket.close":
            self.closed = Close(message.get("code") or 1000, message.get("reason") or "")
            self.feed({"type": "websocket.disconnect", "code": self.closed.code, "reason": self.closed.reason})
        elif kind == "websocket.accept" and self._accepted is None:
            self._accepted = dict(message)
        elif kind == "websocket.send" and self._accepted is not None:
            self._deliver(_data_of(message))
        else:
            raise RuntimeError(f"The application sent {kind!r}, which a server does not expect at this point.")
        self.notify()


def _data_of(message: Message) -> str | bytes:
    text, data = message.get("text"), message.get("bytes")
    if isinstance(text, str) and data is None:
        return text
    if isinstance(data, bytes) and text is None:
        return data
    raise TypeError("A websocket.send must have either a str as 'text' or bytes as 'bytes'.")


class Transport:
    """Sends frames to an application and waits for its frames.

    Args:
        application: The running application.
        inbox: The frames that it has sent.
        timeout: The default timeout of each wait, in seconds.
    """

    def __init__(self, application: Application, inbox: Inbox, timeout: float) -> None:
        self.application = application
        self.inbox = inbox
        self._timeout = timeout

    def send(self, data: str | bytes) -> None:
        """Send a frame. Raise failures that no call has raised yet, and ``ConnectionClosed`` if it is closed."""
        self.inbox.raise_failure()
        self.application.raise_if_closed()
        self.feed(data)

    def feed(self, data: str | bytes) -> None:
        """Send a frame. Never raises."""
        self.application.feed({"type": "websocket.receive", "text" if isinstance(data, str) else "bytes": data})

    async def wait_for_reply(self, id: RequestId, take: Callable[[], T | None], what: str, timeout: float | None) -> T:
        """Wait until ``take`` returns a frame of the request. If there is none, raise the failure that explains it."""
        try:
            return await self._wait(take, what, timeout, NoReply)
        except (ClientTimeout, ConnectionClosed):
            self.inbox.raise_failure(id)
            self.inbox.raise_failure()
            raise

    async def wait_for(self, take: Callable[[], T | None], what: str, timeout: float | None) -> T:
        """Wait until ``take`` returns something that is not a reply. Raise failures that no call has claimed."""

        def take_or_raise() -> T | None:
            self.inbox.raise_failure()
            return take()

        return await self._wait(take_or_raise, what, timeout, ClientTimeout)

    async def _wait(
        self, take: Callable[[], T | None], what: str, timeout: float | None, error: type[ClientTimeout]
    ) -> T:
        seconds = self._timeout if timeout is None else timeout
        deadline = asyncio.get_running_loop().time() + seconds
        in_time = True
        while (found := take()) is None:
            self.application.raise_if_closed()
            if not in_time:
                raise error(f"No {what} within {seconds:g} s. {self.inbox.summary()}")
            in_time = await self.application.wait_for_change(deadline)
        return found
