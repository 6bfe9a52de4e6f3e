"""Two processes of one project: views are asked of the one, and sockets opened to the other."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from http.cookiejar import CookieJar
from urllib.request import HTTPCookieProcessor, ProxyHandler, build_opener

import pytest

from tests.servers import (  # noqa: F401  (a fixture and a hook, which pytest finds by name)
    ANSWER_WITHIN,
    ROOT,
    Server,
    pytest_runtest_makereport,
    python_environment,
    redis_url,
    run_server,
)

APPLICATION = "tests.sessions.asgi:application"


class Browser:
    """Keeps its cookies; ``views`` is the server that it asks."""

    def __init__(self, views: Server) -> None:
        self._views = views
        self._cookies = CookieJar()
        self._opener = build_opener(ProxyHandler({}), HTTPCookieProcessor(self._cookies))

    def visit(self, path: str) -> None:
        self._opener.open(f"{self._views.base_url}/{path}/", timeout=ANSWER_WITHIN).close()

    @property
    def cookie(self) -> str:
        return "; ".join(f"{cookie.name}={cookie.value}" for cookie in self._cookies)


@dataclass
class Project:
    views: Server
    sockets: Server

    def browser(self, user: str) -> Browser:
        """One that ``user`` is logged in with."""
        browser = Browser(self.views)
        browser.visit(f"sign-up/{user}")
        return browser


@pytest.fixture(scope="package", params=[("uvicorn", "daphne"), ("daphne", "uvicorn")], ids="-".join)
def project(
    request: pytest.FixtureRequest,
    redis_url: str,  # noqa: F811
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Project]:
    env = {
        "DATABASE_PATH": str(tmp_path_factory.mktemp("sessions") / "db.sqlite3"),
        "REDIS_URL": redis_url,
        "DJANGO_SETTINGS_MODULE": "tests.sessions.settings",
    }
    command = [sys.executable, "-m", "django", "migrate", "--verbosity", "0"]
    subprocess.run(command, cwd=ROOT, env=python_environment(ROOT, **env), check=True, timeout=60)
    views, sockets = request.param
    with run_server(views, APPLICATION, **env) as first, run_server(sockets, APPLICATION, **env) as second:
        yield Project(first, second)
