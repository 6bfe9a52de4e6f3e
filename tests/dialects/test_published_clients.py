"""The clients that their projects publish, unmodified, in Node.js against real servers."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers import ASGI_SERVERS, Server, pytest_runtest_makereport, run_server

__all__ = ["pytest_runtest_makereport"]

pytestmark = [pytest.mark.node, pytest.mark.servers]

FOLDER = Path(__file__).parent / "node"

PATHS = {"dcrf": "/streams/", "dcrf-reconnect": "/one-stream/", "rpc": "/rpc/", "rpc-login": "/rpc/login/"}

EXPECTED_FAULTS = {"RuntimeError: A fault of the server.", "ZeroDivisionError: division by zero"}
"""What handlers raise in scenarios of errors. Nothing else may be in the log of a server."""


def scenarios_of(script: str) -> list[str]:
    """The names in a script. One that does not exist would fail, and one that is not found would be missed."""
    source = (FOLDER / f"{script}.js").read_text(encoding="utf-8")
    return re.findall(r'^  async "?([\w-]+)"?\(url\) \{$', source, re.MULTILINE)


@pytest.fixture(scope="module", params=ASGI_SERVERS)
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    with run_server(request.param, "tests.dialects.asgi:application") as server:
        yield server
        output = server.output()
        faults = re.findall(r"^(\w+(?:Error|Exception)\b.*)$", output, re.MULTILINE)
        assert set(faults) <= EXPECTED_FAULTS, output


def run(script: str, url: str, scenario: str) -> None:
    node = shutil.which("node")
    if node is None or not (FOLDER / "node_modules").is_dir():
        raise RuntimeError("These tests need Node.js and the clients in package-lock.json: run .ci/node-clients.")
    done = subprocess.run(
        [node, f"{script}.js", url, scenario],
        cwd=FOLDER,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("scenario", scenarios_of("dcrf"))
def test_dcrf_client(server: Server, scenario: str) -> None:
    run("dcrf", server.socket_url(PATHS.get(f"dcrf-{scenario}", PATHS["dcrf"])), scenario)


@pytest.mark.parametrize("scenario", scenarios_of("rpc"))
def test_rpc_websockets(server: Server, scenario: str) -> None:
    run("rpc", server.socket_url(PATHS.get(f"rpc-{scenario}", PATHS["rpc"])), scenario)


def test_all_scenarios_are_found() -> None:
    assert (len(scenarios_of("dcrf")), len(scenarios_of("rpc"))) == (8, 8)


@pytest.mark.parametrize("name", ["dcrf-client", "rpc-websockets"])
def test_the_clients_are_those_that_the_lock_file_names(name: str) -> None:
    locked = json.loads((FOLDER / "package-lock.json").read_text(encoding="utf-8"))["packages"][f"node_modules/{name}"]
    installed = json.loads((FOLDER / "node_modules" / name / "package.json").read_text(encoding="utf-8"))
    assert installed["version"] == locked["version"]
    assert locked["integrity"].startswith("sha512-")
