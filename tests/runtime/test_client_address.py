"""Where a client calls from: proxies of one's own are believed, and nobody else."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routesock._runtime.clients import client_address, customer_at

PEER = ("192.0.2.9", 40_000)


def scope(*forwarded: str | bytes, client: Any = PEER) -> dict[str, Any]:
    values = [value if isinstance(value, bytes) else value.encode() for value in forwarded]
    return {"client": client, "headers": [(b"host", b"a"), *((b"x-forwarded-for", value) for value in values)]}


def test_without_proxies_the_header_is_a_claim() -> None:
    """The address is that of the connection, whatever the client writes."""
    assert client_address(scope("203.0.113.7"), 0) == "192.0.2.9"


@pytest.mark.parametrize(
    ("forwarded", "proxies", "address"),
    [
        (["203.0.113.7"], 1, "203.0.113.7"),
        (["198.51.100.1, 203.0.113.7"], 1, "203.0.113.7"),
        (["198.51.100.1, 203.0.113.7"], 2, "198.51.100.1"),
        (["198.51.100.1", "203.0.113.7"], 1, "203.0.113.7"),  # a header that comes twice is one list
        (["198.51.100.1", "203.0.113.7"], 2, "198.51.100.1"),
        (["203.0.113.7"], 5, "192.0.2.9"),  # unlike DRF, which takes the client's own text where there are fewer
        (["198.51.100.1, 203.0.113.7"], 3, "192.0.2.9"),
        ([" 203.0.113.7 "], 1, "203.0.113.7"),
        (["203.0.113.7:5060"], 1, "203.0.113.7"),
        (["[2001:db8::1]:443"], 1, "2001:db8::1"),
        (["2001:DB8:0:0::1"], 1, "2001:db8::1"),
        (["fe80::1%eth0"], 1, "fe80::1"),
        (["::ffff:203.0.113.7"], 1, "203.0.113.7"),
        ([], 1, "192.0.2.9"),
    ],
)
def test_address_behind_proxies(forwarded: list[str], proxies: int, address: str) -> None:
    """The n-th from the end, in one spelling: each proxy appends where it was called from."""
    assert client_address(scope(*forwarded), proxies) == address


@pytest.mark.parametrize(
    "text", ["unknown", "", "_hidden", "203.0.113", "a" * 10_000, "203.0.113.7.8", ":", "[", b"\xff"]
)
def test_what_is_no_address_does_not_hide_the_client(text: str) -> None:
    """With more proxies in the settings than there are it is the client's own text, which must not lift a limit."""
    assert client_address(scope(text), 1) == "192.0.2.9"
    assert client_address(scope(text, client=None), 1) is None


@pytest.mark.parametrize("client", [None, ("", 0), ["", None]])
def test_connection_may_have_no_address(client: Any) -> None:
    """That of a socket in the file system."""
    assert client_address({"client": client, "headers": []}, 0) is None
    assert client_address({}, 3) is None


@given(st.lists(st.binary(max_size=60), max_size=4), st.integers(0, 3))
def test_header_may_hold_anything(forwarded: list[bytes], proxies: int) -> None:
    """Nothing that a client sends raises, and nothing but an address is believed."""
    address = client_address(scope(*forwarded), proxies)
    assert address is not None
    assert len(address) < 40


@pytest.mark.parametrize(
    ("address", "customer"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("2001:DB8:1:2::7", "2001:db8:1:2::"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("fe80::1%eth0", "fe80::"),
        ("a socket's name", "a socket's name"),
    ],
)
def test_customer_at_an_address(address: str, customer: str) -> None:
    """Of IPv6 the network, since its addresses are as many as anybody likes."""
    assert customer_at(address) == customer
