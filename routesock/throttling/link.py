"""One connection to a Redis, on which many callers' commands are answered in their order."""

from __future__ import annotations

import asyncio
import contextvars
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Final

from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError, ReadOnlyError, ResponseError

OPEN_WITHIN: Final = 5.0
"""Seconds for a connection to be made. Who asks may have less patience, but the next one finds it ready."""

Open = Callable[[], Awaitable[AbstractConnection]]


class Link:
    """Asks a Redis through one connection at a time; ``open`` gives a connected one.

    A command is written at once, whatever is not answered yet. A connection that breaks is replaced when somebody asks
    next, and so is one that was given up.
    """

    def __init__(self, open: Open) -> None:
        self._open = open
        self._line: _Line | None = None
        self._opening: asyncio.Task[_Line] | None = None
        self.answers = 0
        """How many there were so far."""

    async def ask(self, *command: Any) -> Any:
        """The reply to ``command``. Raises what redis-py raises. Who has no more patience cancels it."""
        line = self._line
        if line is None or not line.is_open:
            line = await self._opened()
        try:
            answer = await line.ask(*command)
        except ReadOnlyError:  # it is a replica by now: its name may lead to another server
            line.give_up()
            raise
        self.answers += 1
        return answer

    def give_up(self) -> None:
        """Use the connection no more, since it may never say anything again."""
        if self._line is not None:
            self._line.give_up()
            self._line = None

    async def _opened(self) -> _Line:
        if self._opening is None:
            # A task: who asked first may leave, and others wait for the same.
            self._opening = _apart(self._open_line())
            self._opening.add_done_callback(self._opening_ended)
        return await asyncio.shield(self._opening)

    async def _open_line(self) -> _Line:
        async with asyncio.timeout(OPEN_WITHIN):
            self._line = _Line(await self._open())
        return self._line

    def _opening_ended(self, task: asyncio.Task[_Line]) -> None:
        self._opening = None
        if not task.cancelled():
            task.exception()  # or it would be logged where everybody has left


class _Line:
    """A connection, and who waits for an answer on it."""

    def __init__(self, connection: AbstractConnection) -> None:
        self._connection = connection
        self._unanswered: deque[asyncio.Future[Any]] = deque()
        self._reading = _apart(self._read())

    @property
    def is_open(self) -> bool:
        return self._connection.is_connected and not self._reading.done()

    async def ask(self, *command: Any) -> Any:
        if not self.is_open:
            raise ConnectionError("The connection is closed.")
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._unanswered.append(answer)
        try:
            # Written before it may wait, so in the order of the line.
            await self._connection.send_command(*command, check_health=False)
            return await answer
        finally:
            answer.cancel()

    def give_up(self) -> None:
        self._reading.cancel()

    async def _read(self) -> None:
        why: Exception = ConnectionError("The connection was given up.")
        try:
            while True:
                try:
                    answer = await self._connection.read_response()
                except ResponseError as exc:
                    answer = exc
                self._settle(answer)
        except Exception as exc:
            why = exc
        finally:
            while self._unanswered:
                self._settle(why)
            await self._connection.disconnect(nowait=True)

    def _settle(self, answer: Any) -> None:
        waiting = self._unanswered.popleft()
        if waiting.done():  # nobody waits any more
            return
        if isinstance(answer, Exception):
            waiting.set_exception(answer)
        else:
            waiting.set_result(answer)


def _apart(coroutine: Any) -> asyncio.Task[Any]:
    """A task in an empty context: it lives longer than the socket that happens to begin it."""
    return asyncio.get_running_loop().create_task(coroutine, context=contextvars.Context())
