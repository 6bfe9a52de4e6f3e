"""Recovers from outages of a channel layer: rejoins the groups of all sockets of a process."""

from __future__ import annotations

import asyncio
import contextvars
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from math import inf
from typing import Any, Final, Protocol, TypeVar

from .._runtime.callables import is_from_outside
from .._runtime.fair_timeout import FairTimeout
from .._runtime.layer_calls import answers
from .._runtime.supervision import Supervisor, backoff, safe_logger
from .layer_pulse import Pulse

logger: Final = safe_logger("routesock.socket")

FIRST_RETRY: Final = 0.1

LAST_RETRY: Final = 2.0
"""Seconds at most between the first two tries of a channel layer that fails, and between the last ones."""

QUIET: Final = 1.0
"""Seconds without a failure after which a layer that joins groups again is considered to work."""

LONE_FAILURE: Final = 60.0
"""Seconds without a failure before one that is no outage yet, if the try that follows it succeeds."""

CALL_LIMIT: Final = 1.0
"""Seconds for one of routesock's own calls to the layer. A call that takes longer has failed."""

AFTERMATH: Final = 15.0
"""Seconds after an outage in which a group that is lost was lost by it: a watch notices that later than the others."""

MAX_DEPARTED: Final = 10_000
"""Ended sockets that are remembered because their groups could not be left; beyond that the oldest is forgotten."""

WORKERS: Final = 8
"""Calls to the layer at a time: a pool of redis-py 8 refuses more connections than it has."""

Key = TypeVar("Key")


class Member(Protocol):
    """One channel and its groups."""

    def unsettled(self) -> list[str]:
        """The groups in which a layer that has lost everything may have the channel wrongly, or not at all."""
        ...

    def left(self) -> list[str]:
        """Those of them that the channel is not to be in."""
        ...

    async def settle(self, group: str) -> None:
        """Join or leave ``group`` as the channel wants. Raises what the layer raises, within ``CALL_LIMIT``."""


class Recovery:
    """Brings the members of one channel layer back into their groups after an outage.

    When Redis is restarted, only the socket that was reading from it notices; the groups of all others are lost as
    well, and their reading blocks for good. So one task joins for all. It runs while the layer fails, and ends with the
    last socket.
    """

    def __init__(self, layer: Any, loop: asyncio.AbstractEventLoop, *, is_logged: bool = False) -> None:
        self.loop = loop
        self.failing = False
        """A call has failed, and no try since has shown that the layer works."""
        self._logged = is_logged
        """An outage was logged, and its end was not."""
        self._layer = layer
        self._members: dict[Member, None] = {}
        self._departed: deque[Member] = deque(maxlen=MAX_DEPARTED)
        self._idle = asyncio.Event()  # no call to the layer is under way
        self._failed = asyncio.Event()
        self._answers = asyncio.Event()
        self._work = Supervisor("The recovery of a channel layer", self._run, loop)
        self._timer: asyncio.TimerHandle | None = None
        self._last_failure = self._over_at = -inf
        self._suspicion: BaseException | None = None
        """The failure that is no outage yet."""
        self._pulse = Pulse(layer, loop, self._groups_lost)
        loop.call_soon_threadsafe(self._refresh_later)

    @property
    def _key(self) -> tuple[int, int]:
        return id(self._layer), id(self.loop)

    @property
    def is_running(self) -> bool:
        """Whether members are being brought back."""
        return self._work.is_running

    def enter(self, member: Member) -> None:
        """Keep ``member`` in its groups until it leaves."""
        self._members[member] = None
        self._pulse.start()
        if self._logged and not self.is_running:  # an outage that was not over when the last socket ended: is it now?
            self._start()

    async def leave(self, member: Member) -> None:
        """Forget ``member``, except for groups that it could not leave. With the last member the recovery ends."""
        self._members.pop(member, None)
        if member.unsettled():
            self._departed.append(member)
        if self._members:
            return
        if self._suspicion is not None:
            self._log(self._suspicion)
        _recoveries.pop(self._key, None)
        if self._logged:
            _unfinished[self._key] = self._layer, self.loop
        if self._timer is not None:
            self._timer.cancel()
        if self.is_running:
            # A group that it is joining for a socket that has ended is left afterwards, unless it is cancelled between.
            with suppress(TimeoutError):
                async with FairTimeout(CALL_LIMIT):
                    await self._idle.wait()
        await self._work.end()
        await self._pulse.end()
        self.failing = self._logged = False

    def report(self, exc: BaseException) -> None:
        """The layer has failed with ``exc``: begin to bring it back."""
        if asyncio.get_running_loop() is not self.loop:  # the consumer's code called it in another thread
            self.loop.call_soon_threadsafe(self._begin, exc)
        else:
            self._begin(exc)

    async def answers(self) -> None:
        """Wait until a try has shown that the layer works again."""
        await self._answers.wait()

    def _groups_lost(self) -> None:
        if self.failing or self.loop.time() - self._over_at < AFTERMATH:
            logger.debug("The channel layer %s has lost its groups in an outage.", type(self._layer).__name__)
        else:
            self.failing = self._logged = True
            logger.error(
                "The channel layer %s has lost its groups, though it answers: by FLUSHALL, or since its memory was "
                "full. They are joined again.",
                type(self._layer).__name__,
            )
        self._start()

    def _begin(self, exc: BaseException) -> None:
        now = self.loop.time()
        if self._members and not self.is_running and now - self._last_failure > LONE_FAILURE:
            # A connection that has gone stale, perhaps: the try that follows shows whether the layer works.
            logger.debug("A call of the channel layer failed.", exc_info=exc)
            self.failing, self._suspicion = True, exc
        else:
            self._log(exc)
        self._last_failure = now
        self._answers.clear()
        self._start()

    def _start(self) -> None:
        self._failed.set()
        if self._members:
            self._work.start()

    async def _run(self) -> None:
        for wait in backoff(FIRST_RETRY, LAST_RETRY):
            if await self._rejoin() and await self._leave_again():
                break
            await asyncio.sleep(wait)
        self.failing = self._logged = False

    async def _rejoin(self) -> bool:
        """One try to join every group; ``False`` if it failed, or if the layer failed once more soon after."""
        self._failed.clear()
        keys = [(member, group) for member in self._all() for group in member.unsettled()]
        if not keys and self._logged and not await answers(self._layer, CALL_LIMIT):
            return False
        settled, exc = await self._settle_each(keys)
        if settled or not keys:
            self._answers.set()
        if exc is None:
            self._suspicion = None
        else:
            self._log(exc)
            return False
        with suppress(TimeoutError):
            async with FairTimeout(QUIET):  # a loop that is blocked sees no failure
                await self._failed.wait()
        return not self._failed.is_set()

    async def _leave_again(self) -> bool:
        """Leave once more the groups that were left in the outage: a call that was given up may have arrived since."""
        if self._logged:
            logger.error("The channel layer %s works again; its groups were joined again.", type(self._layer).__name__)
            self._over_at = self.loop.time()
            _unfinished.pop(self._key, None)
        self.failing = self._logged = False
        _, exc = await self._settle_each([(member, group) for member in self._all() for group in member.left()])
        self._departed = deque((member for member in self._departed if member.unsettled()), MAX_DEPARTED)
        if exc is not None:
            self._log(exc)
        return exc is None and not self._failed.is_set()

    def _all(self) -> list[Member]:
        return [*self._departed, *self._members]

    async def _settle_each(self, keys: list[tuple[Member, str]]) -> tuple[int, BaseException | None]:
        self._idle.clear()
        try:
            return await each(keys, self._settle)
        finally:
            self._idle.set()

    async def _settle(self, key: tuple[Member, str]) -> None:
        member, group = key
        try:
            await member.settle(group)
        except BaseException:
            if member not in self._members:  # it ended meanwhile, and may be in a group that it had left
                self._departed.append(member)
            raise

    def _refresh_later(self) -> None:
        """Join everything again in time before the layer drops the members of ``group_expiry`` seconds ago."""
        expiry = getattr(self._layer, "group_expiry", None)
        if self._members and isinstance(expiry, int | float) and expiry > 0:
            self._timer = self.loop.call_later(expiry / 2, self._refresh, context=contextvars.Context())

    def _refresh(self) -> None:
        self._refresh_later()
        self._start()

    def _log(self, exc: BaseException) -> None:
        self._suspicion = None
        if self._logged:
            logger.debug("The channel layer still fails.", exc_info=exc)
            return
        self.failing = self._logged = True
        logger.error(
            "The channel layer %s fails. Sockets and requests go on, but no messages come until it works again.",
            type(self._layer).__name__,
            exc_info=exc,
        )


