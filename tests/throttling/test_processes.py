"""Exactly N calls pass, over any number of processes, whatever their clocks say."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.servers import ROOT, python_environment
from tests.throttling.hammer import CALLS, CLIENTS, LIMIT
from tests.throttling.redis_server import RedisServer, cache_at

pytestmark = pytest.mark.servers

PROCESSES = 4
ROUNDS = 3
AHEAD = 60
"""Seconds that the clock of every other process is ahead."""

PATIENT = {"THROTTLE_TIMEOUT": 10}
"""More processes than processors: how long each waits for its turn is not the subject."""

CLIENT_CLASSES = ("DefaultClient", "HerdClient", "ShardClient")

Passed = Callable[[str, str], list[int]]


@pytest.fixture(scope="module")
def passed(session_redis: RedisServer) -> Iterator[Passed]:
    """A function that has the clients of all processes call one bucket of a cache: how many calls passed in each."""
    url = session_redis.url
    caches = {
        **{client: cache_at(url, CLIENT_CLASS=f"django_redis.client.{client}")["default"] for client in CLIENT_CLASSES},
        "default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"},
        "django": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": url},
    }
    command = [sys.executable, "-W", "error", "-m", "tests.throttling.hammer", json.dumps(caches), json.dumps(PATIENT)]
    with ExitStack() as stack:
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
            for number in range(PROCESSES)
        ]
        for process in running:
            assert answer(process) == "ready"

        def passed(alias: str, bucket: str) -> list[int]:
            for process in running:
                assert process.stdin is not None
                process.stdin.write(json.dumps([alias, bucket]) + "\n")
                process.stdin.flush()
            return [int(answer(process)) for process in running]

        yield passed
        for process in running:
            process.communicate(timeout=30)
            assert process.returncode == 0


def answer(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def rounds(passed: Passed, alias: str) -> list[list[int]]:
    return [passed(alias, f"{alias}, round {number}") for number in range(ROUNDS)]


@pytest.mark.parametrize("client", CLIENT_CLASSES)
def test_exactly_as_many_as_the_rate_says(passed: Passed, redis_server: RedisServer, client: str) -> None:
    """Four processes of twenty clients, every other one with a clock that is a minute ahead, round after round."""
    assert [sum(each) for each in rounds(passed, client)] == [LIMIT] * ROUNDS
    assert redis_server.key_names()
    assert PROCESSES * CLIENTS * CALLS > LIMIT


def test_other_caches_never_let_more_through(passed: Passed, redis_server: RedisServer) -> None:
    """Django's own client of Redis stands for all that have an atomic ``add()`` and ``incr()``."""
    assert [sum(each) for each in rounds(passed, "django")] == [LIMIT] * ROUNDS
    assert redis_server.key_names()


def test_local_memory_counts_for_its_process(passed: Passed, redis_server: RedisServer) -> None:
    """Exactly as many in each, and nothing in the Redis beside it."""
    assert rounds(passed, "default") == [[LIMIT] * PROCESSES] * ROUNDS
    assert redis_server.key_names() == []
