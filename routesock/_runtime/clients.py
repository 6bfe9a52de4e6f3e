"""Client addresses, and limits on the sockets that one address or user may have open."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Hashable
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Final

from .. import conf
from .._wire.messages import Scope
from ..status import Ending
from .supervision import safe_logger


def client_address(scope: Scope, proxies: int) -> str | None:
    """The address of the client, behind ``proxies`` proxies of one's own; ``None``: it is not known.

    Each proxy appends to ``X-Forwarded-For`` where it was called from. So the client's address is the n-th from the
    end, and what stands before it may be made up. Where no proxy added anything, it is that of the connection.
    """
    if proxies:
        forwarded = [value for name, value in scope.get("headers", ()) if name.lower() == b"x-forwarded-for"]
        if forwarded:
            addresses = b",".join(forwarded).decode("latin-1").split(",")
            return _normal(addresses[-min(proxies, len(addresses))])
    client = scope.get("client")
    return client[0] or None if client else None


def customer_at(address: str) -> str:
    """``address`` in one spelling; of an IPv6 address the /64, in which one customer has as many as they like."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    if not isinstance(parsed, IPv6Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ip_network((int(parsed), 64), strict=False).network_address)


def _normal(text: str) -> str | None:
    """An address in one spelling, without port and zone; ``None`` for what is none."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(address)


logger: Final = safe_logger("routesock.socket")

TOO_MANY: Final = Ending(4429, "There are too many sockets of this user or address.", reconnect=True, retry_after=30)
"""Sockets whose clients are gone are counted until that is noticed, so a client may well find room a little later."""

_Key = tuple[str, Hashable]

_counts: Final[dict[_Key, int]] = {}

_lock: Final = threading.Lock()  # two loops of one process may run in two threads

# The garbage collector may end a socket anywhere, even while its own thread counts: so nothing more than this is done
# at a socket's end, and who opens the next one settles it.
_given_back: Final[deque[_Key]] = deque()


class ConnectionSlot:
    """One socket among those of its user and of its address."""

    __slots__ = ("_keys",)

    def __init__(self, keys: tuple[_Key, ...]) -> None:
        self._keys = keys

    def add(self, key: _Key) -> None:
        """Count for ``key`` too."""
        self._keys = (*self._keys, key)

    @property
    def is_counted(self) -> bool:
        """Whether there is anything to give back."""
        return bool(self._keys)

    def give_back(self) -> None:
        """Make room for another. Does nothing the second time."""
        keys, self._keys = self._keys, ()
        _given_back.extend(keys)


def take_slot(scope: Scope) -> ConnectionSlot | None:
    """A place for the socket of ``scope``, to be given back when it ends; ``None``: its user or address has too many.

    The limits are ``MAX_SOCKETS_PER_USER`` and ``MAX_SOCKETS_PER_ADDRESS``. A user who is not signed in, and an address
    that the server does not know, are not counted.
    """
    of_user: int | None = conf.get("MAX_SOCKETS_PER_USER")
    of_address: int | None = conf.get("MAX_SOCKETS_PER_ADDRESS")
    if of_user is None and of_address is None:
        return ConnectionSlot(())
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
    return ConnectionSlot(tuple(limits))


def add_user(place: ConnectionSlot, scope: Scope) -> bool:
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
