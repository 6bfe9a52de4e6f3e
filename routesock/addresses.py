"""Where a client calls from, behind proxies of one's own, and who that is."""

from __future__ import annotations

from ipaddress import IPv6Address, ip_address, ip_network

from .messages import Scope


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
