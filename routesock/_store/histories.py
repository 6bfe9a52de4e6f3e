"""The histories of groups: the last pushes to each, numbered, in this process or in Redis.

Each history has an epoch, which is random, and offsets, which count up from 1. A pair of both names one push for ever:
a history that has lost something gets another epoch.
"""

from __future__ import annotations

import re
import secrets
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol, TypeVar

from .. import conf
from .opening import get_store

META_TTL: Final = 7 * 86_400
"""Seconds that the epoch and the offset of a history outlive its last use."""

MAX_GROUPS: Final = 10_000
"""Histories in memory, and as many that have only been read. The oldest is dropped for a new one."""

MAX_BYTES: Final = 64 * 1024 * 1024
"""Bytes of all histories in memory together."""

ENTRY_OVERHEAD: Final = 200
"""Bytes that an entry in memory counts for beside its data."""

MAX_OFFSET: Final = 2**63 - 1

_POSITION: Final = re.compile(r"([A-Za-z0-9_-]{1,22}):([0-9]{1,19})", re.ASCII)


def new_epoch() -> str:
    """Return a random epoch."""
    return secrets.token_urlsafe(6)


class Position(NamedTuple):
    """A place in a history: behind the push with this offset. 0 is in front of the first."""

    epoch: str
    offset: int

    def __str__(self) -> str:
        return f"{self.epoch}:{self.offset}"


def parse_position(text: Any) -> Position | None:
    """Return the position that ``text`` is; ``None`` for anything else."""
    found = _POSITION.fullmatch(text) if isinstance(text, str) else None
    if found is None or int(found[2]) > MAX_OFFSET:
        return None
    return Position(found[1], int(found[2]))


class Entry(NamedTuple):
    """One push of a history."""

    offset: int
    data: str
    excluded: str | None


class Read(NamedTuple):
    """What a history has.

    Attributes:
        top: The position behind the last push.
        entries: The pushes behind the position that was asked for, up to ``top``. ``None`` if they are not all there.
    """

    top: Position
    entries: Sequence[Entry] | None


class Histories(Protocol):
    """The histories of all groups. The methods raise ``StoreError`` if the store does not answer."""

    async def append(self, group: str, data: str, excluded: str | None, size: int, ttl: float) -> Position:
        """Append a push, and forget all but the last ``size``. They expire ``ttl`` seconds after the last of them."""
        ...

    async def read(self, group: str, since: Position, most: int) -> Read:
        """Return the pushes behind ``since``. More than ``most`` bytes of them count as missing."""
        ...

    async def latest(self, group: str, limit: int) -> Read:
        """Return the last ``limit`` pushes, oldest first; with 0 the position alone."""
        ...

    async def renew(self, group: str, seen: Position, *, certain: bool = False) -> None:
        """Start a new epoch if the history is still in that of ``seen``, but behind it: it was set back.

        Args:
            group: The group.
            seen: A position that the history has had.
            certain: Another push was given an offset up to ``seen`` since. The epoch ends wherever the history is.
        """
        ...

    @property
    def reconnect_count(self) -> int:
        """How often the connection to the store was replaced."""
        ...


class _History:
    __slots__ = ("entries", "epoch", "expires", "size", "top")

    def __init__(self) -> None:
        self.epoch = new_epoch()
        self.top = 0
        self.size = 0
        self.expires = 0.0
        self.entries: deque[Entry] = deque()


class MemoryHistories:
    """Histories in the memory of this process. Several threads may share them.

    Args:
        clock: Returns monotonic seconds.
        max_groups: The most histories with pushes, and the most without any.
        max_bytes: The most bytes of all together.
    """

    reconnect_count: Final = 0

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, max_groups: int = MAX_GROUPS, max_bytes: int = MAX_BYTES
    ) -> None:
        self._clock = clock
        self._max_groups = max_groups
        self._max_bytes = max_bytes
        self._size = 0
        # Those that were only read are apart, so that subscribing to many names drops no pushes.
        self._filled: OrderedDict[str, _History] = OrderedDict()
        self._empty: OrderedDict[str, _History] = OrderedDict()
        self._lock = threading.Lock()

    async def append(self, group: str, data: str, excluded: str | None, size: int, ttl: float) -> Position:
        with self._lock:
            history = self._current(group)
            self._empty.pop(group, None)
            self._filled[group] = history
            self._filled.move_to_end(group)
            history.top += 1
            history.expires = self._clock() + ttl
            history.entries.append(Entry(history.top, data, excluded))
            self._count(history, len(data) + ENTRY_OVERHEAD)
            while len(history.entries) > size:
                self._count(history, -len(history.entries.popleft().data) - ENTRY_OVERHEAD)
            while len(self._filled) > 1 and (len(self._filled) > self._max_groups or self._size > self._max_bytes):
                self._size -= self._filled.popitem(last=False)[1].size
            return Position(history.epoch, history.top)

    async def read(self, group: str, since: Position, most: int) -> Read:
        with self._lock:
            history = self._current(group)
            top = Position(history.epoch, history.top)
            if since.epoch != top.epoch or since.offset > top.offset:
                return Read(top, None)
            number = top.offset - since.offset
            if number > len(history.entries):
                return Read(top, None)
            entries = [*history.entries][len(history.entries) - number :]
        return Read(top, None if sum(len(entry.data) for entry in entries) > most else entries)

    async def latest(self, group: str, limit: int) -> Read:
        with self._lock:
            history = self._current(group)
            return Read(Position(history.epoch, history.top), [*history.entries][-limit:] if limit else ())

    async def renew(self, group: str, seen: Position, *, certain: bool = False) -> None:
        with self._lock:
            history = self._current(group)
            if history.epoch == seen.epoch and (certain or history.top < seen.offset):
                self._clear(history)
                history.epoch, history.top = new_epoch(), 0

    def _current(self, group: str) -> _History:
        history = self._filled.get(group) or self._empty.get(group)
        if history is None:
            history = self._empty[group] = _History()
            if len(self._empty) > self._max_groups:
                self._empty.popitem(last=False)
        if history.entries and self._clock() >= history.expires:
            self._clear(history)
        return history

    def _clear(self, history: _History) -> None:
        history.entries.clear()
        self._count(history, -history.size)

    def _count(self, history: _History, size: int) -> None:
        history.size += size
        self._size += size


