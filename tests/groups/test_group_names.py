"""Names of groups: any string outside, what Channels allows inside."""

from __future__ import annotations

import re
from typing import Any

import pytest
from channels.layers import InMemoryChannelLayer
from hypothesis import example, given
from hypothesis import strategies as st

from routesock._groups.envelopes import layer_group

NAMES = st.text() | st.from_regex(re.compile(r"[A-Za-z0-9_.-]{1,120}"), fullmatch=True)


@given(NAMES)
@example("")
@example("x" * 10_000)
@example("\ud800")
@example("room:general")
def test_a_channel_layer_takes_every_name(name: str) -> None:
    inside = layer_group(name)
    assert len(inside) < 100
    assert InMemoryChannelLayer.group_name_regex.match(inside)
    assert "\n" not in inside  # which the `$` of that expression lets pass


@given(NAMES, NAMES)
@example("a:b", "a-b")
@example("room 1", "room:1")
@example("x" * 81, "x" * 82)
@example("named.a.0", "a:0")
def test_different_names_are_different_groups(one: str, other: str) -> None:
    assert (layer_group(one) == layer_group(other)) is (one == other)


def test_a_name_can_be_read_in_the_layer() -> None:
    assert layer_group("room_1.a-b") == "routesock.group.room_1.a-b"
    assert re.fullmatch(r"routesock\.named\.room-general\.[0-9a-f]{32}", layer_group("room:general"))


def test_no_name_is_the_group_of_a_user() -> None:
    """Whose sockets are told there that a login has ended."""
    assert not layer_group("routesock.user.x").startswith("routesock.user.")


@pytest.mark.parametrize("name", [None, 1, b"room", ["room"]])
def test_a_name_is_a_string(name: Any) -> None:
    with pytest.raises(TypeError, match="A group's name must be a string"):
        layer_group(name)
