"""Reads frames and writes replies before there is a consumer."""

from __future__ import annotations

import logging
from typing import Any, Final

from ... import conf
from ..._wire import codec
from ..._wire.messages import NO_HEADERS, RequestId
from ..._wire.problems import fitted
from ...dialects import MAX_ROUTE_CHARS, Dialect, Frame
from ...exceptions import InvalidEnvelope, NotAuthenticated, ParseError, RoutesockError, TooLarge
from ..authenticators import Identity
from ..refusals import Send

logger: Final = logging.getLogger("routesock.socket")

MAX_PROBLEM: Final = 3_500
"""Bytes of a problem object: with an id and a route an error's frame stays below 4 KiB."""


class HandshakeReplies:
    """Answers the client of one socket. Nothing is raised for one that has left."""

    __slots__ = ("_dialect", "_send")

    def __init__(self, dialect: Dialect, send: Send) -> None:
        self._dialect = dialect
        self._send = send

    async def hello(self, payload: dict[str, Any]) -> None:
        """Say what is expected."""
        await self._write(self._dialect.push("HELLO", payload))

    async def grant(self, identity: Identity, id: RequestId) -> None:
        """Answer a good AUTH with the time at which it ends; one without an id gets no answer."""
        if id is not None:
            await self._write(self._dialect.reply("AUTH", id, 200, {"expires": identity.expires}, NO_HEADERS))

    async def pong(self, frame: Frame) -> None:
        """Answer a PING."""
        try:
            await self._write(self._dialect.pong(self._dialect.id(frame), self._dialect.payload(frame)))
        except InvalidEnvelope as error:
            await self.refuse(error, "PING", error.id)

    async def turn_down(self, frame: Frame, name: Any) -> None:
        """Answer a frame that comes too early."""
        readable = name if type(name) is str and 0 < len(name) <= MAX_ROUTE_CHARS else None
        try:
            id = self._dialect.id(frame)
        except InvalidEnvelope as error:
            await self.refuse(error, readable, error.id)
            return
        await self.refuse(NotAuthenticated(), readable, id)

    async def refuse(self, error: RoutesockError, route: str | None = None, id: RequestId = None) -> None:
        """Answer with ``error``."""
        problem = fitted(error.problem(), MAX_PROBLEM)
        await self._write(self._dialect.reply(route, id, error.status, problem, error.headers))

    async def _write(self, frame: Frame) -> None:
        text = codec.encode(frame)
        try:
            await self._send({"type": "websocket.send", "text": text})
        except Exception:
            logger.debug("A frame could not be sent.", exc_info=True)


def read_frame(message: dict[str, Any]) -> Frame:
    """The object that a ``websocket.receive`` event holds. Raises the error that answers one which holds none."""
    text = message.get("text")
    if not text:
        kind = "binary" if message.get("bytes") else "empty"
        raise ParseError(f"A frame is one JSON text; this one is {kind}.")
    limit: int = conf.get("MAX_FRAME")
    if codec.size_of(text) > limit:
        raise TooLarge(f"A frame has at most {limit} bytes.", limit=limit)
    frame = codec.decode(text, conf.get("MAX_DEPTH"))
    if not isinstance(frame, dict):
        raise InvalidEnvelope("A request is a JSON object.")
    return frame
