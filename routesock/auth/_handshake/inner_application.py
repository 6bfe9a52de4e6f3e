"""The application behind the handshake, and the gate that its consumer sees."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from ..._runtime.clients import ConnectionSlot, add_user
from ..._wire.messages import Scope
from ...dialects import Dialect
from ...status import Ending
from ..authenticators import AUTHENTICATORS, Authenticator, Identity, update_scope
from ..refusals import RESPONSE, Application, Receive, Send, is_unknown_path, say_goodbye

GATE: Final = "routesock.gate"
"""The key of the scope that holds the gate of a socket."""


class Gate:
    """The gate in front of one socket, which was accepted in its consumer's place.

    A consumer with public routes may be there while the gate is shut; ``websocket.connect`` comes when it is open.
    """

    __slots__ = ("_place", "_waits", "entered", "identity", "is_open")

    def __init__(self) -> None:
        self.is_open = False
        self.entered = False
        """A routed consumer serves the socket."""
        self.identity: Identity | None = None
        self._waits = False
        self._place: ConnectionSlot | None = None

    def enter(self, scope: Scope) -> None:
        """The consumer of ``scope`` begins. While the gate is shut nobody is signed in there."""
        self.entered = True
        if not self.is_open:
            from django.contrib.auth.models import AnonymousUser  # a model, which needs the app registry

            self._waits = True
            scope["user"] = AnonymousUser()

    def keep(self, place: ConnectionSlot) -> None:
        """The socket has this ``place``."""
        self._place = place

    def admit(self, scope: Scope) -> bool:
        """The consumer of ``scope`` is to connect, as whoever has come through; ``False``: one socket too many."""
        if not self._waits:  # the scope said so from the beginning
            return True
        if self.identity is not None:
            update_scope(scope, self.identity)
        return self._place is None or add_user(self._place, scope)


class InnerApplication:
    """Runs ``inner`` on a socket that was accepted in its place: its own accept goes no further.

    A close in place of the accept refuses the socket: 4403 for want of a code, after a CLOSE notice.
    """

    __slots__ = (
        "_accepted", "_dialect", "_held", "_inner", "_mail", "_receive", "_scope", "_send", "_task", "_through",
        "closing", "ended", "gate",
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
        """A close was sent: nothing more is."""
        self.ended: Callable[[], None] | None = None
        """Called when the application ends before anybody is let through."""
        extensions = {name: value for name, value in (scope.get("extensions") or {}).items() if name != RESPONSE}
        added = {"extensions": extensions, GATE: self.gate, AUTHENTICATORS: authenticators}
        self._scope: Scope = {**scope, **added}
        self._inner = inner
        self._receive = receive
        self._send = send
        self._dialect = dialect
        self._accepted = False
        self._through = False
        self._mail: asyncio.Queue[dict[str, Any]] | None = None  # most applications are there when it is over
        self._held: list[dict[str, Any]] = []
        self._task: asyncio.Task[None] | None = None

    @property
    def has_begun(self) -> bool:
        """Whether the application runs, or has run, for public routes."""
        return self._task is not None

    @property
    def has_ended(self) -> bool:
        """Whether it runs no more."""
        return self._task is not None and self._task.done()

    async def hand_over(self, frame: dict[str, Any]) -> None:
        """Give a frame to the application, which begins at the first one."""
        if self._mail is None:
            self._mail = asyncio.Queue(1)
            self._task = asyncio.create_task(self._run(partial(self._from_mail, self._mail)))
            self._task.add_done_callback(partial(self._tell, self._mail))
        await self._mail.put(frame)

    def hang_up(self, message: dict[str, Any]) -> None:
        """The socket has ended with this ``websocket.disconnect``: what waits is dropped."""
        self.closing = True
        if self._mail is not None:
            _empty(self._mail)
            self._mail.put_nowait(message)

    async def end(self) -> None:
        """Wait until the application has ended, if it runs; with what it raises. A cancellation is passed on to it."""
        if self._task is None:
            return
        if not self.closing and not self._task.done():  # the server has no patience
            self._task.cancel()
        await self._wait_for(self._task)

    async def proceed(self, held: list[dict[str, Any]]) -> None:
        """Somebody is let through: give the application what is ``held`` for it, its ``websocket.connect`` first."""
        if self._task is not None:
            assert self._mail is not None
            for message in held:
                await self._mail.put(message)
            self._through = True
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
            await say_goodbye(self._send, Ending(4404, "There is nothing here.", reconnect=False), self._dialect)

    def _tell(self, mail: asyncio.Queue[dict[str, Any]], task: asyncio.Task[None]) -> None:
        _empty(mail)  # nobody waits for room any more
        if self.ended is not None:
            self.ended()

    async def _from_mail(self, mail: asyncio.Queue[dict[str, Any]]) -> dict[str, Any]:
        return await (self._from_client() if self._through and mail.empty() else mail.get())

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
                await say_goodbye(self._send, Ending(code, message.get("reason") or "", reconnect=False), self._dialect)
                return
        await self._send(message)


def _empty(mail: asyncio.Queue[dict[str, Any]]) -> None:
    while not mail.empty():
        mail.get_nowait()
