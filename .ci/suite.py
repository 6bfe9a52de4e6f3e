"""Run the tests under coverage: ``.ci/suite.py [mark to leave out]... -- [argument of pytest]...``.

Without arguments for pytest two processes share the tests: whoever starts a server waits for it most of the time, and
the other tests run meanwhile. The last line is the closing line of pytest, of both together, since a CI reads that.
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

WAITING: Final = "servers or browser or postgresql"
# Each is the other's opposite, so that a test is in exactly one of them wherever it is written.
HALVES: Final = {"with servers": f"({WAITING})", "without servers": f"not ({WAITING})"}

CLOSING: Final = re.compile(r"=* ?(no tests ran|\d+ [a-z ]+(?:, \d+ [a-z ]+)*) in ([\d.]+)s(?: \([^)]+\))? ?=*")
COLOURS: Final = re.compile(r"\x1b\[[\d;]*m")
ORDER: Final = ("failed", "passed", "skipped", "xfailed", "xpassed", "warnings", "error")
KINDS: Final = {"errors": "error", "warning": "warnings"}

INTERRUPTED: Final = 2
"""pytest's exit status where it could not collect a file."""

NO_TESTS: Final = 5
"""pytest's exit status where it had nothing to run."""


@dataclass
class Result:
    """What one process of pytest came to."""

    counts: Counter[str]
    seconds: float
    passed: bool


class Run:
    """One process of pytest, its log and its coverage."""

    def __init__(self, folder: str, name: str, arguments: Sequence[str]) -> None:
        self.name = name
        self.data = Path(folder, f"{name}.coverage")
        self._log = Path(folder, f"{name}.log")
        self._begun = time.monotonic()
        self._printed = 0
        command = [sys.executable, "-m", "coverage", "run", f"--data-file={self.data}", "-m", "pytest", *arguments]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)

    def follow(self) -> None:
        """Prints its log until it ends: all of it, or what has not been printed yet."""
        with self._log.open("rb") as log:
            log.seek(self._printed)
            ends = False
            while not ends:
                ends = self._process.poll() is not None  # before the log is read, or its last lines would be missed
                sys.stdout.buffer.write(log.read())
                sys.stdout.buffer.flush()
                self._printed = log.tell()
                if not ends:
                    time.sleep(0.1)
        if not self._text().endswith("\n"):
            print(flush=True)

    def wait(self) -> int:
        """Its exit status (negative: the signal that ended it)."""
        return self._process.wait()

    def last_line(self) -> str:
        return self._text().rstrip().rpartition("\n")[2]

    def result(self, *, may_be_empty: bool) -> Result:
        """What its closing line says; with one error more where it failed for another reason than its tests."""
        status = self.wait()
        found = counted(self._text())
        counts, seconds = found or (Counter(), time.monotonic() - self._begun)
        passed = found is not None and (status == 0 or (status == NO_TESTS and may_be_empty))
        if not passed and (status < 0 or not (counts["failed"] or counts["error"])):
            print(f"FAILED: pytest {self.name} ended with exit status {status}", flush=True)
            counts["error"] += 1
        return Result(counts, seconds, passed)

    def _text(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace")


def counted(log: str) -> tuple[Counter[str], float] | None:
    """The counts of pytest's closing line, and its seconds; ``None`` where ``log`` has no such line."""
    lines = (CLOSING.fullmatch(COLOURS.sub("", line).strip()) for line in reversed(log.splitlines()))
    closing = next(filter(None, lines), None)
    if closing is None:
        return None
    counts: Counter[str] = Counter()
    for number, word in re.findall(r"(\d+) ([a-z ]+)", closing[1]):
        counts[KINDS.get(word, word)] += int(number)
    return counts, float(closing[2])


def closing_line(results: Sequence[Result]) -> str:
    """pytest's closing line of all ``results``, which have run at the same time."""
    total = sum((result.counts for result in results), Counter[str]())
    del total["deselected"]  # each half deselects the other
    kinds = sorted(total, key=lambda kind: ORDER.index(kind) if kind in ORDER else len(ORDER))
    parts = ", ".join(f"{total[kind]} {_word(kind, total[kind])}" for kind in kinds)
    seconds = max(result.seconds for result in results)
    clock = f" ({timedelta(seconds=int(seconds))})" if seconds >= 60 else ""
    return f" {parts or 'no tests ran'} in {seconds:.2f}s{clock} ".center(80, "=")


def _word(kind: str, number: int) -> str:
    if kind == "error":
        return "error" if number == 1 else "errors"
    return "warning" if kind == "warnings" and number == 1 else kind


def coverage(*arguments: str) -> bool:
    """Whether this command of coverage succeeds."""
    return subprocess.run([sys.executable, "-m", "coverage", *arguments]).returncode == 0


def start(folder: str, left_out: Sequence[str], arguments: Sequence[str]) -> list[Run]:
    """Starts both halves, or the one process that has ``arguments``."""
    without = [f"not {mark}" for mark in left_out]
    if arguments:
        chosen = ["-m", " and ".join(without)] if without else []
        return [Run(folder, "with arguments", [*chosen, *arguments])]
    # In a cache of both, the half that ends last would overwrite the failures of the other.
    return [
        Run(folder, name, ["-p", "no:cacheprovider", "-m", " and ".join([half, *without])])
        for name, half in HALVES.items()
    ]


def main() -> int:
    separator = sys.argv.index("--")
    left_out, arguments = sys.argv[1:separator], sys.argv[separator + 1 :]
    coverage("erase")
    with TemporaryDirectory() as folder:
        runs = start(folder, left_out, arguments)
        try:
            for run in runs:
                print(f"The tests {run.name}:", flush=True)
                run.follow()
        except KeyboardInterrupt:  # the terminal has told them too, and they have servers to stop
            for run in runs:
                run.follow()
            return 130
        measured = coverage("combine", "--quiet", *(str(run.data) for run in runs if run.data.exists()))
        measured = measured and coverage("report", "--skip-covered", "--skip-empty")
        if left_out:
            print(f"LEFT OUT, because this machine lacks what they need: the tests marked {' '.join(left_out)}")
        if len(runs) == 1:
            print(runs[0].last_line())
            return 0 if measured and runs[0].wait() == 0 else 1
        results = [run.result(may_be_empty=bool(left_out)) for run in runs]
        if all(run.wait() == INTERRUPTED for run in runs):  # both have collected every file, and met the same errors
            results = results[:1]
    print(closing_line(results))
    return 0 if measured and all(result.passed for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())
