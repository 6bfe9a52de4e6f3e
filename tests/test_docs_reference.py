"""Links of README.rst, the drawings, and the tables of frames and close codes are compared with the code."""

from __future__ import annotations

import ast
import re
import runpy
from collections.abc import Iterator
from pathlib import Path

import routesock
from routesock._connection.state import Phase
from routesock._routing.arguments import RESERVED
from tests.docs_pages import ROOT
from tests.test_docs import rows

DOCS = "https://routesock.readthedocs.io/en/stable/"
FILES = "https://github.com/routesock/routesock/blob/main/"
RAW = "https://raw.githubusercontent.com/routesock/routesock/main/"
STATIC = ROOT / "docs" / "_static"


def links(page: str) -> list[str]:
    """The targets of the links and pictures of a page, with spaces where a target is broken over lines."""
    return re.findall(r"<([^<>`]+)>`__?|^\.\. (?:image|figure|_[^:]+)::? (\S+)$", page, re.MULTILINE)


def targets(page: str) -> list[str]:
    return ["".join(pair) for pair in links(page)]


def exists(link: str) -> bool:
    """Whether a link of README.rst leads to a page or a file of this checkout."""
    if link.startswith(DOCS):
        page, _, anchor = link.removeprefix(DOCS).partition("#")
        return not anchor and (ROOT / "docs" / page).with_suffix(".rst").is_file() and page.endswith(".html")
    for prefix in (FILES, RAW):
        if link.startswith(prefix):
            return (ROOT / link.removeprefix(prefix)).is_file()
    return False


def test_every_link_of_the_readme_leads_somewhere() -> None:
    """On a package index as well, where a relative link is dead."""
    found = targets((ROOT / "README.rst").read_text(encoding="utf-8"))
    assert len(found) > 20
    assert [link for link in found if not exists(link)] == []


def test_wrong_links_are_found() -> None:
    page = "`A <docs/a.rst>`_ `B\n<docs/b.rst>`__\n.. image:: c.png\n.. _d: e.rst\n"
    assert targets(page) == ["docs/a.rst", "docs/b.rst", "c.png", "e.rst"]
    assert not any(map(exists, [*targets(page), f"{DOCS}howto/none.html", f"{FILES}none", "https://example.com/"]))
    assert exists(f"{DOCS}howto/take-over.html")
    assert exists(f"{FILES}LICENSE")


def test_the_picture_of_the_readme_is_small() -> None:
    assert 0 < (STATIC / "chat.png").stat().st_size < 300_000


def drawings() -> dict[str, str]:
    """The SVG files that the script would write."""
    namespace = runpy.run_path(str(STATIC / "make_diagrams.py"))
    return {f"{drawing.name}.svg": drawing.svg() for drawing in namespace["drawings"]()}


def test_the_drawings_are_those_of_their_script() -> None:
    written = {path.name: path.read_text(encoding="utf-8") for path in STATIC.glob("*.svg") if path.name != "logo.svg"}
    assert written == drawings(), "run python docs/_static/make_diagrams.py"


def test_each_drawing_is_in_a_page() -> None:
    pages = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "docs").glob("*/*.rst"))
    assert [name for name in drawings() if f"   :file: ../_static/{name}\n" not in pages] == []


def test_the_drawing_of_the_phases_has_each_of_them() -> None:
    assert re.findall(r">([A-Z]+)</text>", drawings()["states.svg"]) == [phase.name for phase in Phase]


def test_the_frames_page_has_every_reserved_name() -> None:
    assert {row[0] for row in rows("reference/frames.rst") if row[0].isupper()} == RESERVED


def endings() -> Iterator[tuple[str, str, str]]:
    """Code, reason and ``reconnect`` of each ``Ending(...)`` in the package whose code and reason are fixed.

    The package is read and not imported: its admin needs a project that has it.
    """
    nodes = [
        node
        for path in sorted(Path(routesock.__file__).parent.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    ]
    constants = {
        ast.unparse(node.target): node.value.value
        for node in nodes
        if isinstance(node, ast.AnnAssign) and isinstance(node.value, ast.Constant)
    }
    for node in nodes:
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "Ending" and len(node.args) == 2:
            code, reason = (
                part.value if isinstance(part, ast.Constant) else constants.get(ast.unparse(part)) for part in node.args
            )
            reconnect = {keyword.arg: keyword.value for keyword in node.keywords}.get("reconnect")
            if isinstance(code, int) and isinstance(reason, str) and isinstance(reconnect, ast.Constant):
                yield f"{code}", reason, "yes" if reconnect.value else "no"


def test_the_page_of_close_codes_has_every_ending() -> None:
    documented = [(row[0], row[1], row[2]) for row in rows("reference/close-codes.rst") if row[0].isdigit()]
    assert set(documented) == set(endings())
    assert documented == sorted(documented, key=lambda row: row[0])
