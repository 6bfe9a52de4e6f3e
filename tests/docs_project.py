"""Follows a tutorial as its reader does: in a Django project of its own, file by file, with the commands on the page.

A page of ``docs/tutorials`` is read from its top to its end. This is what its blocks mean:

``:caption: chat/consumers.py``
    The block is the whole file. With ``chat/consumers.py (excerpt)`` it is a part of a Python file: a statement
    replaces the one of the same name, a class gets the methods, and imports go to the top (see
    :func:`~tests.docs_excerpts.merged`).
    A ``diff`` changes the file.
``console``
    The lines behind ``$`` are run in a shell. The other lines are in the output; ``...`` stands for any text. Commands
    that make an environment and install packages are left out, since the tests have both. ``runserver`` starts the
    server.
``javascript``
    Is pasted into the console of the page that is open.
``text``
    Below ``javascript`` it is all that the console prints: lines, of which those that begin with ``>`` or ``<`` are
    frames, in which ``"..."`` stands for any value. Elsewhere the page shows each of its lines.

A few sentences of the text are followed, too: ``Open http://127.0.0.1:8000/...``, also ``in a second tab``;
``Log in at http://127.0.0.1:8000/...``; ``Reload the page`` and ``Reload both tabs``; ``Type ``...`` and press Enter``;
``Press Enter in the empty field``. What follows the words ``second tab`` or ``first tab`` happens there.

Two things differ from what the reader does. The server has another port. It does not restart when a file is saved,
since nothing says how long that takes, but when the page is opened or reloaded the next time. Where the text does not
tell the reader to do that, the test fails.
"""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Final

from playwright.async_api import BrowserContext, ConsoleMessage, Page, expect

from tests.docs_excerpts import merged, patched
from tests.docs_pages import Block, blocks_of, fits
from tests.servers import HOST, Server, free_port, misfits_in, python_environment

PASSWORD: Final = "to-be-chosen-by-the-reader"
ORIGIN: Final = "http://127.0.0.1:8000"
INSTALLS: Final = re.compile(r"(python3? -m )?(venv|pip)\b|source |docker |git clone ")
CAPTION: Final = re.compile(r"([\w./-]+\.\w+)( \(excerpt\))?")
FRAME: Final = re.compile(r"^[<>] .*(?:\n[^<>\n].*)*|^.+$", re.MULTILINE)

# How the sentences of a page are found. A URL ends in front of the full stop of its sentence.
URL: Final = rf"{ORIGIN}(?P<path>[\w/.-]*[\w/])"
SENTENCES: Final = re.compile(
    rf"(?P<open>\bopen {URL}(?P<another> in a second tab)?)"
    rf"|(?P<log_in>\blog in at {URL.replace('path', 'login')})"
    r"|(?P<reload>\breload (the page|(?P<both>both tabs)))"
    r"|(?P<type>\btype ``(?P<typed>[^`]*)`` and press enter|\bpress enter in the empty field)"
    r"|(?P<tab>\b(?P<which>first|second) tab\b)",
    re.IGNORECASE,
)

# Counts the sockets of a page that are not open yet. A reader takes longer to go to the console than a socket to open.
WATCH_SOCKETS: Final = """
    globalThis.opening = 0;
    globalThis.WebSocket = class extends WebSocket {
        constructor(...options) {
            super(...options);
            opening++;
            this.addEventListener("open", () => opening--);
        }
    };
"""
SHOWN: Final = """
    [document.body.innerText, ...Array.from(document.querySelectorAll("textarea"), (area) => area.value)].join("\\n")
"""


def output_of(command: str, folder: Path, environment: dict[str, str]) -> str:
    """Run a command of a page in a shell, and return all that it prints."""
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}"
    return done.stdout