class RedisHistories:
    """Histories in Redis: a stream and a hash for each group, by the clock of the server.

    Another server than the one that has begun an epoch, such as a replica that was promoted, may lack its last pushes.
    So a read there, or the first append over a connection, begins a new epoch. While there are two primaries, what is
    appended to one of them will be lost. So the next append of the same process begins a new epoch on the other one.

    Args:
        servers: A :class:`~.redis.RedisServers`.
    """

    def __init__(self, servers: Any) -> None:
        self._servers = servers
        self._connections: dict[str, int] = {}  # of the last append, by its key

    @property
    def reconnect_count(self) -> int:
        count: int = self._servers.reconnect_count
        return count

    async def append(self, group: str, data: str, excluded: str | None, size: int, ttl: float) -> Position:
        key = self._servers.key("h", group, "m")
        connection = self._servers.connection_for(key)
        is_first = self._connections.get(key) != connection
        epoch, when = _last_appends.get(key, ("", 0.0)) if is_first else ("", 0.0)
        since = int((time.monotonic() - when) * 1000) if epoch else 0
        arguments = size, round(ttl * 1000), META_TTL * 1000, data, excluded or "", int(is_first), epoch, since
        # Without a second try, which could append it twice.
        found, offset = await self._run("append.lua", group, *arguments, retry=False)
        position = Position(found.decode(), int(offset))
        if is_first:
            _remember(self._connections, key, connection)
        _remember(_last_appends, key, (position.epoch, time.monotonic()))
        return position

    async def read(self, group: str, since: Position, most: int) -> Read:
        read = await self._read(group, since.epoch, f"0-{since.offset + 1}", most, 0)
        top, entries = read.top, read.entries
        assert entries is not None
        if since.epoch != top.epoch or [entry.offset for entry in entries] != [*_behind(since, top, len(entries))]:
            return Read(top, None)
        return read

    async def latest(self, group: str, limit: int) -> Read:
        return await self._read(group, "", "0-0", 0, limit)

    async def renew(self, group: str, seen: Position, *, certain: bool = False) -> None:
        await self._run("renew.lua", group, META_TTL * 1000, seen.epoch, seen.offset, int(certain))

    async def _read(self, group: str, epoch: str, start: str, most: int, limit: int) -> Read:
        found, top, *packed = await self._run("read.lua", group, META_TTL * 1000, epoch, start, most, limit)
        entries = _unpacked(*packed)
        if limit:
            entries.reverse()
        return Read(Position(found.decode(), int(top)), entries)

    async def _run(self, script: str, group: str, *arguments: Any, retry: bool = True) -> Any:
        keys = [self._servers.key("h", group, part) for part in ("s", "m")]
        return await self._servers.run(
            _script(script), keys, new_epoch(), *arguments, timeout=conf.get("STORE_TIMEOUT"), retry=retry
        )


_last_appends: Final[dict[str, tuple[str, float]]] = {}
"""Of this process: key to the epoch, and when the server said so. Event loops come and go with ``async_to_sync``."""

Value = TypeVar("Value")


def _remember(values: dict[str, Value], key: str, value: Value) -> None:
    if len(values) >= MAX_GROUPS and key not in values:
        values.clear()
    values[key] = value


def _behind(since: Position, top: Position, number: int) -> range:
    """The offsets behind ``since`` if there are so many up to ``top``; else a range of another length."""
    return range(since.offset + 1, top.offset + 1) if top.offset - since.offset == number else range(number + 1)


def _unpacked(numbers: bytes, texts: bytes) -> list[Entry]:
    """Return the entries in a reply of ``read.lua``."""
    entries = []
    start = 0
    found = map(int, numbers.split())
    for offset, size, excluded_size in zip(found, found, found, strict=True):
        end = start + size
        data, start = texts[start:end].decode(), end + excluded_size
        entries.append(Entry(offset, data, texts[end:start].decode() if excluded_size else None))
    return entries


_scripts: Final[dict[str, Any]] = {}


def _script(name: str) -> Any:
    if name not in _scripts:
        from .redis import Script  # redis-py is optional

        _scripts[name] = Script(*map(Path(__file__).with_name, ("history.lua", name)))
    return _scripts[name]


async def open_histories() -> Histories:
    """Return the histories in the store. Raises what opening the store raises."""
    store = await get_store()
    make = MemoryHistories if store.local is not None else partial(RedisHistories, store)
    histories: Histories = store.part("history", make)
    return histories
