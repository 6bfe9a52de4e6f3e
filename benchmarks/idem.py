"""Requests with the same keys over several processes that are killed: ``python -m benchmarks.idem --kill -9``.

In each of the first rounds some keys are new. Every process sends a request with each of them, and with all earlier
ones. When the handlers of the new keys have begun, the process in which one of them still runs is killed, and another
one takes its place. Rounds go on until every process was asked for each key as often as ``--tries`` says.
"""

from __future__ import annotations

import argparse
import random
import signal
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final, NamedTuple

from tests.idempotency.driving import Payer, runs, wait_for_beginning
from tests.throttling.redis_server import cache_at, run_redis_server

LONG: Final = 600.0
"""Seconds that the handlers take whose processes are killed."""

MAX_SHORT: Final = 0.05
"""Seconds that the others take, at most."""

MAX_DELAY: Final = 0.02
"""Seconds between the beginning of the handlers and the kill, at most."""


class Figures(NamedTuple):
    """What happened. All but ``once``, ``kills``, ``requests``, ``outcomes`` and ``seconds`` should be 0."""

    keys: int
    once: int
    """Keys whose handler ran exactly once."""
    never: int
    again: int
    """Second and further runs."""
    again_after_kill: int
    """Those of keys whose handler was killed."""
    wrong: int
    """Replies that are none of those that a key may have."""
    killed_handlers: int
    kills: int
    requests: int
    outcomes: Counter[str]
    seconds: float

    @property
    def is_good(self) -> bool:
        """Whether each key ran exactly once."""
        return self.once == self.keys and not (self.never or self.again or self.wrong)


class Order(NamedTuple):
    """A key, and the seconds that its handler takes."""

    key: str
    seconds: float

    def outcomes(self, *, is_killed: bool) -> dict[str, str]:
        """The replies that it may have, by what they mean. ``is_killed``: whether its handler's process was killed."""
        found = {"idempotency_in_progress": "in progress"}
        if self.seconds != LONG:
            found[f"paid {self.key}"] = "paid"  # the handler may have ended before the kill
        return {**found, "idempotency_unknown": "unknown"} if is_killed else found


def measure(
    caches: Any, file: Path, *, keys: int, tries: int, processes: int, signal_number: int = signal.SIGKILL
) -> Figures:
    """Send each of ``keys`` keys ``tries`` times to each of ``processes`` processes, and kill some meanwhile."""
    rng = random.Random(1)
    began = time.perf_counter()
    share = -(-keys // tries)
    orders = [Order(f"k-{index}", rng.uniform(0, MAX_SHORT) if index % share else LONG) for index in range(keys)]
    sent: Counter[Order] = Counter()
    outcomes: Counter[str] = Counter()
    killed: set[str] = set()  # keys whose process was killed when their handlers had begun
    kills = requests = wrong = 0
    with ExitStack() as stack:

        def start() -> Payer:
            payer = Payer(caches, file)
            stack.callback(payer.kill)
            return payer

        payers = [start() for _ in range(processes)]
        for number in range(2 * tries):
            new = orders[number * share : (number + 1) * share]
            chosen = [order for order in orders[: (number + 1) * share] if sent[order] < tries]
            if not chosen:
                break
            shuffled = [rng.sample(chosen, len(chosen)) for _ in payers]
            for payer in payers:
                payer.ready()
            for payer, each in zip(payers, shuffled, strict=True):
                payer.begin(each)
            sent.update(chosen)
            requests += len(chosen) * processes
            first = wait_for_beginning(file, [order.key for order in new])
            victims = {first[order.key] for order in new if order.seconds == LONG}
            killed |= {key for key, pid in first.items() if pid in victims}
            time.sleep(rng.uniform(0, MAX_DELAY))
            for index, payer in enumerate(payers):
                if payer.process.pid in victims:
                    payer.kill(signal_number)
                    kills += 1
                    payers[index] = start()
                    continue
                for order, outcome in zip(shuffled[index], payer.outcome(), strict=True):
                    meaning = order.outcomes(is_killed=order.key in killed).get(outcome)
                    outcomes[outcome if meaning is None else meaning] += 1
                    wrong += meaning is None
    counted = runs(file)
    return Figures(
        keys=keys,
        once=sum(counted[order.key] == 1 for order in orders),
        never=sum(counted[order.key] == 0 for order in orders),
        again=sum(max(0, counted[order.key] - 1) for order in orders),
        again_after_kill=sum(max(0, counted[order.key] - 1) for order in orders if order.key in killed),
        wrong=wrong,
        killed_handlers=len(killed),
        kills=kills,
        requests=requests,
        outcomes=outcomes,
        seconds=time.perf_counter() - began,
    )


def report(figures: Figures) -> str:
    """The figures in words."""
    return "\n".join((
        f"{figures.once} of {figures.keys} keys ran exactly once (all)",
        f"never: {figures.never} (0)",
        f"second runs: {figures.again} (0)",
        f"second runs after a kill: {figures.again_after_kill} (0), of {figures.killed_handlers} killed handlers",
        f"wrong replies: {figures.wrong} (0)",
        f"processes killed: {figures.kills}",
        f"requests: {figures.requests:,}",
        *(f"  {meaning}: {number:,}" for meaning, number in sorted(figures.outcomes.items())),
        f"time: {figures.seconds:.0f} s",
    ))  # fmt: skip


def main() -> int:
    """Measure and print. Returns 1 if a key did not run exactly once."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.idem", description=__doc__)
    parser.add_argument("--keys", type=int, default=200)
    parser.add_argument("--tries", type=int, default=50, help="requests with each key to each process")
    parser.add_argument("--processes", type=int, default=8)
    parser.add_argument("--kill", type=int, default=-9, metavar="SIGNAL", help="as in kill(1): -9, the default, or -15")
    options = parser.parse_args()
    with run_redis_server() as server, tempfile.TemporaryDirectory() as folder:
        figures = measure(
            cache_at(server.url),
            Path(folder, "runs"),
            keys=options.keys,
            tries=options.tries,
            processes=options.processes,
            signal_number=abs(options.kill),
        )
    print(report(figures))
    return 0 if figures.is_good else 1


if __name__ == "__main__":
    raise SystemExit(main())
