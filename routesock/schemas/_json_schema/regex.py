"""Translates regular expressions of Python to ECMA-262, the language of ``pattern`` in JSON Schema."""

from __future__ import annotations

import re
from re import _constants as sre  # type: ignore[attr-defined]
from re import _parser  # type: ignore[attr-defined]
from typing import Any, Final, NamedTuple

SPACES: Final = r"\t-\r\x1c-\x20\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
"""The characters that ``\\s`` matches in Python, as the inside of a character class. ECMA's set differs."""

_ASCII_SPACES: Final = r"\t-\r\x20"
_WORD_ASCII: Final = "0-9A-Z_a-z"
_BEYOND_ASCII: Final = "\\x80-\U0010ffff"

_UNSUPPORTED: Final = {
    re.IGNORECASE: "re.IGNORECASE",
    re.MULTILINE: "re.MULTILINE",
    re.LOCALE: "re.LOCALE",
}


class Translated(NamedTuple):
    """A pattern of ECMA-262 with the flag ``u``, and why it accepts more than Python's.

    Args:
        pattern: The pattern; ``None`` if there is none.
        inexact: The reasons; empty if the pattern never accepts a text that Python's refuses. It may refuse a digit
            that is not ASCII for ``\\d``, and the newline that ``$`` allows at the end.
    """

    pattern: str | None
    inexact: tuple[str, ...]


def ecma(pattern: str | re.Pattern[str], *, anchored: str = "search") -> Translated:
    """Translate ``pattern``.

    Args:
        pattern: A regular expression of Python.
        anchored: The function of :mod:`re` that the library calls: ``"search"``, ``"match"`` or ``"fullmatch"``.
    """
    compiled = re.compile(pattern)
    try:
        writer = _Writer(compiled.flags)
        body = writer.sequence(_parser.parse(compiled.pattern, compiled.flags))
    except _Untranslatable as exc:
        return Translated(None, (f"pattern: {exc}",))
    if anchored != "search" and not body.startswith("^"):  # sequence() groups alternatives
        body = f"^{body}"
    if anchored == "fullmatch" and (not body.endswith("$") or body.endswith(r"\$")):
        body = f"{body}$"
    return Translated(body, tuple(dict.fromkeys(writer.widened)))


def literal(text: str) -> str:
    """``text`` as a pattern that matches itself, in ECMA-262 and in Python."""
    return "".join(map(_escaped, text))


class _Untranslatable(Exception):
    """ECMA-262 cannot say a part of the pattern."""


def _group(body: str) -> str:
    return f"(?:{body})"


def _escaped(char: str, special: str = "^$\\.*+?()[]{}|/") -> str:
    if char in special:
        return f"\\{char}"
    if char.isprintable() or ord(char) > 0xFFFF:
        return char
    return f"\\x{ord(char):02x}" if ord(char) < 0x100 else f"\\u{ord(char):04x}"


