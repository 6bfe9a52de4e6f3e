from __future__ import annotations

import gc
import importlib
import os
import pkgutil
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from channels.testing import WebsocketCommunicator
from hypothesis import HealthCheck, settings

import routesock
from routesock.testing import RouteClient
from routesock.testing.application import keep_test_connections

# A deadline would measure how busy the machine is, and so does the check that data is generated quickly. `make matrix`
# runs one environment with the profile "thorough".
for profile, examples in {"quick": 30, "thorough": 200, "deep": 250}.items():
    settings.register_profile(
        profile, max_examples=examples, deadline=None, suppress_health_check=[HealthCheck.too_slow]
    )
settings.load_profile("quick")

LONGEST = (
    "tests/browser/",
    "tests/asyncapi/test_libraries.py",
    "tests/docs_page/",
    "tests/tutorials/",
    "tests/test_benchmarks.py",
    "tests/test_ci.py",
    "tests/layers/test_crowds.py",
    "tests/clients/",
    "tests/takeover/",
    "tests/management/",
    "tests/dialects/",
    "tests/auth/test_servers.py",
    "tests/test_checks.py",
    "tests/testing/",
    "tests/test_imports.py",
    "tests/layers/",
    "tests/idempotency/",
    "tests/database/",
    "tests/sessions/",
    "tests/asyncapi/",
    "tests/connection/",
    "tests/wire/",
    "tests/shutdown/",
    "tests/channels_suite/",
    "tests/login/",
)
"""The folders and files that take longest, by their longest file."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the longest files first: the workers of pytest-xdist take file after file, and end at about the same time.

    One that begins last would keep a single worker busy while the others have nothing left to do.
    """
    ranks: dict[str, int] = {}

    def rank(item: pytest.Item) -> int:
        file = item.nodeid.partition("::")[0]
        if file not in ranks:
            ranks[file] = next((index for index, name in enumerate(LONGEST) if file.startswith(name)), len(LONGEST))
        return ranks[file]

    items.sort(key=rank)


# Collecting makes 12,000 tests that stay. Without these two the garbage collector looks at all of them again and again:
# that takes a third of the time of collecting, and some of that of each test that makes many objects.
gc.disable()


class Measuring:
    """Coverage's tracer, which doubles the time of what it traces."""

    tracer: Any = None

    def pause(self) -> None:
        self.tracer = sys.gettrace()
        sys.settrace(None)

    def resume(self) -> None:
        if self.tracer is not None:
            sys.settrace(self.tracer)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Collect without coverage. The modules of the package are imported before, so that their lines are measured."""
    measuring = Measuring()
    if sys.gettrace() is not None:
        import_all_modules()
    measuring.pause()
    try:
        return (yield)
    finally:
        measuring.resume()


def import_all_modules() -> None:
    """Import the package without its tests' help: some modules need a registry of apps that has their models."""
    for module in pkgutil.walk_packages(routesock.__path__, "routesock."):
        if module.name not in ("routesock.models", "routesock.admin"):
            importlib.import_module(module.name)


def pytest_collection_finish() -> None:
    """Let the garbage collector look at what the tests make, and no longer at the tests themselves."""
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session", autouse=True)
def only_tests_are_measured() -> None:
    """The programs that tests start would measure their coverage too, and take longer: see ``.ci/test``."""
    os.environ.pop("COVERAGE_PROCESS_START", None)


@pytest.fixture(scope="session", autouse=True)
def clients_are_patient() -> Iterator[None]:
    """A test client waits for one second by default, and a busy machine may take longer to run a thread."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setitem(RouteClient.__init__.__kwdefaults__, "timeout", 30.0)
        for method in ("connect", "receive_from", "receive_json_from", "receive_output", "wait"):
            monkeypatch.setattr(getattr(WebsocketCommunicator, method), "__defaults__", (30,))
        monkeypatch.setattr(WebsocketCommunicator.disconnect, "__defaults__", (1000, 30))
        yield


@pytest.fixture(autouse=True)
def repetitions_are_not_measured(request: pytest.FixtureRequest) -> Iterator[None]:
    """Without coverage's tracer they take half of the time; what they reach, other tests reach too.

    They are the examples of hypothesis, the tests of browsers and Node.js, and those that are marked so.
    """
    is_measured = not getattr(request.function, "is_hypothesis_test", False) and not any(
        request.node.get_closest_marker(name) for name in NOT_MEASURED
    )
    measuring = Measuring()
    if not is_measured:
        measuring.pause()
    yield
    measuring.resume()


NOT_MEASURED = ("browser", "node", "repetitions")


@pytest.fixture(autouse=True)
def connections_of_other_tests() -> Iterator[None]:
    """Plain Channels looks at every connection of its thread around each message.

    It would raise at one that an earlier test opened there, in a test that may not use the database.
    """
    with keep_test_connections():
        yield
