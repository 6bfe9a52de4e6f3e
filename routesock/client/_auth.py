"""Tokens: gets them, sends them in AUTH frames, and does so again before they end."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

from ._calls import Calls, Lane, Options
from ._host import Alarm, Host, logger
from ._types import members, seconds

EARLY: Final = 60.0
"""A token is refreshed so many seconds before it ends, or in the last quarter of its time."""

TokenFunction: TypeAlias = Callable[[bool], str | Awaitable[str | None] | None]


class Auth:
    """The tokens of a client.

    Attributes:
        renewable: Whether there may be a new token after one was refused.
        refused: Whether the server has refused the last one.
    """

    def __init__(
        self, host: Host, calls: Calls, token: str | TokenFunction | None, spawn: Callable[[Awaitable[None]], object]
    ) -> None:
        self._host = host
        self._calls = calls
        self._token = token
        self._spawn = spawn
        self._alarm = Alarm(host.clock)
        self.renewable = callable(token)
        self.refused = False

    async def get(self) -> str | None:
        """Returns a token, or ``None``."""
        if not callable(self._token):
            return self._token
        token = self._token(self.refused)
        return await token if inspect.isawaitable(token) else token

    async def send(self, token: str) -> None:
        """Sends a token. Raises the server's error."""
        reply = await self._calls.request("AUTH", {"token": token}, Options(), lane=Lane.NOW)
        grant = members(reply.payload)
        ttl, expires = seconds(grant.get("ttl")), seconds(grant.get("expires"))
        if ttl is None and expires is not None and "ttl" not in grant:
            ttl = expires - self._host.clock.now()
        if ttl is not None and ttl > 0:
            self._alarm.set(ttl - min(EARLY, ttl / 4), lambda: self._spawn(self._refresh()))

    def stop(self) -> None:
        """Ends the refreshing."""
        self._alarm.stop()

    async def _refresh(self) -> None:
        """Where it fails, the server goes on with the token that it has, and ends the socket with it."""
        try:
            token = await self.get()
            if token is not None and self._host.ready:
                await self.send(token)
        except Exception as error:
            # The close that follows asks for a new token. The text of an exception may have the old one.
            logger.warning("The token was not refreshed: %s", type(error).__name__)
