"""Frames out: encoded by us, or by what the consumer overrides."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from . import codec, conf, db, faults
from .dialects import Frame
from .outbox import CONTROL, REPLY, Kind, Outbox
from .overrides import Compiled
from .room import Progress


class FrameTooLarge(ValueError):
    """A frame over ``MAX_REPLY`` bytes: servers have a limit too, and do not say to the client that they met it."""


class EncodeError(Exception):
    """What a frame is made of raised what no task may raise, while it was spelt."""


class Outgoing:
    """Writes the frames of one socket, through those of the consumer's own methods that override Channels'."""

    __slots__ = ("_consumer", "_max_bytes", "_outbox", "_own", "_progress", "plain")

    def __init__(self, consumer: Any, compiled: Compiled, outbox: Outbox, progress: Progress) -> None:
        self._consumer = consumer
        self._own = compiled
        self._outbox = outbox
        self._progress = progress
        self._max_bytes: int = conf.get("MAX_REPLY")
        self.plain = not (compiled.encode or compiled.send or compiled.send_json)
        """None of the consumer's own methods sees what is sent."""

    def write(self, frame: Frame, kind: Kind = REPLY) -> Coroutine[Any, Any, None]:
        """Encode ``frame`` and send it. Raises what encoding raises, nothing for a socket that takes no more frames."""
        if self.plain:
            return self.write_text(self._checked(spelt(frame)), kind)
        return self._write_elsewhere(frame, kind)

    def may_drop(self) -> bool:
        """As :meth:`Outbox.may_drop`."""
        return self._outbox.may_drop()

    async def write_text(self, text: str, kind: Kind) -> None:
        """Send a frame that is spelt already, past the consumer's own methods. Raises nothing."""
        try:
            await self._outbox.write({"type": "websocket.send", "text": text}, kind)
        except Exception as exc:
            self._log_not_sent(exc)

    async def _write_elsewhere(self, frame: Frame, kind: Kind) -> None:
        if asyncio.current_task() is self._progress.task:
            await self._write_own(frame, kind)
        else:
            # With a context of its own, not that of the job whose turn it is: asgiref takes a call of the thread beside
            # the job's for one from inside it, and after each call puts back what the context held before.
            await asyncio.get_running_loop().create_task(self._write_own(frame, kind))

    async def _write_own(self, frame: Frame, kind: Kind) -> None:
        if self._progress.closing and kind is not CONTROL:
            return
        try:
            await self._write_through(frame, kind)
        except (SystemExit, KeyboardInterrupt, asyncio.CancelledError) as exc:
            task = asyncio.current_task()
            if isinstance(exc, asyncio.CancelledError) and task is not None and task.cancelling():
                raise
            raise EncodeError(f"The consumer's own code raised {exc!r}.") from exc

    async def _write_through(self, frame: Frame, kind: Kind) -> None:
        if self._own.send_json:
            if not self._own.encode:
                # What Channels' encode_json will spell then: strict, with dates and the like, and of a bounded size.
                frame = json.loads(self._checked(spelt(frame)))
            await self._call(partial(self._consumer.send_json, frame))
            return
        encode = partial(self._consumer.encode_json, frame)
        text = self._checked(await self._call(encode) if self._own.encode else spelt(frame))
        try:
            if self._own.send:
                await self._call(partial(self._consumer.send, text_data=text))
            else:
                await self._outbox.write({"type": "websocket.send", "text": text}, kind)
        except Exception as exc:
            self._log_not_sent(exc)

    async def _call(self, method: Callable[[], Any]) -> Any:
        if self._own.sync:
            return await db.in_thread(method)
        db.forget_waiting()
        return await method()

    def _checked(self, text: str) -> str:
        size = codec.size_of(text)
        if size > self._max_bytes:
            raise FrameTooLarge(f"A frame of {size} bytes is over MAX_REPLY ({self._max_bytes}): send it in parts.")
        return text

    def _log_not_sent(self, exc: Exception) -> None:
        # The disconnect that follows says all about a client that has left.
        level = logging.DEBUG if means_gone(exc) else logging.WARNING
        faults.logger.log(level, "A frame could not be sent.", exc_info=exc, extra=faults.extras(self._consumer))


def spelt(frame: Any) -> str:
    """``frame``, or what is to be in one, as JSON.

    Raises what encoding raises, with :class:`EncodeError` for what no task may raise.
    """
    try:
        return codec.encode(frame)
    except Exception:
        raise
    except BaseException as exc:  # such as a lazy text whose function exits
        raise EncodeError(f"A value raised {type(exc).__name__} when it was spelt.") from exc


def means_gone(exc: Exception) -> bool:
    """Whether a server says with ``exc`` that the client has left: an ``OSError`` (ASGI 2.4), or what daphne raises."""
    return isinstance(exc, OSError) or any(
        f"{cls.__module__}.{cls.__qualname__}" == "autobahn.exception.Disconnected" for cls in type(exc).__mro__
    )
