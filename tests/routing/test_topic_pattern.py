"""Patterns of topics: which names they match, which of several is meant, and what is no pattern."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from routesock import RouteSetupError
from routesock._routing.topic import MAX_TOPIC_CHARS, Pattern

TEXTS = st.text(st.characters(exclude_characters="{}.", exclude_categories=()), min_size=1, max_size=5)
VALUES = st.text(st.characters(exclude_characters=".", exclude_categories=()), min_size=1, max_size=8)
NAMES = st.text("abcé_", min_size=1, max_size=4)
AFFIXES = st.text(st.characters(exclude_characters="{}."), max_size=2)


@st.composite
def patterns(draw: st.DrawFn) -> str:
    names = draw(st.lists(NAMES, unique=True, max_size=4))
    segments = [f"{draw(AFFIXES)}{{{name}}}{draw(AFFIXES)}" for name in names]
    segments += draw(st.lists(TEXTS, min_size=not segments, max_size=3))
    return ".".join(draw(st.permutations(segments)))


def matched(pattern: Pattern, name: str) -> dict[str, str] | None:
    return pattern.match(name.split("."))


@given(patterns(), st.data())
def test_what_is_put_into_the_places_is_read_out_of_them(text: str, data: st.DataObject) -> None:
    pattern = Pattern(text)
    values = {s.name: data.draw(VALUES) for s in pattern.segments if not isinstance(s, str)}
    assert matched(pattern, text.format(**values)) == values


@given(patterns(), st.text(st.characters(exclude_categories=()), max_size=140))
@example("room.{id}", "room.")
@example("room.{id}", "room.1.")
@example("room.{id}", ".1")
@example("room.{id}", "room.1\n")
@example("room.{id}", "ROOM.1")
@example("a{id}a", "aa")
@example("a{id}a", "a")
@example("{id}", "")
@example("{id}", "\ud800")
@example("{id}", "{id}")
@example("[a-z]+", "b")
def test_a_name_is_matched_only_if_it_is_the_pattern_with_its_parameters(text: str, name: str) -> None:
    found = matched(Pattern(text), name)
    if found is not None:
        assert text.format(**found) == name
        assert all(value and "." not in value for value in found.values())


@given(patterns(), st.data())
def test_a_name_with_one_segment_more_or_less_is_another(text: str, data: st.DataObject) -> None:
    pattern = Pattern(text)
    name = text.format(**{s.name: data.draw(VALUES) for s in pattern.segments if not isinstance(s, str)})
    assert matched(pattern, f"{name}.x") is None
    assert matched(pattern, f"{name}.") is None
    assert matched(pattern, name.rpartition(".")[0]) is None


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("room.all", "room.{id}"),
        ("room.{id}", "{kind}.1"),
        ("room-{id}", "{name}"),
        ("room-{id}", "r{id}"),
        ("a{id}", "{id}a"),
        ("a.{b}.c", "a.{b}.{c}"),
    ],
)
def test_a_text_comes_before_a_parameter_from_the_left(first: str, second: str) -> None:
    assert Pattern(first).rank < Pattern(second).rank


@given(patterns(), patterns(), st.text("ab.", max_size=6))
def test_two_patterns_that_match_one_name_have_a_rank_or_one_shape(one: str, other: str, name: str) -> None:
    first, second = Pattern(one), Pattern(other)
    if matched(first, name) is not None and matched(second, name) is not None:
        assert (first.rank == second.rank) == (first.shape == second.shape)


def test_patterns_that_differ_in_the_names_of_parameters_have_one_shape() -> None:
    assert Pattern("room.{a}.x{b}").shape == Pattern("room.{b}.x{c}").shape
    assert len({Pattern(text).shape for text in ("room.{a}", "room.a", "room.a{a}", "room.{a}a", "{a}.room")}) == 5


@pytest.mark.parametrize("wrong", [None, 5, b"room", "", [], "."])
def test_what_is_no_name_is_no_pattern(wrong: Any) -> None:
    with pytest.raises(RouteSetupError, match=r"A topic's name must be a string|has an empty segment"):
        Pattern(wrong)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("room..x", "has an empty segment"),
        (".room", "has an empty segment"),
        ("room.", "has an empty segment"),
        ("room.{a}{b}", "'{a}{b}' is no segment"),
        ("room.{a", "'{a' is no segment"),
        ("room.a}", "'a}' is no segment"),
        ("room.{{a}}", "'{{a}}' is no segment"),
        ("room.{}", "has the name of a variable"),
        ("room.{1}", "has the name of a variable"),
        ("room.{a b}", "has the name of a variable"),
        ("room.{a!r}", "has the name of a variable"),
        ("{a}.{a}", "two parameters of one name"),
    ],
)
def test_a_wrong_pattern_is_refused_with_what_to_write(text: str, says: str) -> None:
    with pytest.raises(RouteSetupError) as refused:
        Pattern(text)
    assert says in str(refused.value)


def test_a_pattern_has_at_most_as_many_characters_as_a_name() -> None:
    assert Pattern("x" * MAX_TOPIC_CHARS).match(["x" * MAX_TOPIC_CHARS]) == {}
    with pytest.raises(RouteSetupError, match="at most 128 characters"):
        Pattern("x" * (MAX_TOPIC_CHARS + 1))


@given(st.text(max_size=20))
def test_any_string_is_a_pattern_or_a_setup_error(text: str) -> None:
    try:
        pattern = Pattern(text)
    except RouteSetupError:
        return
    assert repr(pattern) == repr(text)