class Tab:
    """A page in the browser, and what its scripts have printed to the console and nobody has read yet."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.printed: list[str] = []
        page.on("console", self._print)

    def _print(self, message: ConsoleMessage) -> None:
        if message.type == "log":  # and not what the browser says by itself, of a socket that was closed for instance
            self.printed.append(message.text)

    async def settle(self) -> None:
        """Forget what was printed before the page was loaded, and wait for its sockets."""
        self.printed.clear()
        await self.connected()

    async def connected(self) -> None:
        """Wait until the sockets of the page are open."""
        async for _ in retries():
            if not await self.page.evaluate("opening"):
                return
        raise AssertionError("A socket does not open.")

    async def paste(self, source: str) -> None:
        """Run ``source`` as the console of the developer tools does."""
        assert self.printed == [], "The page does not show that the console has printed this."
        session = await self.page.context.new_cdp_session(self.page)
        options = {"expression": source, "replMode": True, "awaitPromise": True}
        outcome = await session.send("Runtime.evaluate", options)
        await session.detach()
        assert "exceptionDetails" not in outcome, outcome["exceptionDetails"]
        await self.connected()

    async def prints(self, text: str) -> None:
        """Compare what the console prints with ``text``, which is all of it."""
        expected = FRAME.findall(text)
        async for _ in retries():
            if len(self.printed) >= len(expected):
                break
        printed = self.printed[:]
        self.printed.clear()
        # Between replies and pushes there is no order, so the pushes are sorted to the end.
        lines, expected = sorted(printed, key=is_push), sorted(expected, key=is_push)
        assert len(lines) == len(expected), "\n".join(printed)
        assert all(map(same_line, lines, expected)), "\n".join(printed)

    async def shows(self, text: str) -> None:
        """Wait until each line of ``text`` is on the page, be it in a text field."""
        shown = ""
        async for _ in retries():
            shown = await self.page.evaluate(SHOWN)
            if all(line in shown for line in text.splitlines()):
                return
        raise AssertionError(f"The page shows:\n{shown}")


async def retries() -> AsyncIterator[None]:
    """Yields again and again, for as long as something may take on a busy machine."""
    for _ in range(1500):
        yield
        await asyncio.sleep(0.02)


def is_push(line: str) -> bool:
    """Whether a printed line is a frame without the id of a request."""
    return line.startswith("< ") and "uuid" not in json.loads(line[2:])


def same_line(printed: str, expected: str) -> bool:
    """Whether both are the same text, or the same frame."""
    if expected[:2] in ("> ", "< ") and printed[:2] == expected[:2]:
        try:
            return fits(json.loads(printed[2:]), json.loads(expected[2:]))
        except ValueError:
            return printed == expected
    return printed == expected


class Project:
    """One tutorial, the folder in which it is followed, and its server.

    Args:
        folder: The folder in which the first command is run.
        context: The browser of the reader.
        replaced: Texts in the page, and what stands for them in the test, such as the address of a server.
    """

    def __init__(self, folder: Path, context: BrowserContext, replaced: dict[str, str] | None = None) -> None:
        self.folder = folder
        self._context = context
        self._port = free_port()
        self._replaced = {"127.0.0.1:8000": f"{HOST}:{self._port}", **(replaced or {})}
        self._server: Server | None = None
        self._is_stale = False
        self._tabs: list[Tab] = []
        self._tab = 0
        self._pasted = False

    async def follow(self, page: Path) -> None:
        """Do what the page says. Raises with the line of the block that fails."""
        self._context.set_default_timeout(30_000)
        for block in blocks_in(page):
            try:
                for sentence in SENTENCES.finditer(" ".join(block.before.split())):
                    await self._do(sentence)
                await self._take(block, self._local(block.text))
            except Exception as error:
                error.add_note(f"In the block at {page.name}:{block.line}.")
                if self._server is not None:
                    error.add_note(self._server.output()[-5000:])
                raise

    def misfits(self) -> list[str]:
        """The lines of the server's log about frames that do not fit their documents, which ``DEBUG`` turns on."""
        return [] if self._server is None else misfits_in(self._server.output())

    def close(self) -> None:
        """Stop the server."""
        if self._server is not None:
            self._server.close()

    def _local(self, text: str) -> str:
        for shown, used in self._replaced.items():
            text = text.replace(shown, used)
        return text

    async def _take(self, block: Block, text: str) -> None:
        if block.language == "console":
            for command, output in commands_of(text):
                self._run(command, output)
        elif block.language == "javascript" and not block.caption:
            assert not self._is_stale, "A file has changed: the text has to tell the reader to reload the page."
            await self._tabs[self._tab].paste(text)
            self._pasted = True
        elif block.language == "text":
            tab = self._tabs[self._tab]
            await (tab.prints if self._pasted else tab.shows)(text)
        else:
            self._save(block, text)

    async def _do(self, sentence: re.Match[str]) -> None:
        if sentence["tab"]:
            self._tab = ["first", "second"].index(sentence["which"].lower())
            return
        self._pasted = False
        if sentence["open"] or sentence["log_in"]:
            self._restart()
            self._tab = 1 if sentence["another"] else 0
            if len(self._tabs) <= self._tab:
                page = await self._context.new_page()
                await page.add_init_script(WATCH_SOCKETS)
                self._tabs.append(Tab(page))
            await self._visit(sentence["path"] or sentence["login"])
            if sentence["log_in"]:
                await self._log_in(self._tabs[self._tab].page)
        elif sentence["reload"]:
            self._restart()
            for tab in self._tabs if sentence["both"] else [self._tabs[self._tab]]:
                await tab.page.reload()
                await tab.settle()
        else:
            assert not self._is_stale, "A file has changed: the text has to tell the reader to reload the page."
            field = self._tabs[self._tab].page.get_by_role("textbox").last
            await field.fill(sentence["typed"] or "")
            await field.press("Enter")

    async def _visit(self, path: str) -> None:
        tab = self._tabs[self._tab]
        answer = await tab.page.goto(f"http://{HOST}:{self._port}{path}")
        assert answer is not None
        assert answer.ok, f"{path} is answered with {answer.status}."
        await tab.settle()

    @staticmethod
    async def _log_in(page: Page) -> None:
        await page.get_by_label("Username").fill("alice")
        await page.get_by_label("Password").fill(PASSWORD)
        await page.get_by_role("button", name="Log in").click()
        await expect(page.get_by_label("Password")).to_have_count(0)

    def _save(self, block: Block, text: str) -> None:
        """Write, or change, the file that the caption names."""
        caption = CAPTION.fullmatch(block.caption)
        assert caption, f"A block of {block.language} needs a file, and not {block.caption!r}."
        file = self.folder / caption[1]
        if block.language == "diff":
            text = patched(file.read_text(encoding="utf-8"), text)
        elif caption[2]:
            text = merged(file.read_text(encoding="utf-8"), text)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
        self._is_stale = self._server is not None

    def _run(self, command: str, output: str) -> None:
        if INSTALLS.match(command):
            return
        if command.startswith("cd "):
            self.folder = (self.folder / command.removeprefix("cd ")).resolve(strict=True)
        elif command.endswith(" runserver"):
            self._serve()
            assert self._server is not None
            assert_shown(self._server.output(), output)
        else:
            environment = self._environment()
            if " createsuperuser" in command:
                command += " --noinput"
                output = re.sub(r"^Password.*\n", "", output, flags=re.MULTILINE)
                environment["DJANGO_SUPERUSER_PASSWORD"] = PASSWORD
            assert_shown(output_of(command, self.folder, environment), output)

    def _environment(self) -> dict[str, str]:
        environment = python_environment(self.folder)
        environment.pop("PYTHONDONTWRITEBYTECODE", None)  # each of some twenty processes would compile the package
        return {**environment, "PATH": f"{Path(sys.executable).parent}:{environment['PATH']}"}

    def _serve(self) -> None:
        assert self._server is None, "The server runs already."
        command = [sys.executable, "manage.py", "runserver", "--noreload", f"{HOST}:{self._port}"]
        self._server = Server(command, port=self._port, env=self._environment(), cwd=self.folder)
        self._server.start()

    def _restart(self) -> None:
        if self._is_stale and self._server is not None:
            self._server.kill()  # as the reloader of runserver does
            self._server.start()
            self._is_stale = False


def blocks_in(page: Path) -> Iterator[Block]:
    """The blocks of a page."""
    return blocks_of(page.read_text(encoding="utf-8"))


def commands_of(text: str) -> Iterator[tuple[str, str]]:
    """The commands of a ``console`` block, each with the lines below it."""
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command, _, output = part.partition("\n")
        yield command, output


def assert_shown(output: str, expected: str) -> None:
    """Check that the lines of ``expected`` are in ``output``, in their order; ``...`` stands for any text."""
    rest = output
    for line in filter(str.strip, expected.splitlines()):
        found = re.search(re.escape(line.strip()).replace(r"\.\.\.", ".*"), rest)
        assert found, f"{line!r} is not in the output:\n{output}"
        rest = rest[found.end() :]
