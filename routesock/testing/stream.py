"""A streamed reply, as a client reads it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from typing import Any, Self

from routesock import codec

from .errors import ConnectionClosed
from .frames import ClientReply
from .line import Line


class ReplyStream:
    """What answers one request, frame by frame: the items of its stream (206), then the reply that ends it.

    The request is sent when the first frame is asked for. A time-out leaves the stream open. Leaving it before its end
    cancels the request, and what still comes is dropped: a ``break`` does that, unless something else holds the stream,
    and :meth:`aclose` waits for the end as well.
    """

    def __init__(
        self,
        line: Line,
        id: str | int,
        what: str,
        *,
        request: Mapping[str, Any],
        cancel: Mapping[str, Any],
        timeout: float | None,
    ) -> None:
        self._line = line
        self._inbox = line.inbox
        self._id = id
        self._what = what
        self._request = request
        self._cancel = cancel
        self._timeout = timeout
        self._begun = False
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def open(self) -> bool:
        """Whether the request has been sent, and the stream neither ended nor left."""
        return self._loop is not None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> ClientReply:
        if not self._begun:
            self._begin()
        if not self.open:
            raise StopAsyncIteration
        take = partial(self._inbox.take_next, self._id)
        frame = await self._line.answer(self._id, take, f"further frame of {self._what}", self._timeout)
        if not frame.is_item:
            self._close()
            self._inbox.raise_failure(self._id)
        return frame.reply()

    async def aclose(self) -> None:
        """Leaves the stream if it is open, and waits for its end. Raises what :meth:`RouteClient.call` raises."""
        self._begun = True
        if self.open:
            self.leave()
            with suppress(ConnectionClosed):
                await self._line.answer(self._id, self._ended, f"end of {self._what}", self._timeout)
            self._inbox.raise_failure(self._id)

    def leave(self) -> None:
        """Leaves the stream if it is open, and waits for nothing."""
        if self.open:
            self._close()
            if self._inbox.drop(self._id):
                self._line.feed(codec.encode(self._cancel))

    def __del__(self) -> None:
        # `async for` closes no iterator, it lets go of it. The application is written to in its own thread only.
        if self.open and self._loop is _running_loop():
            self.leave()

    def _begin(self) -> None:
        self._begun = True
        self._inbox.claim(self._id)
        self._loop = asyncio.get_running_loop()
        try:
            self._line.write(codec.encode(self._request))
        except BaseException:
            self._close()
            raise

    def _ended(self) -> bool | None:
        return None if self._inbox.drops(self._id) else True

    def _close(self) -> None:
        self._loop = None
        self._inbox.release(self._id)


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
