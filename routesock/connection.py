"""One socket from its first frame to its end: who reads, who works, and that nothing outlives it."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from itertools import count
from typing import Any, Final

from channels.exceptions import StopConsumer

from . import conf, faults
from .exceptions import TooManyInFlight
from .intake import Decision, Refusal
from .lane import FAIR_SHARE, HANDED_OVER, READ_ON, Job, Source, uncancel
from .membership import Membership
from .messages import Request
from .outgoing import Outgoing, means_gone
from .overrides import Compiled
from .responder import Responder
from .typing import UNSET

logger: Final = logging.getLogger("routesock.socket")

MAX_QUEUED_EVENTS: Final = 1000
"""Channel-layer messages that wait for their turn. More stay in the layer, which drops what it has no room for."""

CANCEL_WAIT: Final = 1.0
"""Seconds that a cancelled handler has for its ``finally`` blocks before ``disconnect()`` runs without it."""

Receive = Callable[[], Awaitable[Any]]


class Connection:
    """Serves one socket of ``consumer``: reads from the client and the channel layer until either ends it."""

    def __init__(
        self,
        consumer: Any,
        compiled: Compiled,
        receive: Receive,
        membership: Membership | None,
        send: Callable[[Any], Awaitable[None]],
    ) -> None:
        self._consumer = consumer
        self._receive = receive
        self._membership = membership
        self._send = send
        self._grace: float = conf.get("DISCONNECT_GRACE") if compiled.grace is UNSET else compiled.grace
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing = False
        self._gone = False
        self._finishing = False
        self._hurry = asyncio.Event()
        self._responder = Responder(
            consumer, compiled, Outgoing(consumer, compiled, self.reply, lambda: self._closing), self._spawn, self._end
        )
        self._lane = self._responder.lane
        self._client = Source(self._read_client, conf.get("MAX_QUEUED"))
        self._layer = Source(self._read_layer, MAX_QUEUED_EVENTS)
        self._context: contextvars.Context
        self._ended: asyncio.Future[dict[str, Any] | None]

    async def serve(self) -> None:
        """Read until the socket ends, then let ``disconnect()`` run, once, behind everything else."""
        self._context = contextvars.copy_context()
        self._ended = asyncio.get_running_loop().create_future()
        self._spawn(self._read_client())
        if self._membership is not None:
            self._spawn(self._read_layer())
        message = {"type": "websocket.disconnect", "code": 1006}
        try:
            message = await self._ended or message
        except GeneratorExit:  # thrown away with its loop: nothing can be awaited any more
            raise
        except BaseException:  # connect() raised, or the server has no patience
            self._hurry.set()
            await self._finished(message)
            raise
        await self._finished(message)

    async def send(self, message: dict[str, Any]) -> None:
        """The consumer's ``base_send``: passes everything on, and sees when a close begins.

        Once the client has left, nothing is sent and nothing raised: servers differ in what they do then, and a handler
        that saves, acknowledges and tells others must get to the end.
        """
        if self._gone:
            return
        if message["type"] == "websocket.accept":
            self._lane.opening = False
        elif message["type"] == "websocket.close":
            self._lane.opening = False
            self._close()
        self._lane.in_send = True
        try:
            await self._send(message)
        except Exception as exc:
            if not means_gone(exc):
                raise
            logger.debug("A frame could not be sent.", exc_info=True)
        finally:
            self._lane.in_send = False

    async def reply(self, message: dict[str, Any]) -> None:
        """Send a frame of ours, unless a close has begun."""
        if self._closing:
            return
        lane = self._lane
        lane.in_send = True
        try:
            await self._send(message)
        finally:
            lane.in_send = False

    async def _read_client(self) -> None:
        task = _this_task()
        for taken in count(1):
            try:
                if taken % FAIR_SHARE == 0:
                    await asyncio.sleep(0)
                message = await self._receive()
            except asyncio.CancelledError:
                self._raise_if_closing()
                continue
            if message["type"] == "websocket.disconnect":
                self._gone = True
                self._close()
                self._end(message)
                return
            if self._closing:
                continue
            decision = self._decide(message) if message["type"] == "websocket.receive" else None
            if decision is not None and type(decision) is not Request and await self._responder.at_once(decision):
                continue
            verdict = await self._lane.submit(Job(self._client, message, decision, task))
            if verdict is READ_ON:
                continue
            if verdict is HANDED_OVER:
                return
            if type(decision) is Request:
                await self._responder.replies.refuse(Refusal(TooManyInFlight(), decision.route, decision.id))

    def _decide(self, message: dict[str, Any]) -> Decision:
        try:
            return self._responder.intake.frame(message)
        except Exception as exc:  # of a dialect that did not expect such a frame
            return Refusal(faults.internal_error(exc, "Reading a frame", self._consumer))

    async def _read_layer(self) -> None:
        assert self._membership is not None
        receive = self._membership.receive
        task = _this_task()
        for taken in count(1):
            try:
                if taken % FAIR_SHARE == 0:
                    await asyncio.sleep(0)
                message = await receive()
            except asyncio.CancelledError:
                self._raise_if_closing()
                continue
            if not self._closing and await self._lane.submit(Job(self._layer, message, None, task)) is HANDED_OVER:
                return
            if self._finishing:
                return

    def _close(self) -> None:
        """From here on nothing is dispatched and no reply sent."""
        self._closing = True
        self._lane.close()

    def _end(self, outcome: dict[str, Any] | BaseException | None) -> None:
        """Wake ``serve``: with the disconnect, with an exception for the server, or with neither (``StopConsumer``)."""
        self._close()
        if self._ended.done():
            if isinstance(outcome, Exception):
                logger.error("A socket that had ended failed once more.", exc_info=outcome)
        elif isinstance(outcome, BaseException):
            self._ended.set_exception(outcome)
        else:
            self._ended.set_result(outcome)

    def _raise_if_closing(self) -> None:
        """Re-raise the cancellation being handled if it ends the socket; else a handler cancelled its own task."""
        if self._finishing:
            raise
        uncancel(_this_task())

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """A task of this socket, in the context that ``connect()`` ran in, as under Channels."""
        task = asyncio.get_running_loop().create_task(coroutine, context=self._context)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (exc := task.exception()) is not None:
            self._end(exc)

    async def _finished(self, message: dict[str, Any]) -> None:
        """Finish, also if the server cancels us meanwhile: then without the grace."""
        task = asyncio.get_running_loop().create_task(self._finish(message), context=self._context)
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            self._hurry.set()
            await task
            raise

    async def _finish(self, message: dict[str, Any]) -> None:
        self._close()
        self._finishing = True
        if self._membership is not None:
            self._membership.leaving()
        job = self._lane.running
        if job is not None:
            # Who sends and leaves must not lose the message: what runs has a grace, all else ends.
            await self._cancel(self._tasks - {job.task})
            hurry = asyncio.ensure_future(self._hurry.wait())
            await asyncio.wait({job.task, hurry}, timeout=self._grace, return_when=asyncio.FIRST_COMPLETED)
            hurry.cancel()
        self._responder.abandoned = True
        await self._cancel(set(self._tasks))
        try:
            if self._responder.connected:
                with suppress(StopConsumer):
                    await self._responder.dispatch(message)
        finally:
            if self._membership is not None:
                await self._membership.leave_all()

    async def _cancel(self, tasks: set[asyncio.Task[None]]) -> None:
        for task in tasks:
            task.cancel()
        if tasks:
            _, stuck = await asyncio.wait(tasks, timeout=CANCEL_WAIT)
            for task in stuck:
                logger.error("A task of a closed socket does not end when it is cancelled: %r.", task)


def _this_task() -> asyncio.Task[Any]:
    task = asyncio.current_task()
    assert task is not None
    return task
