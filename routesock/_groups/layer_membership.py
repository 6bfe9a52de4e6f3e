"""A socket's own channel and its groups in the channel layer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

from .._runtime.layer_calls import call
from .._runtime.supervision import safe_logger
from .channel_reader import ChannelReader
from .layer_recovery import CALL_LIMIT, FIRST_RETRY, Recovery, each, recovery_of

_REFUSED: Final = (TypeError, ValueError, AssertionError, AttributeError, NotImplementedError)
"""Exceptions of a layer that does not accept a name or a call. Nothing was sent."""


_UNDECODABLE: Final = (ValueError, TypeError, LookupError, AttributeError, RecursionError)
"""Exceptions of decoders. ``InvalidToken`` of ``cryptography`` is another one, by its name."""

MAX_UNREADABLE: Final = 100
"""Messages in a row that cannot be read. After that the layer counts as one that fails, and is tried less often."""

logger: Final = safe_logger("routesock.socket")

_CALLS: Final = ("send", "group_add", "group_discard", "group_send")


class RememberingLayer:
    """A consumer's ``channel_layer``: the real one, which remembers the groups of the consumer's own channel.

    Its calls wait until not too many are under way, and fail at once while the layer is known not to answer.
    """

    __slots__ = ("_routesock",)

    def __init__(self, membership: Membership) -> None:
        object.__setattr__(self, "_routesock", membership)

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._routesock.layer, name)
        return getattr(self._routesock, name) if name in _CALLS else value

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._routesock.layer, name, value)

    def __delattr__(self, name: str) -> None:
        delattr(self._routesock.layer, name)

    def __eq__(self, other: object) -> bool:
        return bool(self._routesock.layer == (other._routesock.layer if type(other) is RememberingLayer else other))

    def __hash__(self) -> int:
        return hash(self._routesock.layer)

    def __repr__(self) -> str:
        return repr(self._routesock.layer)

    def __str__(self) -> str:
        return str(self._routesock.layer)

    def __dir__(self) -> list[str]:
        return dir(self._routesock.layer)

    @property  # type: ignore[misc]
    def __class__(self) -> type:  # pyright: ignore[reportIncompatibleMethodOverride]
        return type(self._routesock.layer)


class Membership:
    """The groups of ``layer`` that ``channel`` has joined; a :class:`~.layer_recovery.Member` of its recovery."""

    __slots__ = ("_ended", "_groups", "_leaving", "_loop", "_reader", "_recovery", "_unreadable", "channel", "layer")

    def __init__(self, layer: Any, channel: str) -> None:
        self.layer = layer
        self.channel = channel
        # False: the channel shall not be in that group, but the layer may have it there.
        self._groups: dict[str, bool] = {}
        self._leaving = False
        self._ended = False
        self._loop = asyncio.get_running_loop()
        self._recovery: Recovery | None = None
        self._unreadable = 0  # messages, since the last one that could be read
        self._reader = ChannelReader(layer, channel, self._loop)

    # Called by the consumer

    async def send(self, *args: Any) -> Any:
        """As the layer's."""
        return await call(self.layer, self.layer.send, *args)

    async def group_send(self, *args: Any) -> Any:
        """As the layer's."""
        return await call(self.layer, self.layer.group_send, *args)

    async def group_add(self, group: str, channel: str, *, limit: float | None = None) -> Any:
        """Join ``group`` and remember it. Raises what the layer raises; then it is not remembered."""
        if not self._is_own(group, channel):
            return await call(self.layer, self.layer.group_add, group, channel)
        if self._leaving:  # nothing reads what would come
            return None
        self._enter()
        before = self._groups.get(group)
        self._groups[group] = True
        try:
            result = await call(self.layer, self.layer.group_add, group, channel, limit=limit)
        except BaseException as exc:
            if not before:
                self._groups[group] = False
                if before is None and isinstance(exc, _REFUSED):
                    del self._groups[group]
            self._report(exc)
            raise
        if self._ended:
            await self._leave(group)
        return result

    async def group_discard(self, group: str, channel: str, *, limit: float | None = None) -> Any:
        """Leave ``group`` and forget it. Raises what the layer raises, but not at the end of the socket."""
        if not self._is_own(group, channel) or self._ended:
            return await call(self.layer, self.layer.group_discard, group, channel)
        if group in self._groups:
            self._groups[group] = False  # first, for a recovery that is joining it again at this moment
        if self._leaving:
            await self._leave(group)
            return None
        try:
            result = await call(self.layer, self.layer.group_discard, group, channel, limit=limit)
        except BaseException as exc:
            self._report(exc)
            raise
        self._forget(group)
        return result

    # Called by the connection, or by the hub whose channel it is

    async def receive(self, receive: Callable[[], Awaitable[Any]]) -> Any:
        """The next message, from the layer's ``receive``; waits while the layer fails."""
        task = asyncio.current_task()
        assert task is not None
        while True:
            message, failure = await self._reader.next(receive)
            if failure is None:
                self._unreadable = 0
                return message
            if not isinstance(failure, Exception):
                raise failure
            if _is_unreadable(failure) and self._unreadable < MAX_UNREADABLE:
                self._unreadable += 1
                logger.error("A message of the channel layer cannot be read and was ignored.", exc_info=failure)
                continue
            await self._recovered(failure, task)

    async def _recovered(self, exc: Exception, task: asyncio.Task[Any]) -> None:
        """``receive()`` has failed with ``exc``: return when the layer works again."""
        if task.cancelling():  # the layer failed while it was cancelled
            raise asyncio.CancelledError from exc
        recovery = self._enter()
        if not (_timed_out(exc) and await self._still_answers()):
            recovery.report(exc)
            await recovery.answers()

    def leaving(self) -> None:
        """The socket is at its end: it joins no more groups, and does not wait for a layer that fails."""
        self._leaving = True

    async def leave_all(self) -> None:
        """Leave all groups that have not been left. What the layer raises is logged."""
        self._leaving = self._ended = True
        await self._reader.end()
        if self._recovery is None:
            return
        _, exc = await each(self.unsettled(), self.settle)
        if exc is not None:
            self._recovery.report(exc)
        await self._recovery.leave(self)

    # Called by the recovery

    def unsettled(self) -> list[str]:
        return [*self._groups]

    def left(self) -> list[str]:
        return [group for group, wanted in self._groups.items() if self._leaving or not wanted]

    async def settle(self, group: str) -> None:
        joined = None if group in self._groups else False
        # The consumer's own calls may overtake each of these: what counts is what it wants when they have ended.
        while joined is not (wanted := self._groups.get(group, False) and not self._leaving):
            function = self.layer.group_add if wanted else self.layer.group_discard
            try:
                await call(self.layer, function, group, self.channel, limit=CALL_LIMIT, even_in_outage=True)
            except BaseException:
                self._groups.setdefault(group, False)  # the layer may join it later
                raise
            joined = wanted
        if not joined:
            self._forget(group)

    async def _still_answers(self) -> bool:
        """Whether the layer joins one of the channel's groups again, if it has any; a moment later if it does."""
        try:
            for group in self.unsettled()[:1]:
                await self.settle(group)
        except Exception:
            return False
        await asyncio.sleep(FIRST_RETRY)  # in case that its ``receive()`` times out at once
        return True

    def _is_own(self, group: object, channel: object) -> bool:
        return channel == self.channel and isinstance(group, str)

    def _enter(self) -> Recovery:
        if self._recovery is None:
            self._recovery = recovery_of(self.layer, self._loop)
            self._recovery.enter(self)
        return self._recovery

    def _report(self, exc: BaseException) -> None:
        """A call of the consumer failed: it may be the only one that meets a restart of the layer."""
        if isinstance(exc, Exception) and not isinstance(exc, _REFUSED) and not _timed_out(exc) and not self._ended:
            self._enter().report(exc)

    async def _leave(self, group: str) -> None:
        if self._recovery is not None and self._recovery.failing:
            return  # leave_all() tries all of them at a time, and the recovery after it
        try:
            discard = self.layer.group_discard
            await call(self.layer, discard, group, self.channel, limit=CALL_LIMIT, even_in_outage=True)
        except _REFUSED:
            raise
        except Exception as exc:
            self._enter().report(exc)
        else:
            self._forget(group)

    def _forget(self, group: str) -> None:
        """The layer has let it leave. A layer that fails may act late on an earlier call, so it is called again."""
        failing = self._recovery is not None and self._recovery.failing
        if not failing and (self._leaving or not self._groups.get(group)):
            self._groups.pop(group, None)


def _is_unreadable(exc: Exception) -> bool:
    """Whether the layer could not decode a message: it works, and nothing but that message is lost."""
    return isinstance(exc, _UNDECODABLE) or any(cls.__name__ == "InvalidToken" for cls in type(exc).__mro__)


def _timed_out(exc: Exception) -> bool:
    """Whether the layer gave up waiting for an answer. redis-py 8 does so in a ``receive()`` that is idle for 5 s.

    Nothing need be lost by that: one group is joined again as a test before all of them are.
    """
    return any(cls.__name__ == "TimeoutError" for cls in type(exc).__mro__)
