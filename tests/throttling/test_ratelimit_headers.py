"""The headers ``RateLimit-Policy`` and ``RateLimit``."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from routesock.throttling import Throttle
from routesock.throttling.base import Quota, RateLimitHeaders, Window
from tests.throttling.model import window

POLICY = re.compile(r'"[ -!#-\[\]-~]+";q=[0-9]{1,15};w=[1-9][0-9]{0,14}')
LIMIT = re.compile(r'"[ -!#-\[\]-~]+";r=[0-9]{1,15};t=[0-9]{1,15}')
"""Members of the draft's lists: Structured Fields strings (RFC 9651, section 3.3.3) with integer parameters."""


def windows_of(*throttles: Throttle) -> list[Window]:
    return [Window("tests", name, rate) for throttle in throttles for name, rate in throttle.rates()]


def test_headers_follow_the_draft() -> None:
    """They have the quota and window of each policy, the remaining calls, and the seconds until there are more."""
    headers = RateLimitHeaders(windows_of(Throttle("30/min"), Throttle("100/15m", scope="ip")))
    assert headers.build([Quota(29, 60_000_000), Quota(0, 1)]) == {
        "RateLimit-Policy": '"30/min";q=30;w=60, "100/15m ip";q=100;w=900',
        "RateLimit": '"30/min";r=29;t=60, "100/15m ip";r=0;t=1',
    }


def test_unknown_quotas_are_left_out() -> None:
    """Not every store knows the remaining calls."""
    assert RateLimitHeaders(windows_of(Throttle("5/s"))).build(()) == {"RateLimit-Policy": '"5/s";q=5;w=1'}


def test_duplicate_names_are_numbered() -> None:
    """Clients identify policies by their names."""
    throttles = (Throttle("5/s"), Throttle("5/s", cost=2), Throttle("5/s", burst=1))
    assert RateLimitHeaders(windows_of(*throttles)).build(()) == {
        "RateLimit-Policy": '"5/s";q=5;w=1, "5/s 2";q=5;w=1, "5/s 3";q=5;w=1, "5/s burst";q=1;w=1'
    }


def test_seconds_are_rounded_up() -> None:
    """A client must not call too early, and no window may have the length 0 (section 2.3 of the draft)."""
    headers = RateLimitHeaders([window(1, period=0.2), window(1, period=1.2, name="other")])
    assert headers.build([Quota(0, 1_000_001), Quota(1, 0)]) == {
        "RateLimit-Policy": '"window";q=1;w=1, "other";q=1;w=2',
        "RateLimit": '"window";r=0;t=2, "other";r=1;t=0',
    }


@given(
    st.integers(1, 10**9),
    st.integers(1, 366),
    st.sampled_from(["s", "min", "hour", "d"]),
    st.sampled_from(["user", "ip", "socket", repr]),
    st.data(),
)
def test_every_member_is_a_structured_field(
    limit: int, count: int, unit: str, scope: object, data: st.DataObject
) -> None:
    """For all throttles and all quotas."""
    burst = data.draw(st.none() | st.integers(1, limit))
    windows = windows_of(Throttle(f"{limit}/{count}{unit}", scope=scope, burst=burst))  # type: ignore[arg-type]
    quotas = [Quota(data.draw(st.integers(0, one.limit)), data.draw(st.integers(0, one.period))) for one in windows]
    headers = RateLimitHeaders(windows).build(quotas)
    assert all(POLICY.fullmatch(member) for member in headers["RateLimit-Policy"].split(", "))
    assert all(LIMIT.fullmatch(member) for member in headers["RateLimit"].split(", "))
