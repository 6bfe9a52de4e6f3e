"""A key runs once over several processes, also if they are killed. ``KEYS=200 TRIES=50 PROCESSES=8`` for more of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.servers import ROOT, python_environment
from tests.throttling.redis_server import RedisServer, cache_at

pytestmark = pytest.mark.servers

KEYS = int(os.environ.get("KEYS", "10"))
TRIES = int(os.environ.get("TRIES", "3"))
PROCESSES = int(os.environ.get("PROCESSES", "3"))


class Payer:
    """One process."""

    def __init__(self, caches: Any, file: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-W", "error", "-m", "tests.idempotency.payer", json.dumps(caches), str(file)],
            cwd=ROOT,
            env=python_environment(ROOT),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def begin(self, keys: list[str], seconds: float = 0) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps([keys, seconds]) + "\n")
        self.process.stdin.flush()

    def outcome(self) -> Any:
        assert self.process.stdout is not None
        return json.loads(self.process.stdout.readline())

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


Start = Callable[[], Payer]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "runs"


@pytest.fixture
def start(redis_server: RedisServer, file: Path) -> Iterator[Start]:
    """A function that starts a process; all of them share a Redis."""
    with ExitStack() as stack:

        def start() -> Payer:
            payer = Payer(cache_at(redis_server.url), file)
            stack.callback(payer.kill)
            assert payer.outcome() == "ready"
            return payer

        yield start


def runs(file: Path) -> Counter[str]:
    return Counter(file.read_text(encoding="utf-8").split()) if file.exists() else Counter()


def test_each_key_runs_once_however_many_processes_get_it(start: Start, file: Path) -> None:
    payers = [start() for _ in range(PROCESSES)]
    keys = [f"k-{number}" for number in range(KEYS)]
    for _ in range(TRIES):
        for payer in payers:
            payer.begin([*keys, *keys])
        for payer in payers:
            for key, outcome in zip([*keys, *keys], payer.outcome(), strict=True):
                assert outcome in (f"paid {key}", "idempotency_in_progress")
    payers[0].begin(keys)
    assert payers[0].outcome() == [f"paid {key}" for key in keys]
    assert runs(file) == dict.fromkeys(keys, 1)


def test_no_key_runs_again_after_its_process_was_killed(start: Start, file: Path) -> None:
    other = start()
    for number in range(TRIES):
        payer = start()
        keys = [f"k-{number}-{each}" for each in range(KEYS)]
        payer.begin(keys, 600)
        patience = time.monotonic() + 60
        while not all(key in runs(file) for key in keys):
            assert time.monotonic() < patience, runs(file)
            time.sleep(0.01)
        payer.kill()
        other.begin(keys, 600)
        assert other.outcome() == ["idempotency_in_progress"] * KEYS  # until its claim ends; then it is unknown
    assert set(runs(file).values()) == {1}
