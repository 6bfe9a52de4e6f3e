"""The throttle store in Redis: one Lua script per decision."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from .._store.redis import RedisServers, Script, open_servers
from .base import MICROSECONDS, Bucket, Decision, Quota, digest

TAKE: Final = Script(Path(__file__).with_name("take.lua"))


class RedisStore:
    """Counts calls in Redis with the script ``take.lua``, by the clock of the server."""

    def __init__(self, servers: RedisServers) -> None:
        self._servers = servers

    def close(self) -> None:
        """Close the connections. A later command opens new ones."""
        self._servers.close()

    async def take(self, buckets: Sequence[Bucket], timeout: float, *, quotas: bool) -> Decision:
        """Take from the buckets in one round trip."""
        keys: list[str] = []
        arguments: list[int] = []
        for window, caller, cost in buckets:
            keys.append(self._key(window.tag, window.key, digest(caller)))
            arguments += (window.limit, window.period, window.resolution, cost)
        wait, *pairs = await self._servers.run(TAKE, keys, *arguments, timeout=timeout)
        return Decision(wait / MICROSECONDS, [Quota(*pair) for pair in zip(pairs[::2], pairs[1::2], strict=True)])

    def _key(self, tag: str, window: str, caller: str) -> str:
        """Return a key. The part in braces decides on which server it is, so that all keys of a call are on one."""
        prefix = self._servers.prefix
        return f"{prefix}:{{{tag}}}:{window}:{caller}" if tag else f"{prefix}:{{{caller}}}:{window}"


def open_store(cache: Any) -> RedisStore:
    """Return a store on the servers of a django-redis cache. Raises what :func:`open_servers` raises."""
    return RedisStore(open_servers(cache, "routesock.throttle"))
