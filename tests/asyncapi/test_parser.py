"""The official tools: the parser of AsyncAPI in Node.js finds nothing in the documents."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from channels.generic.websocket import AsyncJsonWebsocketConsumer

from routesock import Request, RouteMixin, route
from routesock._asyncapi.document import as_json, build
from tests.asyncapi import zoo

pytestmark = pytest.mark.node

FOLDER = Path(__file__).parent / "node"

EXAMPLE = Path(__file__).resolve().parents[2] / "example_project" / "asyncapi.json"

WARNING = 1
"""Severities of Spectral: 0 is an error, 1 a warning, 2 information, such as that there is a later AsyncAPI."""


class Small(RouteMixin, AsyncJsonWebsocketConsumer):
    route_permissions = ()

    @route("echo")
    async def echo(self, request: Request) -> None: ...


@pytest.fixture(scope="module")
def diagnostics(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    node = shutil.which("node")
    if node is None or not (FOLDER / "node_modules").is_dir():
        raise RuntimeError("These tests need Node.js and the parser in package-lock.json: run .ci/node-clients.")
    folder = tmp_path_factory.mktemp("documents")
    documents = {
        "zoo": as_json(build(zoo.application)),
        "example": EXAMPLE.read_text(encoding="utf-8"),
        "wrong": as_json(build(Small)).replace('"action": "send"', '"action": "sent"'),
    }
    for name, text in documents.items():
        (folder / f"{name}.json").write_text(text, encoding="utf-8")
    done = subprocess.run(
        [node, "parse.mjs", *(str(folder / f"{name}.json") for name in documents)],
        cwd=FOLDER,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return {Path(file).stem: found for file, found in json.loads(done.stdout).items()}


@pytest.mark.parametrize("name", ["zoo", "example"])
def test_the_parser_finds_no_error_and_no_warning(diagnostics: dict[str, Any], name: str) -> None:
    assert [found for found in diagnostics[name] if found["severity"] <= WARNING] == []


def test_the_parser_finds_what_is_wrong(diagnostics: dict[str, Any]) -> None:
    assert [found for found in diagnostics["wrong"] if found["severity"] <= WARNING] != []