class _Writer:
    """Writes the tree of a parsed pattern.

    It writes what accepts more than Python where it cannot say the same, and records that in ``widened``. Inside a
    negation, what accepts less makes the whole accept more.
    """

    def __init__(self, flags: int) -> None:
        self._flags = flags
        self._negated = False
        self.widened: list[str] = []

    def sequence(self, nodes: Any) -> str:
        for flag, name in _UNSUPPORTED.items():
            if self._flags & flag:
                raise _Untranslatable(name)
        return "".join(self._node(operation, value) for operation, value in nodes)

    def _node(self, operation: Any, value: Any) -> str:
        match str(operation):
            case "LITERAL":
                return _escaped(chr(value))
            case "NOT_LITERAL":
                return f"[^{_escaped(chr(value), _IN_CLASS)}]"
            case "ANY":
                return r"[\s\S]" if self._flags & re.DOTALL else r"[^\n]"
            case "IN":
                return self._class(value)
            case "AT":
                return self._at(value)
            case "BRANCH":
                return _group("|".join(self.sequence(branch) for branch in value[1]))
            case "SUBPATTERN":
                return self._subpattern(*value)
            case "MAX_REPEAT" | "MIN_REPEAT":
                return self._repeat(*value, lazy=str(operation) == "MIN_REPEAT")
            case "ASSERT" | "ASSERT_NOT":
                return self._lookahead(*value, negative=str(operation) == "ASSERT_NOT")
            case "FAILURE":
                return r"[^\s\S]"
            case name:
                raise _Untranslatable(_NAMES.get(name, name.lower()))

    def _at(self, where: Any) -> str:
        match str(where):
            case "AT_BEGINNING" | "AT_BEGINNING_STRING":
                return "^"
            case "AT_END":
                if self._negated:
                    self.widened.append("pattern: $")
                return "$"
            case "AT_END_STRING":
                return "$"
            case _:
                raise _Untranslatable(r"\b" if "NON" not in str(where) else r"\B")

    def _subpattern(self, _number: Any, add: int, remove: int, nodes: Any) -> str:
        before = self._flags
        self._flags = (before | add) & ~remove
        body = self.sequence(nodes)
        self._flags = before
        return _group(body)

    def _repeat(self, least: int, most: Any, nodes: Any, *, lazy: bool) -> str:
        body = self.sequence(nodes)
        if not (len(nodes) == 1 and str(nodes[0][0]) in _SINGLE):
            body = _group(body)
        most = None if most is sre.MAXREPEAT else most
        count = _COUNTS.get((least, most))
        if count is None:
            count = f"{{{least}}}" if least == most else f"{{{least},{'' if most is None else most}}}"
        return f"{body}{count}{'?' if lazy else ''}"

    def _lookahead(self, direction: int, nodes: Any, *, negative: bool) -> str:
        if direction < 0:
            raise _Untranslatable("lookbehind")
        before = self._negated
        self._negated ^= negative
        body = self.sequence(nodes)
        self._negated = before
        return f"(?{'!' if negative else '='}{body})"

    def _class(self, items: Any) -> str:
        negative = bool(items) and str(items[0][0]) == "NEGATE"
        if negative:
            items = items[1:]
        categories = {
            str(value).removeprefix("CATEGORY_") for operation, value in items if str(operation) == "CATEGORY"
        }
        if any(category.startswith("NOT_") and category[4:] in categories for category in categories):
            return r"[^\s\S]" if negative else r"[\s\S]"
        complements = [f"CATEGORY_{category}" for category in categories if category.startswith(("NOT_", "UNI_NOT_"))]
        plain = [item for item in items if str(item[1]) not in complements]
        if not complements:
            return self._plain(plain, negative=negative)
        parts = [self._complement(category, negative=negative) for category in complements]
        if not negative:
            parts += [self._plain(plain, negative=False)] if plain else []
            return parts[0] if len(parts) == 1 else _group("|".join(parts))
        before = [f"(?={part})" for part in parts[1:]]
        if plain:
            before.append(f"(?={self._plain(plain, negative=True)})")
        return _group("".join(before) + parts[0]) if before else parts[0]

    def _plain(self, items: Any, *, negative: bool) -> str:
        """A class without complements."""
        before = self._negated
        self._negated ^= negative
        body = "".join(self._item(str(operation), value) for operation, value in items)
        self._negated = before
        return f"[{'^' if negative else ''}{body}]"

    def _complement(self, category: str, *, negative: bool) -> str:
        """A class that holds only ``\\D``, ``\\S`` or ``\\W``, possibly negated."""
        before = self._negated
        self._negated ^= not negative
        body = self._category(category.replace("NOT_", ""))
        self._negated = before
        return f"[{'' if negative else '^'}{body}]"

    def _item(self, operation: str, value: Any) -> str:
        match operation:
            case "LITERAL":
                return _escaped(chr(value), _IN_CLASS)
            case "RANGE":
                return "-".join(_escaped(chr(end), _IN_CLASS) for end in value)
            case _:
                return self._category(str(value))

    def _category(self, category: str) -> str:
        ascii_only = bool(self._flags & re.ASCII)
        match category.removeprefix("CATEGORY_").removeprefix("UNI_"):
            case "DIGIT":
                if self._negated and not ascii_only:
                    self.widened.append(r"pattern: \d in a negation")
                return "0-9"
            case "SPACE":
                return _ASCII_SPACES if ascii_only else SPACES
            case "WORD":
                return self._word(ascii_only)
            case name:
                raise _Untranslatable(name.lower())

    def _word(self, ascii_only: bool) -> str:
        if ascii_only:
            return _WORD_ASCII
        self.widened.append(r"pattern: \w")
        # Letters of other alphabets: all of them, or none, whichever makes the whole accept more.
        return _WORD_ASCII if self._negated else _WORD_ASCII + _BEYOND_ASCII


_IN_CLASS: Final = "^$\\.*+?()[]{}|/-"

_SINGLE: Final = ("LITERAL", "NOT_LITERAL", "ANY", "IN", "SUBPATTERN", "BRANCH")

_COUNTS: Final = {(0, None): "*", (1, None): "+", (0, 1): "?"}

_NAMES: Final = {
    "GROUPREF": "a reference to a group",
    "GROUPREF_EXISTS": "a conditional group",
    "ATOMIC_GROUP": "an atomic group",
    "POSSESSIVE_REPEAT": "a possessive quantifier",
}
