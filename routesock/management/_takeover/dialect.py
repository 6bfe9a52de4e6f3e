"""Decides which dialect fits the frames that a consumer reads, and says what it cannot decide."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, get_args, get_type_hints

from ...dialects import Keys
from .facts import Facts, Key, KeyPath, Place
from .source import Method, Source


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A dialect for the class: an expression, what it imports, and the class that it needs."""

    expression: str
    """The value of ``route_dialect``, with names that ``imports`` has."""
    imports: tuple[tuple[str, str], ...]
    """Pairs of a module and a name in it."""
    definition: str = ""
    """The source of a class that stands in front of the consumer."""


@dataclass(slots=True)
class Protocol:
    """The facts known about the frames of a consumer."""

    key: str | None = None
    """The key that tells frames apart."""
    actions: dict[Key, Place | None] = field(default_factory=dict)
    suggestion: Suggestion | None = None
    sentences: list[str] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)
    """Facts that the code does not show, one sentence each."""


LIBRARIES: Final = {
    "djangochannelsrestframework": ("djangochannelsrestframework", "Dcrf"),
    "chanx": ("chanx", "Chanx"),
    "wsx": ("django-wsx", "Wsx"),
}
"""The name of a library and its dialect, by the library's package."""

KEY_NAMES: Final = frozenset(
    "action cmd command event event_type kind message_type method msg_type msgtype op opcode operation request_type "
    "route type t".split()
)
"""Keys that usually tell frames apart."""

_ID: Final = re.compile(
    r"(request|req|msg|message|correlation|call|trace|client|callback)[-_]?id|id|uuid|ref|nonce|seq|rid|mid|cid",
    re.IGNORECASE,
)
_PAYLOAD_NAMES: Final = ("data", "payload", "params", "body", "args", "arguments", "content", "kwargs", "parameters")


def protocol_of(source: Source, facts: Facts) -> Protocol:
    """Return what the facts say about the frames of ``source``."""
    library = next(
        (top for base in source.cls.__mro__ if (top := base.__module__.partition(".")[0]) in LIBRARIES), None
    )
    if library is not None:
        return _of_library(source, library)
    protocol = Protocol()
    if facts.json_rpc or ("jsonrpc",) in facts.reads:
        _json_rpc(source, facts, protocol)
        return protocol
    path = _key_path(facts, protocol)
    if path is None:
        _without_key(source, facts, protocol)
    elif path == (0,):
        _array(source, facts, protocol)
    elif len(path) == 1 and isinstance(path[0], str):
        _keyed(source, facts, protocol, path[0])
    else:
        protocol.actions.update(facts.names.get(path, {}))
        protocol.doubts.append(
            f"Frames are distinguished by {_shown(path)}, which is not a key of the frame itself. "
            "The diff has no dialect for that. Write a subclass of Keys with a read() that looks there."
        )
    if path is not None:
        _doubts_about_names(source, facts, protocol, path)
    _doubts_about_frames(facts, protocol)
    return protocol


# Known protocols


def _of_library(source: Source, library: str) -> Protocol:
    name, dialect = LIBRARIES[library]
    protocol = Protocol(key="action", suggestion=Suggestion(f"{dialect}()", (("routesock.dialects", dialect),)))
    protocol.sentences.append(f"The class derives from {name}, so its frames are those of that library.")
    protocol.actions.update(_message_names(source, protocol) if library == "chanx" else _action_names(source))
    if not protocol.actions:
        protocol.doubts.append(f"No action of {name} was found in the class.")
    return protocol


def _action_names(source: Source) -> Iterator[tuple[Key, Place | None]]:
    """Yield the names of the methods that djangochannelsrestframework calls."""
    available = getattr(source.cls, "available_actions", None)
    names = set(available) if isinstance(available, Mapping) else set()
    for method, call in _marked(source, "action"):
        words = {} if call is None else {word.arg: word.value for word in call.keywords}
        given = words.get("name")
        name = str(given.value) if isinstance(given, ast.Constant) else method.name
        names.discard(name)
        yield name, Place(method.file, method.line)
    for inherited in sorted(names):
        yield inherited, None


def _message_names(source: Source, protocol: Protocol) -> Iterator[tuple[Key, Place | None]]:
    """Yield the values of ``action`` in the message classes that chanx passes to its handlers."""
    for method, _ in _marked(source, "ws_handler"):
        names: list[Key] = []
        for message in _annotations(method):
            names += get_args(_annotations_of(message).get("action"))
        if not names:
            protocol.doubts.append(
                f"{where(method)}: the name of the action is in the message class of {method.name}(), "
                "which could not be read."
            )
        for name in names:
            yield name, Place(method.file, method.line)


