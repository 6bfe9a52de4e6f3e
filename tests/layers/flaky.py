"""A channel layer in memory that fails as one with a server of its own does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from functools import partial
from typing import Any

from channels.layers import InMemoryChannelLayer

Call = Callable[[], Coroutine[Any, Any, None]]


class FlakyLayer(InMemoryChannelLayer):
    """What it has been asked for while it hangs is done when it goes on, even if nobody waits for that any more."""

    def __init__(self, **config: Any) -> None:
        super().__init__(**config)
        self.calls: list[tuple[str, str]] = []
        """Name and group of every call for a group, in the order in which they began."""
        self.held: set[tuple[str, str]] = set()
        """The calls that hang, by name and group, until they are released."""
        self.broken: set[str] = set()
        """The groups for which every call fails."""
        self.slow: set[str] = set()
        """The groups for which every call times out."""
        self.mute: Exception | None = None
        """What every ``receive`` raises, while all else works."""
        self.received = 0
        """How often ``receive`` was called."""
        self._down = False
        self._hangs = False
        self._pending: list[tuple[tuple[str, str], Call, asyncio.Future[None]]] = []
        self._reading: dict[str, asyncio.Future[None]] = {}

    def fail(self, exc: Exception | None = None, channel: str | None = None) -> None:
        """Let what reads ``channel`` at this moment fail, or whatever reads."""
        for name, reading in self._reading.items():
            if channel in (None, name) and not reading.done():
                reading.set_exception(exc or ConnectionError("The layer is down."))

    def stop(self) -> None:
        self._down = True
        self.groups.clear()
        self.fail()

    def start(self) -> None:
        self._down = False

    def pause(self) -> None:
        self._hangs = True

    def resume(self, *, lost: bool = False) -> None:
        """Go on; ``lost``: without what it was asked for meanwhile."""
        self._hangs = False
        if lost:
            self._pending.clear()
        self.release(*{key for key, _, _ in self._pending})

    def release(self, *keys: tuple[str, str]) -> None:
        """Do what hangs of these calls, and let later ones pass."""
        self.held -= {*keys}
        for pending in [pending for pending in self._pending if pending[0] in keys]:
            self._pending.remove(pending)
            _, call, done = pending
            with suppress(StopIteration):  # in memory, no call waits
                call().send(None)
            if not done.done():
                done.set_result(None)

    @property
    def hangs(self) -> bool:
        """Whether a call is under way that hangs."""
        return bool(self._pending)

    def members(self, group: str) -> int:
        return len(self.groups.get(group, ()))

    async def receive(self, channel: str) -> Any:
        self.received += 1
        self._check()
        if self.mute is not None:
            raise self.mute
        self._reading[channel] = failing = asyncio.get_running_loop().create_future()
        receiving = asyncio.ensure_future(super().receive(channel))
        try:
            await asyncio.wait({failing, receiving}, return_when=asyncio.FIRST_COMPLETED)
            return receiving.result() if receiving.done() else failing.result()
        finally:
            receiving.cancel()
            failing.cancel()

    async def group_add(self, group: str, channel: str) -> None:
        await self._call(("group_add", group), partial(super().group_add, group, channel))

    async def group_discard(self, group: str, channel: str) -> None:
        await self._call(("group_discard", group), partial(super().group_discard, group, channel))

    async def group_send(self, group: str, message: Any) -> None:
        self._check()
        await super().group_send(group, message)

    async def _call(self, key: tuple[str, str], call: Call) -> None:
        self.calls.append(key)
        self._check(key[1])
        if key[1] in [*self.slow]:
            raise TimeoutError("The layer did not answer in time.")
        if self._hangs or key in [*self.held]:  # a name may be unhashable
            done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._pending.append((key, call, done))
            await done
        else:
            await call()

    def _check(self, group: object = None) -> None:
        if self._down or group in [*self.broken]:
            raise ConnectionError("The layer is down.")
