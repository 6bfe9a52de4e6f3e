"""A pytest plugin for Channels' own tests: puts ``RouteMixin`` in front of the generic consumers, records the outcomes.

``__main__.py`` beside it runs pytest with it, in the folder of Channels' sources.
"""

from __future__ import annotations

import json
import os
import re
import warnings
from pathlib import Path
from typing import Any, Final

import pytest

OUTCOMES: Final = "CHANNELS_SUITE_OUTCOMES"
"""The environment variable that names the file for the outcomes."""

IN_FRONT: Final = "CHANNELS_SUITE_MIXIN"
"""The environment variable that is set where the mixin is to be put in front."""

CONSUMERS: Final = (
    "WebsocketConsumer",
    "JsonWebsocketConsumer",
    "AsyncWebsocketConsumer",
    "AsyncJsonWebsocketConsumer",
)

_VARYING: Final = re.compile(r"0x[0-9a-f]+|Task-\d+|\d+\.\d+s?\b|line \d+|:\d+")

_outcomes: Final[dict[str, str]] = {}

_warnings: Final[dict[str, list[str]]] = {}


def put_in_front() -> None:
    """Replace Channels' generic consumers, before a test module imports them."""
    from channels.generic import websocket

    from routesock import RouteMixin

    for name in CONSUMERS:
        consumer = getattr(websocket, name)
        setattr(websocket, name, type(name, (RouteMixin, consumer), {"__module__": consumer.__module__}))


def pytest_sessionstart() -> None:
    if os.environ.get(IN_FRONT):
        put_in_front()


def pytest_collectreport(report: pytest.CollectReport) -> None:
    if report.failed:
        _outcomes[report.nodeid] = f"not collected: {_summary(report)}"


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Keep what is worst of a test's three phases."""
    if report.failed and not _outcomes.get(report.nodeid, "").startswith("failed"):
        _outcomes[report.nodeid] = f"failed: {_summary(report)}"
    elif report.skipped:
        _outcomes[report.nodeid] = "skipped"
    else:
        _outcomes.setdefault(report.nodeid, "passed")


def pytest_warning_recorded(warning_message: warnings.WarningMessage, nodeid: str) -> None:
    if nodeid:
        first = str(warning_message.message).strip().split("\n", 1)[0]
        _warnings.setdefault(nodeid, []).append(f"{warning_message.category.__name__}: {_VARYING.sub('…', first)}")


def pytest_sessionfinish() -> None:
    import channels

    results = {"channels": channels.__file__, "outcomes": _outcomes, "warnings": _warnings}
    Path(os.environ[OUTCOMES]).write_text(json.dumps(results), encoding="utf-8")


def _summary(report: Any) -> str:
    """Return the last line of a report that says anything: the exception."""
    crash = getattr(report.longrepr, "reprcrash", None)
    text = str(report.longrepr) if crash is None else crash.message
    lines = [line.removeprefix("E").strip() for line in text.splitlines() if line.strip()]
    return _VARYING.sub("…", lines[0 if crash is not None else -1]) if lines else ""
