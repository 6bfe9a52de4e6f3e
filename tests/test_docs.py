"""What README and docs show is run, and what their tables say is compared with the code."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from channels.routing import URLRouter
from django.conf import settings
from django.db import connection
from django.test import override_settings
from django.urls import path as at

import routesock
from routesock import checks, conf, exceptions
from routesock._asyncapi.document import build
from routesock._codegen.python import python
from routesock._routing.arguments import RESERVED
from routesock._runtime import counters, instrumentation
from routesock.pytest_plugin import route_client  # noqa: F401  (a page uses it; a mere checkout registers no plugin)
from tests.docs_pages import ROOT, Page, blocks_of

FOLDERS = ("explanation", "howto", "reference")  # tests/tutorials follows those in tutorials/
PAGES = [
    ROOT / "README.rst",
    ROOT / "docs" / "index.rst",
    *(page for folder in FOLDERS for page in sorted((ROOT / "docs" / folder).glob("*.rst"))),
]


UNDECLARED = """\
.. code-block:: python

   from channels.generic.websocket import AsyncJsonWebsocketConsumer

   from routesock import Reply, RouteMixin, route


   class Chat(RouteMixin, AsyncJsonWebsocketConsumer):
       @route("send"OPTIONS)
       async def send_message(self, request):
           return Reply({}, status=201)

.. code-block:: text

   > {"route": "send", "uuid": 1}
   < {"uuid": 1, "route": "send", "status": 201, "payload": {}}
"""


def text_of(page: str) -> str:
    return (ROOT / "docs" / page).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def chat(django_db_setup: None, django_db_blocker: pytest.FixtureRequest) -> Iterator[None]:
    """The app of the example project, with its table."""
    if "chat" in settings.INSTALLED_APPS:
        yield
        return
    with override_settings(INSTALLED_APPS=[*settings.INSTALLED_APPS, "chat"]):
        from chat.models import Message

        with django_db_blocker.unblock(), connection.schema_editor() as editor:
            editor.create_model(Message)
        yield
        with django_db_blocker.unblock(), connection.schema_editor() as editor:
            editor.delete_model(Message)


@pytest.fixture
def recording_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """A page registers metrics, which would count the requests of other tests."""
    monkeypatch.setattr(counters, "recorder", None)


def import_chat_client(page: Page, request: pytest.FixtureRequest) -> None:
    """Let ``page`` import the client that the command on it generates, for the consumer of another page."""
    other = Page(ROOT / "docs/howto/browser.rst", request)
    other.run()
    page.consumer = other.consumer
    client = ModuleType("chat_client")
    exec(python(build(URLRouter([at("ws/chat/", page.consumer.as_asgi())]))), vars(client))
    request.getfixturevalue("monkeypatch").setitem(sys.modules, "chat_client", client)


@pytest.mark.django_db
@pytest.mark.usefixtures("chat", "recording_ends")
@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_code_block_runs(path: Path, request: pytest.FixtureRequest) -> None:
    """And nobody who follows it finds frames in the log that do not fit their document."""
    page = Page(path, request)
    if path.name == "typed-clients.rst":
        import_chat_client(page, request)
    page.run()
    assert not page.misfits, page.misfits


@pytest.mark.parametrize(("options", "logs"), [("", True), (", status=201", False)])
def test_a_page_whose_frames_do_not_fit_their_document_is_noticed(
    options: str, logs: bool, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    page = tmp_path / "page.rst"
    page.write_text(UNDECLARED.replace("OPTIONS", options), encoding="utf-8")
    run = Page(page, request)
    run.run()
    message = "A frame of 'send' does not fit its document at /status: the status 201 is not declared."
    assert run.misfits == ([f"page.rst:15: {message}"] if logs else [])


LITERAL = re.compile(r"^( *)(?!\.\. )\S.*::\n\n((?:\1 +.*\n|\n)+)|^( *)::\n\n((?:\3 +.*\n|\n)+)", re.MULTILINE)

CODE = re.compile(r"^ *(class|def|async|await|import|from|return|const|let) .*|^.*(=>|\w+\(.*\);?)$", re.MULTILINE)


@pytest.mark.parametrize("path", [*PAGES, *(ROOT / "docs/tutorials").glob("*.rst")], ids=lambda path: path.name)
def test_code_is_in_blocks_that_run(path: Path) -> None:
    """What follows ``::`` is left alone: lines of a log, frames, and other texts."""
    literals = [found[2] or found[4] for found in LITERAL.finditer(path.read_text(encoding="utf-8"))]
    assert [found[0] for text in literals for found in CODE.finditer(text)] == []


def test_blocks_are_found_with_their_lines() -> None:
    page = "A::\n\n   no\n\n.. code-block:: python\n\n   a = 1\n\n   b = 2\n\nB\n\n.. code-block:: console\n\n   $ ls\n"
    page += "\n.. code-block:: python\n   :caption: shop/a.py\n\n   c = 3\n"
    first, second, third = blocks_of(page)
    assert (first.language, first.line, first.text) == ("python", 7, "a = 1\n\nb = 2\n")
    assert (second.language, second.line, second.text) == ("console", 15, "$ ls\n")
    assert (third.caption, third.line, third.text) == ("shop/a.py", 20, "c = 3\n")
    assert (first.caption, second.before) == ("", "B\n")


def test_blocks_with_captions_are_files(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    page = tmp_path / "page.rst"
    files = {"kiosk/settings.py": "LANGUAGE_CODE = 'fr'", "kiosk/a.py": "x = 1", "kiosk/b.py": "from .a import x"}
    blocks = [f".. code-block:: python\n   :caption: {name}\n\n   {code}\n" for name, code in files.items()]
    page.write_text("\n".join([*blocks, ".. code-block:: python\n\n   from kiosk.b import x\n"]), encoding="utf-8")
    run = Page(page, request)
    run.run()
    assert run.namespace["x"] == 1
    assert settings.LANGUAGE_CODE == "fr"


def test_blocks_have_their_options() -> None:
    page = "In it:\n\n.. code-block:: python\n   :caption: chat/consumers.py (excerpt)\n   :linenos:\n\n   a = 1\n"
    (block,) = blocks_of(page)
    assert (block.caption, block.before) == ("chat/consumers.py (excerpt)", "In it:\n")
    assert (block.line, block.text) == (7, "a = 1\n")


def test_every_page_is_run() -> None:
    folders = {page.parent.name for page in (ROOT / "docs").glob("*/*.rst")}
    assert folders == {*FOLDERS, "tutorials"}


def rows(page: str) -> list[list[str]]:
    """The cells of the page's list-tables, without their markup for code."""
    found: list[list[str]] = []
    for line in text_of(page).splitlines():
        if line.startswith("   * - "):
            found.append([line.removeprefix("   * - ").replace("``", "")])
        elif line.startswith("     - "):
            found[-1].append(line.removeprefix("     - ").replace("``", ""))
    return found


