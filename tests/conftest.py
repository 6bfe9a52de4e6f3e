from __future__ import annotations

import os
import sys
from collections.abc import Iterator

import pytest
from hypothesis import settings

from routesock.testing import RouteClient
from routesock.testing.application import keep_test_connections

# A deadline would measure how busy the machine is. `make matrix` runs one environment with the profile "thorough".
settings.register_profile("quick", max_examples=30, deadline=None)
settings.register_profile("thorough", max_examples=200, deadline=None)
settings.register_profile("deep", max_examples=250, deadline=None)
settings.load_profile("quick")


@pytest.fixture(scope="session", autouse=True)
def only_tests_are_measured() -> None:
    """The programs that tests start would measure their coverage too, and take longer: see ``.ci/test``."""
    os.environ.pop("COVERAGE_PROCESS_START", None)


@pytest.fixture(scope="session", autouse=True)
def clients_are_patient() -> Iterator[None]:
    """A test client waits for one second by default, and a busy machine may take longer to run a thread."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setitem(RouteClient.__init__.__kwdefaults__, "timeout", 30.0)
        yield


@pytest.fixture(autouse=True)
def examples_are_not_measured(request: pytest.FixtureRequest) -> Iterator[None]:
    """hypothesis makes its examples twice as fast without coverage's tracer; what they reach, other tests reach too."""
    tracer = sys.gettrace()
    if tracer is None or not getattr(request.function, "is_hypothesis_test", False):
        yield
        return
    sys.settrace(None)
    yield
    sys.settrace(tracer)


@pytest.fixture(autouse=True)
def connections_of_other_tests() -> Iterator[None]:
    """Plain Channels looks at every connection of its thread around each message.

    It would raise at one that an earlier test opened there, in a test that may not use the database.
    """
    with keep_test_connections():
        yield