def _annotations(method: Method) -> list[Any]:
    return [value for name, value in _annotations_of(method.function).items() if name != "return"]


def _annotations_of(value: Any) -> dict[str, Any]:
    try:
        return get_type_hints(value)
    except Exception:  # an annotation may be any expression, and one under TYPE_CHECKING cannot be evaluated
        return {}


def _marked(source: Source, decorator: str) -> Iterator[tuple[Method, ast.Call | None]]:
    """Yield the methods with a decorator of that name, and its call if it is called."""
    for method in source.methods():
        for node in method.node.decorator_list:
            call = node if isinstance(node, ast.Call) else None
            mark = node if call is None else call.func
            if getattr(mark, "attr", getattr(mark, "id", "")) == decorator:
                yield method, call


def _json_rpc(source: Source, facts: Facts, protocol: Protocol) -> None:
    protocol.key = "method"
    protocol.actions.update(facts.names.get(("method",), {}))
    protocol.sentences.append('Frames have "jsonrpc", so the protocol is JSON-RPC.')
    protocol.suggestion = Suggestion("JsonRpc()", (("routesock.dialects", "JsonRpc"),))
    _doubts_about_names(source, facts, protocol, ("method",))


# Frames with a key


def _key_path(facts: Facts, protocol: Protocol) -> KeyPath | None:
    """Return the part of a frame that distinguishes actions: the one that is compared with most names."""
    paths = {*facts.names, *facts.built, *facts.prefixes}
    if not paths:
        return None

    def rank(path: KeyPath) -> tuple[int, int, int]:
        names = len(facts.names.get(path, ())) + 2 * len(facts.built.get(path, ())) + len(facts.prefixes.get(path, ()))
        return names, path[-1] in KEY_NAMES, -len(path)

    ranked = sorted(paths, key=lambda path: (rank(path), str(path)), reverse=True)
    best = ranked[0]
    names, is_usual, _ = rank(best)
    rivals = [path for path in ranked[1:] if rank(path)[0] == names]
    usual = [path for path in (best, *rivals) if path[-1] in KEY_NAMES]
    if rivals and len(usual) != 1:
        keys = ", ".join(_shown(path) for path in (best, *rivals))
        protocol.doubts.append(f"Several keys are compared to as many names: {keys}. One of them tells frames apart.")
        return None
    if names == 1 and not is_usual and best != (0,):
        protocol.doubts.append(
            f"{_shown(best)} is compared to one name only ({where(_first(facts, best))}), "
            "so it may be a value like any other."
        )
        return None
    others = [path for path in ranked[1:] if path[:-1] == best[:-1] and path in facts.names]
    if others:
        keys = ", ".join(f"{_shown(path)} ({where(_first(facts, path))})" for path in others)
        protocol.doubts.append(f"Other values of a frame are compared as well: {keys}. {_shown(best)} has most names.")
    return best


def _keyed(source: Source, facts: Facts, protocol: Protocol, key: str) -> None:
    protocol.key = key
    protocol.actions.update(facts.names.get((key,), {}))
    if any(isinstance(name, int) for name in protocol.actions):
        protocol.doubts.append(
            f'Some names under "{key}" are numbers, and the name of a route is a string. The diff has no dialect for '
            "that. Write a subclass of Keys with a read() that makes strings of them, and a reply() that makes numbers."
        )
        return
    id_key = _id_key(facts, protocol, key)
    payload = _payload_key(facts, protocol, {key, id_key})
    status = _status_key(facts, protocol)
    options: dict[str, Any] = {"route": key, "id": id_key, "payload": payload, "status": status}
    if payload is not None:
        options["headers"] = None
    protocol.suggestion = _keys(options, protocol)


def _keys(options: dict[str, Any], protocol: Protocol) -> Suggestion | None:
    try:
        Keys(**options)
    except ValueError as exc:
        protocol.doubts.append(f"No Keys(...) fits these frames: {exc}")
        return None
    return Suggestion(_call("Keys", options), (("routesock", "Keys"),))


def _call(name: str, options: dict[str, Any]) -> str:
    return f"{name}({', '.join(f'{option}={_literal(value)}' for option, value in options.items())})"


def _literal(value: Any) -> str:
    """Return ``value`` as Python source, with double quotes where possible."""
    text = repr(value)
    return f'"{text[1:-1]}"' if isinstance(value, str) and text[0] == "'" and '"' not in text else text


