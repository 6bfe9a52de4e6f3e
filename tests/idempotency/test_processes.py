"""A key runs once over several processes, also if they are killed. ``benchmarks/idem.py`` does more of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from benchmarks import idem
from tests.throttling.redis_server import RedisServer, cache_at

from .driving import Payer, runs, wait_for_beginning

pytestmark = pytest.mark.servers

KEYS = 10
TRIES = 3
PROCESSES = 3

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
            payer.ready()
            return payer

        yield start


def test_each_key_runs_once_however_many_processes_get_it(start: Start, file: Path) -> None:
    payers = [start() for _ in range(PROCESSES)]
    keys = [f"k-{number}" for number in range(KEYS)]
    for _ in range(TRIES):
        for payer in payers:
            payer.begin((key, 0) for key in [*keys, *keys])
        for payer in payers:
            for key, outcome in zip([*keys, *keys], payer.outcome(), strict=True):
                assert outcome in (f"paid {key}", "idempotency_in_progress")
    payers[0].begin((key, 0) for key in keys)
    assert payers[0].outcome() == [f"paid {key}" for key in keys]
    assert runs(file) == dict.fromkeys(keys, 1)


def test_no_key_runs_again_after_its_process_was_killed(start: Start, file: Path) -> None:
    other = start()
    for number in range(TRIES):
        payer = start()
        keys = [f"k-{number}-{each}" for each in range(KEYS)]
        payer.begin((key, 600) for key in keys)
        assert set(wait_for_beginning(file, keys).values()) == {payer.process.pid}
        payer.kill()
        other.begin((key, 600) for key in keys)
        assert other.outcome() == ["idempotency_in_progress"] * KEYS  # until its claim ends; then it is unknown
    assert set(runs(file).values()) == {1}


def test_benchmark(redis_server: RedisServer, file: Path) -> None:
    """It does both at once, and counts."""
    figures = idem.measure(cache_at(redis_server.url), file, keys=2, tries=1, processes=2)
    assert figures.once == 2
    assert (figures.never, figures.again, figures.again_after_kill, figures.wrong) == (0, 0, 0, 0)
    assert figures.kills == 1
    assert figures.requests == 2 * 1 * 2
    assert "2 of 2 keys ran exactly once" in idem.report(figures)
    assert figures.is_good
