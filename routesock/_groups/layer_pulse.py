"""Notices that a channel layer has lost its groups although it answers: after FLUSHALL, an eviction, a restart."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from .._compat import reaches_other_processes, tracks_channels
from .._runtime.fair_timeout import FairTimeout
from .._runtime.layer_calls import call, is_known_outage
from .._runtime.supervision import Supervisor, safe_logger
from .channel_reader import ChannelReader, new_channel, outlive

logger: Final = safe_logger("routesock.socket")

INTERVAL: Final = 4.0
"""Seconds between two messages that a process sends to itself."""

CALL_TIMEOUT: Final = 2.0
"""Seconds for each call of the layer, and for such a message to come back."""

MIN_EXPIRY: Final = 60.0
"""Seconds. Where groups expire sooner, they are joined again often enough."""

PULSE: Final = "routesock.pulse"


class Pulse:
    """Sends a message through a group of ``layer`` that only this process is in, again and again.

    If it does not come back, but does so once the group was joined again, the layer has lost that group, and with it
    most likely all others. Then ``lost`` is called.
    """

    def __init__(self, layer: Any, loop: asyncio.AbstractEventLoop, lost: Callable[[], None]) -> None:
        self._layer = layer
        self._loop = loop
        self._lost = lost
        self._group = f"{PULSE}.{secrets.token_hex(8)}"
        self._channel: str | None = None
        self._reader: ChannelReader | None = None
        self._number = 0
        self._joined_at = 0.0
        self._work = Supervisor("The watch over the groups of a channel layer", self._run, loop)

    def start(self) -> None:
        """Begin, where the layer itself keeps its groups, and not the process."""
        expiry = self._expiry()
        if reaches_other_processes(self._layer) and not tracks_channels(self._layer) and expiry >= MIN_EXPIRY:
            self._work.start()

    async def end(self) -> None:
        """Stop. The group is left a little later."""
        await self._work.end()
        reader, self._reader = self._reader, None
        if reader is not None:
            _ = outlive(self._leave(reader))

    async def _leave(self, reader: ChannelReader) -> None:
        try:
            if not is_known_outage(self._layer):
                await call(self._layer, self._layer.group_discard, self._group, self._channel, limit=CALL_TIMEOUT)
        except Exception:
            logger.debug("The group of a pulse could not be left.", exc_info=True)
        await reader.end()

    def _expiry(self) -> float:
        expiry = getattr(self._layer, "group_expiry", None)
        return float(expiry) if isinstance(expiry, int | float) and expiry > 0 else float("inf")

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(INTERVAL)
            try:
                await self._beat()
            except Exception:  # an outage, which others notice and log
                logger.debug("A channel layer could not be watched.", exc_info=True)

    async def _beat(self) -> None:
        if self._channel is None:
            self._channel = await new_channel(self._layer)
            self._reader = ChannelReader(self._layer, self._channel, self._loop)
            await self._join()
        elif not await self._comes_back():
            await self._join()
            if await self._comes_back():
                self._lost()
        elif self._loop.time() - self._joined_at > self._expiry() / 4:
            await self._join()

    async def _join(self) -> None:
        await call(self._layer, self._layer.group_add, self._group, self._channel, limit=CALL_TIMEOUT)
        self._joined_at = self._loop.time()

    async def _comes_back(self) -> bool:
        """Send a message, and return whether it comes back in time. Raises what the layer raises."""
        assert self._reader is not None
        self._number += 1
        message = {"type": PULSE, "number": self._number}
        await call(self._layer, self._layer.group_send, self._group, message, limit=CALL_TIMEOUT)
        receive = partial(self._layer.receive, self._channel)
        try:
            async with FairTimeout(CALL_TIMEOUT):
                while True:
                    received, failure = await self._reader.next(receive)
                    if failure is not None:
                        raise failure
                    if received == message:
                        return True
        except TimeoutError:
            return False