def test_no_page_has_its_own_table_of_contents() -> None:
    """The theme shows one beside each page, and prints an error in place of a second one."""
    assert [page.name for page in PAGES if ".. contents::" in page.read_text(encoding="utf-8")] == []


def test_the_settings_page_has_every_key_with_its_default() -> None:
    documented = {row[0]: row[1] for row in rows("reference/settings.rst") if row[0].isupper()}
    assert documented == {name: repr(setting.default) for name, setting in conf.SETTINGS.items()}


def test_the_settings_page_has_every_key_of_docs_with_its_default() -> None:
    documented = {row[0]: row[1] for row in rows("reference/settings.rst") if row[0] in conf.DOCS}
    assert documented == {name: repr(setting.default) for name, setting in conf.DOCS.items()}


def test_the_checks_page_has_every_check() -> None:
    assert [row[0] for row in rows("reference/checks.rst") if row[0].startswith("routesock.")] == list(checks.Id)


def test_settings_that_pages_show_are_accepted(request: pytest.FixtureRequest) -> None:
    shown = [block for block in blocks_of(text_of("reference/settings.rst")) if block.text.startswith("ROUTESOCK = ")]
    namespace: dict[str, dict[str, object]] = {}
    exec(shown[0].text, namespace)
    for name, value in namespace["ROUTESOCK"].items():
        assert conf.SETTINGS[name].accepts(value), name


def subclasses(cls: type) -> Iterator[type]:
    for sub in cls.__subclasses__():
        yield sub
        yield from subclasses(sub)


def test_the_errors_page_has_every_status_and_code() -> None:
    documented = {(row[0], row[1]) for row in rows("reference/errors.rst")}
    own = {cls for cls in subclasses(exceptions.RoutesockError) if cls.__module__ == exceptions.__name__}
    assert {(str(cls.status), cls.code) for cls in own} <= documented


def test_the_wire_page_has_every_reserved_name() -> None:
    names = next(line for line in text_of("reference/wire.rst").splitlines() if line.startswith("``PING``, "))
    assert set(names.replace("``", "").rstrip(".").split(", ")) == RESERVED


def test_the_observing_page_has_every_extra_of_the_log() -> None:
    documented = [row[0] for row in rows("reference/signals-and-logs.rst") if row[0].startswith("routesock_")]
    assert documented == list(instrumentation.extras(None))


def test_the_reference_has_every_public_name() -> None:
    assert not [name for name in routesock.__all__ if f":: routesock.{name}\n" not in text_of("reference/api.rst")]


def test_the_architecture_page_points_at_names_that_exist() -> None:
    """Each row of its tables names a file of the package, and something that the file defines."""
    table = [row for row in rows("explanation/architecture.rst") if row[1].endswith(".py")]
    assert len(table) > 30
    for _, file, name in table:
        source = (Path(routesock.__file__).parent / file).read_text(encoding="utf-8")
        assert re.search(rf"^(class |def |async def )?{name}\b", source, re.MULTILINE), (file, name)


def test_the_architecture_page_and_its_picture_have_every_package() -> None:
    """So does the import contract, since that is exhaustive."""
    inside = Path(routesock.__file__).parent.iterdir()
    entries = {path.stem for path in inside if path.suffix == ".py" or (path / "__init__.py").is_file()} - {"__init__"}
    picture = (ROOT / "docs" / "_static" / "rooms.svg").read_text(encoding="utf-8")
    assert entries == set(re.findall(r">([a-z_]+)</text>", picture))
    assert [entry for entry in sorted(entries) if f"``{entry}``" not in text_of("explanation/architecture.rst")] == []
