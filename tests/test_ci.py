"""``.ci/test`` over a small project: its closing line counts every test, and its exit status tells of every failure."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

SETTINGS = """
[tool.pytest.ini_options]
addopts = ["--import-mode=importlib", "--strict-markers", "-p", "xdist"]
markers = ["browser", "node", "postgresql", "servers"]
pythonpath = ["."]
[tool.coverage.run]
source = ["shop"]
parallel = true
[tool.coverage.report]
fail_under = 98
"""

SHOP = """
def open():
    return True

def close():
    return False
"""

FIRST = """
import os
import signal

import pytest
import shop

EVENT = os.environ.get("EVENT", "")

@pytest.fixture
def broken():
    assert EVENT != "failures"

def test_open():
    assert shop.open()
    if EVENT == "kill":
        os.kill(os.getpid(), signal.SIGKILL)

@pytest.mark.browser
@pytest.mark.parametrize("number", range(3))
def test_browser(number):
    pass

def test_with_fixture(broken):
    pass

@pytest.mark.xfail
def test_expected():
    assert False

if EVENT == "collection":
    raise RuntimeError
"""

SECOND = """
import os
import warnings

import pytest
import shop

@pytest.mark.browser
def test_close():
    assert not shop.close()

@pytest.mark.filterwarnings("default")
def test_failing():
    warnings.warn("one")
    assert os.environ.get("EVENT") != "failures"

@pytest.mark.postgresql
def test_skipped():
    pytest.skip("for the count")

@pytest.mark.node
def test_client():
    pass
"""


def run(
    folder: Path, *arguments: str, postgresql: str = "echo postgres", node: str = ":", **environment: str
) -> tuple[int, str]:
    """The exit status for ``arguments`` of the script, and its output.

    ``postgresql`` and ``node`` stand for the scripts that look for PostgreSQL and install the clients for Node.js.
    """
    (folder / ".ci").mkdir()
    for script in ("test", "chromium"):
        shutil.copy(ROOT / ".ci" / script, folder / ".ci")
    for name, line in (("postgresql", postgresql), ("node-clients", node)):
        (folder / ".ci" / name).write_text(f"#!/bin/sh\n{line}\n")
        (folder / ".ci" / name).chmod(0o755)
    (folder / ".venv").symlink_to(sys.prefix)
    (folder / "pyproject.toml").write_text(SETTINGS)
    (folder / "shop.py").write_text(SHOP)
    (folder / "test_first.py").write_text(FIRST)
    (folder / "test_second.py").write_text(SECOND)
    removed = ("DJANGO_", "PYTEST_", "COVERAGE_", "CI")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(removed)}
    done = subprocess.run(
        [folder / ".ci" / "test", *arguments],
        env={**inherited, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "CHROMIUM": sys.executable, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
    )
    return done.returncode, done.stdout


ALONE = ("--color=no",)
"""Any argument: pytest runs without workers then, which takes a third of the time."""


def closing(output: str) -> str:
    """What the last line counts."""
    found = re.fullmatch(r"=+ (.+) in \d+\.\d\ds =+", output.splitlines()[-1])
    assert found, output
    return found[1]


def test_tests_of_all_workers_are_counted_and_measured(tmp_path: Path) -> None:
    status, output = run(tmp_path)
    assert (status, closing(output)) == (0, "8 passed, 1 skipped, 1 xfailed, 1 warning"), output
    assert "created: 3/3 workers" in output
    assert re.search(r"^TOTAL .* 100%$", output, re.MULTILINE), output
    assert "LEFT OUT" not in output


def test_failures_and_errors_are_counted(tmp_path: Path) -> None:
    status, output = run(tmp_path, EVENT="failures")
    assert (status, closing(output)) == (1, "1 failed, 6 passed, 1 skipped, 1 xfailed, 1 warning, 1 error"), output
    assert "FAILED test_second.py::test_failing" in output
    assert "ERROR test_first.py::test_with_fixture" in output


def test_a_killed_worker_is_a_failure(tmp_path: Path) -> None:
    status, output = run(tmp_path, EVENT="kill")
    assert (status, closing(output).split(", ")[0]) == (1, "1 failed"), output
    assert "crashed while running 'test_first.py::test_open'" in output


def test_a_file_that_cannot_be_collected_fails(tmp_path: Path) -> None:
    status, output = run(tmp_path, EVENT="collection")
    assert status == 1, output
    assert "error" in closing(output)


def test_tests_without_their_program_are_left_out_and_named(tmp_path: Path) -> None:
    """Without the browser's tests coverage is too low, so the status is an error although each test has passed."""
    status, output = run(tmp_path, *ALONE, CHROMIUM="nowhere")
    assert (status, closing(output)) == (1, "4 passed, 1 skipped, 4 deselected, 1 xfailed, 1 warning"), output
    assert "Coverage failure: total of 75 is less than fail-under=98" in output
    assert "LEFT OUT, because this machine lacks what they need: the tests marked browser" in output


def test_several_missing_programs_are_left_out_together(tmp_path: Path) -> None:
    status, output = run(tmp_path, *ALONE, CHROMIUM="nowhere", postgresql="exit 1", node="exit 1")
    assert (status, closing(output)) == (1, "3 passed, 6 deselected, 1 xfailed, 1 warning"), output
    assert "the tests marked browser postgresql node" in output


def test_nothing_is_left_out_under_ci(tmp_path: Path) -> None:
    status, output = run(tmp_path, *ALONE, CHROMIUM="nowhere", node="exit 1", CI="true")
    assert (status, closing(output)) == (0, "8 passed, 1 skipped, 1 xfailed, 1 warning"), output


def test_arguments_are_those_of_pytest(tmp_path: Path) -> None:
    status, output = run(tmp_path, "-k", "open or close or browser or skipped")
    assert (status, closing(output)) == (0, "5 passed, 1 skipped, 4 deselected"), output
    assert "workers" not in output
