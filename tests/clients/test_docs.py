"""The TypeScript of the docs compiles, against the types that are generated from the consumer on the page."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from channels.routing import URLRouter
from django.urls import path

from routesock._asyncapi.document import build
from routesock._codegen.typescript import typescript
from tests.docs_pages import ROOT, Page, blocks_of

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
    "jsx": "react-jsx",
    "types": [],
    "strict": True,
    "exactOptionalPropertyTypes": True,
    "noUncheckedIndexedAccess": True,
    "noEmit": True,
    "paths": {
        "routesock": [str(STATIC / "client.d.ts")],
        "routesock/react": [str(STATIC / "react.d.ts")],
        "react": [str(CLIENT / "node_modules/@types/react/index.d.ts")],
        "react/jsx-runtime": [str(CLIENT / "node_modules/@types/react/jsx-runtime.d.ts")],
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


def test_the_typescript_of_the_pages_compiles(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    page = Page(DOCS / "browser.rst", request)
    page.run()
    application: Any = URLRouter([path("ws/chat/", page.consumer.as_asgi())])
    (tmp_path / "ws.ts").write_text(typescript(build(application)), encoding="utf-8")
    (tmp_path / "others.d.ts").write_text(OTHERS, encoding="utf-8")
    (tmp_path / "tsconfig.json").write_text(json.dumps({"compilerOptions": OPTIONS}), encoding="utf-8")
    for name, language, suffix in [("browser", "typescript", "ts"), ("react", "tsx", "tsx")]:
        text = (DOCS / f"{name}.rst").read_text(encoding="utf-8")
        blocks = [
            block.text for block in blocks_of(text) if block.language == language and "node/" not in block.caption
        ]
        assert len(blocks) > 3
        (tmp_path / f"{name}.{suffix}").write_text("\n".join(blocks), encoding="utf-8")
    assert compiled(tmp_path) == ""
    # It sees the types of the page's consumer.
    wrong = (tmp_path / "browser.ts").read_text(encoding="utf-8").replace('{ text: "Hello" }', "{ txt: 1 }")
    (tmp_path / "browser.ts").write_text(wrong, encoding="utf-8")
    assert "'txt' does not exist" in compiled(tmp_path)


def test_the_file_for_node_compiles_against_the_example(tmp_path: Path) -> None:
    blocks = list(blocks_of((DOCS / "browser.rst").read_text(encoding="utf-8")))
    for block in blocks:
        if block.caption.startswith("node/"):
            (tmp_path / Path(block.caption).name).write_text(block.text, encoding="utf-8")
    (tmp_path / "others.d.ts").write_text(WS, encoding="utf-8")
    (tmp_path / "node_modules").symlink_to(CLIENT / "node_modules")
    shutil.copy(ROOT / "example_project/frontend/ws.ts", tmp_path)
    shutil.copy(STATIC / "client.d.ts", tmp_path)
    shutil.copy(STATIC / "client.js", tmp_path)
    assert compiled(tmp_path) == ""
    assert (tmp_path / "talk.js").is_file()
    # It sees the types of the example, and prints what the page shows.
    right = (tmp_path / "talk.ts").read_text(encoding="utf-8")
    (tmp_path / "talk.ts").write_text(right.replace('{ room: "lobby" }', "{ rom: 1 }"), encoding="utf-8")
    assert "'rom' does not exist" in compiled(tmp_path)
    (tmp_path / "talk.ts").write_text(right.replace('"message.send"', '"message.sent"'), encoding="utf-8")
    [shown] = [block.text for block in blocks if "error TS2345" in block.text]
    expected = " ".join(line.strip() for line in shown.splitlines() if not line.startswith("$"))
    [first, *_] = compiled(tmp_path).splitlines()
    assert first[first.index("talk.ts(") :] == expected
