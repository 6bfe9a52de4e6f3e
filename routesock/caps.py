"""How many sockets a user and an address have in this process."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Hashable
from typing import Final

from . import conf
from .addresses import client_address
from .messages import Scope
from .status import Ending

logger: Final = logging.getLogger("routesock.socket")

TOO_MANY: Final = Ending(4429, "There are too many sockets of this user or address.", reconnect=True, retry_after=30)
"""Sockets whose clients are gone are counted until that is noticed, so a client may well find room a little later."""

_Key = tuple[str, Hashable]

_counts: Final[dict[_Key, int]] = {}
_lock: Final = threading.Lock()  # two loops of one process may run in two threads

# The garbage collector may end a socket anywhere, even while its own thread counts: so nothing more than this is done
# at a socket's end, and who opens the next one settles it.
_given_back: Final[deque[_Key]] = deque()


class Place:
    """One socket among those of its user and of its address."""

    __slots__ = ("_keys",)

    def __init__(self, keys: tuple[_Key, ...]) -> None:
        self._keys = keys

    def add(self, key: _Key) -> None:
        """Count for ``key`` too."""
        self._keys = (*self._keys, key)

    def give_back(self) -> None:
        """Make room for another. Does nothing the second time."""
        keys, self._keys = self._keys, ()
        _given_back.extend(keys)


def take_place(scope: Scope) -> Place | None:
    """A place for the socket of ``scope``, to be given back when it ends; ``None``: its user or address has too many.

    The limits are ``MAX_SOCKETS_PER_USER`` and ``MAX_SOCKETS_PER_ADDRESS``. A user who is not signed in, and an address
    that the server does not know, are not counted.
    """
    of_user: int | None = conf.get("MAX_SOCKETS_PER_USER")
    of_address: int | None = conf.get("MAX_SOCKETS_PER_ADDRESS")
    if of_user is None and of_address is None:
        return Place(())
    limits: dict[_Key, int] = {}
    if of_user is not None and is_signed_in(scope) and scope["user"].pk is not None:
        limits["user", scope["user"].pk] = of_user
    if of_address is not None and (address := client_address(scope, conf.get("NUM_PROXIES"))) is not None:
        limits["address", address] = of_address
    with _lock:
        _settle()
        if any(_counts.get(key, 0) >= limit for key, limit in limits.items()):
            return None
        for key in limits:
            _counts[key] = _counts.get(key, 0) + 1
    return Place(tuple(limits))


def add_user(place: Place, scope: Scope) -> bool:
    """Count ``place`` for the user of ``scope``, who was not known when it was taken; ``False``: there is no room."""
    of_user: int | None = conf.get("MAX_SOCKETS_PER_USER")
    if of_user is None or not is_signed_in(scope) or scope["user"].pk is None:
        return True
    key = ("user", scope["user"].pk)
    with _lock:
        _settle()
        if _counts.get(key, 0) >= of_user:
            return False
        _counts[key] = _counts.get(key, 0) + 1
        place.add(key)
    return True


def _settle() -> None:
    while _given_back:
        key = _given_back.popleft()
        _counts[key] -= 1
        if not _counts[key]:
            del _counts[key]


def is_signed_in(scope: Scope) -> bool:
    """Whether ``scope["user"]`` is signed in. A user that cannot say is not, and the reason is logged."""
    try:
        return getattr(scope.get("user"), "is_authenticated", False) is True
    except Exception:
        logger.exception("Whether the user of a socket is signed in cannot be told, so nobody is.")
        return False
