"""``manage.py routesock_asyncapi``: what it writes and compares, and with which status it ends."""

from __future__ import annotations

import builtins
import json
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from django.core.management import call_command
from django.core.management.base import CommandError
from django.test import override_settings

from routesock._asyncapi import document as documents
from routesock.management.commands.routesock_asyncapi import Command
from tests.asyncapi import zoo


class Result(NamedTuple):
    status: int
    out: str
    err: str


def run(*words: str, application: str = "small", **settings: Any) -> Result:
    """The result of the command for an application of the zoo."""
    out = StringIO()
    documents.clear_cache()
    with override_settings(ASGI_APPLICATION=f"{zoo.__name__}.{application}", **settings):
        try:
            call_command(Command(), *words, stdout=out)
        except CommandError as exc:
            return Result(exc.returncode, out.getvalue(), str(exc))
    return Result(0, out.getvalue(), "")


def yaml_of(text: str) -> Any:
    """What ``text`` holds. The loader in C takes a tenth of the time."""
    return yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))


def test_it_writes_the_document_to_standard_output() -> None:
    result = run()
    assert result.status == 0
    assert json.loads(result.out)["asyncapi"] == "3.0.0"
    assert run().out == result.out


def test_a_file_that_was_written_passes_the_check(tmp_path: Path) -> None:
    for name in ("zoo.json", "zoo.yaml", "zoo.yml"):
        file = str(tmp_path / name)
        assert run("-o", file) == (0, "", "")
        assert run("--check", file) == (0, "", "")
    assert yaml_of((tmp_path / "zoo.yaml").read_text()) == json.loads((tmp_path / "zoo.json").read_text())
    assert "&id" not in (tmp_path / "zoo.yaml").read_text()


@pytest.mark.parametrize("name", ["zoo.json", "zoo.yaml"])
def test_half_a_surrogate_pair_in_a_text_is_escaped(tmp_path: Path, name: str) -> None:
    """No file can have it otherwise. JSON and YAML can."""
    file = tmp_path / name
    settings = {"ROUTESOCK": {"DOCS": {"title": "Half of \U0001f511: \ud83d"}}}
    assert run("-o", str(file), **settings) == (0, "", "")
    assert run("--check", str(file), **settings) == (0, "", "")
    read = yaml.safe_load if name.endswith("yaml") else json.loads
    assert read(file.read_text(encoding="utf-8"))["info"]["title"] == "Half of \U0001f511: \ud83d"


def test_a_file_in_another_order_passes_the_check(tmp_path: Path) -> None:
    file = tmp_path / "zoo.json"
    file.write_text(json.dumps(json.loads(run().out), sort_keys=True))
    assert run("--check", str(file)).status == 0


def test_a_file_that_differs_is_shown_as_a_diff(tmp_path: Path) -> None:
    file = tmp_path / "zoo.json"
    file.write_text(run().out.replace('"title": "WebSocket API"', '"title": "Old"'))
    result = run("--check", str(file))
    assert result.status == 1
    assert '-    "title": "Old",\n+    "title": "WebSocket API",\n' in result.out
    assert f"routesock_asyncapi -o {file}" in result.err


@pytest.mark.parametrize("text", ["", "no json", "[]", "null"])
def test_a_file_that_is_no_document_is_drift(tmp_path: Path, text: str) -> None:
    file = tmp_path / "zoo.json"
    file.write_text(text)
    assert run("--check", str(file)).status == 1


def test_a_yaml_file_that_cannot_be_parsed_is_drift(tmp_path: Path) -> None:
    file = tmp_path / "zoo.yaml"
    file.write_text("a: [")
    assert run("--check", str(file)).status == 1


def test_exact_lists_route_field_and_reason() -> None:
    result = run("--exact")
    assert result.status == 1
    assert "/flat/ list request /: plain\n" in result.out
    assert "parts of the document are inexact" in result.err
    assert run("--exact", "--path", "/handshake/").status == 0


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--check", "no/such/file.json"], "cannot be read"),
        (["-o", "no/such/file.json"], "cannot be written"),
        (["-o", "a.json", "--check", "a.json"], "either -o"),
        (["--path", "/none/"], "The paths are: /flat/, /handshake/."),
        (["--server", "http://localhost"], "--server is a URL"),
        (["--server", "ws://[::1"], "--server is a URL"),
    ],
)
def test_wrong_usage_ends_with_2(words: list[str], text: str) -> None:
    result = run(*words)
    assert result.status == 2
    assert text in result.err


def test_an_application_that_cannot_be_imported_ends_with_2() -> None:
    assert run(application="none").status == 2


def test_yaml_without_pyyaml_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any, **options: Any) -> Any:
        if name == "yaml":
            raise ImportError(name)
        return real(name, *args, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    result = run("--format", "yaml")
    assert (result.status, result.out) == (2, "")
    assert "pip install 'routesock[documents]'" in result.err


def test_the_server_and_the_version_can_be_chosen() -> None:
    found = json.loads(run("--server", "wss://chat.example.com/x/", "--spec", "3.1.0").out)
    assert found["asyncapi"] == "3.1.0"
    assert found["servers"] == {"server": {"host": "chat.example.com", "protocol": "wss", "pathname": "/x"}}
    docs = {"servers": ["wss://live.example.com"]}
    assert json.loads(run(ROUTESOCK={"DOCS": docs}).out)["servers"]["server"]["host"] == "live.example.com"
    replaced = run("--server", "ws://localhost", ROUTESOCK={"DOCS": docs}).out
    assert json.loads(replaced)["servers"]["server"]["host"] == "localhost"
