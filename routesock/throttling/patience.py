"""How long somebody else is waited for."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Final

PARTS: Final = 5
"""Into so many the time is divided."""

LATE_PARTS: Final = 20
"""So many more pass uncounted, since this process was late itself."""


class Patience:
    """``async with Patience(seconds)``: a ``TimeoutError`` if the block takes longer, as from ``asyncio.timeout()``.

    While the event loop is busy, nobody's answer is seen, and behind a stall the time would be over before the first
    one is read. So parts of the time are counted, and not those whose end the loop was late to see.
    """

    __slots__ = ("_handle", "_late", "_left", "_part", "_timeout")

    def __init__(self, seconds: float) -> None:
        self._part = seconds / PARTS
        self._left = PARTS
        self._late = LATE_PARTS
        self._timeout = asyncio.timeout(None)

    async def __aenter__(self) -> None:
        await self._timeout.__aenter__()
        self._handle = asyncio.get_running_loop().call_later(self._part, self._look)

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        self._handle.cancel()
        return await self._timeout.__aexit__(kind, exc, traceback)  # type: ignore[func-returns-value]

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        if self._late and now - self._handle.when() > self._part / 2:
            self._late -= 1
        else:
            self._left -= 1
        if self._left:
            self._handle = loop.call_at(now + self._part, self._look)
        else:
            self._timeout.reschedule(now)
