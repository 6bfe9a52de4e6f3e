"""Which groups have a history (the setting ``HISTORY``), and `position()`, `history()` and their async variants."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from asgiref.sync import async_to_sync
from django.core.exceptions import ImproperlyConfigured

from .. import conf
from .._routing.topic import Pattern
from .._runtime import counters
from .._runtime.supervision import safe_logger
from .._store.histories import Entry, Position, Read, open_histories, parse_position
from .._store.opening import Outage, StoreError
from ..exceptions import RouteSetupError, Unavailable
from .envelopes import PUSH, Broadcast, Message, layer_group

logger: Final = safe_logger("routesock.store")

MAX_LIMIT: Final = 1000
"""The most pushes that a history keeps, and that :func:`history` returns."""


class Policy(NamedTuple):
    """How much of the history of a group is kept: the number of pushes, and the seconds since the last one."""

    size: int
    ttl: float


MAX_NAMES: Final = 1024

MAX_NAME_CHARS: Final = 200
"""Groups whose policy is remembered, and the longest of their names. Above the first, all of them are forgotten."""


class _Policies:
    """What a value of ``HISTORY`` says about groups. Raises what :class:`Pattern` raises.

    Args:
        setting: The value, which is valid.
    """

    def __init__(self, setting: Mapping[str, Any]) -> None:
        self.setting = {**setting}
        found = [(Pattern(text), Policy(value["size"], value["ttl"])) for text, value in setting.items()]
        self.patterns: Sequence[tuple[Pattern, Policy]] = sorted(
            found, key=lambda pair: (len(pair[0].segments), pair[0].rank)
        )
        self.by_name: dict[str, Policy | None] = {}
        """What was found lately."""

    def of(self, name: str) -> Policy | None:
        """Return what is kept of the group ``name``."""
        parts = name.split(".")
        found = next((policy for pattern, policy in self.patterns if pattern.match(parts) is not None), None)
        if len(name) <= MAX_NAME_CHARS:
            if len(self.by_name) >= MAX_NAMES:
                self.by_name.clear()
            self.by_name[name] = found
        return found


_policies = _Policies({})


def _renewed() -> _Policies:
    """Return what is in force now, since the setting is not what it was. Raises as :func:`policies`."""
    global _policies
    setting = conf.get("HISTORY")
    if setting != _policies.setting:
        try:
            _policies = _Policies(setting)
        except RouteSetupError as exc:
            raise ImproperlyConfigured(f"ROUTESOCK['HISTORY']: {exc}") from exc
    return _policies


def policies() -> Sequence[tuple[Pattern, Policy]]:
    """Return the patterns of ``HISTORY``, those that take precedence first.

    Raises:
        ImproperlyConfigured: If the setting is not valid.
    """
    return _renewed().patterns


def policy_of(name: str) -> Policy | None:
    """Return what is kept of the group ``name``; ``None`` for a group without a history. Raises as :func:`policies`."""
    return policy_in(conf.project_settings().get("HISTORY"), name)


def policy_in(setting: Any, name: str) -> Policy | None:
    """As :func:`policy_of`, where the project's value of ``HISTORY`` is known: ``None`` if there is none."""
    current = _policies
    if setting != current.setting:
        current = _renewed()
    try:
        return current.by_name[name]
    except KeyError:
        return current.of(name)


MAX_RECENT: Final = 4096

MAX_RECENT_BYTES: Final = 4 * 1024 * 1024
"""Pushes that were read lately, and the bytes of their data. When there are more, all of them are forgotten."""


class _Recent:
    """Pushes that were read lately: many clients come back at once, and each push is encoded for all of them once."""

    def __init__(self) -> None:
        self._pushes: dict[tuple[str, str, int], Broadcast] = {}  # by group, epoch and offset
        self._bytes = 0

    def get(self, group: str, epoch: str, entry: Entry) -> Broadcast:
        """Return a push of a history. Raises what :class:`Broadcast` raises."""
        offset, data, excluded = entry
        known = self._pushes.get((group, epoch, offset))
        if known is not None and known.is_of(data) and known.excluded == excluded:
            return known
        message: Message = {"type": PUSH, "group": group, "data": data, "except": excluded}
        broadcast = Broadcast(message, Position(epoch, offset))
        if len(self._pushes) >= MAX_RECENT or self._bytes + len(data) > MAX_RECENT_BYTES:
            self._pushes.clear()
            self._bytes = 0
        self._pushes[group, epoch, offset] = broadcast
        self._bytes += len(data)
        return broadcast


_recent: Final = _Recent()


def broadcasts_of(group: str, read: Read) -> list[Broadcast] | None:
    """Return the pushes of a history as they come through a channel layer; ``None`` if they are not all there.

    One that cannot be read, as it may be of another version of routesock, counts as missing.

    Args:
        group: The layer's name of the group.
        read: What was read of its history.
    """
    if read.entries is None:
        return None
    epoch = read.top.epoch
    try:
        return [_recent.get(group, epoch, entry) for entry in read.entries]
    except (TypeError, ValueError, RecursionError):
        logger.warning("A push in the history of a group cannot be read.", exc_info=True)
        return None


