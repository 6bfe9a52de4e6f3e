"""Regular expressions of Python in ECMA-262."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routesock.schemas._json_schema.regex import SPACES, ecma, literal

from .validation import in_python

EXACT = [
    (r"[a-z]+", "match", "^[a-z]+"),
    (r"^[a-z]+$", "match", "^[a-z]+$"),
    (r"\A[a-z]+\Z", "search", "^[a-z]+$"),
    (r"a|bc", "match", "^(?:a|bc)"),
    (r"a|^b", "match", "^(?:a|^b)"),
    (r"a|b$", "fullmatch", "^(?:a|b$)$"),
    (r"ab", "fullmatch", "^ab$"),
    (r"a\$", "fullmatch", r"^a\$$"),
    (r"(?P<year>\d{4})-(\d\d)", "search", r"(?:[0-9]{4})-(?:[0-9][0-9])"),
    (r"a.b", "search", r"a[^\n]b"),
    (re.compile("a.b", re.DOTALL), "search", r"a[\s\S]b"),
    (re.compile("a b # c", re.VERBOSE), "search", "ab"),
    (r"[\s\S][\d\D][^\w\W]", "search", r"[\s\S][\s\S][^\s\S]"),
    (r"(?a)\w\W\s", "search", r"[0-9A-Z_a-z][^0-9A-Z_a-z][\t-\r\x20]"),
    (r"x{,3}y{2}z{1,}?w??", "search", "x{0,3}y{2}z+?w??"),
    (r"(a|\S)[^\Sa]*", "search", rf"(?:(?:[^{SPACES}]|[a]))(?:(?=[^a])[{SPACES}])*"),
    (r"(ab){2}(?:c|d)*", "search", "(?:ab){2}[cd]*"),
    (r"(?=a)(?!b)", "search", "(?=a)(?!b)"),
    (r"[\]\\^-]\-/{}", "search", r"[\]\\\^\-]-\/\{\}"),
    ("[^a\n]\t\u2028é\U0001f600", "search", "[^a\\x0a]\\x09\\u2028é\U0001f600"),
]


@pytest.mark.parametrize(("pattern", "anchored", "expected"), EXACT)
def test_patterns_that_mean_the_same(pattern: Any, anchored: str, expected: str) -> None:
    assert ecma(pattern, anchored=anchored) == (expected, ())


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        (r"(?i)a", "re.IGNORECASE"),
        (r"(?m)^a", "re.MULTILINE"),
        (r"(?i:a)b", "re.IGNORECASE"),
        (r"(?<=a)b", "lookbehind"),
        (r"(?<!a)b", "lookbehind"),
        (r"a\b", r"\b"),
        (r"a\B", r"\B"),
        (r"(a)\1", "a reference to a group"),
        (r"(?P<n>a)(?P=n)", "a reference to a group"),
        (r"(a)?(?(1)b|c)", "a conditional group"),
        (r"(?>a)b", "an atomic group"),
        (r"a++", "a possessive quantifier"),
    ],
)
def test_patterns_that_cannot_be_said(pattern: str, reason: str) -> None:
    assert ecma(pattern) == (None, (f"pattern: {reason}",))


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        (r"\w+", r"pattern: \w"),
        (r"\W", r"pattern: \w"),
        (r"[\w.-]+", r"pattern: \w"),
        (r"[^\w]", r"pattern: \w"),
        (r"(?!\w)\S", r"pattern: \w"),
        (r"\D", r"pattern: \d in a negation"),
        (r"[^\d]", r"pattern: \d in a negation"),
        (r"[\Da]", r"pattern: \d in a negation"),
        (r"[^\Wz]", r"pattern: \w"),
        (r"(?!\d)a", r"pattern: \d in a negation"),
        (r"(?!a$)a", r"pattern: $"),
    ],
)
def test_patterns_that_accept_more(pattern: str, reason: str) -> None:
    translated, reasons = ecma(pattern)
    assert reasons == (reason,)
    assert translated is not None
    for text in ("a", "Z", "_", "ż", "\u0663", "5", " ", "-", "", "\n", "a\n", "\U0001f600"):
        if re.search(pattern, text):
            assert re.search(in_python(translated), text), text


ATOMS = st.sampled_from(
    (
        *"abz09_-/ ",
        r"\d",
        r"\s",
        r"\S",
        r"\.",
        ".",
        "[a-f]",
        "[^b]",
        r"[\d\s]",
        r"[^\s]",
        "[^-]",
        "^",
        "$",
        r"\Z",
        r"\n",
        "é",
    )
)
PATTERNS = st.recursive(
    ATOMS,
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=4).map("".join),
        st.lists(inner, min_size=2, max_size=3).map("|".join).map("({})".format),
        st.tuples(
            inner.filter(lambda part: part not in ("^", "$", r"\Z")),
            st.sampled_from(("?", "*", "+", "{2}", "{1,2}", "*?")),
        ).map(lambda parts: f"(?:{parts[0]}){parts[1]}"),
        inner.map("(?={})".format),
    ),
    max_leaves=6,
)
TEXTS = st.text(st.sampled_from("abz09_-/ .\n\r\u2028é\u0663\U0001f600"), max_size=5)


@given(PATTERNS, TEXTS, st.sampled_from(("search", "match", "fullmatch")))
def test_a_pattern_never_accepts_more_than_pythons(pattern: str, text: str, anchored: str) -> None:
    """It may refuse a newline at the end and digits of other scripts."""
    translated, reasons = ecma(pattern, anchored=anchored)
    assert (translated is not None, reasons) == (True, ())
    ours = re.search(in_python(str(translated)), text) is not None
    theirs = getattr(re, anchored)(pattern, text) is not None
    assert ours == theirs or (theirs and ("$" in pattern or "\u0663" in text))


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_a_literal_matches_itself_alone(text: str) -> None:
    assert re.fullmatch(literal(text), text)


@pytest.mark.node
def test_javascript_reads_the_patterns_in_the_same_way() -> None:
    node = shutil.which("node")
    assert node is not None
    texts = [
        "a",
        "abc",
        "bc",
        "xb",
        "ab",
        "ab\n",
        "a\nb",
        "a b",
        "2024-01",
        "é",
        "\U0001f600",
        "zw",
        "yyz",
        "",
        "a_-",
        "]\\-/{}",
    ]
    cases = [[expected, text] for _, _, expected in EXACT for text in texts]
    program = (
        "const cases = JSON.parse(require('fs').readFileSync(0));"
        "console.log(JSON.stringify(cases.map(([pattern, text]) => new RegExp(pattern, 'u').test(text))))"
    )
    done = subprocess.run([node, "-e", program], input=json.dumps(cases), capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert found == [re.search(in_python(pattern), text) is not None for pattern, text in cases]
