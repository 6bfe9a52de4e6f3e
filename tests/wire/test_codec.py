"""Strict JSON both ways, and no different from the standard library's where that is strict."""

from __future__ import annotations

import datetime
import decimal
import json
import math
import sys
import uuid
from enum import IntEnum
from typing import Any

import pytest
from django.core.serializers.json import DjangoJSONEncoder
from django.utils.functional import lazy
from django.utils.translation import gettext_lazy
from hypothesis import given
from hypothesis import strategies as st

from routesock._wire import codec
from routesock.exceptions import ParseError

keys = st.text() | st.integers() | st.booleans() | st.none() | st.floats(allow_nan=False, allow_infinity=False)
leaves = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
    | st.datetimes(timezones=st.none() | st.just(datetime.UTC))
    | st.dates()
    | st.times()
    | st.timedeltas()
    | st.decimals()
    | st.uuids()
    | st.text().map(gettext_lazy)
)
values = st.recursive(
    leaves, lambda inner: st.lists(inner) | st.tuples(inner) | st.dictionaries(keys, inner), max_leaves=20
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(values)
def test_encodes_as_django_json_encoder_does(value: Any) -> None:
    assert codec.encode(value) == DjangoJSONEncoder(allow_nan=False).encode(value)


@given(json_values)
def test_decodes_what_it_encodes(value: Any) -> None:
    assert codec.decode(codec.encode(value), 100) == value


@given(json_values, st.sampled_from(["", " ", "\n\t\r "]), st.sampled_from(["", " ", "\n\t\r "]))
def test_decodes_as_the_standard_library_where_that_is_strict(value: Any, before: str, after: str) -> None:
    text = before + json.dumps(value, ensure_ascii=False) + after
    assert codec.decode(text, 100) == json.loads(text)


@given(st.text())
def test_any_text_is_a_value_or_a_parse_error(text: str) -> None:
    try:
        value = codec.decode(text, 64)
    except ParseError:
        return
    assert value == json.loads(text)


@pytest.mark.parametrize(
    "text", ["", " ", "NaN", "-Infinity", "[Infinity]", "1e999", "[-1e999]", "{", "1 2", "\ufeff1", "'a'"]
)
def test_refuses_what_is_not_strict_json(text: str) -> None:
    with pytest.raises(ParseError):
        codec.decode(text, 64)


def test_refuses_integers_beyond_pythons_limit_of_digits() -> None:
    digits = sys.get_int_max_str_digits()
    assert codec.decode("1" * digits, 64) == int("1" * digits)
    with pytest.raises(ParseError):
        codec.decode("1" * (digits + 1), 64)


@pytest.mark.parametrize(("opening", "closing", "each"), [("[", "]", 1), ('{"a":', "}", 1), ('[{"a":', "}]", 2)])
def test_refuses_nesting_beyond_the_limit(opening: str, closing: str, each: int) -> None:
    most = 64 // each
    codec.decode(opening * most + "1" + closing * most, 64)
    with pytest.raises(ParseError):
        codec.decode(opening * (most + 1) + "1" + closing * (most + 1), 64)


def test_brackets_inside_strings_are_not_nesting() -> None:
    assert codec.decode('"' + "[{" * 1000 + '"', 64) == "[{" * 1000


def test_nesting_that_the_scanner_cannot_follow_is_a_parse_error() -> None:
    with pytest.raises(ParseError):
        codec.decode("[" * 1_000_000, 64)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, [math.nan], {"a": {"b": math.inf}}])
def test_never_spells_what_is_not_json(value: Any) -> None:
    with pytest.raises(ValueError, match="JSON"):
        codec.encode(value)


@pytest.mark.parametrize("value", [object(), {1}, b"x", {(1, 2): 3}, {gettext_lazy("a"): 1}])
def test_what_it_cannot_spell_is_a_type_error(value: Any) -> None:
    with pytest.raises(TypeError):
        codec.encode(value)


def test_a_value_inside_itself_is_an_error_and_the_encoder_goes_on() -> None:
    items: list[Any] = []
    items.append(items)
    with pytest.raises(RecursionError):
        codec.encode(items)
    assert codec.encode([1]) == "[1]"


def test_an_encoder_without_the_accelerator_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("json.encoder.c_make_encoder", None)
    value = {"when": datetime.date(2026, 1, 2), "price": decimal.Decimal("1.0"), "key": uuid.UUID(int=1)}
    assert "".join(codec._kept_encoder()(value, 0)) == codec.encode(value)


def test_integers_of_an_enum_are_numbers() -> None:
    class Level(IntEnum):
        HIGH = 3

    assert codec.encode([Level.HIGH]) == "[3]"


def test_lazy_strings_are_spelt_when_they_are_encoded() -> None:
    calls = []
    text = lazy(lambda: calls.append(1) or "now", str)()
    assert codec.encode([text]) == '["now"]'
    assert calls


@pytest.mark.parametrize(
    "text",
    [
        r'"\ud800"',
        r'"\uDfff"',
        r'["a", {"b": "x\uD83Dx"}]',
        r'{"\ud800": 1}',
        r'"\ude00\ud83d"',
        r'["\ud83d", "\ude00"]',
        '"\ud800"',
        '{"\udfff": []}',
    ],
)
def test_half_a_surrogate_pair_is_a_parse_error(text: str) -> None:
    """Escaped or as it is, in a value or in a key (RFC 7493): no database and no encoder would take it."""
    with pytest.raises(ParseError, match="half a surrogate pair"):
        codec.decode(text, 64)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (r'"\ud83d\ude00"', "\U0001f600"),
        (r'"\uD83D\uDE00 \u00e9"', "\U0001f600 \u00e9"),
        (r'"\\ud800"', r"\ud800"),
        (r'{"\\ud800": ["\ud83d\ude00"]}', {r"\ud800": ["\U0001f600"]}),
        ('"\U0001f600"', "\U0001f600"),
        (r'"\u0000"', "\0"),
    ],
)
def test_whole_pairs_are_text(text: str, value: Any) -> None:
    """So is what only looks like an escape, and a null character."""
    assert codec.decode(text, 64) == value
