from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.browser.conftest import chromium, session_of  # noqa: F401  (fixtures, which pytest finds by name)
from tests.servers import (  # noqa: F401
    EXAMPLE,
    Server,
    demo_database,
    pytest_runtest_makereport,
    run_server,
)


@pytest.fixture(scope="package")
def site(demo_database: Callable[[], Path]) -> Iterator[Server]:  # noqa: F811
    """The example with more consumers, and its documents at ``/ws-docs/``."""
    settings = "tests.docs_page.site_settings"
    application = "tests.docs_page.site:application"
    running = run_server(
        "daphne", application, cwd=EXAMPLE, DATABASE_PATH=str(demo_database()), DJANGO_SETTINGS_MODULE=settings
    )
    with running as server:
        yield server
