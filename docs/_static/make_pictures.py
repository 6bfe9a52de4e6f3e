"""Takes the picture of the README from the example project, in Chromium: ``python -m docs._static.make_pictures``.

It needs the ``dev`` extra, and Chromium, as the tests of the example do. It serves the example from a database of its
own, lets two users chat, and puts the window of one of them above the frames that this window sent and received.
"""

from __future__ import annotations

import base64
import json
import shutil
import sys
import tempfile
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, expect, sync_playwright

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent.parent))

from tests.servers import Server, log_in, manage_example, run_example  # noqa: E402

expect.set_options(timeout=60_000)

PROGRAM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
WIDTH = 520
LENGTH = 58  # of a line of a frame

CSS = """
body { margin: 0 }
main { padding: 10px; width: 540px; background: #e6ebf2; font-family: system-ui, sans-serif; color: #1f2328 }
.window { border: 1px solid #b6c0cd; border-radius: 10px; overflow: hidden; background: #fff }
.bar { background: #d5dce6; padding: 7px 12px; font-size: 13px; color: #57606a }
img { display: block; width: 100% }
ol { list-style: none; margin: 10px 0 0; padding: 10px 14px; border-radius: 10px; background: #10151d; color: #dfe6ee;
  font: 13.5px/1.4 ui-monospace, "DejaVu Sans Mono", monospace }
li { display: flex; gap: 9px; padding: 3px 0; white-space: pre-wrap }
li b { color: #7fb4ff } li.received b { color: #6fdc8c }
i { font-style: normal; color: #ffd479 }
"""


class Window:
    """The page of one user, and the frames of its socket."""

    def __init__(self, browser: Browser, server: Server, user: str) -> None:
        context = browser.new_context(
            viewport={"width": WIDTH, "height": 400},
            device_scale_factor=2,
            color_scheme="light",
            base_url=server.base_url,
        )
        name, value = log_in(server, user, "wonderland").split("=")
        context.add_cookies([{"name": name, "value": value, "url": server.base_url}])
        self.frames: list[tuple[str, dict[str, Any]]] = []
        self.page: Page = context.new_page()
        self.page.on("websocket", self._listen)
        self.page.goto("/rooms/kitchen/")
        expect(self.page.get_by_text("Last reply: message.list → 200")).to_be_visible()
        self.frames.clear()

    def _listen(self, socket: Any) -> None:
        socket.on("framesent", lambda data: self.frames.append(("sent", json.loads(data))))
        socket.on("framereceived", lambda data: self.frames.append(("received", json.loads(data))))

    def say(self, text: str, status: int) -> None:
        self.page.get_by_label("Message", exact=True).fill(text)
        self.page.get_by_role("button", name="Send").click()
        expect(self.page.get_by_text(f"Last reply: message.send → {status}")).to_be_visible()


def lines(value: Any, indent: str = "  ") -> Iterator[str]:
    """The text of a frame, in lines of at most ``LENGTH`` characters that break between its members."""
    line = ""
    for part in json.dumps(value, ensure_ascii=False).replace(", ", ",\n").split("\n"):
        if line and len(line) + len(part) + 1 > LENGTH:
            yield line
            line = indent + part
        else:
            line = f"{line} {part}" if line else part
    yield line


def item(direction: str, frame: dict[str, Any]) -> str:
    text = "\n".join(escape(line, quote=False) for line in lines(frame))
    for status in (201, 422):
        text = text.replace(f'"status": {status}', f'"status": <i>{status}</i>')
    return f'<li class="{direction}"><b>{"↑" if direction == "sent" else "↓"}</b><span>{text}</span></li>'


def take(browser: Browser, server: Server) -> bytes:
    bob, alice = Window(browser, server, "bob"), Window(browser, server, "alice")
    bob.say("Is the kettle on?", 201)
    expect(alice.page.get_by_text("Is the kettle on?", exact=True)).to_be_visible()
    alice.frames.clear()
    alice.say("Tea is ready.", 201)
    alice.say(" ", 422)
    picture = base64.b64encode(alice.page.screenshot()).decode()
    # The frames of others who type are left out, and so are those of the form.
    frames = [
        (direction, frame) for direction, frame in alice.frames if frame.get("action") in ("message.send", "message")
    ]
    page = browser.new_page(viewport={"width": 560, "height": 800}, device_scale_factor=2)
    page.set_content(
        f'<!doctype html><style>{CSS}</style><main><div class="window"><div class="bar">alice, #kitchen</div>'
        f'<img src="data:image/png;base64,{picture}"></div>'
        f"<ol>{''.join(item(*frame) for frame in frames)}</ol></main>"
    )
    return page.locator("main").screenshot()


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        database = Path(folder) / "db.sqlite3"
        manage_example("migrate", "--verbosity", "0", DATABASE_PATH=str(database))
        manage_example("seed_demo", DATABASE_PATH=str(database))
        with run_example("uvicorn", database) as server, sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=PROGRAM, args=["--no-sandbox", "--disable-gpu"])
            (HERE / "chat.png").write_bytes(take(browser, server))
            browser.close()


if __name__ == "__main__":
    main()
