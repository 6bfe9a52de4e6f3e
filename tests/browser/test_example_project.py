"""The example as a whole: its own tests, which have their own settings, and what its README promises."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.servers import EXAMPLE, manage_example, misfits_in

pytestmark = pytest.mark.servers


def test_its_own_tests_pass() -> None:
    """And each frame in them fits its document, those of the consumers that the example was before included."""
    assert misfits_in(manage_example("test", "--no-input")) == []


def test_checks_find_nothing() -> None:
    manage_example("check", "--fail-level", "DEBUG")


def test_migrations_are_complete() -> None:
    manage_example("makemigrations", "--check", "--dry-run")


def test_seeding_twice_works(tmp_path: Path) -> None:
    database = str(tmp_path / "db.sqlite3")
    manage_example("migrate", "--verbosity", "0", DATABASE_PATH=database)
    first = manage_example("seed_demo", DATABASE_PATH=database)
    assert manage_example("seed_demo", DATABASE_PATH=database) == first


def test_readme_shows_the_code_as_it_is() -> None:
    readme = (EXAMPLE / "README.rst").read_text()
    blocks = re.findall(r"^\.\. code-block:: python\n\n((?:    .*\n|\n)+)", readme, re.MULTILINE)
    sources = [path.read_text() for path in (EXAMPLE / "chat").glob("*.py")]
    assert blocks
    for block in blocks:
        assert any(block.strip() in source for source in sources)
