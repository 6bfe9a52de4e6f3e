"""Compares the outcomes of Channels' own tests with and without ``RouteMixin`` in front of the generic consumers.

Run it where Channels' sources are, a checkout or an unpacked archive of a tag (the package on PyPI has no tests)::

    python tests/channels_suite PATH_TO_CHANNELS_SOURCES

It runs Channels' tests twice, with the Channels of these sources, and prints the differences. It exits with 1 if there
is one that :data:`DOCUMENTED` does not name, and with 2 if the tests cannot be run.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final, NamedTuple

HERE: Final = Path(__file__).resolve().parent

BINARY: Final = "A binary frame for a JSON consumer is answered 400 and ends no socket (docs/howto/take-over.rst)."

UNREAD: Final = (
    "A socket's own channel exists from the first access to self.channel_name on (docs/explanation/lifecycle.rst)."
)

WEBSOCKET: Final = "tests/test_generic_websocket.py::test_"

DOCUMENTED: Final[dict[str, tuple[str, str]]] = {
    f"{WEBSOCKET}json_websocket_consumer": ("DID NOT RAISE", BINARY),
    f"{WEBSOCKET}async_json_websocket_consumer": ("DID NOT RAISE", BINARY),
    f"{WEBSOCKET}async_websocket_consumer_specific_channel_layer": ("IndexError", UNREAD),
    f"{WEBSOCKET}block_leading_dot_type_function_call": ("IndexError", UNREAD),
    f"{WEBSOCKET}block_underscored_type_function_call": ("IndexError", UNREAD),
}
"""The tests that may differ: a part of what they fail with, and the reason."""


class Results(NamedTuple):
    """What came of one run."""

    channels: str
    outcomes: dict[str, str]
    warnings: dict[str, list[str]]


def run(sources: Path, *, mixin: bool) -> Results:
    """Run the tests in ``sources``. Raises ``RuntimeError`` if pytest does not get as far as to run them."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "outcomes.json")
        paths = [str(sources), str(HERE), str(HERE.parent.parent)]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "CHANNELS_SUITE_OUTCOMES": str(file)}
        environment["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # Channels needs two plugins, and a test should be quick
        environment.pop("DJANGO_SETTINGS_MODULE", None)
        if mixin:
            environment["CHANNELS_SUITE_MIXIN"] = "yes"
        command = [
            sys.executable, "-m", "pytest", "-q", "-p", "comparison_plugin", "-p", "no:cacheprovider",
            "-p", "pytest_asyncio.plugin", "-p", "pytest_django.plugin",
            *(("-p", "routesock.pytest_plugin") if mixin else ()), "--continue-on-collection-errors", "tests",
        ]  # fmt: skip
        pytest = subprocess.run(command, cwd=sources, env=environment, capture_output=True, text=True, check=False)
        results = Results(**json.loads(file.read_text(encoding="utf-8"))) if file.exists() else None
    if results is None or not any(outcome != "skipped" for outcome in results.outcomes.values()):
        raise RuntimeError(f"pytest ran no tests in {sources}:\n{pytest.stdout}{pytest.stderr}")
    if Path(results.channels).parent.parent != sources:
        raise RuntimeError(f"The tests ran with another Channels, {results.channels}.")
    return results


def differences(plain: Results, mixin: Results) -> dict[str, list[str]]:
    """Return, by test, in what the run with the mixin differs: its outcome, and warnings that it adds."""
    found: dict[str, list[str]] = {}
    for test in sorted({*plain.outcomes, *mixin.outcomes}):
        before, after = (results.outcomes.get(test, "not run") for results in (plain, mixin))
        lines = [f"{before} -> {after}"] if before != after else []
        known = list(plain.warnings.get(test, ()))
        for warning in mixin.warnings.get(test, ()):
            if warning in known:
                known.remove(warning)
            else:
                lines.append(f"warns: {warning}")
        if lines:
            found[test] = lines
    return found


def main(arguments: list[str]) -> int:
    """Run both, print the differences, and return the exit status."""
    if len(arguments) != 1 or not Path(arguments[0], "tests").is_dir():
        print("usage: python tests/channels_suite PATH_TO_CHANNELS_SOURCES", file=sys.stderr)
        return 2
    sources = Path(arguments[0]).resolve()
    try:
        plain = run(sources, mixin=False)  # one after the other: both use the same database file
        mixin = run(sources, mixin=True)
    except RuntimeError as exc:
        print(exc, file=sys.stderr)
        return 2
    unexpected = 0
    for test, lines in differences(plain, mixin).items():
        error, reason = DOCUMENTED.get(test, ("", ""))
        is_documented = bool(error) and len(lines) == 1 and error in lines[0]
        unexpected += not is_documented
        print(f"{'documented' if is_documented else 'DIFFERS'}  {test}")
        for line in [*lines, *([reason] if is_documented else ())]:
            print(f"    {line}")
    for test, outcome in plain.outcomes.items():
        if outcome.startswith(("not collected", "failed")):
            print(f"fails without the mixin, too  {test}\n    {outcome}")
    passed = [sum(outcome == "passed" for outcome in results.outcomes.values()) for results in (plain, mixin)]
    print(f"{passed[0]} passed without RouteMixin, {passed[1]} with it; {unexpected} differences are not documented.")
    return 1 if unexpected else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
