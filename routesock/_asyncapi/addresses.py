"""Addresses of channels: the URL patterns of Django as templates with parameters."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from django.urls.resolvers import RegexPattern, RoutePattern

from .names import without_empty

_PARAMETER: Final = re.compile(r"<(?:(?P<converter>[^>:\s]+):)?(?P<name>[^>\s]+)>")

_PLAIN: Final = re.compile(r"[A-Za-z0-9_~!@%&'=,;:/ -]")
"""A character that a regular expression matches literally, and that an address may have."""

_DESCRIPTIONS: Final = {
    "int": "An integer, 0 or greater, in decimal digits.",
    "str": "One or more characters, but no slash.",
    "slug": "One or more of the letters a to z in either case, digits, hyphens and underscores.",
    "uuid": "A UUID with lowercase letters and dashes.",
    "path": "One or more characters, slashes included.",
}

_EXAMPLES: Final = {
    "int": "1",
    "str": "name",
    "slug": "a-name",
    "uuid": "0b4e9e5a-6a0c-4d1c-9b56-6a4d3f1f2a10",
    "path": "a/b",
}


@dataclass(frozen=True)
class Address:
    """The address of a channel.

    Attributes:
        template: The path with ``{name}`` for each parameter; ``None`` for a regular expression that has no such form.
        parameters: The parameter objects by their names.
        pattern: The URL patterns as they are in the code.
    """

    template: str | None
    parameters: dict[str, dict[str, Any]] = field(default_factory=dict)
    pattern: str = ""


class _NoTemplateError(Exception):
    """A pattern has no form with parameters."""


def address_of(patterns: Sequence[Any]) -> Address:
    """Return the address to which the URL ``patterns`` of routers inside each other lead."""
    text = "".join(map(str, patterns))
    parameters: dict[str, dict[str, Any]] = {}
    parts: list[str] = []
    try:
        for pattern in patterns:
            for part in _parts_of(pattern):
                if isinstance(part, str):
                    parts.append(part)
                    continue
                name, parameter = part
                if name in parameters:
                    raise _NoTemplateError
                parameters[name] = parameter
                parts.append(f"{{{name}}}")
    except _NoTemplateError:
        return Address(None, {}, text)
    return Address("/" + "".join(parts).removeprefix("/"), parameters, text)


def _parts_of(pattern: Any) -> Iterator[str | tuple[str, dict[str, Any]]]:
    """Yield the texts and the parameters of one pattern. Raises ``_NoTemplateError`` if it has others."""
    if isinstance(pattern, RoutePattern):
        yield from _parts_of_route(str(pattern), pattern.converters)
    elif isinstance(pattern, RegexPattern):
        yield from _parts_of_regex(pattern.regex.pattern)
    else:
        yield _literal(str(pattern))


def _parts_of_route(route: str, converters: Any) -> Iterator[str | tuple[str, dict[str, Any]]]:
    position = 0
    for found in _PARAMETER.finditer(route):
        yield _literal(route[position : found.start()])
        position = found.end()
        converter = found["converter"] or "str"
        yield found["name"], _parameter(converter, converters.get(found["name"]))
    yield _literal(route[position:])


def _parameter(name: str, converter: Any) -> dict[str, Any]:
    is_django = type(converter).__module__ == "django.urls.converters"
    regex = "" if is_django else str(getattr(converter, "regex", ""))
    return without_empty(
        {
            "description": _DESCRIPTIONS.get(name, "") if is_django else _first_line(type(converter).__doc__),
            "examples": [_EXAMPLES[name]] if is_django and name in _EXAMPLES else None,
            "x-routesock-converter": name,
            "x-routesock-pattern": regex,
        }
    )


def _first_line(text: str | None) -> str:
    return (text or "").strip().partition("\n")[0].strip()


def _literal(text: str) -> str:
    """Return ``text``. Raises ``_NoTemplateError`` if it has braces, which would stand for a parameter."""
    if "{" in text or "}" in text:
        raise _NoTemplateError
    return text


def _parts_of_regex(regex: str) -> Iterator[str | tuple[str, dict[str, Any]]]:
    """Yield the texts and the named groups of a regular expression.

    Raises:
        _NoTemplateError: It has anything else, such as an optional part.
    """
    rest = regex.removeprefix("^").removeprefix(r"\A")
    for ending in (r"\Z", r"\z", "$"):
        rest = rest.removesuffix(ending)
    position = 0
    while position < len(rest):
        found = re.compile(r"\(\?P<(\w+)>").match(rest, position)
        if found is not None:
            end = _end_of_group(rest, found.end())
            yield found[1], {"x-routesock-pattern": rest[found.end() : end]}
            position = end + 1
        elif rest[position] == "\\" and position + 1 < len(rest) and not rest[position + 1].isalnum():
            yield _literal(rest[position + 1])
            position += 2
        elif _PLAIN.match(rest[position]):
            yield rest[position]
            position += 1
        else:
            raise _NoTemplateError
        if position < len(rest) and rest[position] in "?*+{":
            raise _NoTemplateError


def _end_of_group(regex: str, position: int) -> int:
    """Return where the group ends that is open at ``position``."""
    depth = 1
    in_set = False
    while position < len(regex):
        char = regex[position]
        if char == "\\":
            position += 1
        elif in_set:
            in_set = char != "]"
        elif char == "[":
            in_set = True
            following = regex[position + 1 : position + 3]
            position += 2 if following == "^]" else 1 if following[:1] == "]" else 0
        elif char in "()":
            depth += 1 if char == "(" else -1
            if depth == 0:
                return position
        position += 1
    raise _NoTemplateError
