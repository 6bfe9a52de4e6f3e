"""Throttle: valid and invalid options, and the rates that they mean."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from routesock import RouteSetupError, Throttle
from routesock.throttling.base import MAX_TIMES, Rate, Window, digest


def by_tenant(request: Any) -> str:
    return "tenant"


@pytest.mark.parametrize(
    ("options", "wrong"),
    [
        ({"scope": "users"}, "users"),
        ({"scope": None}, "None"),
        ({"scope": 5}, "5"),
        ({"burst": 0}, "burst"),
        ({"burst": 31}, "burst"),
        ({"burst": 1.5}, "burst"),
        ({"burst": True}, "burst"),
        ({"burst": "5"}, "burst"),
        ({"cost": 0}, "cost"),
        ({"cost": 31}, "cost"),
        ({"cost": 6, "burst": 5}, "cost"),
        ({"cost": 1.5}, "cost"),
        ({"cost": True}, "cost"),
        ({"cost": None}, "cost"),
    ],
    ids=repr,
)
def test_invalid_option_is_an_error(options: dict[str, Any], wrong: str) -> None:
    """The message has the value."""
    with pytest.raises(RouteSetupError, match=wrong):
        Throttle("30/min", **options)


def test_invalid_rate_is_an_error() -> None:
    with pytest.raises(RouteSetupError, match="30/mi"):
        Throttle("30/mi")


def test_options_are_named() -> None:
    """A second positional value would be ambiguous."""
    with pytest.raises(TypeError):
        Throttle("30/min", "ip")  # type: ignore[misc]


def test_throttle_is_a_value() -> None:
    """One object may serve many routes: nothing changes it."""
    throttle = Throttle("30/min", scope=by_tenant, burst=5, cost=2)
    assert throttle == Throttle("30/min", scope=by_tenant, burst=5, cost=2)
    with pytest.raises(dataclasses.FrozenInstanceError):
        throttle.rate = "1/s"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("throttle", "rates"),
    [
        (Throttle("30/min"), [("30/min", Rate(30, 60))]),
        (Throttle("30/min", scope="ip"), [("30/min ip", Rate(30, 60))]),
        (Throttle("30/min", scope=by_tenant), [("30/min own", Rate(30, 60))]),
        (Throttle("30/min", burst=30), [("30/min", Rate(30, 60))]),
        (Throttle("30/min", burst=5), [("30/min", Rate(30, 60)), ("30/min burst", Rate(5, 10))]),
        (Throttle("3/s", burst=1), [("3/s", Rate(3, 1)), ("3/s burst", Rate(1, 1 / 3))]),
    ],
)
def test_rates_that_hold(throttle: Throttle, rates: list[Any]) -> None:
    """A burst is as many calls in their part of the period, beside the rate itself."""
    assert list(throttle.rates()) == rates


def test_window_keeps_single_times_as_long_as_they_are_few() -> None:
    """Then parts of the period, of which there are never more than so many."""
    assert Window("a", "x", Rate(MAX_TIMES, 60)).resolution == 1
    assert Window("a", "x", Rate(MAX_TIMES + 1, 60)).resolution == 60_000_000 // MAX_TIMES
    assert Window("a", "x", Rate(10**9, 1)).resolution == 1_000_000 // MAX_TIMES


def test_windows_of_different_owners_and_names_have_different_keys() -> None:
    """They count different calls. The key is the same in every process."""
    keys = [Window(owner, name, Rate(1, 1)).key for owner in ("a", "b") for name in ("x", "y")]
    assert len(set(keys)) == 4
    assert Window("a", "x", Rate(1, 1)).key == keys[0] == digest("a|x")
    assert len(keys[0]) == 32
