"""The application behind the handshake, and the gate that its consumer sees."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from ..._runtime.clients import ConnectionSlot, add_user
from ..._runtime.closing import Send, send_notice_and_close
from ..._runtime.supervision import own_task
from ..._wire.messages import Scope
from ...dialects import Dialect
from ...status import Ending
from ..authenticators import AUTHENTICATORS, Authenticator, Identity, update_scope
from ..refusals import RESPONSE, Application, Receive, is_unknown_path

GATE: Final = "routesock.gate"
"""The key of the scope that holds the gate of a socket."""


class Gate:
    """The gate in front of one socket, which it has accepted in place of the consumer.

    A consumer with public routes may run while the gate is closed; ``websocket.connect`` comes when it is open.
    """

    __slots__ = ("_slot", "_waits", "entered", "identity", "is_open")

    def __init__(self) -> None:
        self.is_open = False
        self.entered = False
        """A routed consumer serves the socket."""
        self.identity: Identity | None = None
        self._waits = False
        self._slot: ConnectionSlot | None = None

    def enter(self, scope: Scope) -> None:
        """Note that the consumer of ``scope`` starts. While the gate is closed, its user is anonymous."""
        self.entered = True
        if not self.is_open:
            from django.contrib.auth.models import AnonymousUser  # a model, which needs the app registry

            self._waits = True
            scope["user"] = AnonymousUser()

    def keep(self, slot: ConnectionSlot) -> None:
        """Keep the ``slot`` of the socket, which is counted for the user later."""
        self._slot = slot

    def admit(self, scope: Scope) -> bool:
        """Sign the client in before ``connect()``; ``False`` if its user has too many sockets already."""
        if not self._waits:  # the scope has the user from the beginning
            return True
        if self.identity is not None:
            update_scope(scope, self.identity)
        return self._slot is None or add_user(self._slot, scope)


class InnerApplication:
    """Runs ``inner`` on a socket that the gate has accepted: its own accept is not sent.

    A close in place of the accept refuses the socket after a CLOSE notice, with 4403 if the close has no code.
    """

    __slots__ = (
        "_accepted", "_authenticated", "_dialect", "_frames", "_held", "_inner", "_receive", "_scope", "_send", "_task",
        "closing", "gate", "on_end",
    )  # fmt: skip

    def __init__(
        self,
        inner: Application,
        scope: Scope,
        receive: Receive,
        send: Send,
        dialect: Dialect,
        authenticators: tuple[Authenticator, ...],
    ) -> None:
        self.gate = Gate()
        self.closing = False
        """A close was sent: nothing is sent after it."""
        self.on_end: Callable[[], None] | None = None
        """Called when the application ends before the client has authenticated."""
        extensions = {name: value for name, value in (scope.get("extensions") or {}).items() if name != RESPONSE}
        added = {"extensions": extensions, GATE: self.gate, AUTHENTICATORS: authenticators}
        self._scope: Scope = {**scope, **added}
        self._inner = inner
        self._receive = receive
        self._send = send
        self._dialect = dialect
        self._accepted = False
        self._authenticated = False
        self._frames: asyncio.Queue[dict[str, Any]] | None = (
            None  # only for an application that starts before the client has authenticated
        )
        self._held: list[dict[str, Any]] = []
        self._task: asyncio.Task[None] | None = None

    @property
    def has_started(self) -> bool:
        """Whether the application has been started for public routes."""
        return self._task is not None

    @property
    def has_ended(self) -> bool:
        """Whether it has ended since."""
        return self._task is not None and self._task.done()

    async def pass_on(self, frame: dict[str, Any]) -> None:
        """Pass a frame to the application, which is started by the first one."""
        if self._frames is None:
            self._frames = asyncio.Queue(1)
            self._task = own_task(self._run(partial(self._next_frame, self._frames)))
            self._task.add_done_callback(partial(self._has_ended, self._frames))
        await self._frames.put(frame)

    def disconnect(self, message: dict[str, Any]) -> None:
        """Pass on the ``websocket.disconnect`` that has ended the socket, in place of the frames that wait."""
        self.closing = True
        if self._frames is not None:
            _empty(self._frames)
            self._frames.put_nowait(message)

    async def end(self) -> None:
        """Wait until the application has ended, if it runs. Raises what it raises, and passes a cancellation on."""
        if self._task is None:
            return
        if not self.closing and not self._task.done():  # the server does not wait
            self._task.cancel()
        await self._wait_for(self._task)

    async def run(self, held: list[dict[str, Any]]) -> None:
        """Run the application for a client that was let through, with what is ``held`` for it first."""
        if self._task is not None:
            assert self._frames is not None
            for message in held:
                await self._frames.put(message)
            self._authenticated = True
            await self._wait_for(self._task)
            return
        if self.gate.identity is not None:
            update_scope(self._scope, self.gate.identity)
        self._held = held
        await self._run(self._from_client)

    async def _wait_for(self, task: asyncio.Task[None]) -> None:
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            if not task.done():
                task.cancel()
                await asyncio.wait({task})
            raise

    async def _run(self, receive: Receive) -> None:
        try:
            await self._inner(self._scope, receive, self._forward)
        except Exception as exc:
            if self._accepted or not is_unknown_path(exc):
                raise
            self.closing = True
            await send_notice_and_close(
                self._send, Ending(4404, "There is nothing here.", reconnect=False), self._dialect
            )

    def _has_ended(self, frames: asyncio.Queue[dict[str, Any]], task: asyncio.Task[None]) -> None:
        _empty(frames)  # so that nothing waits for space in it
        if self.on_end is not None:
            self.on_end()

    async def _next_frame(self, frames: asyncio.Queue[dict[str, Any]]) -> dict[str, Any]:
        return await (self._from_client() if self._authenticated and frames.empty() else frames.get())

    async def _from_client(self) -> dict[str, Any]:
        if self._held:
            return self._held.pop(0)
        message: dict[str, Any] = await self._receive()
        return message

    async def _forward(self, message: dict[str, Any]) -> None:
        if self.closing:
            return
        if message["type"] == "websocket.accept":
            self._accepted = True
            return
        if message["type"] == "websocket.close":
            self.closing = True
            if not self._accepted and (message.get("code") in (None, 1000) or not self.gate.entered):
                code = message.get("code")
                code = 4403 if code in (None, 1000) else code
                await send_notice_and_close(
                    self._send, Ending(code, message.get("reason") or "", reconnect=False), self._dialect
                )
                return
        await self._send(message)


def _empty(frames: asyncio.Queue[dict[str, Any]]) -> None:
    while not frames.empty():
        frames.get_nowait()
