"""``manage.py routesock_client``: what it writes and compares, and with which status it ends."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import cache
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.test import override_settings

from routesock._asyncapi import document as documents
from routesock.management.commands.routesock_client import Command
from tests.asyncapi import zoo
from tests.asyncapi.test_drift import MUTATIONS, application_of, declaration

ROOT = Path(__file__).resolve().parents[2]

LANGUAGES = ("typescript", "python")

UNTYPED = {
    "rule",
    "status",
    "permissions",
    "timeout",
    "text of an error",
    "tag",
    "example",
    "parallel",
    "heartbeat",
    "hello",
    "size of frames",
    "middleware",
}
"""The changes that a document shows and types do not."""


class Result(NamedTuple):
    status: int
    out: str
    err: str


def run(*words: str, application: Any = zoo.small) -> Result:
    """The result of the command for an application."""
    out = StringIO()
    documents.clear_cache()
    module = sys.modules[__name__]
    module.served = application  # type: ignore[attr-defined]
    with override_settings(ASGI_APPLICATION=f"{__name__}.served"):
        try:
            call_command(Command(), *words, stdout=out)
        except CommandError as exc:
            return Result(exc.returncode, out.getvalue(), str(exc))
    return Result(0, out.getvalue(), "")


@pytest.fixture(autouse=True)
def _no_document_is_left() -> Any:
    yield
    documents.clear_cache()


@pytest.mark.parametrize("language", LANGUAGES)
def test_it_writes_to_standard_output_or_a_file(language: str, tmp_path: Path) -> None:
    file = tmp_path / "client"
    result = run(language)
    assert result.status == 0
    assert "Flat" in result.out
    assert run(language, "-o", str(file)) == (0, "", "")
    assert file.read_bytes().decode() == result.out


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_file_that_was_written_passes_the_check_until_the_code_changes(language: str, tmp_path: Path) -> None:
    file = tmp_path / "client"
    run(language, "-o", str(file), application=application_of(declaration()))
    reversed_order = application_of(declaration(), reverse=True)
    assert run(language, "-o", str(file), "--check", application=reversed_order) == (0, "", "")


@cache
def committed(language: str) -> str:
    return run(language, application=application_of(declaration())).out


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("name", MUTATIONS)
def test_a_change_of_a_declaration_is_drift_if_types_change(language: str, name: str, tmp_path: Path) -> None:
    file = tmp_path / "client"
    before = committed(language)
    file.write_text(before, encoding="utf-8")
    declared = declaration()
    MUTATIONS[name](declared)
    result = run(language, "-o", str(file), "--check", application=application_of(declared))
    assert result.status == (0 if name in UNTYPED else 1)
    assert result.out.startswith(f"--- {file}\n+++ the code\n") == (result.status == 1)
    assert file.read_text(encoding="utf-8") == before


def test_the_message_says_how_to_write_the_file_again(tmp_path: Path) -> None:
    file = tmp_path / "ws.ts"
    file.write_text("// old", encoding="utf-8")
    result = run("typescript", "-o", str(file), "--check", "--path", "/flat/")
    assert result.status == 1
    assert result.out.startswith(f"--- {file}\n+++ the code\n")
    assert "\n-// old\n" in result.out
    assert f"manage.py routesock_client typescript -o {file} --path /flat/" in result.err


def test_one_path_only() -> None:
    assert "Flat" not in run("typescript", "--path", "/handshake/").out
    result = run("typescript", "--path", "/none/")
    assert result == (2, "", "No routes are served at /none/. The paths are: /flat/, /handshake/.")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["typescript", "--check"], "Name the file that --check compares"),
        (["typescript", "-o", "missing/ws.ts", "--check"], "cannot be read"),
        (["typescript", "-o", "missing/ws.ts"], "cannot be written"),
        (["java"], "invalid choice"),
        ([], "required: language"),
    ],
    ids=["no file", "missing", "unwritable", "language", "no language"],
)
def test_a_wrong_call_ends_with_status_2(
    words: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run(*words)
    assert message in result.err
    if words and words[0] in LANGUAGES:  # call_command() raises what a command line answers with 2
        assert result.status == 2


def test_a_project_that_cannot_be_loaded_ends_with_status_2() -> None:
    with override_settings(ASGI_APPLICATION="tests.no_such_module.application"):
        documents.clear_cache()
        with pytest.raises(CommandError, match="no_such_module") as found:
            call_command(Command(), "typescript")
    assert found.value.returncode == 2


def example(*words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """The result of the command in the example project, on a machine without Node.js."""
    return subprocess.run(
        [sys.executable, "manage.py", "routesock_client", *words],
        cwd=ROOT / "example_project",
        env={"PATH": os.path.dirname(sys.executable), "PYTHONPATH": str(ROOT), "PYTHONUTF8": "1", **environ},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_the_types_of_the_example_are_what_its_code_says() -> None:
    done = example("typescript", "-o", "frontend/ws.ts", "--check", PYTHONHASHSEED="1")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
