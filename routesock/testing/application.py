"""Runs an ASGI application as a server would: its scope, its messages, its database connections."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from django.db.backends.base.base import BaseDatabaseWrapper
from django.utils.functional import LazyObject, empty

from .._wire.messages import Scope
from .frames import ClientTimeout, Close, ConnectionClosed, ConnectionRefused

HeaderValue = str | bytes

Headers = Mapping[str, HeaderValue | None] | Iterable[tuple[HeaderValue, HeaderValue | None]]
"""Handshake headers by name, or as pairs where a name comes twice; ``None`` removes a default."""

HOST = "testserver"  # the one that Django's test runner adds to ALLOWED_HOSTS


def websocket_scope(path: str, headers: Headers, subprotocols: Iterable[str]) -> Scope:
    """The scope of a handshake for ``path`` (with its query string, if any).

    The headers ``host`` and ``origin`` are those of a browser that has a page of ``http://testserver`` open, unless
    they are given: without an origin, Channels' origin validators refuse.
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


def signed_in(user: Any) -> Any:
    """``user`` in the form that stays in ``scope["user"]`` under Channels' ``AuthMiddleware``.

    That middleware assigns the session's user to the ``_wrapped`` of what it finds: no harm to a model instance, but it
    would replace the user inside a lazy object such as ``request.user``.
    """
    if not isinstance(user, LazyObject):
        return user
    if user._wrapped is empty:
        user._setup()
    return user._wrapped


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

_users = 0

_close_if_due = BaseDatabaseWrapper.close_if_unusable_or_obsolete


@contextmanager
def kept_connections() -> Iterator[None]:
    """Inside, ``close_old_connections()`` leaves two kinds of connections alone.

    Channels calls it around every event. It takes a connection with an open transaction, which is what a ``TestCase``
    runs in, for one that was left in a wrong state; and where a test may not use the database it would raise.
    """
    global _users
    with _lock:
        _users += 1
        BaseDatabaseWrapper.close_if_unusable_or_obsolete = _close_if_not_the_tests  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if not _users:
                BaseDatabaseWrapper.close_if_unusable_or_obsolete = _close_if_due  # type: ignore[method-assign]


def _close_if_not_the_tests(connection: Any) -> None:
    if connection.connection is None or connection.in_atomic_block:
        return
    try:
        connection.ensure_connection()  # it exists, so this does nothing but ask whether it may be used
    except Exception:
        return
    _close_if_due(connection)


Message = Mapping[str, Any]

ASGIApplication = Callable[..., Any]

TURNS = 50


async def let_run() -> None:
    """Lets everything in the loop run until it waits for time to pass, for a thread or for a socket.

    No public interface tells that a loop has nothing left to do. The longest chain of wake-ups between a frame and its
    reply is some fifteen turns of the loop.
    """
    for _ in range(TURNS):
        await asyncio.sleep(0)


