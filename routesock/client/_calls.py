"""Calls that wait and calls that are in flight: the window, the queue, deadlines and retries."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final

from ._buffer import ItemBuffer
from ._host import Alarm, Host
from ._types import (
    ConnectionLost,
    Headers,
    IncomingFrame,
    OutgoingFrame,
    Reply,
    RouteError,
    Why,
    describe,
    members,
)

WINDOW: Final = 32
"""Requests in flight at a time. The server lets 64 wait by default, and answers more with 429."""
MAX_QUEUED: Final = 256
MAX_QUEUED_BYTES: Final = 256 * 1024
"""What waits for a connection: at most so many frames, of so many bytes together."""
RETRIES: Final = 3
"""How often a call is sent again after a 429 ``too_many_in_flight``."""


class Lane(Enum):
    """Where a call waits."""

    QUEUE = "queue"
    """Behind the others."""
    FRONT = "front"
    """In front of them: SUBSCRIBE and UNSUBSCRIBE."""
    NOW = "now"
    """Not at all: AUTH."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How a call is sent. ``timeout``: seconds; ``sent_timeout``: the seconds that the server learns of, if any."""

    timeout: float | None = None
    sent_timeout: float | None = None
    headers: Headers = field(default_factory=dict)
    idempotent: bool | str = False
    queue: bool = True


@dataclass(slots=True, kw_only=True, eq=False)
class Call:
    """One call, until it is settled."""

    id: int
    route: str
    data: str | bytes
    lane: Lane
    options: Options
    items: ItemBuffer | None
    """Where the items of a stream go."""
    alarm: Alarm
    resolve: Callable[[Reply], object]
    reject: Callable[[BaseException], object]
    tries: int = 0
    sent: bool = False
    """Whether the server may have run it. It may wait again after that, if it is idempotent."""
    size: int | None = None


