"""Pages of reStructuredText whose code blocks are run, in order and in one namespace per page.

``python``   is executed; ``await`` may stand at its top level. Tests that it defines are run, with their fixtures. A
             caption such as ``shop/tasks.py`` makes it a module, which later blocks import; blocks with one caption are
             one module. The names in capitals of a file whose name ends with ``settings.py`` become settings. The
             folder of a ``models.py`` is an installed app, and its models have tables.
``text``     is a conversation: ``>`` what the client sends, ``<`` what it reads. The consumer is the last one that the
             page has defined, the reading is complete, and ``"..."`` stands for any value.
``diff``     is part of what separates the two files that it names.
``console``  is left alone, as are ``ini``, ``nginx`` and ``yaml``: files of other programs. So are ``html`` and
             ``javascript``; ``typescript`` and ``tsx`` are for the compiler, in ``clients/test_docs.py``. Any other
             language is an error.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import json
import logging
import re
import sys
import textwrap
import unittest
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from itertools import takewhile
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

import pytest
from asgiref.sync import async_to_sync
from django.apps import AppConfig, apps
from django.contrib.auth.signals import user_logged_in, user_logged_out
from django.db import connection
from django.db.models.signals import post_delete, post_init, post_save

from routesock import conf
from routesock.client import Events
from routesock.testing import ClientTimeout, ConnectionClosed, RouteClient

ROOT = Path(__file__).parent.parent
DIRECTIVE = re.compile(r"( *)\.\. code-block:: (\w+)$")
OPTION = re.compile(r" +:([\w-]+):(?: (.*))?$")


@dataclass(frozen=True)
class Block:
    """One code block.

    Args:
        language: The language that its directive names.
        line: The number of its first line in the page.
        text: What the block shows.
        caption: The directive's option ``:caption:``.
        before: The lines between the block above, or the top of the page, and this one.
    """

    language: str
    line: int
    text: str
    caption: str = ""
    before: str = ""


def blocks_of(page: str) -> Iterator[Block]:
    """Find the code blocks of a page of reStructuredText, with their options."""
    lines = page.splitlines()
    end = 0
    for number, line in enumerate(lines):
        directive = DIRECTIVE.match(line)
        if directive is None:
            continue
        indent = directive[1] + "   "
        body: list[str] = []
        for below in lines[number + 1 :]:
            if below and not below.startswith(indent):
                break
            body.append(below)
        given = [*takewhile(bool, map(OPTION.match, body))]
        options = {option[1]: option[2] for option in given if option}
        first = next(index for index, text in enumerate(body) if text and index >= len(given))
        yield Block(
            directive[2],
            number + 2 + first,
            textwrap.dedent("\n".join(body[first:])).rstrip() + "\n",
            caption=options.get("caption", ""),
            before="\n".join(lines[end:number]),
        )
        end = number + 1 + len(body)


class InProcess:
    """The transport of a client whose server is an ASGI application in this process."""

    unsent = 0

    def __init__(self, application: Callable[..., Any], url: str, subprotocols: Sequence[str], events: Events) -> None:
        self.is_open = False
        self._events = events
        self._incoming: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._incoming.put_nowait({"type": "websocket.connect"})
        path = urlsplit(url).path
        scope = {"type": "websocket", "path": path, "headers": [], "query_string": b"", "subprotocols": [*subprotocols]}
        self._task = asyncio.ensure_future(application(scope, self._incoming.get, self._send))

    def send(self, data: str | bytes) -> None:
        self._incoming.put_nowait({"type": "websocket.receive", "text": data})

    def close(self) -> None:
        self.is_open = False
        self._incoming.put_nowait({"type": "websocket.disconnect", "code": 1000})

    async def wait_closed(self) -> None:
        await self._task

    async def _send(self, message: dict[str, Any]) -> None:
        if message["type"] == "websocket.accept":
            self.is_open = True
            self._events.opened()
        elif message["type"] == "websocket.send":
            self._events.received(message.get("text") or message["bytes"])
        else:
            self._events.closed(message["code"], message.get("reason", ""), None)


class Page:
    """Runs the blocks of one page.

    Attributes:
        misfits: What a server under ``DEBUG`` would log about frames that do not fit their documents, each with the
            line of its block.
    """

    def __init__(self, path: Path, request: pytest.FixtureRequest) -> None:
        self.path = path
        self.misfits: list[str] = []
        self.namespace: dict[str, Any] = {"__name__": f"docs.{path.stem}"}
        self._request = request
        self._monkeypatch: pytest.MonkeyPatch = request.getfixturevalue("monkeypatch")
        self.consumer: Any = None  # the last one that the page has defined
        self._modules: dict[str, ModuleType] = {}
        self._runners: dict[str, Callable[[str], Any]] = {
            "text": self._conversation,
            "diff": self._diff,
            "console": len,
            "ini": len,
            "nginx": len,
            "yaml": len,
            "html": len,
            "javascript": len,
            "typescript": len,
            "tsx": len,
        }

    def run(self) -> None:
        self._monkeypatch.setattr("routesock.client._client.opener", lambda *options: self._open)
        self._monkeypatch.setattr(conf, "checks_replies", lambda: True)
        with receivers_restored(), logged("routesock.documents") as records:
            for block in blocks_of(self.path.read_text(encoding="utf-8")):
                try:
                    self._run(block)
                except Exception as error:
                    error.add_note(f"In the block at {self.path.name}:{block.line}.")
                    raise
                self.misfits += [f"{self.path.name}:{block.line}: {record.getMessage()}" for record in records]
                records.clear()

    def _run(self, block: Block) -> None:
        if block.language != "python":
            self._runners[block.language](block.text)
        elif block.caption.endswith(".py"):
            self._file(block)
        else:
            self._python(block, self.namespace)

    def _file(self, block: Block) -> None:
        """Executes a block in the module that its caption names, which hides a module of that name until the end."""
        *folders, file = block.caption.removesuffix(".py").split("/")
        for depth in range(1, len(folders) + 1):
            self._module(".".join(folders[:depth]), is_package=True)
        module = self._module(".".join([*folders, file]))
        if file == "models":
            self._install(".".join(folders))
        self._python(block, vars(module))
        if file == "models":
            editor = connection.schema_editor()  # not entered: SQLite allows that outside of a transaction only
            for model in apps.all_models[folders[-1]].values():
                with connection.cursor() as cursor:
                    cursor.execute(*editor.table_sql(model))
        if file.endswith("settings"):
            settings = self._request.getfixturevalue("settings")
            for name in filter(str.isupper, vars(module)):
                setattr(settings, name, getattr(module, name))

    def _install(self, name: str) -> None:
        """Make the package ``name`` an installed app until the end of the test."""
        config = type("PageConfig", (AppConfig,), {"path": str(ROOT)})(name, self._modules[name])
        config.apps, config.models = apps, apps.all_models[config.label]
        self._monkeypatch.setitem(apps.app_configs, config.label, config)

        def forget() -> None:
            apps.all_models.pop(config.label)
            apps.clear_cache()

        self._request.addfinalizer(forget)

    def _module(self, name: str, *, is_package: bool = False) -> ModuleType:
        """A module of the page. A package that exists, such as an app of the example project, is that one."""
        if name in self._modules:
            return self._modules[name]
        package, _, child = name.rpartition(".")
        if is_package and name in sys.modules:
            module = sys.modules[name]
        else:
            module = ModuleType(name)
            module.__package__ = name if is_package else package
            module.__spec__ = ModuleSpec(name, None, is_package=is_package)
            if is_package:
                module.__path__ = []
            self._monkeypatch.setitem(sys.modules, name, module)
            if package:
                self._monkeypatch.setattr(sys.modules[package], child, module, raising=False)
        self._modules[name] = module
        return module

    def _open(self, url: str, subprotocols: Sequence[str], events: Events) -> InProcess:
        """Connects a ``routesock.client.Client`` of the page to its consumer, whatever the URL is."""
        assert self.consumer is not None
        return InProcess(self.consumer.as_asgi(), url, subprotocols, events)

    @staticmethod
    def _placed(block: Block) -> str:
        """Its text under as many empty lines as put it at its place in the page, for tracebacks."""
        return "\n" * (block.line - 1) + block.text

    def _python(self, block: Block, namespace: dict[str, Any]) -> None:
        before = dict(namespace)
        code = compile(self._placed(block), self.path, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
        outcome = eval(code, namespace)
        if inspect.iscoroutine(outcome):
            self._await(outcome)
        for name, value in list(namespace.items()):
            if before.get(name) is not value:
                self._defined(name, value, namespace["__name__"])

    def _defined(self, name: str, value: Any, module: str) -> None:
        if inspect.isclass(value) and value.__module__ == module:
            if issubclass(value, unittest.TestCase):
                self._test_case(value)
            elif hasattr(value, "as_asgi"):
                self.consumer = value
        if inspect.isfunction(value) and name.startswith("test_"):
            given = {name: self._request.getfixturevalue(name) for name in inspect.signature(value).parameters}
            outcome = value(**given)
            if inspect.iscoroutine(outcome):
                self._await(outcome)

    @staticmethod
    def _test_case(case: type[unittest.TestCase]) -> None:
        result = unittest.TestResult()
        unittest.defaultTestLoader.loadTestsFromTestCase(case).run(result)
        assert result.testsRun
        assert not result.failures + result.errors, "\n".join(text for _, text in result.failures + result.errors)

    @staticmethod
    def _await(coroutine: Any) -> None:
        async def awaited() -> None:
            await coroutine

        # Not a loop of pytest's: under this one, sync work has the thread, and so the transaction, of the test.
        async_to_sync(awaited)()

    def _conversation(self, text: str) -> None:
        assert text.startswith("> "), "a conversation begins with what the client sends"
        assert self.consumer is not None
        self._await(self._converse(self.consumer, re.findall(r"^([<>]) (.*(?:\n[^<>\n].*)*)", text, re.MULTILINE)))

    @staticmethod
    async def _converse(consumer: type[Any], frames: list[tuple[str, str]]) -> None:
        async with RouteClient(consumer, raise_exceptions=False) as client:
            for direction, frame in frames:
                if direction == ">":
                    await client.send_text(frame)
                    continue
                received, expected = await client.receive(), json.loads(frame)
                if isinstance(received, str) and not isinstance(expected, str):  # JSON, but no object
                    received = json.loads(received)
                assert fits(received, expected), f"received {json.dumps(received)}"
            with pytest.raises((ClientTimeout, ConnectionClosed)):
                await client.receive(timeout=0.02)

    @staticmethod
    def _diff(text: str) -> None:
        head, *hunks = re.split(r"^@@.*\n", text, flags=re.MULTILINE)
        for mark, file in re.findall(r"^([-+])\1\1 (.*)$", head, re.MULTILINE):
            content = (ROOT / file).read_text(encoding="utf-8")
            for hunk in hunks:
                side = "".join(line[1:] or "\n" for line in hunk.splitlines(keepends=True) if line[0] in f" {mark}\n")
                assert side in content, f"{file} does not have:\n{side}"


class _Recorder(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@contextmanager
def logged(name: str) -> Iterator[list[logging.LogRecord]]:
    """Collect the records of a logger, whatever a page does with ``caplog``."""
    recorder = _Recorder()
    logger = logging.getLogger(name)
    logger.addHandler(recorder)
    try:
        yield recorder.records
    finally:
        logger.removeHandler(recorder)


@contextmanager
def receivers_restored() -> Iterator[None]:
    """Disconnects what a page, or an app that it installs, has connected, so that other tests do not call it."""
    signals = [post_init, post_save, post_delete, user_logged_in, user_logged_out]
    before = [list(signal.receivers) for signal in signals]
    try:
        yield
    finally:
        for signal, receivers in zip(signals, before, strict=True):
            signal.receivers = receivers
            signal.sender_receivers_cache.clear()


def fits(received: Any, expected: Any) -> bool:
    """Whether both are equal where ``expected`` does not say ``"..."``."""
    if expected == "...":
        return True
    if isinstance(expected, dict) and isinstance(received, dict):
        return received.keys() == expected.keys() and all(fits(received[key], expected[key]) for key in expected)
    if isinstance(expected, list) and isinstance(received, list):
        return len(received) == len(expected) and all(map(fits, received, expected))
    return bool(received == expected) and type(received) is type(expected)
