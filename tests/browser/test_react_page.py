"""The project on the page for React, made as its reader makes it: its commands, its files and its server."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Final

import pytest
from playwright.async_api import Browser, expect

from tests.docs_pages import ROOT, blocks_of
from tests.docs_project import commands_of, output_of
from tests.servers import HOST, Server, free_port, python_environment, run_example

from .conftest import PASSWORD, OpenPage, announce

pytestmark = [pytest.mark.node]

PAGE: Final = ROOT / "docs" / "howto" / "react.rst"
PACKAGES: Final = ROOT / "tests" / "clients" / "node" / "node_modules"
"""Where the packages are that the reader installs from npm. Its Vite is version 6, which still runs on Node.js 18."""

RENDER: Final = """
import { createElement } from "react";
import { renderToString } from "react-dom/server";
import { Routesock } from "routesock";
import { useRoute, useSocketState, useTopic } from "routesock/react";

try {
  new Routesock("/ws/chat/");
} catch (error) {
  console.log(String(error));
}
const socket = new Routesock("wss://example.com/ws/chat/");
function Page() {
  const { data, stale } = useTopic(socket, "room:lobby");
  const { pending } = useRoute(socket, "message.send");
  return createElement("p", null, `${useSocketState(socket)} ${data} ${stale} ${pending}`);
}
console.log(renderToString(createElement(Page)));
"""


class Project:
    """A clone of the repository, and the folder that the commands of the page make beside it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "clone"
        self.web = folder / "web"
        ignored = shutil.ignore_patterns("node_modules", "dist", "build", "*.sqlite3*", "__pycache__")
        for part in ("clients", "example_project"):
            shutil.copytree(ROOT / part, self.folder / part, ignore=ignored)
        (self.folder / "clients/typescript/node_modules").symlink_to(ROOT / "clients/typescript/node_modules")

    def make(self) -> None:
        """Follow the page down to the command that starts the development server."""
        for block in blocks_of(PAGE.read_text(encoding="utf-8")):
            if block.language == "console":
                for command, _ in commands_of(block.text):
                    self.run(command.strip())
            else:
                path = self.web.parent / (block.caption or f"web/src/line-{block.line}.ts")
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(block.text, encoding="utf-8")

    def run(self, command: str) -> str:
        """Run a command of the page. What it gets from a registry is on this machine already."""
        if command.startswith("cd "):
            self.folder = (self.folder / command.removeprefix("cd ")).resolve(strict=True)
            return ""
        if command == "npx vite":  # which goes on until it is stopped
            return ""
        if command.startswith("npm install "):
            return self._install(command.removeprefix("npm install ").removeprefix("--save-dev ").split())
        command = command.replace("npm ci --ignore-scripts", "true").replace("../.venv/bin/python", sys.executable)
        return self._shell(command)

    def serve(self, backend: Server) -> Server:
        """The development server, in front of ``backend``."""
        config = self.web / "vite.config.ts"
        config.write_text(
            re.sub(r"http://127\.0\.0\.1:\d+", backend.base_url, config.read_text(encoding="utf-8")), encoding="utf-8"
        )
        port = free_port()
        command = ["node_modules/.bin/vite", "--host", HOST, "--port", str(port), "--strictPort"]
        return Server(command, port=port, env=python_environment(ROOT), cwd=self.web)

    def _install(self, packages: list[str]) -> str:
        output = ""
        for package in packages:
            if package.startswith("./"):
                output += self._shell(f"npm install --offline --no-audit --no-fund {package}")
            else:
                link = self.web / "node_modules" / package
                link.parent.mkdir(exist_ok=True)
                link.symlink_to((PACKAGES / package).resolve(strict=True))
        programs = self.web / "node_modules" / ".bin"
        if not programs.exists():
            programs.symlink_to(PACKAGES / ".bin")
        return output

    def _shell(self, command: str) -> str:
        return output_of(command, self.folder, python_environment(ROOT))


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Its TypeScript compiles, since ``tsc`` is one of the commands."""
    project = Project(tmp_path_factory.mktemp("react"))
    project.make()
    return project


@pytest.fixture(scope="module")
def backend(demo_database: Callable[[], Path]) -> Iterator[Server]:
    """An example of its own, since the page talks in the lobby."""
    with run_example("daphne", demo_database()) as server:
        yield server


@pytest.fixture(scope="module")
def vite(project: Project, backend: Server) -> Iterator[Server]:
    with closing(project.serve(backend)) as server:
        server.start()
        yield server


def test_the_project_has_one_react(project: Project) -> None:
    """The hooks fail if the client brings its own, as it does when npm makes a link to the clone."""
    (project.web / "render.mjs").write_text(RENDER, encoding="utf-8")
    assert project.run("node render.mjs").splitlines() == [
        "TypeError: Pass a whole URL: there is no page.",
        "<p>idle undefined true false</p>",
    ]


def test_the_project_is_built(project: Project) -> None:
    assert "`npx vite build``" in PAGE.read_text(encoding="utf-8")
    project.run("npx vite build")
    assert (project.web / "dist" / "index.html").is_file()


def test_the_client_can_be_copied(project: Project) -> None:
    """The page for browsers says which files to copy, and how to import them."""
    text = (PAGE.parent / "browser.rst").read_text(encoding="utf-8")
    [block] = [block for block in blocks_of(text) if block.language == "console" and "/react.*" in block.text]
    [(command, _)] = commands_of(block.text)
    copy = project.web.parent / "your-frontend"
    (copy / "src").mkdir(parents=True)
    clone = project.web.parent / "clone"  # in which `npm pack` has built the files
    assert subprocess.run(["bash", "-c", command], cwd=clone, check=False).returncode == 0
    for file in (project.web / "src").iterdir():
        source = re.sub('"routesock"', '"./client.js"', file.read_text(encoding="utf-8"))
        (copy / "src" / file.name).write_text(re.sub('"routesock/react"', '"./react.js"', source), encoding="utf-8")
    shutil.copy(project.web / "tsconfig.json", copy)
    (copy / "node_modules").symlink_to(PACKAGES)
    done = subprocess.run(["node_modules/.bin/tsc"], cwd=copy, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_both_pages_configure_the_development_server_alike() -> None:
    browser, react = (
        [block.text for block in blocks_of(path.read_text(encoding="utf-8")) if "vite.config" in block.caption]
        for path in (PAGE.parent / "browser.rst", PAGE)
    )
    assert len(react) == 1
    assert browser == react


@pytest.mark.browser
@pytest.mark.servers
@pytest.mark.asyncio(loop_scope="package")
async def test_the_page_shows_a_room_behind_vite(
    chromium: Browser, vite: Server, backend: Server, open_page: OpenPage
) -> None:
    failures: list[str] = []
    context = await chromium.new_context(base_url=vite.base_url)
    page = await context.new_page()
    page.on("pageerror", lambda error: failures.append(str(error)))
    await page.goto("/")
    await page.get_by_role("link", name="log in").click()
    await page.get_by_label("Name").fill("alice")
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_role("button", name="Log in").click()
    await expect(page.get_by_role("status")).to_have_text("Connected")
    assert page.url == f"{vite.base_url}/"

    await page.get_by_label("Message").fill("Hello from React")
    await page.get_by_role("button", name="Send").click()
    await expect(page.get_by_role("log")).to_contain_text("alice: Hello from React")
    await expect(page.get_by_label("Message")).to_have_value("")
    too_long = "x" * 501
    await page.get_by_label("Message").fill(too_long)
    await page.get_by_role("button", name="Send").click()
    await expect(page.get_by_role("alert")).to_have_text("Write between 1 and 500 characters.")
    await expect(page.get_by_label("Message")).to_have_value(too_long)

    bob = await open_page(backend, "bob", "lobby")
    await announce(bob, "We restart at noon.")
    await expect(page.get_by_role("list").filter(has_text="We restart at noon.").first).to_be_visible()
    await context.close()
    assert failures == []
