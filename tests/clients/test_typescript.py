"""The TypeScript client in Node.js against real servers; its own tests are in ``clients/typescript/test``."""

from __future__ import annotations

import re
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.servers import ASGI_SERVERS, ROOT, Server, pytest_runtest_makereport, run_server

__all__ = ["pytest_runtest_makereport"]

pytestmark = [pytest.mark.node, pytest.mark.servers]

SCRIPT = Path(__file__).parent / "node" / "scenarios.mjs"

WITHIN = 120.0
"""Seconds after which a scenario is killed."""


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


def test_all_scenarios_are_found() -> None:
    assert len(scenarios()) == 32


@pytest.mark.parametrize("scenario", scenarios(), ids=lambda scenario: scenario.replace(" ", "_"))
def test_scenario(server: Server, runs_file: Path, scenario: str) -> None:
    node = shutil.which("node")
    if node is None or not (ROOT / "clients/typescript/node_modules").is_dir():
        raise RuntimeError("These tests need Node.js and the packages of the TypeScript client: run .ci/node-clients.")
    actions: dict[str, Callable[[], None]] = {
        "stop": server.stop,
        "start": server.start,
        "kill": server.kill,
        "pause": server.pause,
        "resume": server.resume,
    }
    process = subprocess.Popen(
        [node, SCRIPT, scenario, server.socket_url("/"), runs_file],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    watchdog = threading.Timer(WITHIN, process.kill)
    watchdog.start()
    output = []
    try:
        for line in process.stdout:
            output.append(line)
            if line.startswith("DO "):
                actions[line.split()[1]]()
                process.stdin.write("done\n")
                process.stdin.flush()
        assert process.wait() == 0, "".join(output)
    finally:
        watchdog.cancel()
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()
        server.resume()
        if not server.runs:
            server.start()
