"""Counts in Redis, through the server that a django-redis cache uses: exact over any number of processes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from redis.exceptions import ConnectionError, NoScriptError, RedisError

from .base import MICROSECONDS, Bucket, Decision, Quota, StoreError, digest
from .link import Link
from .patience import Patience

SCRIPT: Final = Path(__file__).with_name("take.lua").read_text(encoding="utf-8")
SHA: Final = hashlib.sha1(SCRIPT.encode(), usedforsecurity=False).hexdigest()


class RedisStore:
    """Logs in Redis: one script takes from them, by the clock of the server.

    ``prefix`` stands in front of its keys. ``links`` are its servers by name, and ``name_for`` gives that of a key.
    """

    def __init__(self, prefix: str, links: Mapping[str, Link], name_for: Callable[[str], str]) -> None:
        self._prefix = prefix
        self._links = links
        self._name_for = name_for

    def close(self) -> None:
        """Close the connections; who still asks has others opened."""
        for link in self._links.values():
            link.give_up()

    async def take(self, buckets: Sequence[Bucket], timeout: float, *, quotas: bool) -> Decision:
        """As :meth:`Store.take <routesock.throttling.base.Store.take>`, in one round trip."""
        keys: list[str] = []
        arguments: list[int] = []
        for window, caller, cost in buckets:
            keys.append(self._key(window.tag, window.key, digest(caller)))
            arguments += (window.limit, window.period, window.grain, cost)
        link = self._links[self._name_for(keys[0])]
        before = link.answers
        try:
            async with Patience(timeout):
                wait, *pairs = await _run(link, len(keys), *keys, *arguments)
        except TimeoutError:
            if link.answers == before:
                link.give_up()
            raise StoreError(f"Redis did not answer within {timeout} s") from None
        except (RedisError, OSError) as exc:
            raise StoreError(f"{type(exc).__name__}: {exc}") from exc
        return Decision(wait / MICROSECONDS, [Quota(*pair) for pair in zip(pairs[::2], pairs[1::2], strict=True)])

    def _key(self, tag: str, window: str, caller: str) -> str:
        """What stands in braces decides where a key lies: those of one call lie together."""
        return f"{self._prefix}:{{{tag}}}:{window}:{caller}" if tag else f"{self._prefix}:{{{caller}}}:{window}"


async def _run(link: Link, *arguments: Any) -> list[int]:
    try:
        return await _evaluate(link, *arguments)
    except ConnectionError:  # perhaps one that was idle while the server restarted
        return await _evaluate(link, *arguments)


async def _evaluate(link: Link, *arguments: Any) -> list[int]:
    try:
        reply: list[int] = await link.ask("EVALSHA", SHA, *arguments)
    except NoScriptError:
        reply = await link.ask("EVAL", SCRIPT, *arguments)
    return reply
