"""Items that are put in on one side and read with ``async for`` on the other."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from ._types import StreamOverflow

MAX_BUFFERED: Final = 1000
"""How many items may wait to be read."""


class ItemBuffer:
    """A bounded queue that ends: with an exception or without."""

    def __init__(self) -> None:
        self.on_stop: Callable[[], object] = _nothing
        """Called when the reader leaves, and when too many items wait."""
        self.ended: bool = False
        self._error: BaseException | None = None
        self._items: deque[Any] = deque()
        self._readers: deque[asyncio.Future[None]] = deque()

    def put(self, item: Any) -> None:
        if self.ended:
            return
        if len(self._items) >= MAX_BUFFERED:
            self.finish(StreamOverflow())
            self.on_stop()
            return
        self._items.append(item)
        self._wake(1)

    def finish(self, error: BaseException | None = None) -> None:
        """Ends the iteration. What is buffered can still be read; then the exception is raised, once."""
        if not self.ended:
            self.ended = True
            self._error = error
            self._wake(len(self._readers))

    def leave(self) -> None:
        """The reader is gone: drops what is buffered, and stops the source."""
        ended = self.ended
        self._items.clear()
        self.finish()
        self._error = None
        if not ended:
            self.on_stop()

    async def get(self) -> Any:
        """Returns the next item, or raises the exception that has ended the iteration, or ``StopAsyncIteration``."""
        while not self._items:
            if self.ended:
                error, self._error = self._error, None
                raise error or StopAsyncIteration
            reader: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._readers.append(reader)
            try:
                await reader
            except asyncio.CancelledError:
                if reader.done() and not reader.cancelled():
                    self._wake(1)  # it was woken for an item that another reader may have
                else:
                    self._readers.remove(reader)
                raise
        return self._items.popleft()

    def _wake(self, count: int) -> None:
        while self._readers and count:
            reader = self._readers.popleft()
            if not reader.done():
                reader.set_result(None)
                count -= 1


def _nothing() -> None:
    """What a buffer without a source does when its reader leaves."""
