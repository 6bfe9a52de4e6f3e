"""The tool that follows tutorials notices what is wrong with them."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest
from playwright.async_api import Browser

from routesock._asyncapi.conformance import Misfit
from tests.docs_excerpts import merged, patched
from tests.docs_project import Project, assert_shown, commands_of, same_line
from tests.servers import misfits_in

pytestmark = pytest.mark.browser

FILE = """\
import json

from channels.generic.websocket import AsyncWebsocketConsumer

groups = ["room"]


class ChatConsumer(AsyncWebsocketConsumer):
    async def connect(self):
        await self.accept()

    async def receive(self, text_data):
        await self.send(text_data)
"""

EXCERPT = """\
from routesock import RouteMixin, route

groups = []


def check(payload):
    return payload


class ChatConsumer(RouteMixin, AsyncWebsocketConsumer):
    # connect() stays.
    route_throttle = "1/s"

    async def receive(self, text_data):
        await self.close()

    @route("echo", schema=check)
    async def echo(self, request):
        return request.payload
"""

MERGED = """\
import json

from channels.generic.websocket import AsyncWebsocketConsumer
from routesock import RouteMixin, route

groups = []


def check(payload):
    return payload


class ChatConsumer(RouteMixin, AsyncWebsocketConsumer):
    route_throttle = "1/s"
    async def connect(self):
        await self.accept()

    async def receive(self, text_data):
        await self.close()

    @route("echo", schema=check)
    async def echo(self, request):
        return request.payload
"""


def test_an_excerpt_replaces_what_has_its_names() -> None:
    assert merged(FILE, EXCERPT) == MERGED


def test_an_import_replaces_that_from_the_same_module() -> None:
    assert merged("from routesock import RouteMixin\n\na = 1\n", "from routesock import route\n") == (
        "from routesock import route\n\na = 1\n"
    )


def test_a_new_statement_without_a_successor_goes_to_the_end() -> None:
    assert merged("a = 1\n", "b = 2\n") == "a = 1\n\n\nb = 2\n"


def test_a_diff_changes_what_is_there_once() -> None:
    assert patched("a\nb\n\nc\n", "@@\n a\n-b\n+d\n@@\n\n-c\n") == "a\nd\n\n"
    with pytest.raises(AssertionError, match="0 times"):
        patched("a\n", "@@\n-b\n+c\n")
    with pytest.raises(AssertionError, match="2 times"):
        patched("a\na\n", "@@\n-a\n+c\n")


def test_the_output_of_a_command_has_the_lines_in_their_order() -> None:
    assert list(commands_of("$ ls\na\nb\n$ pwd\n")) == [("ls", "a\nb\n"), ("pwd", "")]
    assert_shown("Ran 3 tests in 0.1s\n\nOK\n", "Ran 3 tests in ...\nOK\n")
    with pytest.raises(AssertionError, match="Ran"):
        assert_shown("OK\nRan 3 tests in 0.1s\n", "OK\nRan 2 tests in ...\n")
    with pytest.raises(AssertionError, match="OK"):
        assert_shown("OK\nRan 3 tests\n", "Ran 3 tests\nOK\n")


def test_frames_are_compared_by_their_members() -> None:
    assert same_line('< {"a":1,"b":2}', '< {"a": 1, "b": "..."}')
    assert not same_line('< {"a":1}', '< {"a": 2}')
    assert not same_line('> {"a":1}', '< {"a": 1}')
    assert same_line("< Hello", "< Hello")


def test_frames_that_do_not_fit_their_document_are_found_in_a_log() -> None:
    misfit = str(Misfit("send", "/status", "the status 201 is not declared"))
    assert misfits_in(f"Route 'send': 422\n{misfit}\n") == [misfit]


@pytest.mark.asyncio(loop_scope="package")
async def test_a_page_that_is_wrong_fails_with_its_line(tmp_path: Path, chromium: Browser) -> None:
    page = tmp_path / "page.rst"
    page.write_text("Make it:\n\n.. code-block:: console\n\n   $ echo Hello\n   Bye\n", encoding="utf-8")
    context = await chromium.new_context()
    with closing(Project(tmp_path, context)) as project, pytest.raises(AssertionError, match="Bye") as caught:
        await project.follow(page)
    await context.close()
    assert caught.value.__notes__ == ["In the block at page.rst:5."]
