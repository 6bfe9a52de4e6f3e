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
    """The address of the client behind ``proxies`` trusted proxies; ``None`` if it is not known.

    Each proxy appends to ``X-Forwarded-For`` the address that it was called from. So the client's address is the n-th
    from the end, and the addresses before it may be forged. It is the address of the connection if the header has fewer
    addresses, or no address there: a client must not escape a limit with what it writes.
    """
    if proxies:
        forwarded = [value for name, value in scope.get("headers", ()) if name.lower() == b"x-forwarded-for"]
        addresses = b",".join(forwarded).decode("latin-1").split(",")
        if len(addresses) >= proxies and (address := _normal(addresses[-proxies])) is not None:
            return address
    client = scope.get("client")
    return client[0] or None if client else None


def customer_at(address: str) -> str:
    """``address`` in canonical form; of an IPv6 address the /64 network, since one customer usually has all of it."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    if not isinstance(parsed, IPv6Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ip_network((int(parsed), 64), strict=False).network_address)


def customer_of(scope: Scope) -> str | None:
    """The address of the client as limits count it, behind ``NUM_PROXIES`` proxies; ``None`` if it is not known."""
    address = client_address(scope, conf.get("NUM_PROXIES"))
    return None if address is None else customer_at(address)


def _normal(text: str) -> str | None:
    """An address in canonical form, without port and zone; ``None`` if ``text`` is not an address."""
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
"""The client should try again: a socket whose client is gone is counted until that is noticed."""

_Key = tuple[str, Hashable]

_counts: Final[dict[_Key, int]] = {}

_lock: Final = threading.Lock()  # two loops of one process may run in two threads

# The garbage collector may end a socket anywhere, even while its own thread counts. So the end of a socket only appends
# here, and the next socket that opens updates the counts.
_released: Final[deque[_Key]] = deque()


class ConnectionSlot:
    """Counts one socket for its user and its address, until it is released."""

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
        """Stop counting the socket. Does nothing the second time."""
        keys, self._keys = self._keys, ()
        _released.extend(keys)


def take_slot(scope: Scope) -> ConnectionSlot | None:
    """Count the socket of ``scope`` until its slot is given back; ``None`` if its user or address has too many.

    The limits are ``MAX_SOCKETS_PER_USER`` and ``MAX_SOCKETS_PER_ADDRESS``. Anonymous users, and addresses that the
    server does not know, are not counted.
    """
    of_user: int | None = conf.get("MAX_SOCKETS_PER_USER")
    of_address: int | None = conf.get("MAX_SOCKETS_PER_ADDRESS")
    if of_user is None and of_address is None:
        return ConnectionSlot(())
    limits: dict[_Key, int] = {}
    if of_user is not None and is_signed_in(scope) and scope["user"].pk is not None:
        limits["user", scope["user"].pk] = of_user
    if of_address is not None and (address := customer_of(scope)) is not None:
        limits["address", address] = of_address
    with _lock:
        _settle()
        if any(_counts.get(key, 0) >= limit for key, limit in limits.items()):
            return None
        for key in limits:
            _counts[key] = _counts.get(key, 0) + 1
    return ConnectionSlot(tuple(limits))


def add_user(slot: ConnectionSlot, scope: Scope) -> bool:
    """Count ``slot`` also for the user of ``scope``, who signed in later; ``False`` if that user has too many."""
    of_user: int | None = conf.get("MAX_SOCKETS_PER_USER")
    if of_user is None or not is_signed_in(scope) or scope["user"].pk is None:
        return True
    key = ("user", scope["user"].pk)
    with _lock:
        _settle()
        if _counts.get(key, 0) >= of_user:
            return False
        _counts[key] = _counts.get(key, 0) + 1
        slot.add(key)
    return True


def _settle() -> None:
    while _released:
        key = _released.popleft()
        _counts[key] -= 1
        if not _counts[key]:
            del _counts[key]


def is_signed_in(scope: Scope) -> bool:
    """Whether ``scope["user"]`` is signed in. If that cannot be determined, ``False``, and the error is logged."""
    try:
        return getattr(scope.get("user"), "is_authenticated", False) is True
    except Exception:
        logger.exception("is_authenticated of a socket's user failed, so the user counts as anonymous.")
        return False
