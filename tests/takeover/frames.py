"""Frames that a legacy client may send: made from a seed, so that every run sends the same."""

from __future__ import annotations

import json
import random
from typing import Any

from .legacy import ACTIONS, CLOSING

TEXTS = (
    "plain",
    "",
    "Grüße aus Köln",
    "日本語 😀",
    "line\nfeed \t\u2028 \x00",
    '"quoted" \\ and /',
    "PING",
    "CANCEL",
    "\ud800",
    "x" * 300,
)

ODD = (
    "[]",
    "[1, 2, 3]",
    '[{"action": "echo"}]',
    '"text"',
    '"PING"',
    "12",
    "-0",
    "1.5e300",
    "1e999",
    "NaN",
    "-Infinity",
    "true",
    "null",
    "{}",
    '  {"action": "echo", "data": 1}\r\n',
    '{"action": null}',
    '{"action": 1}',
    '{"action": ["echo"]}',
    '{"action": {"echo": 1}}',
    '{"action": ""}',
    '{"Action": "echo"}',
    '{"action": "ECHO"}',
    '{"action": " echo"}',
    '{"action": "e\\u0063ho", "data": 1, "request_id": 1}',
    '{"action": "count", "action": "echo", "data": 1, "request_id": 2}',
    '{"action": "echo", "action": "count", "request_id": 3}',
    '{"action": "echo", "request_id": 4, "request_id": 5}',
    '{"action": "echo", "data": {"a": 1, "a": 2}, "request_id": 6}',
    '{"action": "echo", "data": NaN, "request_id": 7}',
    '{"action": "echo", "data": [Infinity, -Infinity, 1e400], "request_id": 8}',
    '{"action": "echo", "data": 123456789012345678901234567890, "request_id": 9}',
    '{"action": "echo", "data": "\\ud83d\\ude00 \\udc00", "request_id": 10}',
    '{"action": "echo", "data": "\\u0000", "request_id": 11}',
    '{"action": "__init__"}',
    '{"action": "websocket_disconnect"}',
    '{"action": "disconnect", "code": 1}',
    '{"action": "PONG"}',
    '{"action": "HELLO", "request_id": 1}',
    '{"action": "AUTH", "token": "x"}',
    '{"action": "CLOSE"}',
    '{"type": "websocket.disconnect", "code": 1}',
    '{"route": "chat.send", "uuid": 1, "payload": {}}',
    '{"route": "chat.send", "uuid": [], "headers": 7}',
    '{"route": "unknown", "uuid": true}',
    '{"route": 12, "uuid": 1.5}',
    '{"route": "' + "r" * 500 + '", "uuid": "' + "u" * 500 + '"}',
    '{"route": "PONG"}',
    '{"action": "depth", "request_id": 12, "data": ' + "[" * 70 + "]" * 70 + "}",
    '{"action": "depth", "request_id": 13, "data": ' + "[" * 300 + "]" * 300 + "}",
    '{"action": "no such action", "data": ' + "[" * 100 + "]" * 100 + "}",
    json.dumps({"action": "echo", "data": "x" * 70_000, "request_id": 14}),
    json.dumps({"action": "echo", "data": "ü" * 40_000, "request_id": 15}, ensure_ascii=False),
    json.dumps({"action": "no such action", "data": "x" * 200_000}),
    json.dumps(["x" * 100_000]),
)

FATAL = (
    "",
    " ",
    "not JSON",
    "{",
    '{"action": "echo"} {}',
    "{'action': 'echo'}",
    '{"action": "echo",}',
    '\ufeff{"action": "echo"}',
    "\xa0{}",
    '{"action": "echo", "data": "line\nfeed"}',
    '{"action": "\\x41"}',
    "1" * 5000,
    '{"action": "echo", "data": -' + "1" * 5000 + "}",
    "[" * 100_000,
    "[" * 30_000 + "]" * 30_000,
    "\x00",
)
"""Texts on which a plain consumer's ``decode_json`` raises, so that its socket dies."""

RAISING = (
    '{"action": "raise", "text": "secret"}',
    '{"action": "raise", "request_id": 1, "uuid": 2, "route": "x"}',
    '{"action": "raise", "text": NaN}',
)
"""Texts on which the legacy consumer's own code raises."""


def content(chance: random.Random, action: str) -> dict[str, Any]:
    """Something that the branch of ``action`` can answer."""
    frame: dict[str, Any] = {"action": action}
    if chance.random() < 0.9:
        frame["request_id"] = chance.choice((chance.randrange(1000), f"id-{chance.randrange(1000)}"))
    values = (None, True, 0, -1.5, 2**60, "Zoë", [1, [2, {"x": None}]], {"route": "echo", "uuid": 3}, float("nan"), "")
    for key in ("a", "b", "data"):
        if chance.random() < 0.7:
            frame[key] = chance.choice(values)
    for key in ("text", "key", "name", "uuid", "payload", "headers", "status"):
        if chance.random() < 0.4:
            frame[key] = chance.choice(TEXTS)
    return frame


def spelled(chance: random.Random, frame: Any) -> str:
    separators = chance.choice(((",", ":"), (", ", ": "), (" ,\n", "\t:  ")))
    text = json.dumps(frame, ensure_ascii=chance.random() < 0.5, separators=separators)
    return chance.choice(("", " ", "\n")) + text + chance.choice(("", "\t", " \r\n"))


def sessions(seed: int, count: int, length: int) -> list[list[str]]:
    """``count`` conversations of about ``length`` frames; a frame that may close the socket is the last of its one."""
    chance = random.Random(seed)
    open_actions = [action for action in ACTIONS if action not in CLOSING]
    all_sessions = []
    for number in range(count):
        actions = [chance.choice(open_actions) for _ in range(length)]
        texts = [spelled(chance, content(chance, action)) for action in actions]
        for odd in ODD[number::count]:
            texts.insert(chance.randrange(len(texts)), odd)
        last = (*sorted(CLOSING), None)[number % 3]
        if last is not None:
            texts.append(spelled(chance, content(chance, last)))
        all_sessions.append(texts)
    return all_sessions
