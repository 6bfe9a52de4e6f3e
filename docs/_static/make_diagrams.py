"""Draws the diagrams of the documentation: ``python docs/_static/make_diagrams.py`` writes the SVG files beside it.

The pages include the files with ``raw:: html``, so that the colours are those of the theme, light or dark. A file that
is opened on its own has the colours of light mode. All drawings are 420 units wide, so that a phone shows their text in
a readable size.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

HERE = Path(__file__).resolve().parent
WIDTH = 420
MONO = "ui-monospace, SFMono-Regular, Menlo, Consolas, monospace"

STYLE = f"""
.rs-diagram {{ display: block; width: 100%; max-width: 34rem; height: auto; margin: 1rem auto;
  font-family: system-ui, sans-serif; font-size: 13px }}
.rs-diagram text {{ fill: var(--color-foreground-primary, #1f2328) }}
.rs-diagram .note {{ fill: var(--color-foreground-secondary, #57606a); font-size: 12px }}
.rs-diagram .code {{ font-family: {MONO}; font-size: 12px }}
.rs-diagram .small {{ font-size: 11px }}
.rs-diagram .box {{ fill: var(--color-background-secondary, #f6f8fa);
  stroke: var(--color-foreground-border, #6e7781) }}
.rs-diagram .key {{ fill: var(--color-background-hover, #eef4fb); stroke: var(--color-brand-primary, #0a4bff) }}
.rs-diagram .area {{ fill: none; stroke: var(--color-foreground-border, #6e7781); stroke-dasharray: 4 4 }}
.rs-diagram .line {{ fill: none; stroke: var(--color-foreground-secondary, #57606a); stroke-width: 1.4 }}
.rs-diagram .wait {{ stroke-dasharray: 3 4 }}
.rs-diagram .head {{ fill: var(--color-foreground-secondary, #57606a) }}
"""


class Drawing:
    """An SVG file with a title and a description for screen readers.

    Args:
        name: The stem of the file.
        title: What the drawing shows, in one sentence.
        description: The same in words, for those who cannot see it.
    """

    def __init__(self, name: str, title: str, description: str) -> None:
        self.name = name
        self.title = title
        self.description = description
        self.height = 0.0
        self._parts: list[str] = []

    def text(self, x: float, y: float, text: str, kind: str = "", anchor: str = "start") -> None:
        self._grow(y + 8)
        self._parts.append(f'<text x="{x:g}" y="{y:g}" class="{kind}" text-anchor="{anchor}">{escape(text)}</text>')

    def box(
        self, x: float, y: float, width: float, height: float, lines: Sequence[str] = (), *, kind: str = "box",
        text: str = "",
    ) -> None:  # fmt: skip
        """A rectangle with ``lines`` of text in its middle."""
        self._grow(y + height + 4)
        self._parts.append(f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="6" class="{kind}"/>')
        first = y + height / 2 + 4.5 - 8 * (len(lines) - 1)
        for number, line in enumerate(lines):
            self.text(x + width / 2, first + 16 * number, line, text, "middle")

    def line(self, *points: tuple[float, float], arrow: bool = True, kind: str = "") -> None:
        self._grow(max(y for _, y in points) + 6)
        way = " ".join(f"{x:g},{y:g}" for x, y in points)
        self._parts.append(f'<polyline points="{way}" class="line {kind}"/>')
        if arrow:
            self._head(points[-2], points[-1])

    def _head(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        (x, y), (dx, dy) = end, (end[0] - start[0], end[1] - start[1])
        length = (dx**2 + dy**2) ** 0.5
        dx, dy = dx / length, dy / length
        corners = [(x, y), (x - 8 * dx - 4 * dy, y - 8 * dy + 4 * dx), (x - 8 * dx + 4 * dy, y - 8 * dy - 4 * dx)]
        way = " ".join(f"{round(a, 1):g},{round(b, 1):g}" for a, b in corners)
        self._parts.append(f'<polygon points="{way}" class="head"/>')

    def _grow(self, y: float) -> None:
        self.height = max(self.height, y)

    def svg(self) -> str:
        name = f"rs-{self.name}"
        about = f'role="img" aria-labelledby="{name}-title {name}-desc"'
        view = f'viewBox="0 0 {WIDTH} {self.height:g}" class="rs-diagram" {about}'
        return "\n".join(
            [
                f'<svg xmlns="http://www.w3.org/2000/svg" {view}>',
                f'<title id="{name}-title">{escape(self.title)}</title>',
                f'<desc id="{name}-desc">{escape(self.description)}</desc>',
                f"<style>{STYLE}</style>",
                *self._parts,
                "</svg>",
                "",
            ]
        )


def request() -> Drawing:
    drawing = Drawing(
        "request",
        "The way of a request, from the frame to the reply.",
        "The server receives a frame. It is parsed; PING and CANCEL are handled at once, and what is no request is "
        "answered 400, 404 or 413. The request waits in the queue, which answers 429 when it is full. Inside of "
        "middleware it passes permissions (401, 403), throttle (429), schema (422), hydrate (404), the permissions "
        "for the loaded object (403), the handler (499, 504, 500) and dehydrate. Then the reply is encoded and "
        "sent.",
    )
    left, width, middle = 14, 220, 124
    note = 250

    def step(y: float, lines: Sequence[str], notes: Sequence[str] = (), *, text: str = "", kind: str = "box") -> None:
        drawing.box(left, y, width, 34, lines, kind=kind, text=text)
        for number, line in enumerate(notes):
            drawing.text(note, y + 21.5 - 8 * (len(notes) - 1) + 16 * number, line, "note")

    drawing.text(middle, 16, "a frame from the client", "note", "middle")
    drawing.line((middle, 22), (middle, 40))
    step(40, ["Parse the frame"], ["400, 404, 413", "PING, CANCEL: at once"])
    drawing.line((middle, 74), (middle, 92))
    step(92, ["Queue of the socket"], ["429 if it is full"])
    drawing.line((middle, 126), (middle, 158))
    drawing.box(4, 140, 240, 372, kind="area")
    drawing.text(note, 146, "around these: middleware", "note")
    steps = [
        ("permissions=", "401, 403"),
        ("throttle=", "429 with Retry-After"),
        ("schema=", "422 with errors by field"),
        ("hydrate=", "404"),
        ("permissions for the object", "403"),
    ]
    y = 158.0
    for name, status in steps:
        step(y, [name], [status], text="code" if name.endswith("=") else "")
        drawing.line((middle, y + 34), (middle, y + 50))
        y += 50
    step(y, ["your handler"], ["504 after its timeout", "499 after a CANCEL"], kind="key")
    drawing.line((middle, y + 34), (middle, y + 50))
    step(y + 50, ["dehydrate="], ["for a 2xx reply"], text="code")
    drawing.line((middle, y + 84), (middle, y + 122))
    step(y + 122, ["Encode and send"], ["an exception: 500, logged"])
    drawing.line((middle, y + 156), (middle, y + 174))
    drawing.text(14, y + 190, "one reply, with the id of the request and a status", "note")
    return drawing


def order() -> Drawing:
    drawing = Drawing(
        "order",
        "Requests in order, parallel requests and pushes on one socket, over time.",
        "Time runs down. Request 1 runs in order. Request 2 arrives meanwhile and waits until 1 is answered. "
        "Request 3, of a parallel route, starts at once and is answered when it is ready. A push goes out at once, "
        "and so does the PONG to a PING.",
    )
    client, ordered, parallel, push = 40, 148, 258, 368
    for x, title in ((client, "client"), (ordered, "in order"), (parallel, "parallel=True"), (push, "push")):
        drawing.text(x, 16, title, "code" if "=" in title else "", "middle")
        drawing.line((x, 26), (x, 400 if x == client else 340), arrow=False, kind="wait")

    def frame(y: float, start: float, end: float, label: str) -> None:
        drawing.line((start, y), (end, y))
        drawing.text(client + 8, y - 5, label, "note")

    frame(52, client, ordered - 32, "request 1")
    drawing.box(ordered - 32, 44, 64, 150, ["1"])
    frame(92, client, ordered - 32, "request 2")
    drawing.line((ordered + 32, 92), (ordered + 42, 92), (ordered + 42, 212), (ordered + 32, 212), kind="wait")
    drawing.text(ordered + 46, 88, "2 waits", "note")
    drawing.line((client, 122), (ordered - 32, 122), arrow=False)
    drawing.line((ordered + 32, 122), (parallel - 32, 122))
    drawing.text(client + 8, 117, "request 3", "note")
    drawing.box(parallel - 32, 114, 64, 120, ["3"], kind="key")
    frame(186, ordered - 32, client, "reply 1")
    drawing.box(ordered - 32, 202, 64, 120, ["2"])
    drawing.line((parallel - 32, 228), (ordered + 32, 228), arrow=False)
    frame(228, ordered - 32, client, "reply 3")
    drawing.box(push - 32, 258, 64, 28, ["push"], kind="key")
    drawing.line((push - 32, 272), (ordered + 32, 272), arrow=False)
    frame(272, ordered - 32, client, "push")
    frame(314, ordered - 32, client, "reply 2")
    drawing.text(client + 8, 350, "PING", "note")
    drawing.line((client, 356), (ordered - 32, 356), (ordered - 32, 376), (client, 376))
    drawing.text(client + 8, 392, "PONG", "note")
    drawing.text(ordered - 24, 370, "PING is answered at once", "note")
    drawing.line((parallel + 110, 352), (parallel + 110, 396))
    drawing.text(parallel + 102, 392, "time", "note", "end")
    return drawing


def broadcast() -> Drawing:
    drawing = Drawing(
        "broadcast",
        "A broadcast reaches two processes through the channel layer, with one delivery for each.",
        "A handler, view or task in process A calls broadcast. If the group has a history, the push is appended to "
        "the store first. The channel layer then delivers one message to the hub of each process, which writes it "
        "to each of its sockets that are in the group. A hub that has missed a message reads it from the history.",
    )
    drawing.box(4, 8, 412, 66, kind="area")
    drawing.text(14, 26, "process A", "note")
    drawing.box(110, 30, 200, 34, ["broadcast(group, push, …)"], text="code", kind="key")
    drawing.box(4, 108, 412, 86, kind="area")
    drawing.text(14, 126, "Redis", "note")
    drawing.box(20, 134, 160, 48, ["history of the group", "if it has one"])
    drawing.box(236, 134, 164, 48, ["channel layer"])
    drawing.line((140, 64), (140, 134))
    drawing.text(132, 94, "1  append", "note", "end")
    drawing.line((288, 64), (288, 134))
    drawing.text(296, 94, "2  one message", "note")
    for x, name, socket in ((4, "process A", "a"), (216, "process B", "b")):
        drawing.box(x, 242, 200, 142, kind="area")
        drawing.text(x + 10, 376, name, "note")
        drawing.box(x + 24, 260, 152, 34, ["hub"])
        for number in range(3):
            left = x + 12 + 60 * number
            drawing.box(left, 322, 56, 32, [f"socket {socket}{number + 1}"], text="small")
            drawing.line((x + 70 + 30 * number, 294), (left + 28, 322))
    drawing.line((260, 182), (260, 218), (120, 218), (120, 260))
    drawing.line((316, 182), (316, 260))
    drawing.text(325, 222, "3  one for each", "note")
    drawing.text(325, 236, "process", "note")
    drawing.line((60, 182), (60, 260), kind="wait")
    drawing.text(68, 210, "what was", "note")
    drawing.text(68, 236, "missed", "note")
    return drawing


def resume() -> Drawing:
    drawing = Drawing(
        "resume",
        "A client reconnects to another process and gets what it has missed.",
        "The client receives pushes 21 and 22 from process A. The connection breaks. Push 23 is kept in the history "
        "while the client is away. The client connects to process B and sends SUBSCRIBE since 22. Process B reads "
        "push 23 from the history, replies Recovered true, and sends push 23 and those that follow.",
    )
    client, server, store = 52, 220, 368
    for x, title in ((client, "client"), (server, "server processes"), (store, "history")):
        drawing.text(x, 16, title, "", "middle")
        drawing.line((x, 26), (x, 408), arrow=False, kind="wait")

    def frame(y: float, start: float, end: float, label: str, kind: str = "note") -> None:
        drawing.line((start, y), (end, y))
        drawing.text((start + end) / 2, y - 6, label, kind, "middle")

    drawing.box(server - 46, 34, 92, 86, ["process A"])
    frame(66, server - 46, client, "push  :21")
    frame(100, server - 46, client, "push  :22")
    drawing.line((client - 10, 140), (client + 10, 160), arrow=False)
    drawing.line((client + 10, 140), (client - 10, 160), arrow=False)
    drawing.text(client + 20, 154, "the connection breaks", "note")
    frame(186, server, store, "push  :23  is kept")
    drawing.box(server - 46, 208, 92, 182, ["process B"], kind="key")
    frame(236, client, server - 46, "SUBSCRIBE")
    drawing.text((client + server - 46) / 2, 252, "since :22", "note", "middle")
    frame(270, server + 46, store, "after :22?")
    frame(300, store, server + 46, "push  :23")
    frame(308, server - 46, client, "reply 204")
    drawing.text((client + server - 46) / 2, 324, "Recovered: true", "note", "middle")
    frame(350, server - 46, client, "push  :23")
    frame(380, server - 46, client, "push  :24, live")
    return drawing


def states() -> Drawing:
    drawing = Drawing(
        "states",
        "The phases of a socket. They only go forward.",
        "Opening: the handshake is not answered yet. Open: frames are read and answered. Draining: running requests "
        "finish, new ones are refused. Closing: only the CLOSE notice and the close frame are sent. Gone: running "
        "handlers have their grace period. Disconnecting: what still runs is cancelled, then disconnect runs. "
        "Ended. From opening and open a socket can go to draining or directly to closing.",
    )
    phases = [
        ("OPENING", ["the handshake is not answered"]),
        ("OPEN", ["frames are read and answered"]),
        ("DRAINING", ["running requests finish,", "others are answered 503 or 401"]),
        ("CLOSING", ["nothing starts; CLOSE notice", "and close frame are sent"]),
        ("GONE", ["nothing is sent; running", "handlers have their grace"]),
        ("DISCONNECTING", ["what still runs is cancelled,", "then disconnect() runs"]),
        ("ENDED", ["all groups are left"]),
    ]
    for number, (name, lines) in enumerate(phases):
        y = 8 + 58 * number
        drawing.box(44, y, 150, 36, [name], text="code", kind="key" if name == "OPEN" else "box")
        for line, note in enumerate(lines):
            drawing.text(208, y + 22 - 8 * (len(lines) - 1) + 16 * line, note, "note")
        if number:
            drawing.line((119, y - 22), (119, y))
    y = [8 + 58 * number + 18 for number in range(4)]
    drawing.line((44, y[0]), (14, y[0]), (14, y[3]), (44, y[3]))
    drawing.line((44, y[1]), (24, y[1]), (24, y[3] - 8), (44, y[3] - 8))
    drawing.line((44, y[0] + 8), (34, y[0] + 8), (34, y[2]), (44, y[2]))
    return drawing


# The words beside each row of the import contract.
ROWS = {
    "urls": "URLs of the documents",
    "admin": "What Django and pytest load; the Python client",
    "health": "What operators use",
    "checks": "System checks, test client, middleware",
    "_codegen": "Generators of typed clients",
    "_asyncapi": "The AsyncAPI document",
    "consumers": "RouteMixin",
    "_connection": "One socket",
    "_groups": "Groups; compiled consumer classes",
    "_routing": "Decorators and class options",
    "auth": "Authentication, throttles",
    "_store": "What outlives a socket; schema adapters",
    "_runtime": "Threads, timers, shutdown; permissions",
    "dialects": "What a frame looks like",
    "_wire": "Messages, JSON, frames, problems",
    "exceptions": "Errors",
    "conf": "Used everywhere",
    "_compat": "Private parts of other libraries",
}


def layers() -> list[list[str]]:
    """The rows of the import contract, which import only from the rows below their own."""
    contracts = tomllib.loads((HERE.parent.parent / "pyproject.toml").read_text(encoding="utf-8"))
    rows = next(one for one in contracts["tool"]["importlinter"]["contracts"] if one["type"] == "layers")["layers"]
    return [re.split(r" [|:] ", row) for row in rows]


def rooms() -> Drawing:
    drawing = Drawing(
        "rooms",
        "The packages of routesock, from top to bottom. Each may import only from the rows below it.",
        " ".join(f"{ROWS[row[0]]}: {', '.join(row)}." for row in layers()),
    )
    y = 8.0
    for row in layers():
        drawing.text(6, y + 10, ROWS[row[0]], "note")
        for some in (row[start : start + 4] for start in range(0, len(row), 4)):
            width = (WIDTH - 12 - 6 * (len(some) - 1)) / len(some)
            for number, name in enumerate(some):
                kind = "box" if name.startswith("_") else "key"
                drawing.box(6 + number * (width + 6), y + 16, width, 26, [name], kind=kind, text="code small")
            y += 32
        y += 24
    return drawing


def drawings() -> Iterable[Drawing]:
    return [request(), order(), broadcast(), resume(), states(), rooms()]


if __name__ == "__main__":
    for drawing in drawings():
        (HERE / f"{drawing.name}.svg").write_text(drawing.svg(), encoding="utf-8")
