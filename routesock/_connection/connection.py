"""Serves one socket from its first message to its end."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import suppress
from functools import partial
from logging import INFO, WARNING
from time import perf_counter
from typing import Any, Final

from channels.exceptions import StopConsumer

from .. import conf
from .._compat import is_sync_call
from .._groups import losses
from .._groups.layer_membership import Membership
from .._pipeline.compiler import ConsumerPlan
from .._pipeline.plan import ConnectionCheck
from .._routing.push import Pushes
from .._runtime import database, instrumentation, shutdown
from .._runtime.clients import TOO_MANY, is_signed_in
from .._runtime.closing import accept_message, close_notice, cut_reason, means_gone, send_close, within_close_wait
from .._runtime.fair_timeout import wait_fairly
from .._runtime.supervision import own_task, safe_logger
from ..auth._handshake.inner_application import Gate
from ..auth._login.revocation import group_of, name_in_scope
from ..auth._login.watcher import LoginWatcher, watch_login
from ..auth.authenticators import AUTHENTICATORS
from ..auth.refusals import refuse
from ..exceptions import NoAnswer, NotAuthenticated, SocketEnded, Unavailable
from ..status import RESTART_REASON, Ending, restart_ending
from ..typing import UNSET
from .dispatch import Dispatcher
from .liveness import watch
from .membership.member import EndedMember, Member
from .membership.subscriptions import Subscriptions
from .queue.job_queue import JobQueue
from .readers import ClientReader, LayerReader, Receive
from .sending.frame_writer import FrameWriter, encoder_of, is_plain
from .sending.send_queue import FrameKind, SendQueue
from .state import ASKS, Phase, SocketState, asks_of
from .tasks import Tasks
from .token_refresh import TokenRefresh

logger: Final = safe_logger("routesock.socket")

JOIN_WAIT: Final = 1.0
"""Seconds for which ``connect()`` waits until the socket is in the group of its user."""

NO_ANSWER: Final = object()

TOO_SLOW: Final = Ending(1013, "too slow", reconnect=True)


class Connection:
    """Serves one socket of ``consumer``: reads from the client and the channel layer until either ends it."""

    __slots__ = (
        "__weakref__", "_cause", "_closed_with", "_compiled", "_consumer", "_dispatcher", "_end_task", "_layer_reader",
        "_liveness", "_loop", "_member", "_message", "_queue", "_reader", "_receive", "_says_hello", "_send",
        "_send_queue", "_state", "_subscriptions", "_tasks", "_watcher", "_writer", "grace", "membership", "socket_of",
    )  # fmt: skip

    def __init__(
        self,
        consumer: Any,
        compiled: ConsumerPlan,
        receive: Receive,
        membership: Membership | None,
        send: Callable[[Any], Awaitable[None]],
        context: contextvars.Context,
        gate: Gate | None = None,
        *,
        socket_of: Callable[[Any], Any],
    ) -> None:
        self.socket_of = socket_of
        """Returns ``self.socket`` of a consumer; for :attr:`Request.socket`."""
        self.grace: float = conf.get("DISCONNECT_GRACE") if compiled.grace is UNSET else compiled.grace
        self._consumer: Any = consumer
        self._compiled = compiled
        self._receive = receive
        self._send = send
        self.membership = membership
        self._member: Member | None = None
        self._subscriptions: Subscriptions | None = None
        self._layer_reader: LayerReader | None = None
        self._watcher: LoginWatcher | None = None
        self._message: dict[str, Any] = {"type": "websocket.disconnect", "code": 1006}
        self._closed_with: int | None = None  # set where the server closes the socket before the client has left
        self._loop = asyncio.get_running_loop()
        self._cause: asyncio.Future[None] = self._loop.create_future()
        self._end_task: asyncio.Task[None] | None = None
        self._state = state = SocketState(handshake_done=gate is not None)  # a gate has accepted the socket already
        self._says_hello = compiled.hello and gate is None
        self._tasks = tasks = Tasks(context, state, self.stop)
        conf.get("LOG_EXCLUDE")  # read when a request has ended: too late to report an invalid value
        overflow = conf.get("OVERFLOW") if compiled.overflow is UNSET else compiled.overflow
        self._send_queue = SendQueue(
            send, state,
            drops=overflow == "drop",
            overflow=self._overflow,
            report_dropped=self._report_dropped,
            start=tasks.start,
            start_now=tasks.start_now,
        )  # fmt: skip
        self._writer = FrameWriter(consumer, compiled, self._send_queue, state)
        refresh = None
        if AUTHENTICATORS in consumer.scope:
            refresh = TokenRefresh(
                consumer, self._writer, start=self._start, changed=self._follow_login_soon, end=self.sign_out
            )
        self._dispatcher = Dispatcher(
            consumer, compiled, self._writer, state, tasks,
            refresh=refresh,
            admit=None if gate is None else partial(self._admit, gate, compiled.connection_check),
            connected=self._connected,
            stop=self.stop,
        )  # fmt: skip
        concurrency = conf.get("CONCURRENCY") if compiled.concurrency is UNSET else compiled.concurrency
        self._queue = JobQueue(self._dispatcher, state, tasks, concurrency)
        self._liveness = watch(
            compiled.limits,
            ping=self._ping_soon,
            close=self._close_soon,
            is_busy=lambda: bool(self._queue.running()),
            is_signed_in=lambda: is_signed_in(consumer.scope),
        )
        self._reader = ClientReader(
            receive, consumer, self._dispatcher, self._queue, state, self._liveness, compiled.parallel_routes, self.stop
        )

    # The life of the socket

    async def serve(self) -> None:
        """Read until the socket ends. Then ``disconnect()`` runs, once, after everything else."""
        try:
            await self.follow_login()
            self._tasks.start(self._reader.read())
            await self._cause
        except GeneratorExit:  # thrown away with its loop: nothing can be awaited
            raise
        except asyncio.CancelledError:  # the server does not wait: hypercorn and granian do this when they stop
            self.end_grace()
            try:
                await self._close_cancelled()
            finally:
                await self.end()
            raise
        except BaseException:  # connect() raised
            self.end_grace()
            await self.end()
            raise
        else:
            await self.end()
        finally:
            self._forget_login()

    def stop(self, cause: dict[str, Any] | BaseException | None) -> None:
        """Treat the client as gone, and have :meth:`serve` end the socket.

        ``cause`` is the client's disconnect, an exception for the server, or ``None`` for ``StopConsumer``. The first
        cause counts.
        """
        self._begin_close()
        is_first = self._state.phase < Phase.GONE
        if is_first:
            self._state.advance(Phase.GONE)
            self._send_queue.drop_all()
            if isinstance(cause, dict):
                self._message = cause
        if not is_first or self._cause.done():  # the server has cancelled what waits for it
            if isinstance(cause, Exception):
                logger.error("A socket that had ended failed once more.", exc_info=cause)
        elif isinstance(cause, BaseException):
            self._cause.set_exception(_for_server(cause))
        else:
            self._cause.set_result(None)

    async def end(self) -> None:
        """End the socket: give what runs its grace period, cancel the rest, call ``disconnect()`` and leave all groups.

        That is done once. Later callers wait until it is done. A cancellation ends the grace period.
        """
        if self._end_task is None:
            if self._state.phase is Phase.ENDED:
                return
            self.stop(None)
            self._end_task = self._tasks.start_untracked(self._end)
        task = self._end_task
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            self.end_grace()
            await task
            raise

    def end_grace(self) -> None:
        """End the grace period of what runs."""
        if self._state.phase is not Phase.ENDED:
            self._tasks.end_grace()

    def _begin_close(self) -> bool:
        """From now on nothing is dispatched and no reply is sent. Returns ``False`` if a close has begun already."""
        if self._state.is_closing:
            return False
        self._state.advance(Phase.CLOSING)
        self._end_asks()
        if self._liveness is not None:
            self._liveness.stop()
        for job in self._queue.clear():
            self._dispatcher.drop(job)
        self._reader.wake()
        if self._layer_reader is not None:
            self._layer_reader.wake()
        return True

    async def _end(self) -> None:
        state, tasks, dispatcher = self._state, self._tasks, self._dispatcher
        if self.membership is not None:
            self.membership.leaving()
        # A client that sends and leaves must not lose its message: what runs has a grace period, all else is cancelled.
        graced = {job.task for job in self._queue.running() if not dispatcher.drop_at_disconnect(job)}
        if self._subscriptions is not None:
            graced |= self._subscriptions.endings()
        await tasks.cancel(keep=graced)
        await tasks.wait(graced, self.grace)
        state.advance(Phase.DISCONNECTING)
        left = self._queue.running()
        await tasks.cancel()
        for job in left:
            dispatcher.drop(job)
        try:
            if self._subscriptions is not None:
                await self._subscriptions.end()
            if state.must_disconnect:
                # In a separate context: a task that ignored its cancellation may go on in that of the socket.
                await own_task(self._disconnect())
        finally:
            state.advance(Phase.ENDED)
            if self._member is not None:
                await self._member.leave_all()
            if self.membership is not None:
                await self.membership.leave_all()
            if state.opened_at is not None:
                instrumentation.socket_has_ended(self._consumer, self._message.get("code", 1005), state.opened_at)
            elif self._closed_with is not None:
                instrumentation.socket_is_refused(self._closed_with)
            self._forget_login()
            self._release()

    async def _disconnect(self) -> None:
        database.forget_waiting()
        thread = database.hold_connections(self._tasks.context)
        try:
            with suppress(StopConsumer):
                await self._dispatcher.dispatch(self._message)
        except (SystemExit, KeyboardInterrupt) as exc:
            raise _for_server(exc) from exc
        finally:
            thread.release()

    def _release(self) -> None:
        """Drop what refers back to the consumer, so that no reference cycle is left for the garbage collector.

        A task that ignored its cancellation may still need it.
        """
        if self._tasks:
            return
        self._dispatcher.close()
        self._consumer = self._end_task = self._layer_reader = self._liveness = self._member = self._subscriptions = (
            None
        )
        del self._dispatcher, self._queue, self._reader, self._receive, self._send, self._send_queue, self._tasks
        del self._writer

    # What operators see

    def load(self) -> shutdown.Load | None:
        """Return what the socket has to do now; ``None`` if it has not opened or has ended. Works in any thread."""
        consumer = self._consumer
        if consumer is None or self._state.opened_at is None:
            return None
        try:
            return shutdown.Load(type(consumer).__qualname__, *self._queue.counts(), self._send_queue.waiting_bytes)
        except AttributeError:  # its own thread has released it meanwhile
            return None

    def report(self) -> shutdown.SocketReport | None:
        """Return what operators see; ``None`` if the socket has not opened or has ended. Works in any thread."""
        consumer, member, opened_at, load = self._consumer, self._member, self._state.opened_at, self.load()
        if consumer is None or opened_at is None or load is None:
            return None
        about = instrumentation.client_extras(consumer)
        return shutdown.SocketReport(
            consumer=load.consumer,
            user=about["routesock_user"],
            address=about["routesock_client"],
            age=round(perf_counter() - opened_at, 3),
            groups=0 if member is None else member.group_count,
            queued=load.queued,
            bytes=load.outgoing,
        )

    def close_soon(self, ending: Ending) -> None:
        """Close the socket as ``ending`` says, and log that. May be called in any thread."""
        self._call_soon(self._close_for_operator, ending)

    def drain_soon(self, retry_after: float) -> None:
        """As :meth:`drain`, in any thread."""
        self._call_soon(self.drain, retry_after)

    def _call_soon(self, function: Callable[..., None], *args: Any) -> None:
        with suppress(RuntimeError):  # the loop was thrown away, and the client is gone with it
            self._loop.call_soon_threadsafe(function, *args)

    def _close_for_operator(self, ending: Ending) -> None:
        if not self._state.is_closing:
            self._close_soon(ending)

    # Called by the consumer's code, also in threads, where ``async_to_sync`` makes a separate loop

    def _is_other_loop(self) -> bool:
        """Whether this is called on another loop than the socket's."""
        return asyncio.get_running_loop() is not self._loop

    async def _run_on_loop(self, coroutine: Coroutine[Any, Any, Any], closed: Any = None) -> Any:
        """Await ``coroutine``, which runs on the socket's loop, from another; ``closed`` if that loop is closed."""
        try:
            future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        except RuntimeError:  # the loop has been closed, and the client is gone with it
            coroutine.close()
            return closed
        return await asyncio.wrap_future(future)

    async def send(self, message: dict[str, Any]) -> None:
        """The consumer's ``base_send``: passes everything on, and notes when a close begins.

        Once the client has left, nothing is sent and nothing raised: servers differ in what they do then, and a handler
        that saves, acknowledges and notifies others must get to its end. When ``disconnect()`` has run, it raises, so
        that a task of the consumer's own does not send for ever.

        Sync code in a thread that it shares with other sockets does not wait for the client; see
        :meth:`SendQueue.post`.
        """
        state = self._state
        if state.is_gone:
            if state.phase is Phase.ENDED:
                raise SocketEnded
            return
        if asyncio.get_running_loop() is not self._loop:
            await self._run_on_loop(self.send(message))
            return
        kind = FrameKind.OWN
        if message["type"] != "websocket.send":
            kind = FrameKind.CONTROL
            state.answer_handshake()
            if message["type"] == "websocket.close":
                if self._begin_close():
                    self._closed_with = message.get("code") or 1000
            elif self._liveness is not None:
                self._liveness.accepted(asyncio.get_running_loop().time())
        try:
            if message["type"] != "websocket.accept" and is_sync_call():
                self._send_queue.post(message, kind)
                return
            await self._send_queue.write(message, kind)
            if message["type"] == "websocket.accept":
                state.accept_sent = True
                if self._says_hello:
                    await self._hello()
                self._announce_if_open()
        except Exception as exc:
            if not means_gone(exc):
                raise
            logger.debug("A frame could not be sent.", exc_info=True)

    async def _hello(self) -> None:
        """Send the HELLO, in front of everything that the consumer sends after its accept."""
        self._says_hello = False
        hello = self._writer.hello(self._compiled.connection_info())
        if self._compiled.sync and not self._writer.is_plain:
            self._tasks.start(hello)  # its methods run in the thread that waits for the accept
        else:
            await hello

    @property
    def pushes(self) -> Pushes:
        """The pushes that the consumer declares."""
        return self._compiled.pushes

    async def push(self, route: str, payload: Any, headers: Mapping[str, Any]) -> None:
        """Send an unsolicited frame. Raises what encoding raises, and ``SocketEnded`` as :meth:`send` does."""
        if self._is_other_loop():
            await self._run_on_loop(self.push(route, payload, headers))
            return
        if self._state.phase is not Phase.ENDED:
            await self._writer.push(route, payload, headers)
            return
        frame = self._compiled.dialect.push(route, payload, headers)
        if frame is not None and is_plain(self._compiled):  # it raises for the same payloads as before
            encoder_of(self._compiled.dialect)(frame, conf.get("MAX_REPLY"))
        raise SocketEnded

    async def ask(self, route: str, payload: Any, headers: Mapping[str, Any], timeout: float) -> Any:
        """Send a frame with an id and return the payload of the client's answer. Raises what :class:`Asks` raises."""
        compiled = self._compiled
        if (compiled.sync or is_sync_call()) and not compiled.dedicated_threads:
            raise RuntimeError(
                f"{type(self._consumer).__name__} would wait for its client in the database thread that all sockets "
                "share. Set route_dedicated_threads = True, or ask in an async handler."
            )
        if self._is_other_loop():
            answer = await self._run_on_loop(self.ask(route, payload, headers, timeout), NO_ANSWER)
            if answer is NO_ANSWER:
                raise NoAnswer
            return answer
        if self._state.phase >= Phase.DRAINING:
            raise NoAnswer
        if not self._state.handshake_done:
            raise RuntimeError("A client can be asked once its socket is accepted: call accept() first.")
        asks: Any = asks_of(self._consumer)
        if asks is None:
            from .asks import Asks  # not imported by processes that ask nothing

            if not compiled.dialect.can_ask:
                raise RuntimeError(f"{compiled.dialect!r} cannot ask: its frames have no ids, or it has no request().")
            asks = Asks(self._writer)
            setattr(self._consumer, ASKS, asks)
            self._dispatcher.parser.expect_answers()
        return await asks.ask(route, payload, headers, timeout)

    def _end_asks(self) -> None:
        asks = asks_of(self._consumer)
        if asks is not None:
            asks.end()

    @property
    def groups(self) -> frozenset[str]:
        """The names of the groups that the socket has joined, and of the topics that its client has subscribed to."""
        member = self._member
        return frozenset() if member is None or self._state.phase is Phase.ENDED else member.groups

    async def join(self, name: str) -> None:
        """Join the group ``name``, unless the socket has ended. Raises what the layer raises."""
        if self._is_other_loop():
            await self._run_on_loop(self.join(name))
            return
        await self.member().join(name)

    async def leave(self, name: str) -> None:
        """Leave the group ``name``. Never raises."""
        if self._is_other_loop():
            await self._run_on_loop(self.leave(name))
            return
        await self.member().leave(name)

    async def broadcast(
        self, name: str, route: str, payload: Any, headers: Mapping[str, Any], *, exclude_self: bool
    ) -> None:
        """Send a frame to the group ``name``. Raises what encoding and what the layer raises."""
        if self._is_other_loop() and not self._loop.is_closed():
            await self._run_on_loop(self.broadcast(name, route, payload, headers, exclude_self=exclude_self))
            return
        await self.member().broadcast(name, route, payload, headers, exclude_self=exclude_self)

    def member(self) -> Member | EndedMember:
        """Return the groups of the socket. Must be called on the socket's loop."""
        if self._state.phase is Phase.ENDED:
            return EndedMember(self._layer)
        return self._open_member()

    def subscriptions(self) -> Subscriptions:
        """Return the subscriptions of the socket."""
        if self._subscriptions is None:
            if self._state.phase is Phase.ENDED:
                raise Unavailable
            self._subscriptions = Subscriptions(
                self._consumer, self._open_member(), self._state, self._tasks, self._writer, self.grace
            )
        return self._subscriptions

    def listen(self) -> str | None:
        """Return the name of the socket's own channel, which is read from now on; ``None`` without a channel layer.

        May be called in any thread.
        """
        if self.membership is None:
            return None
        self._cause.get_loop().call_soon_threadsafe(self._listen, self.membership)
        return self.membership.channel

    def _listen(self, membership: Membership) -> None:
        if self._layer_reader is None and self._state.phase < Phase.GONE:
            receive = self._consumer.channel_receive
            self._layer_reader = LayerReader(receive, membership, self._queue, self._state)
            self._tasks.start(self._layer_reader.read())

    @property
    def _layer(self) -> Any:
        return None if self.membership is None else self.membership.layer

    def _open_member(self) -> Member:
        if self._member is None:
            self._member = Member(
                self._consumer, self._compiled, self._layer, self._writer, self._state, self._tasks, self._queue
            )
        return self._member

    def _connected(self) -> None:
        self._state.connected = True
        self._announce_if_open()
        if self._member is not None:
            self._member.connected()

    def _announce_if_open(self) -> None:
        if self._state.note_opened():
            instrumentation.socket_is_open(self._consumer)

    # Closing from the server

    async def close(self, ending: Ending) -> None:
        """Send a CLOSE notice and close the socket. All that follows a client's disconnect follows.

        Does nothing on a socket that is closing already, never raises, and does not wait for a client that does not
        read: sync code goes on at once, other code after :data:`CLOSE_WAIT`.
        """
        if self._is_other_loop():
            await self._run_on_loop(self.close(ending))
            return
        handshake_done = self._state.handshake_done
        if not self._begin_close():
            return
        self._closed_with = ending.code
        if is_sync_call():
            self._tasks.start_now(self._close(ending, handshake_done))
        else:
            await self._close(ending, handshake_done)

    async def _close(self, ending: Ending, handshake_done: bool) -> None:
        ending = ending._replace(reason=cut_reason(ending.reason))
        try:
            if handshake_done:
                await within_close_wait(self._writer.close_notice(close_notice(ending)))
                await within_close_wait(send_close(self._send, ending))
            else:
                await within_close_wait(refuse(self._consumer.scope, self._send, ending))
        except Exception:
            logger.debug("A socket could not be closed.", exc_info=True)
        finally:
            self.stop({"type": "websocket.disconnect", "code": ending.code, "reason": ending.reason})

    async def reject(self, ending: Ending) -> None:
        """As :meth:`close`, but a socket that is not accepted yet is accepted first."""
        if self._is_other_loop():
            await self._run_on_loop(self.reject(ending))
            return
        if not self._state.handshake_done and not self._state.is_closing:
            await self.send(accept_message(self._consumer.scope))
        await self.close(ending)

    def _close_soon(self, ending: Ending) -> None:
        instrumentation.log_socket(INFO, self._consumer, "A socket is closed with %d: %s", ending.code, ending.reason)
        self._tasks.start(self.close(ending))

    def drain(self, retry_after: float) -> None:
        """Close the socket since the process stops: what runs may finish, and the client may return later."""
        if not self._state.is_closing:
            ending = restart_ending(retry_after)
            self._state.drain(Unavailable(RESTART_REASON, wait=ending.retry_after))
            self._end_asks()
            self._tasks.start(self._drain(ending))

    async def _drain(self, ending: Ending) -> None:
        error = Unavailable(RESTART_REASON, wait=ending.retry_after)
        await self._tasks.wait([self._tasks.start_task(self._queue.finish_running(error))], self.grace)
        await within_close_wait(self._queue.cancel_running(error))
        await self.close(ending)

    async def _close_cancelled(self) -> None:
        """Answer what runs and close the socket, unless its client has left."""
        if not self._state.is_closing:
            ending = restart_ending(shutdown.sockets().retry_after())
            await within_close_wait(self._queue.refuse_all(Unavailable(RESTART_REASON, wait=ending.retry_after)))
            await self.close(ending)

    def sign_out(self, ending: Ending) -> None:
        """Close the socket since its login has ended: what runs and waits is answered 401."""
        if self._state.is_closing:  # what still runs has its grace period, as if only the client had left
            return
        instrumentation.log_socket(INFO, self._consumer, "A socket is closed with %d: %s", ending.code, ending.reason)
        self._tasks.start(self._sign_out(ending))

    async def _sign_out(self, ending: Ending) -> None:
        await within_close_wait(self._queue.refuse_all(NotAuthenticated(ending.reason)))
        await self.close(ending)

    def _overflow(self) -> None:
        message = "A client does not read what is sent to it: its socket is closed with 1013."
        instrumentation.log_socket(WARNING, self._consumer, message)
        self._tasks.start(self.close(TOO_SLOW))

    def _report_dropped(self, number: int) -> None:
        losses.dropped(type(self._consumer), number, "client")

    # Its time limits

    def _ping_soon(self) -> None:
        self._tasks.start(self._ping())

    async def _ping(self) -> None:
        assert self._liveness is not None
        await self._writer.ping()
        self._liveness.pinged(asyncio.get_running_loop().time())

    # Its login

    async def _admit(self, gate: Gate, connection_check: ConnectionCheck) -> None:
        """Let ``connect()`` run for the client that has passed ``gate``, unless its user has too many sockets."""
        ending = await connection_check.ending(self._consumer) if gate.admit(self._consumer.scope) else TOO_MANY
        if ending is not None:
            await self.close(ending)
            raise StopConsumer
        await self.follow_login()

    def signed_in(self, user: object) -> None:
        """Follow ``user`` from now on, if the consumer has put it into its scope. May be called in any thread."""
        consumer = self._consumer
        if consumer is not None and consumer.scope.get("user") is user:
            self._cause.get_loop().call_soon_threadsafe(self._follow_login_soon)

    def _follow_login_soon(self) -> None:
        if not self._state.is_closing:
            _ = self._start(self.follow_login())

    def _start(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        return self._tasks.start_task(coroutine)

    async def follow_login(self) -> None:
        """Follow the user signed in now. Returns when other processes can end the socket, too."""
        if self._state.is_closing:
            return
        scope = self._consumer.scope
        if self._watcher is None:
            self._watcher = watch_login(
                scope,
                self._compiled.ends_with_session,
                self._compiled.revalidate,
                sign_out=self.sign_out,
                follow_login=self.follow_login,
                start=self._start,
            )
        if self._watcher is not None:
            self._watcher.begin()
        name = name_in_scope(scope)
        if name is not None or self._member is not None:
            group = None if name is None else group_of(name)
            await wait_fairly({self._start(self._open_member().belong(group))}, JOIN_WAIT)

    def _forget_login(self) -> None:
        if self._watcher is not None:
            self._watcher.forget()
            self._watcher = None


def _for_server(exc: BaseException) -> BaseException:
    """Return ``exc``, or an error with ``exc`` as its cause in place of what would end the whole process."""
    if isinstance(exc, Exception | asyncio.CancelledError):
        return exc
    error = RuntimeError(f"A consumer raised {exc!r}.")
    error.__cause__ = exc
    return error