def _id_key(facts: Facts, protocol: Protocol, key: str) -> str | None:
    echoed: dict[str, Place] = {}
    for (name, path), place in facts.echoes.items():
        if len(path) == 1 and path != (key,) and isinstance(path[0], str) and _ID.fullmatch(path[0]):
            if name != path[0]:
                protocol.doubts.append(
                    f'{where(place)} sends "{path[0]}" of a frame as "{name}". If that is the id of a request, replies '
                    "need a subclass of Keys with a reply() that uses that key."
                )
                continue
            echoed.setdefault(name, place)
    if len(echoed) == 1:
        ((name, place),) = echoed.items()
        protocol.sentences.append(f'Replies repeat "{name}" ({where(place)}), so it is taken for the id of a request.')
        return name
    if echoed:
        names = ", ".join(f'"{name}" ({where(place)})' for name, place in echoed.items())
        protocol.doubts.append(f"Replies repeat several keys that may be the id of a request: {names}. Name it as id=.")
        return None
    if facts.spreads:
        protocol.doubts.append(
            f"{where(facts.spreads[0])} puts a whole frame into a reply, so an id may be among its keys. "
            "If clients match replies by a key, name it as id=."
        )
    if facts.handed_on:
        protocol.doubts.append(
            "Code that was not read gets a whole frame, and may send an id back. Then name it as id=."
        )
    protocol.sentences.append(
        "No reply in the code that was read repeats an id, so id=None: frames have no ids, and every request is "
        "answered."
    )
    return None


def _payload_key(facts: Facts, protocol: Protocol, taken: set[str | None]) -> str | None:
    parts = {path[0] for path in facts.reads if isinstance(path[0], str) and path[0] not in taken}
    inner = {path[0] for path in facts.reads if len(path) > 1}
    if len(parts) == 1:
        (part,) = parts
        if part in inner or part in _PAYLOAD_NAMES:
            protocol.sentences.append(f'The payload is under "{part}" ({where(facts.reads[part,])}).')
            return str(part)
    if not parts:
        protocol.doubts.append(
            "The code that was read takes nothing else from a frame, so payload=None may be wrong. "
            "If the payload has its own key, name it as payload=."
        )
        return None
    listed = ", ".join(f'"{part}"' for part in sorted(map(str, parts)))
    protocol.sentences.append(f"A frame is flat: its other keys are the payload ({listed}).")
    wrapped = [part for part in _PAYLOAD_NAMES if part in parts]
    if wrapped:
        protocol.doubts.append(
            f'Some of the code reads "{wrapped[0]}" and some reads keys beside it. With payload=None a route gets all '
            "of them."
        )
    return None


def _status_key(facts: Facts, protocol: Protocol) -> str | None:
    if not facts.statuses:
        return None
    key, place = next(iter(facts.statuses.items()))
    protocol.sentences.append(f'Replies have a status under "{key}" ({where(place)}).')
    return key


# Frames without one


def _without_key(source: Source, facts: Facts, protocol: Protocol) -> None:
    if facts.arrays:
        protocol.doubts.append(
            f"A frame is an array ({where(facts.arrays[0])}), but no element of it is compared to a name. "
            "The diff has no dialect for that."
        )
        return
    keys = [path[0] for path in facts.reads if len(path) == 1 and isinstance(path[0], str)]
    present = list(facts.presence) or keys
    if not present or protocol.doubts:
        if not protocol.doubts:
            protocol.doubts.append("No key that tells frames apart was found, and no action. The diff has no dialect.")
        return
    if not facts.presence and len(present) > 1:
        listed = ", ".join(f'"{key}"' for key in present)
        protocol.doubts.append(
            f"No key tells frames apart: the code reads {listed} and compares none of them. "
            "The diff has no dialect. Write a subclass of Keys with a read() that returns Frame(route, ...)."
        )
        return
    protocol.actions.update({key: facts.presence.get(key, facts.reads.get((key,))) for key in present})
    if facts.presence:
        protocol.sentences.append("No key has the name of the action. The presence of a key tells frames apart.")
    else:
        protocol.sentences.append(
            f'No key has the name of the action: every frame has "{present[0]}". The dialect takes that for the name.'
        )
    protocol.sentences.append("Frames have no ids, so every request is answered.")
    if len(present) == 1:
        protocol.doubts.append(
            f'Whether "{present[0]}" tells frames apart, or is only read in each of them, cannot be seen.'
        )
    name = f"{source.name}Frames"
    names = ", ".join(map(_literal, present))
    definition = f'''class {name}(Keys):
    """Frames whose keys say what they are."""

    def read(self, value):
        for name in ({names}{"," if len(present) == 1 else ""}):
            if isinstance(value, dict) and name in value:
                return Frame(name, payload=value, value=value)
        return None  # the consumer's own code gets it
'''
    options = {"route": _free("action", present), "id": None, "payload": None, "status": None}
    protocol.suggestion = Suggestion(
        _call(name, options), (("routesock", "Keys"), ("routesock.dialects", "Frame")), definition
    )
    protocol.doubts.append(
        f'What a reply of a route should look like is not in the code. It has the route under "{options["route"]}" '
        f"until you give {name} a reply(). A route that answers through the group needs none: write reply=None."
    )


