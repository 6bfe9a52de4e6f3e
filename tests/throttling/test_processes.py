"""Exactly N calls pass, over any number of processes, whatever their clocks say."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from tests.servers import ROOT, python_environment
from tests.throttling.hammer import CALLS, CLIENTS, LIMIT
from tests.throttling.redis_server import RedisServer, cache_at

pytestmark = pytest.mark.servers

PROCESSES = 8
ROUNDS = 5
AHEAD = 60
"""Seconds that the clock of every other process is ahead."""

PATIENT = {"THROTTLE_TIMEOUT": 10}
"""More processes than processors: how long each waits for its turn is not the subject."""

LOCAL = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}


@contextmanager
def processes(count: int, caches: Mapping[str, Any]) -> Iterator[Callable[[str], list[int]]]:
    """A function that has the clients of all of them call one bucket, and says how many calls passed in each."""
    with ExitStack() as stack:
        command = [
            sys.executable,
            "-W",
            "error",
            "-m",
            "tests.throttling.hammer",
            json.dumps(caches),
            json.dumps(PATIENT),
        ]
        running = [
            stack.enter_context(
                subprocess.Popen(
                    [*command, f"{AHEAD * (number % 2)}"],
                    cwd=ROOT,
                    env=python_environment(ROOT),
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            for number in range(count)
        ]
        for process in running:
            assert answer(process) == "ready"

        def passed(bucket: str) -> list[int]:
            for process in running:
                assert process.stdin is not None
                process.stdin.write(f"{bucket}\n")
                process.stdin.flush()
            return [int(answer(process)) for process in running]

        yield passed
        for process in running:
            process.communicate(timeout=30)
            assert process.returncode == 0


def answer(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


@pytest.mark.parametrize("client", ["DefaultClient", "HerdClient", "ShardClient"])
def test_exactly_as_many_as_the_rate_says(redis_server: RedisServer, client: str) -> None:
    """Eight processes of fifty clients, every other one with a clock that is a minute ahead, round after round."""
    caches = cache_at(redis_server.url, CLIENT_CLASS=f"django_redis.client.{client}")
    with processes(PROCESSES, caches) as passed:
        rounds = [passed(f"round {number}") for number in range(ROUNDS)]
    assert [sum(each) for each in rounds] == [LIMIT] * ROUNDS
    assert PROCESSES * CLIENTS * CALLS > LIMIT


def test_other_caches_never_let_more_through(redis_server: RedisServer) -> None:
    """Django's own client of Redis stands for all that have an atomic ``add()`` and ``incr()``."""
    caches = {"default": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": redis_server.url}}
    with processes(PROCESSES, caches) as passed:
        rounds = [passed(f"round {number}") for number in range(ROUNDS)]
    assert [sum(each) for each in rounds] == [LIMIT] * ROUNDS


def test_local_memory_counts_for_its_process() -> None:
    """Exactly as many in each."""
    with processes(2, LOCAL) as passed:
        assert [passed(f"round {number}") for number in range(ROUNDS)] == [[LIMIT, LIMIT]] * ROUNDS