_recoveries: Final[dict[tuple[int, int], Recovery]] = {}

_unfinished: Final[dict[tuple[int, int], tuple[Any, asyncio.AbstractEventLoop]]] = {}
"""The layers, each with its loop, whose last socket has ended in an outage, until the next socket shows whether it is
over. So an outage is logged once, also if each socket fails at once and its client comes back."""


def recovery_of(layer: Any, loop: asyncio.AbstractEventLoop) -> Recovery:
    """The recovery of ``layer`` for the sockets of ``loop``."""
    key = (id(layer), id(loop))
    if key not in _recoveries:
        for other, recovery in [*_recoveries.items()]:
            if recovery.loop.is_closed():  # and its sockets were thrown away with it
                del _recoveries[other]
        for other, (_, its_loop) in [*_unfinished.items()]:
            if its_loop.is_closed():
                del _unfinished[other]
        _recoveries[key] = Recovery(layer, loop, is_logged=_unfinished.pop(key, None) is not None)
    return _recoveries[key]


def groups_of(layer: Any) -> Iterator[str]:
    """The names of the groups of ``layer`` that channels of this process have joined, or are about to leave."""
    for recovery in [*_recoveries.values()]:
        if recovery._layer is layer:
            for member in [*recovery._members]:
                yield from member.unsettled()


async def each(keys: list[Key], do: Callable[[Key], Awaitable[None]]) -> tuple[int, BaseException | None]:
    """Call ``do`` with each key, some at a time.

    After a failure there is one call less at a time, so that a layer that hangs costs one ``CALL_LIMIT`` and a dead one
    ``WORKERS`` calls.

    Returns:
        How often ``do`` succeeded, and what it raised first, ``None`` if it never raised.
    """
    left = iter(keys)
    settled = 0
    failures: list[BaseException] = []

    async def work() -> None:
        nonlocal settled
        task = asyncio.current_task()
        for key in left:
            try:
                await do(key)
            except BaseException as exc:  # a layer may itself raise SystemExit or CancelledError
                if is_from_outside(exc, task):
                    raise
                failures.append(exc)
                return
            settled += 1

    async with asyncio.TaskGroup() as group:
        for _ in range(min(WORKERS, len(keys))):
            group.create_task(work())
    return settled, failures[0] if failures else None
