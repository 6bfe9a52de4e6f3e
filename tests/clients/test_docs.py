"""The TypeScript of the docs compiles, file by file, against the types of the consumer that it calls.

The project for React is in ``tests/browser/test_react_page.py``.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest
from channels.routing import URLRouter
from django.urls import path

from routesock._asyncapi.document import build
from routesock._codegen.typescript import typescript
from tests.docs_pages import ROOT, Page, blocks_of
from tests.servers import Server, demo_database, example, free_port, pytest_runtest_makereport

__all__ = ["demo_database", "example", "pytest_runtest_makereport"]

pytestmark = [pytest.mark.node, pytest.mark.django_db]

CLIENT = ROOT / "clients/typescript"
STATIC = ROOT / "routesock/static/routesock"
DOCS = ROOT / "docs" / "howto"

OTHERS = """\
declare module "vue" {
  export function shallowRef<T>(value: T): { value: T };
  export function onScopeDispose(dispose: () => void): void;
}
declare module "svelte/store" {
  export function readable<T>(value: T, start: (set: (value: T) => void) => () => void): { subscribe: unknown };
}
declare module "vite" {
  export function defineConfig(config: {
    server: { proxy: Record<string, { target: string; ws?: boolean; changeOrigin?: boolean }> };
  }): unknown;
}
"""
"""The functions of other frameworks that the pages use."""

WS = """\
declare module "ws" {
  export default class {
    constructor(url: string, protocols?: string[], options?: { headers?: Record<string, string>; origin?: string });
    readonly readyState: number;
    binaryType: "nodebuffer" | "arraybuffer" | "fragments";
    onopen: ((event: object) => void) | null;
    onmessage: ((event: object) => void) | null;
    onclose: ((event: object) => void) | null;
    onerror: ((event: object) => void) | null;
    send(data: string | ArrayBuffer): void;
    close(code?: number, reason?: string): void;
  }
}
"""
"""What the page for Node.js uses of the package ``ws``."""

OPTIONS: dict[str, Any] = {
    "target": "es2022",
    "module": "esnext",
    "moduleResolution": "bundler",
    "lib": ["es2022", "dom"],
    "types": [],
    "strict": True,
    "exactOptionalPropertyTypes": True,
    "noUncheckedIndexedAccess": True,
    "noEmit": True,
    "paths": {
        "routesock": [str(STATIC / "client.d.ts")],
    },
}


def compiled(folder: Path) -> str:
    """The errors of the compiler."""
    tsc = CLIENT / "node_modules/typescript/bin/tsc"
    if not tsc.is_file():
        raise RuntimeError("This test needs the client's packages: run .ci/node-clients.")
    done = subprocess.run(["node", tsc, "-p", folder], capture_output=True, text=True, check=False)
    assert done.returncode == (1 if done.stdout else 0) or done.stdout, done.stderr
    return done.stdout


def write_files(page: str, folder: Path) -> list[Path]:
    """Writes the TypeScript of a page as its reader does: file by file, under the names in the captions.

    A block without a caption is a file as well, so it needs its own imports. The files for Node.js are left out.
    """
    files = []
    for block in blocks_of((DOCS / page).read_text(encoding="utf-8")):
        if block.language in ("typescript", "tsx") and not block.caption.startswith("node/"):
            file = folder / (Path(block.caption).name or f"line-{block.line}.ts")
            assert not file.exists(), f"{page} has two blocks for {file.name}"
            file.write_text(block.text, encoding="utf-8")
            files.append(file)
    return files


def test_the_typescript_of_the_pages_compiles(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    page = Page(DOCS / "browser.rst", request)
    page.run()
    types = typescript(build(URLRouter([path("ws/chat/", page.consumer.as_asgi())])))
    (tmp_path / "others.d.ts").write_text(OTHERS, encoding="utf-8")
    (tmp_path / "tsconfig.json").write_text(json.dumps({"compilerOptions": OPTIONS}), encoding="utf-8")
    for name, number in [("browser.rst", 10), ("typed-clients.rst", 3)]:
        folder = tmp_path / name.removesuffix(".rst")
        folder.mkdir()
        (folder / "ws.ts").write_text(types, encoding="utf-8")
        assert len(write_files(name, folder)) == number
    [readme] = re.findall(
        r"^```ts\n(.*?)^```", (CLIENT / "README.md").read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    )
    (tmp_path / "readme.ts").write_text(readme, encoding="utf-8")
    asking = Page(ROOT / "docs/explanation/asking.rst", request)
    asking.run()
    folder = tmp_path / "asking"
    folder.mkdir()
    answers = typescript(build(URLRouter([path("ws/files/", asking.namespace["FileConsumer"].as_asgi())])))
    (folder / "ws.ts").write_text(answers, encoding="utf-8")
    assert len(write_files("../explanation/asking.rst", folder)) == 1
    assert compiled(tmp_path) == ""
    # It sees the types of the page's consumer.
    room = tmp_path / "browser" / "room.ts"
    room.write_text(room.read_text(encoding="utf-8").replace("{ text:", "{ txt:"), encoding="utf-8")
    assert "'txt' does not exist" in compiled(tmp_path)


@pytest.fixture
def node_project(tmp_path: Path) -> Path:
    """The project for Node.js on the page, with the packages that it installs."""
    for block in blocks_of((DOCS / "browser.rst").read_text(encoding="utf-8")):
        if block.caption.startswith("node/"):
            (tmp_path / Path(block.caption).name).write_text(block.text, encoding="utf-8")
    (tmp_path / "node_modules").symlink_to(CLIENT / "node_modules")
    shutil.copy(ROOT / "example_project/frontend/ws.ts", tmp_path)
    shutil.copy(STATIC / "client.d.ts", tmp_path)
    shutil.copy(STATIC / "client.js", tmp_path)
    (tmp_path / "others.d.ts").write_text(WS, encoding="utf-8")
    return tmp_path


def shown_for(text: str) -> str:
    """The output below the only command of the page whose output has ``text``."""
    blocks = blocks_of((DOCS / "browser.rst").read_text(encoding="utf-8"))
    [shown] = [block.text for block in blocks if block.language == "console" and text in block.text]
    return shown.partition("\n")[2]


def test_the_file_for_node_compiles_against_the_example(node_project: Path) -> None:
    assert compiled(node_project) == ""
    assert (node_project / "talk.js").is_file()
    # It sees the types of the example.
    talk = node_project / "talk.ts"
    talk.write_text(talk.read_text(encoding="utf-8").replace('{ room: "lobby" }', "{ rom: 1 }"), encoding="utf-8")
    assert "'rom' does not exist" in compiled(node_project)


@pytest.mark.parametrize(
    ("right", "wrong", "code"),
    [('"message.send"', '"message.sent"', "TS2345"), ('{ text: "Hello from Node.js" }', '{ txt: "Hello" }', "TS2561")],
    ids=["route", "payload"],
)
def test_the_compiler_refuses_what_the_page_says(node_project: Path, right: str, wrong: str, code: str) -> None:
    talk = node_project / "talk.ts"
    source = talk.read_text(encoding="utf-8")
    assert source.count(right) == 1
    talk.write_text(source.replace(right, wrong), encoding="utf-8")
    [first, *_] = compiled(node_project).splitlines()
    assert first[first.index("talk.ts(") :] + "\n" == shown_for(code)
    assert not (node_project / "talk.js").exists()


@pytest.mark.servers
@pytest.mark.parametrize("example", ["daphne"], indirect=True)
def test_the_program_for_node_prints_what_the_page_says(node_project: Path, example: Server) -> None:
    talk = node_project / "talk.ts"
    source = talk.read_text(encoding="utf-8").replace("127.0.0.1:8000", f"127.0.0.1:{example.port}")
    talk.write_text(source, encoding="utf-8")
    assert compiled(node_project) == ""
    command = ["node", "talk.js"]
    done = subprocess.run(command, cwd=node_project, capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.stderr) == (shown_for("alice Hello from Node.js").partition("\n")[2], "")


@pytest.mark.servers
@pytest.mark.parametrize("example", ["daphne"], indirect=True)
def test_the_program_for_node_says_why_it_cannot_connect(node_project: Path, example: Server) -> None:
    talk = node_project / "talk.ts"
    source = talk.read_text(encoding="utf-8").replace("127.0.0.1:8000", f"127.0.0.1:{example.port}")
    assert "{ Cookie: cookies }" in source
    talk.write_text(source.replace("{ Cookie: cookies }", "{}"), encoding="utf-8")
    assert compiled(node_project) == ""
    program = subprocess.Popen(["node", "talk.js"], cwd=node_project, stdout=subprocess.PIPE, text=True)
    patience = threading.Timer(60, program.kill)
    patience.start()
    with program:
        assert program.stdout is not None
        lines = program.stdout.readline() + program.stdout.readline()
        patience.cancel()
        program.kill()
    assert lines == 2 * shown_for("server response: 403")
    # Without a server it does not come so far.
    gone = source.replace(f"127.0.0.1:{example.port}", f"127.0.0.1:{free_port()}")
    talk.write_text(gone, encoding="utf-8")
    assert compiled(node_project) == ""
    done = subprocess.run(
        ["node", "talk.js"], cwd=node_project, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert "TypeError: fetch failed" in done.stderr
