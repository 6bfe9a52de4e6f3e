"""The TypeScript client in Node.js against real servers; its own tests are in ``clients/typescript/test``."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.servers import ASGI_SERVERS, ROOT, Server, pytest_runtest_makereport, run_server

__all__ = ["pytest_runtest_makereport"]

pytestmark = [pytest.mark.node, pytest.mark.servers]

SCRIPT = Path(__file__).parent / "node" / "scenarios.mjs"

WITHIN = 100.0 + 10 * int(os.environ.get("CRASHES", "0"))
"""Seconds after which a scenario is ended. CRASHES=50 kills the server 50 times with calls in flight; default: 2."""


def scenarios() -> list[str]:
    source = SCRIPT.read_text(encoding="utf-8")
    return re.findall(r'^  async "([^"]+)"\(\) \{$', source, re.MULTILINE)


@pytest.fixture(scope="module")
def runs_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clients") / "runs"
    path.touch()
    return path


@pytest.fixture(scope="module", params=ASGI_SERVERS)
def server(request: pytest.FixtureRequest, runs_file: Path) -> Iterator[Server]:
    with run_server(request.param, "tests.clients.asgi:application", RUNS_FILE=str(runs_file)) as server:
        yield server


class Client:
    """A Node.js process that runs one scenario after the other against a server."""

    def __init__(self, server: Server, runs_file: Path) -> None:
        node = shutil.which("node")
        if node is None or not (ROOT / "clients/typescript/node_modules").is_dir():
            raise RuntimeError("These tests need Node.js and the client's packages: run .ci/node-clients.")
        self.server = server
        self.process = subprocess.Popen(
            [node, SCRIPT, server.socket_url("/"), runs_file],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, scenario: str) -> str:
        """Runs ``scenario`` and returns its output, whose last line is ``OK`` if it has succeeded."""
        watchdog = threading.Timer(WITHIN, self.process.kill)
        watchdog.start()
        lines = []
        self._write(scenario)
        assert self.process.stdout is not None
        for line in self.process.stdout:
            lines.append(line)
            if line in ("OK\n", "FAILED\n"):
                break
            if line.startswith("DO "):
                self._act(line.split()[1])
                self._write("done")
        watchdog.cancel()
        return "".join(lines).rstrip()

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()

    def _act(self, action: str) -> None:
        {
            "stop": self.server.stop,
            "start": self.server.start,
            "kill": self.server.kill,
            "pause": self.server.pause,
            "resume": self.server.resume,
        }[action]()

    def _write(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()


@pytest.fixture(scope="module")
def client(server: Server, runs_file: Path) -> Iterator[Client]:
    with closing(Client(server, runs_file)) as client:
        yield client


def test_all_scenarios_are_found() -> None:
    assert len(scenarios()) == 33


@pytest.mark.parametrize("scenario", scenarios(), ids=lambda scenario: scenario.replace(" ", "_"))
def test_scenario(client: Client, scenario: str) -> None:
    output = client.run(scenario)
    server = client.server
    server.resume()
    if not server.runs:
        server.start()
    assert output.endswith("OK"), f"{output}\n\n{server.output()[-4000:]}"
