"""The recovery of a channel layer: one for all sockets of a process, since a layer does not fail them one by one."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import random
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from typing import Any, Final, Protocol, TypeVar

logger: Final = logging.getLogger("routesock.socket")

FIRST_RETRY: Final = 0.1

LAST_RETRY: Final = 2.0
"""Seconds at most between the first two tries of a channel layer that fails, and between the last ones."""

QUIET: Final = 1.0
"""Seconds without a failure after which a layer that joins groups again is held to work."""

CALL_LIMIT: Final = 1.0
"""Seconds for a call of ours to the layer. One that takes longer has failed."""

MAX_LEFT_BEHIND: Final = 10_000
"""Ended sockets that are remembered because their groups could not be left; beyond that the oldest is forgotten."""

WORKERS: Final = 8
"""Calls to the layer at a time: a pool of redis-py 8 refuses more connections than it has."""

Key = TypeVar("Key")


class Member(Protocol):
    """One channel and its groups."""

    def unsettled(self) -> list[str]:
        """The groups that a layer which has lost everything has to be told of."""
        ...

    def left(self) -> list[str]:
        """Those of them that it is not to be in."""
        ...

    async def settle(self, group: str) -> None:
        """Tell the layer whether the channel is in ``group``. Raises what the layer raises, within ``CALL_LIMIT``."""


class Recovery:
    """Brings the members of one channel layer back into their groups after it has failed.

    When Redis is restarted, only the socket that was reading from it notices; the groups of all others are lost as
    well, and their reading blocks for good. So one task joins for all. It runs while the layer fails, and ends with the
    last socket.
    """

    def __init__(self, layer: Any, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.failing = False
        """An outage was logged, and its end was not."""
        self._layer = layer
        self._members: dict[Member, None] = {}
        self._left_behind: deque[Member] = deque(maxlen=MAX_LEFT_BEHIND)
        self._idle = asyncio.Event()  # nothing is being told to the layer
        self._failed = asyncio.Event()
        self._answers = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        loop.call_soon_threadsafe(self._refresh_later)

    def enter(self, member: Member) -> None:
        """Look after the groups of ``member`` until it leaves."""
        self._members[member] = None

    async def leave(self, member: Member) -> None:
        """Forget ``member``, but for groups that it could not leave. With the last one the recovery ends."""
        self._members.pop(member, None)
        if member.unsettled():
            self._left_behind.append(member)
        if self._members:
            return
        _recoveries.pop((id(self._layer), id(self.loop)), None)
        if self._timer is not None:
            self._timer.cancel()
        task = self._task
        if task is not None:
            # What it is joining for a socket that has ended it leaves again, unless it is cancelled in between.
            with suppress(TimeoutError):
                async with asyncio.timeout(CALL_LIMIT):
                    await self._idle.wait()
            task.cancel()
            await asyncio.wait({task})

    def report(self, exc: Exception) -> None:
        """The layer has failed with ``exc``: begin to bring it back."""
        if asyncio.get_running_loop() is not self.loop:  # the socket's own code called it in a thread of its own
            self.loop.call_soon_threadsafe(self._begin, exc)
        else:
            self._begin(exc)

    async def answers(self) -> None:
        """Wait until a try has shown that the layer does again what it is asked for."""
        await self._answers.wait()

    def _begin(self, exc: Exception) -> None:
        self._log(exc)
        self._answers.clear()
        self._start()

    def _start(self) -> None:
        self._failed.set()
        if self._task is None and self._members:
            # Not in the context of a socket, which it may outlive.
            self._task = self.loop.create_task(self._run(), context=contextvars.Context())

    async def _run(self) -> None:
        try:
            for wait in waits():
                if await self._joined() and await self._left():
                    break
                await asyncio.sleep(wait)
        finally:
            self.failing = False
            self._task = None

    async def _joined(self) -> bool:
        """One try to join every group; ``False`` if it failed, or if the layer failed once more soon after."""
        self._failed.clear()
        keys = [(member, group) for member in self._all() for group in member.unsettled()]
        settled, exc = await self._settle_each(keys)
        if settled or not keys:
            self._answers.set()
        if exc is not None:
            self._log(exc)
            return False
        with suppress(TimeoutError):
            async with asyncio.timeout(QUIET):
                await self._failed.wait()
        return not self._failed.is_set()

    async def _left(self) -> bool:
        """Leave once more what was left in the outage, since a call that was given up then may have come behind it."""
        if self.failing:
            logger.info("The channel layer %s works again; its groups were joined again.", type(self._layer).__name__)
        self.failing = False
        _, exc = await self._settle_each([(member, group) for member in self._all() for group in member.left()])
        self._left_behind = deque((member for member in self._left_behind if member.unsettled()), MAX_LEFT_BEHIND)
        if exc is not None:
            self._log(exc)
        return exc is None and not self._failed.is_set()

    def _all(self) -> list[Member]:
        return [*self._left_behind, *self._members]

    async def _settle_each(self, keys: list[tuple[Member, str]]) -> tuple[int, Exception | None]:
        self._idle.clear()
        result = await each(keys, self._settle)
        self._idle.set()
        return result

    async def _settle(self, key: tuple[Member, str]) -> None:
        member, group = key
        try:
            await member.settle(group)
        except Exception:
            if member not in self._members:  # it ended meanwhile, and may be in a group that it had left
                self._left_behind.append(member)
            raise

    def _refresh_later(self) -> None:
        """Join everything again in time before the layer drops the members of ``group_expiry`` seconds ago."""
        expiry = getattr(self._layer, "group_expiry", None)
        if self._members and isinstance(expiry, int | float) and expiry > 0:
            self._timer = self.loop.call_later(expiry / 2, self._refresh)

    def _refresh(self) -> None:
        self._start()
        self._refresh_later()

    def _log(self, exc: Exception) -> None:
        if self.failing:
            logger.debug("The channel layer fails still.", exc_info=exc)
            return
        self.failing = True
        logger.error(
            "The channel layer %s fails. Sockets and requests go on, but no messages come until it works again.",
            type(self._layer).__name__,
            exc_info=exc,
        )


_recoveries: Final[dict[tuple[int, int], Recovery]] = {}


def recovery_of(layer: Any, loop: asyncio.AbstractEventLoop) -> Recovery:
    """The recovery of ``layer`` for the sockets of ``loop``."""
    key = (id(layer), id(loop))
    if key not in _recoveries:
        for other, recovery in [*_recoveries.items()]:
            if recovery.loop.is_closed():  # and its sockets were thrown away with it
                del _recoveries[other]
        _recoveries[key] = Recovery(layer, loop)
    return _recoveries[key]


def waits() -> Iterator[float]:
    """Seconds between the tries, each up to twice as long as the last: processes that fail together return apart."""
    longest = FIRST_RETRY
    while True:
        yield longest * random.uniform(0.5, 1)
        longest = min(longest * 2, LAST_RETRY)


async def each(keys: list[Key], do: Callable[[Key], Awaitable[None]]) -> tuple[int, Exception | None]:
    """Call ``do`` with each key, some at a time: how often it succeeded, and what it raised first, if anything.

    After a failure there is one call less at a time, so that a layer that hangs costs one ``CALL_LIMIT`` and a dead one
    ``WORKERS`` calls.
    """
    left = iter(keys)
    settled = 0
    failures: list[Exception] = []

    async def work() -> None:
        nonlocal settled
        for key in left:
            try:
                await do(key)
            except Exception as exc:
                failures.append(exc)
                return
            settled += 1

    async with asyncio.TaskGroup() as group:
        for _ in range(min(WORKERS, len(keys))):
            group.create_task(work())
    return settled, failures[0] if failures else None
