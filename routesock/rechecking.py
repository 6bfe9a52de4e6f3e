"""Pushes of a topic that asks its permissions again: held until the answer is there, and sent in their order."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from http import HTTPStatus
from typing import Any, Final, Protocol

from . import conf, faults, losses, problems
from .backlog import Backlog
from .broadcasts import Broadcast
from .exceptions import RoutesockError
from .messages import Request
from .pipeline import Plan
from .running import is_from_outside
from .typing import UNSET

logger: Final = logging.getLogger("routesock.socket")


class Owner(Protocol):
    """The subscription whose pushes these are."""

    consumer: Any

    def request(self) -> Request:
        """One as if the client subscribed now."""

    def start(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Start a task that ends with the socket."""

    async def deny(self, error: RoutesockError) -> None:
        """End it. Raises nothing but a cancellation."""


class Gate:
    """Asks ``check`` before each push, or once for all that wait when it is asked.

    It is closed until it is opened, and once more when it is shut. ``write`` is given what may pass.
    """

    __slots__ = ("_check", "_limit", "_open", "_owner", "_shut", "_task", "_waiting", "_write")

    def __init__(self, check: Plan, owner: Owner, write: Callable[[Broadcast], None]) -> None:
        self._check = check
        self._owner = owner
        self._write = write
        self._limit: int = conf.get("MAX_OUTGOING")
        self._waiting = Backlog()
        self._open = False
        self._shut = False
        self._task: asyncio.Task[None] | None = None

    def take(self, broadcast: Broadcast) -> None:
        if self._shut:
            return
        if self._waiting.put(broadcast, self._limit):
            self._begin()
        else:
            self._waiting.drop("permission")

    def open(self) -> None:
        """The subscription is there."""
        self._open = True
        self._begin()

    def shut(self) -> None:
        """It has ended: nothing passes any more."""
        self._shut = True
        self._waiting.clear()

    def _begin(self) -> None:
        if self._open and self._waiting and self._task is None:
            self._task = self._owner.start(self._work())

    async def _work(self) -> None:
        try:
            while self._waiting:
                await self._pass([self._waiting.take() for _ in range(len(self._waiting))])
        finally:
            self._task = None
            number = self._waiting.dropped.pop("permission", 0)
            if number:
                logger.warning("%d pushes were dropped while the permissions of their topic were asked.", number)
                losses.dropped(type(self._owner.consumer), number, "permission")

    async def _pass(self, broadcasts: list[Broadcast]) -> None:
        request = self._owner.request()
        task = asyncio.current_task()
        try:
            async with asyncio.timeout(self._seconds()):
                await self._check.run(request, ())
        except BaseException as exc:  # a permission may raise SystemExit or a CancelledError of its own
            if is_from_outside(exc, task):
                raise
            await self._refused(exc, request)
            return
        for broadcast in () if self._shut else broadcasts:
            self._write(broadcast)

    async def _refused(self, exc: BaseException, request: Request) -> None:
        """Deny, unless ``exc`` says nothing about the client; then the pushes are not sent, and that is all."""
        if self._shut:
            return
        error = problems.error_of(exc)
        if error is not None and error.status < 500 and error.status != HTTPStatus.TOO_MANY_REQUESTS:
            self.shut()
            await self._owner.deny(error)
        else:
            what = f"Whether a push of the topic {faults.printable(request.topic)} may be sent"
            faults.internal_error(exc, what, self._owner.consumer, request=request)

    def _seconds(self) -> float | None:
        seconds: float | None = conf.get("TIMEOUT") if self._check.timeout is UNSET else self._check.timeout
        return seconds
