"""The store of idempotency keys: which requests were begun, and how they were answered, in memory or in Redis."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol

from .. import conf
from .opening import StoreError, get_store


class State(StrEnum):
    """What a key stands for. The values are the letters in Redis."""

    CLAIMED = "C"
    """A request has begun with it."""
    REPLIED = "R"
    """The request was answered."""
    UNKNOWN = "U"
    """The request has begun, and how it ended is not known."""


class Outcome(StrEnum):
    """What a request finds under its key. The values are those of the script ``claim.lua``."""

    CLAIMED = "claimed"
    """Nothing: the key belongs to this request from now on."""
    MISMATCH = "mismatch"
    """A request for something else."""
    FINISHED = "finished"
    """The same request, and its reply."""
    RUNNING = "running"
    """The same request, which has not ended yet."""
    UNKNOWN = "unknown"
    """The same request, whose outcome is unknown."""


class Found(NamedTuple):
    """What a request finds under its key: the outcome, and the reply that is kept if it is ``FINISHED``."""

    outcome: Outcome
    reply: str = ""


class Claimed(NamedTuple):
    """A key that a request claims.

    Attributes:
        key: The key, which names its owner and the consumer class too. A digest.
        token: Tells this request from all others. 32 characters.
        fingerprint: A digest of what the request asks for. 32 characters.
        ttl: Seconds for which the outcome is kept.
    """

    key: str
    token: str
    fingerprint: str
    ttl: float


class Keys(Protocol):
    """A store of idempotency keys. The methods raise ``StoreError`` if it does not answer."""

    async def claim(self, claimed: Claimed, lease: float) -> Found:
        """Claim a key, if no request has it. After ``lease`` seconds a request that has not ended is ``UNKNOWN``."""
        ...

    async def keep(self, claimed: Claimed, reply: str | None) -> None:
        """Keep the reply of the request that has claimed the key; ``None``: that it is not known."""
        ...

    async def give_up(self, claimed: Claimed) -> None:
        """Forget the key, since the request has not begun to do anything."""
        ...


SWEEP_INTERVAL: Final = 60.0
"""Seconds between two searches for keys in memory that have expired."""

FULL_SWEEP_INTERVAL: Final = 1.0
"""The same while the memory is full."""

RECORD_SIZE: Final = 400
"""Bytes that a key in memory counts for, beside its reply."""


class _Record:
    __slots__ = ("claimed", "expires", "reply", "state", "until")

    def __init__(self, claimed: Claimed, until: float, expires: float) -> None:
        self.state = State.CLAIMED
        self.claimed = claimed
        self.until = until
        self.expires = expires
        self.reply = ""


class MemoryKeys:
    """Keys in the memory of this process. Several threads may share them.

    A key is never dropped before it expires. While as many are kept as the settings allow, no further one is accepted.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._records: dict[str, _Record] = {}
        self._bytes = 0
        self._swept = clock()
        self._lock = threading.Lock()

    async def claim(self, claimed: Claimed, lease: float) -> Found:
        with self._lock:
            now = self._clock()
            record = self._records.get(claimed.key)
            if record is not None and record.expires > now:
                return _found(record, claimed, now)
            self._forget(claimed.key)
            self._make_room(now)
            self._records[claimed.key] = _Record(claimed, now + lease, now + max(lease, claimed.ttl))
            self._bytes += RECORD_SIZE
            return Found(Outcome.CLAIMED)

    async def keep(self, claimed: Claimed, reply: str | None) -> None:
        with self._lock:
            now = self._clock()
            record = self._records.get(claimed.key)
            if record is None:  # the test client has forgotten all keys meanwhile
                return
            if record.claimed.token != claimed.token or record.state is not State.CLAIMED:
                return
            record.expires = now + claimed.ttl
            size = 0 if reply is None else len(reply)  # it is ASCII
            if reply is None or self._bytes + size > conf.get("IDEMPOTENCY_MAX_BYTES"):
                record.state = State.UNKNOWN
                if reply is not None:
                    raise StoreError("The memory for idempotency keys is full (IDEMPOTENCY_MAX_BYTES).")
                return
            record.state, record.reply = State.REPLIED, reply
            self._bytes += size

    async def give_up(self, claimed: Claimed) -> None:
        with self._lock:
            record = self._records.get(claimed.key)
            if record is not None and record.claimed.token == claimed.token and record.state is State.CLAIMED:
                self._forget(claimed.key)

    def _make_room(self, now: float) -> None:
        is_full = self._is_full()
        if now - self._swept >= (FULL_SWEEP_INTERVAL if is_full else SWEEP_INTERVAL):
            self._swept = now
            for key in [key for key, record in self._records.items() if record.expires <= now]:
                self._forget(key)
            is_full = self._is_full()
        if is_full:
            raise StoreError(
                f"The memory for idempotency keys is full ({len(self._records)} keys, {self._bytes} bytes)."
            )

    def _is_full(self) -> bool:
        max_keys: int = conf.get("IDEMPOTENCY_MAX_KEYS")
        max_bytes: int = conf.get("IDEMPOTENCY_MAX_BYTES")
        return len(self._records) >= max_keys or self._bytes + RECORD_SIZE > max_bytes

    def _forget(self, key: str) -> None:
        record = self._records.pop(key, None)
        if record is not None:
            self._bytes -= RECORD_SIZE + len(record.reply)


def _found(record: _Record, claimed: Claimed, now: float) -> Found:
    if record.claimed.fingerprint != claimed.fingerprint:
        return Found(Outcome.MISMATCH)
    if record.state is State.REPLIED:
        return Found(Outcome.FINISHED, record.reply)
    if record.state is State.CLAIMED and now < record.until:
        return Found(Outcome.RUNNING)
    return Found(Outcome.UNKNOWN)


@cache
def _script(name: str) -> Any:
    from .redis import Script  # redis-py is optional

    return Script(Path(__file__).with_name(name))


class RedisKeys:
    """Keys in Redis, by the clock of the server. ``servers`` is a :class:`~.redis.RedisServers`."""

    def __init__(self, servers: Any) -> None:
        self._servers = servers

    async def claim(self, claimed: Claimed, lease: float) -> Found:
        ttl = _milliseconds(max(lease, claimed.ttl))
        outcome, reply = await self._run(
            "claim.lua", claimed, claimed.token, claimed.fingerprint, _milliseconds(lease), ttl
        )
        return Found(Outcome(outcome.decode()), reply.decode())

    async def keep(self, claimed: Claimed, reply: str | None) -> None:
        state = State.UNKNOWN if reply is None else State.REPLIED
        await self._settle(claimed, state, reply or "")

    async def give_up(self, claimed: Claimed) -> None:
        await self._settle(claimed, "", "")

    async def _settle(self, claimed: Claimed, state: str, reply: str) -> None:
        ttl = _milliseconds(claimed.ttl)
        await self._run("settle.lua", claimed, claimed.token, claimed.fingerprint, str(state), ttl, reply)

    async def _run(self, script: str, claimed: Claimed, *arguments: Any) -> Any:
        key = self._servers.key("i", claimed.key, "k")
        return await self._servers.run(_script(script), [key], *arguments, timeout=conf.get("STORE_TIMEOUT"))


def _milliseconds(seconds: float) -> int:
    return max(1, round(seconds * 1000))


async def get_keys() -> Keys:
    """Return the keys in the store of the running event loop. Raises what ``get_store()`` raises."""
    store = await get_store()
    if store.local is None:
        return RedisKeys(store)
    keys: MemoryKeys = store.local.part("idempotency", MemoryKeys)
    return keys
