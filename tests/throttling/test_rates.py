"""The grammar of rates."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routesock import RouteSetupError
from routesock.throttling.base import MAX_LIMIT, MAX_PERIOD, UNITS, Rate, parse_rate


@pytest.mark.parametrize(
    ("text", "limit", "period"),
    [
        ("5/s", 5, 1),
        ("30/m", 30, 60),
        ("30/min", 30, 60),
        ("100/15m", 100, 900),
        ("2/day", 2, 86_400),
        ("7/h", 7, 3600),
        ("1/366d", 1, MAX_PERIOD),
        (f"{MAX_LIMIT}/s", MAX_LIMIT, 1),
    ],
)
def test_rates_of_the_contract(text: str, limit: int, period: int) -> None:
    """A number, a slash, and a period, whose unit may have several spellings."""
    assert parse_rate(text) == Rate(limit, period)


@pytest.mark.parametrize(
    ("spellings", "seconds"),
    [
        (("s", "sec", "second"), 1),
        (("m", "min", "minute"), 60),
        (("h", "hour"), 3600),
        (("d", "day"), 86_400),
    ],
)
def test_units(spellings: tuple[str, ...], seconds: int) -> None:
    """Each spelling of a unit means the same."""
    assert {parse_rate(f"1/{unit}").period for unit in spellings} == {seconds}


@given(st.integers(1, MAX_LIMIT), st.none() | st.integers(1, 100), st.sampled_from(sorted(UNITS)))
def test_every_rate_is_read_as_it_is_written(limit: int, count: int | None, unit: str) -> None:
    """Whatever the grammar can say."""
    assert parse_rate(f"{limit}/{'' if count is None else count}{unit}") == Rate(limit, (count or 1) * UNITS[unit])


WRONG: list[Any] = [
    "", "30", "30/", "/min", "30/mi", "30/mins", "30/seconds", "30/Min", "30 / min", " 30/min", "30/min\n", "30/min/ip",
    "0/min", "-1/min", "030/min", "+5/s", "1.5/s", "1e3/s", "5/0s", "5/01s", "5/-1s", "5/1.5s", "٣/s", "5/٣s",
    "5/\uff53",
    "1000000001/s", "99999999999999999999/s", "1/367d", "1/99999999d", "1/999999999999d",
    None, 30, 30.0, b"30/min", ("30", "min"), ["30/min"],
]  # fmt: skip


@pytest.mark.parametrize("text", WRONG, ids=repr)
def test_what_is_no_rate_is_refused_with_what_to_write(text: Any) -> None:
    """Where the class is made, not at the first request."""
    with pytest.raises(RouteSetupError, match=re.escape(repr(text))) as error:
        parse_rate(text)
    assert "Write" in str(error.value)


@given(st.text())
def test_any_other_text_is_refused(text: str) -> None:
    """And nothing but a setup error is ever raised."""
    found = re.fullmatch(r"([1-9][0-9]*)/([1-9][0-9]*)?([a-z]+)", text)
    if found is not None and found[3] in UNITS and int(found[1]) <= MAX_LIMIT:
        assert parse_rate(text).limit == int(found[1])
    else:
        with pytest.raises(RouteSetupError):
            parse_rate(text)