def _free(name: str, taken: list[str]) -> str:
    return name if name not in taken else _free(f"route_{name}", taken)


def _array(source: Source, facts: Facts, protocol: Protocol) -> None:
    protocol.actions.update(facts.names.get((0,), {}))
    place = facts.arrays[0] if facts.arrays else _first(facts, (0,))
    protocol.sentences.append(f"A frame is an array, and its first element is the name of the action ({where(place)}).")
    protocol.sentences.append("No id was found, so every request is answered.")
    if any(isinstance(name, int) for name in protocol.actions):
        protocol.doubts.append(
            "The names are numbers, and the name of a route is a string. The diff has no dialect for that. "
            "Write a subclass of Keys with a read() that makes strings of them."
        )
        return
    name = f"{source.name}Frames"
    definition = f'''class {name}(Keys):
    """Frames that are arrays: the name of the action first."""

    def read(self, value):
        if not isinstance(value, list) or not value or not isinstance(value[0], str):
            return None  # the consumer's own code gets it
        return Frame(value[0], payload=value[1:], value=value)

    def reply(self, request, status, payload, headers):
        return [request.route, payload]

    def push(self, route, payload, headers=None):
        return [route, payload]
'''
    options = {"id": None, "status": None, "headers": None}
    protocol.suggestion = Suggestion(
        _call(name, options), (("routesock", "Keys"), ("routesock.dialects", "Frame")), definition
    )
    protocol.doubts.append(
        "What a reply of a route should look like is not in the code. It is [name, payload] until you change reply()."
    )


# What stays open


def _doubts_about_names(source: Source, facts: Facts, protocol: Protocol, path: KeyPath) -> None:
    for prefix, place in facts.built.get(path, {}).items():
        begins = f' that begins with "{prefix}"' if prefix else ""
        names = ", ".join(method.name for method in source.methods_named(prefix)) if prefix else ""
        protocol.doubts.append(
            f"{where(place)} builds the name of a method{begins} from {_shown(path)}. "
            f"Which of them clients use cannot be seen{f' ({names})' if names else ''}."
        )
    for prefix, place in facts.prefixes.get(path, {}).items():
        protocol.doubts.append(
            f'{where(place)} takes every name that begins with "{prefix}". A route needs a whole name.'
        )
    for place in facts.unknown.get(path, []):
        protocol.doubts.append(f"{where(place)} compares {_shown(path)} to something that is known only at run time.")
    if path in facts.changed:
        protocol.doubts.append(
            f"{where(facts.changed[path])} changes {_shown(path)} before it compares it, as lower() does. "
            "A route is found only under its exact name."
        )
    if path in facts.defaults:
        protocol.doubts.append(
            f"{where(facts.defaults[path])} has a default for frames without {_shown(path)}. Such frames name no route "
            "and stay with your code."
        )


def _doubts_about_frames(facts: Facts, protocol: Protocol) -> None:
    if facts.binary:
        protocol.doubts.append(
            f"The code reads binary frames ({where(facts.binary[0])}). A dialect reads text unless it has a decode() "
            'that reads message["bytes"]. Until then they stay with your code if it has a receive().'
        )
    if facts.text:
        protocol.doubts.append(
            f"The code looks at the text of a frame before it decodes it ({where(facts.text[0])}). A frame that is not "
            'JSON becomes a route only through a dialect with a decode() that reads message["text"].'
        )
    if facts.batches:
        protocol.doubts.append(
            f"A frame may be a list of frames ({where(facts.batches[0])}). Such a list names no route and stays with "
            "your code, unless read() of the dialect returns a list."
        )
    for call, place in facts.handed_on.items():
        protocol.doubts.append(f"{where(place)} passes a frame to {call}(), which was not read.")


def _first(facts: Facts, path: KeyPath) -> Place:
    found: dict[Any, Place] = {**facts.prefixes.get(path, {}), **facts.built.get(path, {}), **facts.names.get(path, {})}
    return next(iter(found.values()))


def _shown(path: KeyPath) -> str:
    """Return ``path`` for people: ``"data" > "text"``, with positions of arrays in brackets."""
    return " > ".join(f'"{key}"' if isinstance(key, str) else f"[{key}]" for key in path)


def where(place: Place | Method) -> str:
    """Return a place for people: the file with its folder, since each app has a consumers.py, and the line."""
    return f"{place.file.parent.name}/{place.file.name} line {place.line}"
