"""The comparison of Channels' own tests with and without the mixin, over a small tree of sources."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import channels
import pytest

from tests.channels_suite import __main__ as comparison
from tests.channels_suite.__main__ import HERE, WEBSOCKET, Results, differences

CONFTEST = """
from django.conf import settings

def pytest_configure():
    settings.configure()
"""

TESTS = """
import pytest
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from channels.testing import WebsocketCommunicator

class Echo(AsyncJsonWebsocketConsumer):
    async def receive_json(self, content):
        await self.send_json(content)

async def talk(**frame):
    communicator = WebsocketCommunicator(Echo.as_asgi(), "/")
    assert (await communicator.connect())[0]
    await communicator.send_to(**frame)
    try:
        return await communicator.receive_from()
    finally:
        await communicator.disconnect()

@pytest.mark.asyncio
async def test_echo():
    assert await talk(text_data="1") == "1"

def test_broken():
    assert False

@pytest.mark.asyncio
@pytest.mark.parametrize("data", [b"1"])
async def test_bytes(data):
    with pytest.raises(ValueError):
        await talk(bytes_data=data)

@pytest.mark.asyncio
async def test_json_websocket_consumer():
    with pytest.raises(ValueError):
        await talk(bytes_data=b"1")
"""


def test_differences_are_printed(tmp_path: Path) -> None:
    """A documented one with its reason. A test that fails without the mixin, too, is no difference."""
    Path(tmp_path, "channels").symlink_to(Path(channels.__file__).parent, target_is_directory=True)
    Path(tmp_path, "tests").mkdir()
    Path(tmp_path, "tests", "conftest.py").write_text(CONFTEST)
    Path(tmp_path, "tests", "test_generic_websocket.py").write_text(TESTS)
    command = [sys.executable, str(HERE), str(tmp_path)]
    compared = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "documented  tests/test_generic_websocket.py::test_json_websocket_consumer\n" in compared.stdout
    assert "A binary frame for a JSON consumer is answered 400" in compared.stdout
    assert "DIFFERS  tests/test_generic_websocket.py::test_bytes[1]\n    passed -> failed: " in compared.stdout
    assert "fails without the mixin, too  tests/test_generic_websocket.py::test_broken\n" in compared.stdout
    assert "3 passed without RouteMixin, 1 with it; 1 differences are not documented." in compared.stdout
    assert compared.returncode == 1, compared.stderr


def test_only_documented_differences(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Another outcome of the same test is not documented."""
    test = f"{WEBSOCKET}json_websocket_consumer"
    for after, status in (("failed: DID NOT RAISE ValueError", 0), ("failed: KeyError", 1)):
        runs = {False: Results("", {test: "passed"}, {}), True: Results("", {test: after}, {})}
        monkeypatch.setattr(comparison, "run", lambda sources, *, mixin, runs=runs: runs[mixin])
        Path(tmp_path, "tests").mkdir(exist_ok=True)
        assert comparison.main([str(tmp_path)]) == status


def test_folder_without_tests(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert comparison.main([str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith("usage: ")


def test_warnings_that_the_mixin_adds() -> None:
    """One that Channels gives as well is no difference, but a second one like it is."""
    plain = Results("", {"a": "passed", "b": "passed"}, {"a": ["Leak: x"]})
    mixin = Results("", {"a": "passed"}, {"a": ["Leak: x", "Leak: x"]})
    assert differences(plain, mixin) == {"a": ["warns: Leak: x"], "b": ["passed -> not run"]}
