"""One open socket of a client: what the client writes to it, and waits for what it brings."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from routesock.messages import RequestId

from .application import Application
from .errors import ClientTimeout, ConnectionClosed, NoReply
from .inbox import Inbox

T = TypeVar("T")


class Line:
    """Writes to an application and waits for its frames; each wait takes ``timeout`` seconds unless it is told."""

    def __init__(self, socket: Application, inbox: Inbox, timeout: float) -> None:
        self.socket = socket
        self.inbox = inbox
        self._timeout = timeout

    def write(self, data: str | bytes) -> None:
        """Hands the application a frame. Raises what no call has raised yet, :class:`ConnectionClosed` included."""
        self.inbox.raise_failure()
        self.socket.raise_if_over()
        self.feed(data)

    def feed(self, data: str | bytes) -> None:
        """As :meth:`write`, and raises nothing."""
        self.socket.feed({"type": "websocket.receive", "text" if isinstance(data, str) else "bytes": data})

    async def answer(self, id: RequestId, take: Callable[[], T | None], what: str, timeout: float | None) -> T:
        """What ``take`` finds of that request; where nothing can come, the failure of a handler explains why."""
        try:
            return await self._wait(take, what, timeout, NoReply)
        except (ClientTimeout, ConnectionClosed):
            self.inbox.raise_failure(id)
            self.inbox.raise_failure()
            raise

    async def unasked(self, take: Callable[[], T | None], what: str, timeout: float | None) -> T:
        """What ``take`` finds and is no reply; a failure that is no call's own is raised instead."""

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
            self.socket.raise_if_over()
            if not in_time:
                raise error(f"No {what} within {seconds:g} s. {self.inbox.summary()}")
            in_time = await self.socket.news(deadline)
        return found
