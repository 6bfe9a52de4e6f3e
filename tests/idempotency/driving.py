"""Drives processes that get requests with the same keys: for ``test_processes.py`` and ``benchmarks/idem.py``."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from tests.servers import ROOT, python_environment

BEGUN_WITHIN: Final = 60.0
"""Seconds within which every handler has to begin."""


class Payer:
    """One process. It is sent nothing before ``ready()``.

    Args:
        caches: The ``CACHES`` of its settings.
        file: Where its handlers write that they begin.
    """

    def __init__(self, caches: Any, file: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-W", "error", "-m", "tests.idempotency.payer", json.dumps(caches), str(file)],
            cwd=ROOT,
            env=python_environment(ROOT),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.is_ready = False

    def ready(self) -> None:
        """Wait until it has started. Does nothing the second time."""
        if not self.is_ready:
            assert self.outcome() == "ready"
            self.is_ready = True

    def begin(self, orders: Iterable[tuple[str, float]]) -> None:
        """Send a request for each key, all at once, with the seconds that its handler takes."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps([*orders]) + "\n")
        self.process.stdin.flush()

    def outcome(self) -> Any:
        """Wait for the outcomes of the requests, in their order."""
        assert self.process.stdout is not None
        return json.loads(self.process.stdout.readline())

    def kill(self, signal_number: int = signal.SIGKILL) -> None:
        """Kill it, and wait until it has ended."""
        self.process.send_signal(signal_number)
        self.process.communicate()


def started(file: Path) -> list[tuple[str, int]]:
    """The keys whose handlers have begun, each with the id of its process, in their order."""
    if not file.exists():
        return []
    lines = [line.split() for line in file.read_text(encoding="utf-8").splitlines()]
    return [(key, int(pid)) for key, pid in lines]


def runs(file: Path) -> Counter[str]:
    """How often the handler of each key has begun."""
    return Counter(key for key, _ in started(file))


def wait_for_beginning(file: Path, keys: Iterable[str]) -> dict[str, int]:
    """Wait until the handlers of ``keys`` have begun, and return the processes in which they did so first."""
    wanted = set(keys)
    deadline = time.monotonic() + BEGUN_WITHIN
    while True:
        first: dict[str, int] = {}
        for key, pid in started(file):
            first.setdefault(key, pid)
        if wanted <= first.keys():
            return {key: first[key] for key in wanted}
        if time.monotonic() > deadline:
            raise TimeoutError(f"These have not begun within {BEGUN_WITHIN:g} s: {wanted - first.keys()}")
        time.sleep(0.01)


def write_beginning(descriptor: int, key: str) -> None:
    """Write that the handler of ``key`` begins in this process, in one system call, so that a kill cannot cut it."""
    os.write(descriptor, f"{key} {os.getpid()}\n".encode())
