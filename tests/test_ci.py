"""``.ci/suite.py`` over a small project: every test runs once, and what any of them came to is in the closing line."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

SUITE = Path(__file__).resolve().parent.parent / ".ci" / "suite.py"

SETTINGS = """
[tool.pytest.ini_options]
addopts = ["--import-mode=importlib", "--strict-markers", "-p", "no:randomly"]
markers = ["browser", "postgresql", "servers"]
[tool.coverage.run]
source = ["shop"]
[tool.coverage.report]
fail_under = 98
"""

# Neither half covers all of it.
SHOP = """
def open():
    return True

def close():
    return False
"""

TESTS = """
import os
import signal
import warnings

import pytest
import shop

EVENT = os.environ.get("EVENT", "")

@pytest.fixture
def broken():
    assert EVENT != "failures"

@pytest.mark.servers
def test_open():
    assert shop.open()
    if EVENT == "kill servers":
        os.kill(os.getpid(), signal.SIGKILL)

@pytest.mark.postgresql
@pytest.mark.filterwarnings("default")
def test_with_servers():
    warnings.warn("one")
    assert EVENT != "failures"

@pytest.mark.browser
@pytest.mark.parametrize("number", range(3))
def test_browser(number):
    pass

def test_close():
    assert not shop.close()
    if EVENT == "kill others":
        os.kill(os.getpid(), signal.SIGKILL)

@pytest.mark.filterwarnings("default")
def test_without_servers():
    warnings.warn("another")
    assert EVENT != "failures"

def test_with_fixture(broken):
    pass

@pytest.mark.xfail
def test_expected():
    assert False

def test_skipped():
    pytest.skip("for the count")

if EVENT == "collection":
    raise RuntimeError
"""


def run(folder: Path, event: str = "", *arguments: str) -> tuple[int, str]:
    """The exit status for ``arguments`` of the script, and all that it has printed."""
    (folder / "pyproject.toml").write_text(SETTINGS)
    (folder / "shop.py").write_text(SHOP)
    (folder / "test_shop.py").write_text(TESTS)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("DJANGO_", "PYTEST_"))}
    done = subprocess.run(
        [sys.executable, str(SUITE), *(arguments or ("--",))],
        cwd=folder,
        env={**environment, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "EVENT": event},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
    )
    return done.returncode, done.stdout


def closing(output: str) -> str:
    """What the last line counts."""
    found = re.fullmatch(r"=+ (.+) in \d+\.\d\ds =+", output.splitlines()[-1])
    assert found, output
    return found[1]


def test_all_tests_of_both_halves_are_counted(tmp_path: Path) -> None:
    """And covered, which neither half does alone."""
    status, output = run(tmp_path)
    assert (status, closing(output)) == (0, "8 passed, 1 skipped, 1 xfailed, 2 warnings"), output
    assert output.index("The tests with servers:") < output.index("5 passed") < output.index("The tests without")


def test_failures_of_both_halves_are_counted(tmp_path: Path) -> None:
    status, output = run(tmp_path, "failures")
    assert (status, closing(output)) == (1, "2 failed, 5 passed, 1 skipped, 1 xfailed, 2 warnings, 1 error"), output
    assert "FAILED test_shop.py::test_with_servers" in output
    assert "FAILED test_shop.py::test_without_servers" in output


@pytest.mark.parametrize(
    ("half", "counts"),
    [("servers", "3 passed, 1 skipped, 1 xfailed, 1 warning, 1 error"), ("others", "5 passed, 1 warning, 1 error")],
)
def test_a_killed_process_is_an_error(tmp_path: Path, half: str, counts: str) -> None:
    status, output = run(tmp_path, f"kill {half}")
    assert (status, closing(output)) == (1, counts), output


def test_a_file_that_cannot_be_collected_is_one_error(tmp_path: Path) -> None:
    status, output = run(tmp_path, "collection")
    assert (status, closing(output)) == (1, "1 error"), output


def test_too_little_coverage_fails(tmp_path: Path) -> None:
    """That of the tests without servers is not enough."""
    status, output = run(tmp_path, "", "servers", "browser", "postgresql", "--")
    assert (status, closing(output)) == (1, "3 passed, 1 skipped, 1 xfailed, 1 warning"), output
    assert "LEFT OUT" in output


def test_arguments_are_those_of_pytest(tmp_path: Path) -> None:
    status, output = run(tmp_path, "", "browser", "--", "-k", "open or close or browser")
    assert (status, closing(output)) == (0, "2 passed, 8 deselected"), output
    assert output.count("test session starts") == 1