_outage: Final = Outage()


def store_failed(error: StoreError) -> None:
    """Log that the store does not answer, once in an outage and then once a minute."""
    counters.count_store_error()
    if _outage.failed():
        logger.warning("Histories cannot be read or written: %s", error)


def store_answered() -> None:
    """Log the end of an outage."""
    if _outage.answered():
        logger.warning("Histories can be read and written again.")


async def keep(message: Message, policy: Policy) -> Message:
    """Append ``message`` to the history of its group, and return it with its position.

    Raises:
        Unavailable: The store does not answer.
    """
    histories = await open_histories()
    try:
        position = await histories.append(
            message["group"], message["data"], message.get("except"), policy.size, policy.ttl
        )
    except StoreError as exc:
        store_failed(exc)
        raise Unavailable("The history of the group cannot be kept at the moment.", wait=1) from exc
    store_answered()
    return {**message, "at": str(position)}


@dataclass(frozen=True, slots=True)
class KeptPush:
    """One push in a :class:`History`.

    Attributes:
        position: Its position.
        route: Its name.
        payload: Its payload, decoded from JSON.
        headers: Its headers.
    """

    position: str
    route: str
    payload: Any
    headers: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class History:
    """The history of a group.

    Attributes:
        position: The position behind the last of ``pushes``; that of the group if there are none.
        pushes: The pushes, oldest first.
        complete: Whether no push is missing between ``since`` and ``position``. Without ``since``, whether all pushes
            since the beginning are there.
    """

    position: str
    pushes: tuple[KeptPush, ...]
    complete: bool


async def aposition(group: str) -> str:
    """Return the current position of ``group``, for a page that is rendered before it subscribes.

    Args:
        group: The name of a group that a pattern of ``HISTORY`` matches.

    Returns:
        An epoch and an offset, as in ``"Zk3fQ1a9:17"``. A client subscribes with it as ``since``.

    Raises:
        ValueError: No pattern of ``HISTORY`` matches ``group``.
        Unavailable: The store does not answer.
    """
    return str((await _read(group, None, 0)).top)


def position(group: str) -> str:
    """Return the current position of ``group`` from sync code; see :func:`aposition`."""
    return async_to_sync(aposition)(group)


async def ahistory(group: str, since: str | None = None, limit: int = 100) -> History:
    """Return what is kept of the pushes to ``group``.

    Args:
        group: The name of a group that a pattern of ``HISTORY`` matches.
        since: A position. Only the pushes behind it are returned. By default the last ones are.
        limit: The most pushes, 1 to 1,000. Read on with ``since=found.position``.

    Returns:
        The pushes. If some behind ``since`` are no longer kept, there are none, and ``complete`` is false.

    Raises:
        ValueError: No pattern of ``HISTORY`` matches ``group``, ``since`` is no position, ``limit`` is out of range, or
            a kept push cannot be read.
        Unavailable: The store does not answer.
    """
    if type(limit) is not int or not 1 <= limit <= MAX_LIMIT:
        raise ValueError(f"limit must be an integer from 1 to {MAX_LIMIT}; got {limit!r}.")
    start = None
    if since is not None:
        start = parse_position(since)
        if start is None:
            raise ValueError(f"{since!r} is no position.")
    read = await _read(group, start, limit)
    kept = (read.entries or ())[:limit]
    pushes = tuple(_kept(Position(read.top.epoch, entry.offset), entry.data) for entry in kept)
    if start is None:
        return History(str(read.top), pushes, len(pushes) == read.top.offset)
    last = Position(read.top.epoch, kept[-1].offset) if kept else read.top
    return History(str(last), pushes, read.entries is not None)


def history(group: str, since: str | None = None, limit: int = 100) -> History:
    """Return what is kept of the pushes to ``group``, from sync code; see :func:`ahistory`."""
    return async_to_sync(ahistory)(group, since, limit)


def _kept(position: Position, data: str) -> KeptPush:
    route, payload, headers = json.loads(data)
    return KeptPush(str(position), route, payload, headers)


async def _read(group: str, since: Position | None, limit: int) -> Read:
    name = layer_group(group)
    if policy_of(group) is None:
        raise ValueError(f"The group {group!r} has no history. Add a pattern for it to ROUTESOCK['HISTORY'].")
    histories = await open_histories()
    try:
        if since is None:
            read = await histories.latest(name, limit)
        else:
            read = await histories.read(name, since, conf.get("MAX_REPLY") * MAX_LIMIT)
    except StoreError as exc:
        store_failed(exc)
        raise Unavailable("The history of the group cannot be read at the moment.", wait=1) from exc
    store_answered()
    return read