class Calls:
    """All calls of a client. Ids are never used twice, over reconnects either."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._live: dict[int, Call] = {}
        """Those that are not settled, in the order in which they were made."""
        self._sent: dict[int, Call] = {}
        self._front: dict[int, Call] = {}
        self._queue: dict[int, Call] = {}
        self._window = WINDOW
        self._last_id = 0

    def start(
        self,
        route: str,
        payload: Any,
        options: Options,
        resolve: Callable[[Reply], object],
        reject: Callable[[BaseException], object],
        *,
        lane: Lane = Lane.QUEUE,
        items: ItemBuffer | None = None,
    ) -> Call:
        """Sends a call as soon as it may be sent.

        Args:
            route: The name of the route.
            payload: Encoded at once, so that it may change afterwards.
            options: The deadline and what else the caller has asked for.
            resolve: Called with the final reply.
            reject: Called with the exception, if there is one.
            lane: Where the call waits.
            items: Where the items of a stream go.

        Raises:
            ConnectionLost: The client is closed.
            TypeError: The payload cannot be encoded. ``ValueError`` likewise.
        """
        host = self._host
        if (over := host.over) is not None:
            raise ConnectionLost(False, over)
        headers = dict(options.headers)
        if options.sent_timeout is not None:
            headers["Request-Timeout"] = options.sent_timeout
        if isinstance(options.idempotent, str):
            headers["Idempotency-Key"] = options.idempotent
        self._last_id += 1
        frame = OutgoingFrame(route=route, id=self._last_id, payload=payload, headers=headers or None)
        call = Call(
            id=self._last_id,
            route=route,
            data=host.dialect.encode(frame),
            lane=lane,
            options=options,
            items=items,
            alarm=Alarm(host.clock),
            resolve=resolve,
            reject=reject,
        )
        self._restart(call)
        if items is not None:
            items.on_stop = lambda: self.cancel(call)
        self._live[call.id] = call
        if lane is Lane.NOW or (host.ready and not self._counts(call)):
            self._send(call)
        else:
            (self._front if lane is Lane.FRONT else self._queue)[call.id] = call
            self.flush()
        return call

    async def request(self, route: str, payload: Any, options: Options, *, lane: Lane = Lane.QUEUE) -> Reply:
        """Like :meth:`start`, and waits for the reply. Cancelling the waiting task cancels the call."""
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()

        def resolve(reply: Reply) -> None:
            if not future.done():
                future.set_result(reply)

        def reject(error: BaseException) -> None:
            if not future.done():
                future.set_exception(error)

        call = self.start(route, payload, options, resolve, reject, lane=lane)
        try:
            return await future
        finally:
            self.cancel(call)  # does nothing to one that is settled

    def flush(self, *, opened: bool = False) -> None:
        """Sends what waits, as far as the window allows. ``opened``: streams may wait, too."""
        if not self._host.ready:
            self._trim()
            return
        window = self._window if self._host.dialect.ids else 1
        used = sum(map(self._counts, self._sent.values()))
        for lane in (self._front, self._queue):
            for call in [*lane.values()]:
                counts = self._counts(call)
                if counts and used >= window:
                    if not opened:
                        break
                    continue
                used += counts
                del lane[call.id]
                self._send(call)

    def receive(self, frame: IncomingFrame) -> bool:
        """Takes a reply, and returns whether a call waited for it."""
        call = self._call_of(frame)
        if call is None:
            return False
        status = 200 if frame.status is None else frame.status
        if status == 206 and call.items is not None:
            self._restart(call)
            call.items.put(frame.payload)
            return True
        del self._sent[call.id]
        problem = members(frame.payload)
        if status < 400:
            self._finish(call)
            call.resolve(Reply(status=status, payload=frame.payload, headers=frame.headers))
        elif status == 429 and problem.get("code") == "too_many_in_flight" and call.tries < RETRIES:
            delay = self._host.backoff(call.tries)
            call.tries += 1
            call.sent = False  # this time the server has not run it
            self._host.clock.call_later(delay, lambda: self._again(call))
        else:
            self._fail(call, RouteError(call.route, status, problem, frame.headers))
        self.flush()
        return True

    def lost(self, why: Why) -> None:
        """Settles what was sent, and keeps the rest for the next connection, if there will be one."""
        over = self._host.over
        again: dict[int, Call] = {}
        for call in [*self._live.values()]:
            sent = call.id in self._sent
            if sent and call.options.idempotent and over is None:
                again[call.id] = call
            elif sent or over is not None or call.lane is not Lane.QUEUE:
                self._fail(call, ConnectionLost(call.sent, why))
        self._sent.clear()
        self._queue = {**again, **self._queue}
        self._trim()

    def allow(self, queued: Any) -> None:
        """Makes the window as small as the server's HELLO says."""
        if isinstance(queued, int) and not isinstance(queued, bool):
            self._window = max(1, min(WINDOW, queued))

    def cancel(self, call: Call, error: BaseException | None = None) -> None:
        """Ends a call from this side, and on the server if it was sent."""
        if call.id not in self._live:
            return
        sent = call.id in self._sent
        self._finish(call)
        if sent and not self._host.dialect.ids:
            # The reply still comes, and must not be taken for that of the next call.
            self._sent[call.id] = call
        elif sent:
            self._host.write(OutgoingFrame(route="CANCEL", id=call.id))
        if error is not None:
            call.reject(error)  # which may send other calls
        if sent:
            self.flush()

    def _call_of(self, frame: IncomingFrame) -> Call | None:
        if self._host.dialect.ids:
            return self._sent.get(frame.id) if isinstance(frame.id, int) else None
        # Without ids one call is in flight at a time.
        only = next(iter(self._sent.values()), None)
        return only if only is not None and only.route == frame.route else None

    def _counts(self, call: Call) -> bool:
        """Streams run beside the order of the server, and may last: they take no place in the window."""
        return call.items is None or not self._host.dialect.ids

    def _send(self, call: Call) -> None:
        call.sent = True
        self._sent[call.id] = call
        self._host.transmit(call.data)

    def _again(self, call: Call) -> None:
        if call.id in self._live and call.id not in self._sent:
            self._queue = {call.id: call, **self._queue}
            self.flush(opened=True)

    def _trim(self) -> None:
        """Keeps the oldest calls, as many as may wait for a connection."""
        frames = size = 0
        for call in [*self._queue.values()]:
            if call.size is None:
                call.size = len(call.data.encode() if isinstance(call.data, str) else call.data)
            size += call.size
            if call.options.queue:
                frames += 1
            if not call.options.queue or frames > MAX_QUEUED or size > MAX_QUEUED_BYTES:
                self._fail(call, ConnectionLost(call.sent, self._host.why))

    def _restart(self, call: Call) -> None:
        """Starts the deadline anew."""
        if call.options.timeout is not None:
            call.alarm.set(call.options.timeout, lambda: self._expire(call))

    def _expire(self, call: Call) -> None:
        host = self._host
        error = TimeoutError(f"{call.route}: {'no reply' if call.sent else 'not sent'} in {call.options.timeout} s")
        if not host.ready:
            error = TimeoutError(f"{error}: no connection. {describe(host.why)}".rstrip())
            error.__cause__ = ConnectionLost(call.sent, host.why)
        self.cancel(call, error)

    def _fail(self, call: Call, error: BaseException) -> None:
        self._finish(call)
        call.reject(error)

    def _finish(self, call: Call) -> None:
        call.alarm.stop()
        for calls in (self._live, self._sent, self._front, self._queue):
            calls.pop(call.id, None)
