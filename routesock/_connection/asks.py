"""What one socket has asked its client, and the calls that wait for the answers."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from itertools import count
from typing import Any, Final

from .. import conf
from .._runtime.fair_timeout import FairTimeout
from .._wire.frames import Answer
from ..dialects.base import ASK_PREFIX
from ..exceptions import AskRefused, NoAnswer, TooManyAsks
from .sending.frame_writer import FrameWriter

TIMEOUT_HEADER: Final = "Timeout"
"""The header with the seconds that the client has to answer."""


class Asks:
    """Asks the client of one socket and waits for its answers, at most ``MAX_ASKS`` at a time.

    The ids have an ``@`` in front, which keeps them apart from the ids of the client's requests.
    """

    __slots__ = ("_has_ended", "_ids", "_most", "_waiting", "_writer")

    def __init__(self, writer: FrameWriter) -> None:
        self._writer = writer
        self._most: int = conf.get("MAX_ASKS")
        self._ids = count(1)
        self._waiting: dict[str, asyncio.Future[Any]] = {}
        self._has_ended = False

    async def ask(self, route: str, payload: Any, headers: Mapping[str, Any], timeout: float) -> Any:
        """Send the frame and return the payload of the answer. Raises what encoding raises.

        Args:
            route: The name of the frame.
            payload: The payload.
            headers: Further headers.
            timeout: Seconds to wait, for a client that does not read as well. Time for which the event loop is blocked
                does not count.

        Raises:
            NoAnswer: The time is over, or the socket ends.
            AskRefused: The client has answered with an error.
            TooManyAsks: As many answers as the limit allows are awaited already.
        """
        if self._has_ended:
            raise NoAnswer
        if len(self._waiting) >= self._most:
            raise TooManyAsks(limit=self._most)
        id = f"{ASK_PREFIX}{next(self._ids)}"
        self._waiting[id] = future = asyncio.get_running_loop().create_future()
        try:
            async with FairTimeout(timeout):
                await self._writer.ask(route, id, payload, {**headers, TIMEOUT_HEADER: timeout})
                return await future
        except TimeoutError as exc:
            if isinstance(exc, NoAnswer):
                raise
            raise NoAnswer from None
        finally:
            self._waiting.pop(id, None)
            if not future.cancel() and not future.cancelled():
                future.exception()  # asyncio logs one that nothing has fetched

    def take(self, answer: Answer) -> bool:
        """Hand ``answer`` to the call that waits for it; ``False`` if there is none, or if it has an answer already."""
        future = self._waiting.pop(answer.id, None) if isinstance(answer.id, str) else None
        if future is None or future.done():
            return False
        if answer.status >= 400:
            future.set_exception(AskRefused(answer.status, answer.payload))
        else:
            future.set_result(answer.payload)
        return True

    def end(self) -> None:
        """End all waits with :class:`NoAnswer`, those of later calls at once: no answer will be read."""
        self._has_ended = True
        waiting, self._waiting = self._waiting, {}
        for future in waiting.values():
            if not future.done():
                future.set_exception(NoAnswer())
