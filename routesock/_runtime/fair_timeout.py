"""Time limits that do not count the time for which the event loop is blocked."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from types import TracebackType
from typing import Any, Final

SLICES: Final = 5
"""The number of slices into which :class:`FairTimeout` divides its time."""

MAX_LATE_SLICES: Final = 20
"""The number of slices that :class:`FairTimeout` does not count because the event loop was late."""


class FairTimeout:
    """A timeout that does not count the time for which the event loop is blocked: ``async with FairTimeout(seconds)``.

    It raises ``TimeoutError``, as ``asyncio.timeout()`` does. While the event loop is blocked, it cannot read an answer
    that has arrived, and ``asyncio.timeout()`` would expire before the first answer is read. So the time is divided
    into slices, and a slice does not count if the event loop notices its end too late.

    Args:
        seconds: The time that the block may take; ``None`` for any time.
    """

    __slots__ = ("_handle", "_late_left", "_left", "_slice", "_timeout")

    def __init__(self, seconds: float | None) -> None:
        self._slice = None if seconds is None else seconds / SLICES
        self._left = SLICES
        self._late_left = MAX_LATE_SLICES
        self._timeout = asyncio.timeout(None)

    async def __aenter__(self) -> None:
        await self._timeout.__aenter__()
        if self._slice is not None:
            self._handle = asyncio.get_running_loop().call_later(self._slice, self._end_slice, self._slice)

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        if self._slice is not None:
            self._handle.cancel()
        return await self._timeout.__aexit__(kind, exc, traceback)  # type: ignore[func-returns-value]

    def _end_slice(self, length: float) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        if self._late_left and now - self._handle.when() > length / 2:
            self._late_left -= 1
        else:
            self._left -= 1
        if self._left:
            self._handle = loop.call_at(now + length, self._end_slice, length)
        else:
            self._timeout.reschedule(now)


async def wait_fairly(tasks: Iterable[asyncio.Future[Any]], seconds: float) -> set[asyncio.Future[Any]]:
    """Wait until ``tasks`` are done, but no longer than a :class:`FairTimeout`. Cancels none of them.

    Returns:
        Those that are not done.
    """
    pending = {*tasks}
    if pending:
        with suppress(TimeoutError):
            async with FairTimeout(seconds):
                await asyncio.wait(pending)
    return {task for task in pending if not task.done()}