class Application:
    """One run of an application: what is fed to it, what it sent, how it ended.

    As a server does, it answers a close by the application with a ``websocket.disconnect``, and drops what is sent
    after the client left. Nothing here ends the application but :meth:`leave`.
    """

    def __init__(self, application: ASGIApplication, scope: Scope, deliver: Callable[[str | bytes], None]) -> None:
        self._application = application
        self._scope = scope
        self._deliver = deliver
        self._input: asyncio.Queue[Message] = asyncio.Queue()
        self._news = asyncio.Event()
        self._task: asyncio.Task[None]
        self._accepted: Message | None = None
        self._left = False
        self._error_raised = False
        self.closed: Close | None = None

    async def connect(self, seconds: float) -> Message:
        """Starts the application and returns its ``websocket.accept``.

        Raises :class:`ConnectionRefused`, :class:`ClientTimeout`, or what the application raised; it has ended then.
        """
        # A server's tasks do not begin with the context of a test either.
        self._task = asyncio.create_task(self._run(), context=contextvars.Context())
        self._task.add_done_callback(lambda _: self.notify())
        self.feed({"type": "websocket.connect"})
        try:
            return await self._acceptance(seconds)
        except BaseException:
            await self.leave(1006, 0, quietly=True)
            raise

    def feed(self, message: Message) -> None:
        """Hands the application one event."""
        self._input.put_nowait(message)

    def notify(self) -> None:
        """Wakes everyone who waits for :meth:`news`."""
        self._news.set()
        self._news.clear()

    async def news(self, deadline: float) -> bool:
        """Waits until something changed; ``False`` once the loop's clock has passed ``deadline``."""
        loop = asyncio.get_running_loop()
        timer = loop.call_at(deadline, self.notify)
        try:
            await self._news.wait()
        finally:
            timer.cancel()
        return loop.time() < deadline

    def raise_if_over(self) -> None:
        """Raises what the application raised, or :class:`ConnectionClosed` once it closed the socket or ended."""
        self.raise_error()
        if self.closed is not None:
            raise ConnectionClosed("The application closed the socket", *self.closed)
        if self._task.done():
            raise ConnectionClosed("The application ended without closing the socket", 1006)

    async def leave(self, code: int, seconds: float, *, quietly: bool = False) -> None:
        """Disconnects and waits for the application to end; one that does not within ``seconds`` is cancelled.

        Raises what the application raised unless that was raised before, and :class:`ClientTimeout` if it had to be
        cancelled; nothing if ``quietly``.
        """
        if not self._left and self.closed is None:
            self.feed({"type": "websocket.disconnect", "code": code, "reason": ""})
        self._left = True
        try:
            ended, _ = await asyncio.wait([self._task], timeout=seconds)
        finally:
            if not self._task.done():
                self._task.cancel()
                await asyncio.wait([self._task], timeout=max(seconds, 1.0))
        if quietly:
            return
        if not self._error_raised:
            self.raise_error()
        if not ended:
            raise ClientTimeout(
                f"The application did not end within {seconds:g} s of the disconnect and was cancelled: "
                "a handler, a task or its disconnect() still ran. RouteClient(timeout=...) allows more time."
            )

    def raise_error(self) -> None:
        """Raises what the application raised, if it has."""
        task = self._task
        if task.done() and not task.cancelled() and (error := task.exception()) is not None:
            self._error_raised = True
            raise error

    async def _acceptance(self, seconds: float) -> Message:
        deadline = asyncio.get_running_loop().time() + seconds
        in_time = True
        while self._accepted is None:
            if self.closed is not None:
                await self.leave(self.closed.code, seconds)
                raise ConnectionRefused("The application refused the connection", *self.closed)
            self.raise_if_over()
            if not in_time:
                raise ClientTimeout(f"The application did not accept the connection within {seconds:g} s.")
            in_time = await self.news(deadline)
        return self._accepted

    async def _run(self) -> None:
        await self._application(self._scope, self._input.get, self._send)

    async def _send(self, message: Message) -> None:
        if self._left:
            return
        kind = message["type"]
        if self.closed is not None:
            raise RuntimeError(f"The application sent {kind!r} after its websocket.close; servers refuse that.")
        if kind == "websocket.close":
            self.closed = Close(message.get("code") or 1000, message.get("reason") or "")
            self.feed({"type": "websocket.disconnect", "code": self.closed.code, "reason": self.closed.reason})
        elif kind == "websocket.accept" and self._accepted is None:
            self._accepted = dict(message)
        elif kind == "websocket.send" and self._accepted is not None:
            self._deliver(_data_of(message))
        else:
            raise RuntimeError(f"The application sent {kind!r} where a server does not expect it.")
        self.notify()


def _data_of(message: Message) -> str | bytes:
    text, data = message.get("text"), message.get("bytes")
    if isinstance(text, str) and data is None:
        return text
    if isinstance(data, bytes) and text is None:
        return data
    raise TypeError("A websocket.send holds either a str as 'text' or bytes as 'bytes'.")
