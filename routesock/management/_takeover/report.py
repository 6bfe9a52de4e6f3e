"""Writes what adopting routesock would mean for a consumer, as text for people."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from channels.consumer import AsyncConsumer
from channels.generic.websocket import AsyncWebsocketConsumer, WebsocketConsumer

from ...consumers import RouteMixin
from .dialect import Protocol, protocol_of, where
from .diff import Diff, NoDiff, diff_of
from .facts import Facts, Key, Place
from .frames import read_frames
from .overrides import changed, clashing_options, no_longer_called, overrides_of, unchanged
from .source import CHANNELS, NOT_READ, Source

_WIDTH: Final = 100

_NO_DIALECT: Final = (
    "None can be suggested. Without one, all frames go to your code as before. "
    "docs/howto/take-over-shapes shows how to write one."
)


def report(source: Source, cwd: Path) -> tuple[str, Diff | None]:
    """Return the whole text, and the diff in it.

    Args:
        source: The consumer class.
        cwd: The current folder. Paths of the diff are relative to it if there is no git work tree.
    """
    obstacles = list(obstacles_of(source))
    if obstacles:
        lines = [*_title(source, cwd), *_section("The mixin cannot go into this class", obstacles)]
        return "\n".join(lines) + "\n", None
    facts = read_frames(source)
    protocol = protocol_of(source, facts)
    lines = [*_title(source, cwd), *_frames(protocol), *_overrides(source, facts)]
    lines += _section("What is no longer called", no_longer_called(source, facts, protocol))
    lines += _section("What changes with the mixin alone", changed(source))
    lines += _section("What stays", unchanged(source, protocol))
    doubts = list(dict.fromkeys([*protocol.doubts, *_limits(source, facts)]))
    lines += _section("What this command cannot tell", doubts)
    diff = None
    try:
        diff = diff_of(source, protocol.suggestion, cwd=cwd)
    except NoDiff as exc:
        step = _section("First step", [str(exc)])
    else:
        # Not wrapped, so that the folder can be copied.
        step = _section(
            "First step", [f"`git apply` takes this diff in {diff.folder}", "It moves no action yet."], wrap=False
        )
    text = "\n".join([*lines, *step]) + "\n"
    return (text if diff is None else f"{text}\n{diff.text}"), diff


def obstacles_of(source: Source) -> Iterator[str]:
    """Yield why the mixin cannot go into the class, each with what to do instead."""
    cls = source.cls
    if cls.__module__ in CHANNELS:
        yield "It is a class of Channels. Pass the path of a consumer of your own that derives from it."
    elif issubclass(cls, RouteMixin):
        yield "It has RouteMixin already. Move its first action to a route; see docs/howto/take-over, step 2."
    elif not issubclass(cls, AsyncConsumer):
        yield (
            "It is not a Channels consumer, so it has no frames to route. Pass the path of the class that "
            "routing.py uses with as_asgi()."
        )
    elif not issubclass(cls, AsyncWebsocketConsumer | WebsocketConsumer):
        yield (
            "It is not a WebSocket consumer. Derive it from AsyncJsonWebsocketConsumer, or another class of "
            "channels.generic.websocket, instead of handling the events of the server itself."
        )
    else:
        for base in source.overrides("__call__"):
            yield (
                f"{base.__name__} overrides __call__, which RouteMixin in front of it would replace. If it passes "
                "frames on to other consumers, as a demultiplexer does, run this command on those, and put the mixin "
                "into them. If it wraps the whole socket and calls super().__call__(), put the mixin and the routes "
                f"into a class `Routed`, and serve a `class Both({base.__name__}, Routed)`; see docs/howto/take-over."
            )
        yield from clashing_options(source)


def _title(source: Source, cwd: Path) -> list[str]:
    cls: type = source.cls
    lines = source.definitions
    place = f", line {lines[0].lineno}" if len(lines) == 1 else ""
    file = source.file.relative_to(cwd) if source.file.is_relative_to(cwd) else source.file
    return [f"{cls.__module__}.{cls.__qualname__}", f"{file}{place}"]


def _frames(protocol: Protocol) -> list[str]:
    sentences = [] if protocol.key is None else [f'The key "{protocol.key}" tells frames apart.']
    lines = _section("Frames", [*sentences, *protocol.sentences] or ["Nothing certain was found about them."])
    lines += _section("Actions", _actions(protocol.actions) or ["None was found."])
    if protocol.suggestion is None:
        return lines + _section("Dialect", [_NO_DIALECT])
    lines += _section("Dialect", [f"route_dialect = {protocol.suggestion.expression}"], wrap=False)
    return lines


def _actions(actions: dict[Key, Place | None]) -> list[str]:
    shown = {name if isinstance(name, str) else repr(name): place for name, place in actions.items()}
    width = max(map(len, shown), default=0)
    return [
        f"{name:{width}}  {'from a base class' if place is None else where(place)}" for name, place in shown.items()
    ]


def _overrides(source: Source, facts: Facts) -> list[str]:
    paragraphs = []
    for override in overrides_of(source, facts):
        place = "" if override.place is None else f", {where(override.place)}"
        paragraphs.append(f"{override.name} ({override.origin}{place}): {' '.join(override.sentences)}")
    return _section("Your own methods and attributes", paragraphs or ["None that Channels or routesock calls."])


def _limits(source: Source, facts: Facts) -> Iterator[str]:
    for base in source.own_bases():
        unread = [name for name in ("receive", "receive_json", "websocket_receive") if name in vars(base)]
        is_known = base.__module__.partition(".")[0] in NOT_READ
        if unread and not is_known and not any(method.owner is base for method in facts.methods):
            yield f"{base.__name__} of {base.__module__} was not read."
    derived: list[type] = source.cls.__subclasses__()
    if derived:
        names = ", ".join(found.__name__ for found in derived)
        yield f"These classes derive from it and get the mixin, too; run the command on each: {names}."
    yield "The code was read, not run. Frames that are handled in other ways than by comparing names are not seen."
    yield "Which of these frames your clients still send, and whether they mind an unknown key, is not in this code."


def _section(title: str, paragraphs: Iterable[str], *, wrap: bool = True) -> list[str]:
    lines = []
    for paragraph in paragraphs:
        if wrap:
            lines += textwrap.wrap(
                paragraph, _WIDTH, initial_indent="  ", subsequent_indent="    ", break_long_words=False,
                break_on_hyphens=False,
            )  # fmt: skip
        else:
            lines.append(f"  {paragraph}")
    return ["", title, *lines] if lines else []
