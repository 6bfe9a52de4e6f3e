"""``python -m benchmarks``: see the README beside this file."""

from __future__ import annotations

import argparse
import math
import os
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial

import django

from . import database, fan_out, flooding, json_codecs, latency, measuring, memory, over_uvicorn, redis_round_trips
from .contenders import MORE_ROUTES_TARGET, Target, groups
from .measuring import Race, Ratio
from .tables import Table

CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
ABOVE = "!"
ROUND_TRIPS = "a throttle in Redis"


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser("python -m benchmarks", description="routesock beside hand-written consumers.")
    parser.add_argument("--quick", action="store_true", help="a few seconds: whether it runs, not how fast it is")
    parser.add_argument("--full", action="store_true", help="queries of 500 ms instead of 100 ms")
    parser.add_argument("--rounds", type=int, help="how often each contender runs (50; quick: 3)")
    parser.add_argument("--slot", type=float, help="seconds of one contender in one round (0.01; quick: 0.002)")
    parser.add_argument("--only", default="", help="the groups whose name contains this")
    parser.add_argument(
        "--clock",
        choices=CLOCKS,
        default="wall",
        help="cpu counts the processor time of all threads: steadier on a busy machine, blind to waiting",
    )
    parser.add_argument(
        "--before", metavar="DIRECTORY", help="another checkout, whose routesock takes part over uvicorn as well"
    )
    options = parser.parse_args(argv)
    os.environ["DJANGO_SETTINGS_MODULE"] = "benchmarks.settings"
    django.setup()

    rounds = options.rounds or (3 if options.quick else 50)
    slot = options.slot or (0.002 if options.quick else 0.01)
    clock = CLOCKS[options.clock]
    chosen = [group for group in groups() if options.only in group.name]
    if chosen:
        print(f"{options.clock} time, {rounds} rounds; a ratio is the median of the rounds' (least-most)")
        print_row("", ["     frames ready", "  through a queue"])
    for pair in measuring.run(chosen, rounds=rounds, slot=slot, clock=clock):
        print_group(*pair)
    for title, ways in (("decode JSON", json_codecs.decoders()), ("encode JSON", json_codecs.encoders())):
        if options.only in title:
            print(f"\n{title}")
            for way in json_codecs.measure(ways, rounds=rounds, slot=slot, clock=clock):
                print(f"  {way.name:28}{way.microseconds:8.2f} us{way.ratio:8.2f}")
    for title, measured in others(quick=options.quick, full=options.full).items():
        if options.only in title:
            print_table(title, measured())
    print_over_uvicorn(options.only, quick=options.quick, before=options.before)
    print_round_trips(options.only, rounds, slot)
    print_fan_outs(options.only, quick=options.quick)
    print(f"\n{ABOVE} misses its target (last columns): above it, or, of deliveries per second, below it")


def others(*, quick: bool, full: bool) -> dict[str, Callable[[], Table]]:
    """What is not measured per message, by title: in wall time, whatever the clock, since it is about waiting."""
    sockets, seconds = (2, 0.1) if quick else (20, 4.0)
    query = 0.01 if quick else (0.5 if full else 0.1)
    return {
        f"PING while {latency.BUSY_SOCKETS} other sockets block the database thread, "
        f"{latency.BLOCKED_FOR * 1000:g} ms at a time": partial(
            latency.beside_blocking_sockets, sockets=sockets, seconds=seconds
        ),
        f"PING while a handler of its socket waits, {latency.HANDLER_WAITS * 1000:g} ms": partial(
            latency.behind_a_handler, sockets=sockets, seconds=seconds
        ),
        f"one sync query on each of {database.SOCKETS} sockets, {query * 1000:g} ms each": partial(
            database.together, seconds=query, rounds=1 if quick else 3
        ),
        "memory of an idle socket": partial(memory.idle, sockets=20 if quick else 500),
        "objects of an idle socket": partial(memory.objects, sockets=2 if quick else 100),
        "garbage of an ended socket": partial(memory.garbage, sockets=2 if quick else 100),
        f"PING while {flooding.FLOODERS} other sockets flood": partial(flooding.waiting, seconds=seconds),
        "memory while AUTH frames are sent and no answer is read": partial(
            flooding.memory, megabytes=0.1 if quick else 10
        ),
    }


def print_over_uvicorn(only: str, *, quick: bool, before: str | None) -> None:
    for work in over_uvicorn.WORKS:
        title = over_uvicorn.title(work)
        if only not in title:
            continue
        outcome = over_uvicorn.measure(work, quick=quick, before=before)
        print(f"\n{title}")
        for name in outcome.seconds:
            ours = name == over_uvicorn.ROUTED
            ratio = outcome.ratio(name)
            mark = ABOVE if ours and ratio.median > over_uvicorn.MOST_RATIO else " "
            time_taken = "{:7.1f} us ({:.0f}-{:.0f})".format(*outcome.microseconds(name))
            part = f"{1:8}" if name == over_uvicorn.BARE else range_of(ratio, mark)
            print_row(name, [time_taken, part], f"{over_uvicorn.MOST_RATIO:g}" if ours else "")


def print_round_trips(only: str, rounds: int, slot: float) -> None:
    """By wall time: what Redis does is another process's."""
    if only not in ROUND_TRIPS:
        return
    if shutil.which("redis-server") is None:
        print(f"\n{ROUND_TRIPS}: left out, since there is no redis-server")
        return
    from tests.servers import run_redis

    with run_redis() as url:
        for title, ways in redis_round_trips.measure(url, rounds=rounds, slot=slot).items():
            print(f"\n{ROUND_TRIPS}, {title}")
            for way in ways:
                mark = ABOVE if way.ratio > redis_round_trips.TARGET else " "
                print(f"  {way.name:28}{way.microseconds:8.1f} us{way.ratio:8.2f}{mark}")


def print_fan_outs(only: str, *, quick: bool) -> None:
    chosen = [one for one in fan_out.ARRANGEMENTS if only in one.title]
    with ExitStack() as stack:
        redis_url = None
        if any(one.needs_redis for one in chosen) and shutil.which("redis-server"):
            from tests.servers import run_redis

            redis_url = stack.enter_context(run_redis())
        for arrangement in chosen:
            if arrangement.needs_redis and redis_url is None:
                print(f"\n{arrangement.title}: left out, since there is no redis-server")
            else:
                print_fan_out(arrangement.title, fan_out.measure(arrangement, quick=quick, redis_url=redis_url))


def print_fan_out(title: str, outcome: fan_out.Outcome) -> None:
    print(f"\n{title}")
    print_row("", ["     deliveries", "     p50         p99", "lost"])
    plain, routed = outcome.plain, outcome.routed
    ratio = outcome.ratio()
    mark = ABOVE if ratio.median < fan_out.LEAST_RATIO else " "
    late = ABOVE if routed.latency(99) > plain.latency(99) else ""
    print_row("plain Channels", [f"{plain.speed:8.0f} /s       1", latencies(plain), f"{plain.lost}"])
    print_row(
        "routesock",
        [
            f"{routed.speed:8.0f} /s{ratio.median:8.3g}{mark}({ratio.least:.3g}-{ratio.most:.3g})",
            f"{latencies(routed)}{late}",
            f"{routed.lost}{ABOVE if routed.lost else ''}",
        ],
        f"{fan_out.LEAST_RATIO:g} {plain.latency(99):.3g} ms 0",
    )


def latencies(result: fan_out.Result) -> str:
    return f"{result.latency(50):8.2f} ms{result.latency(99):9.2f} ms"


def print_group(ready: Race, queue: Race) -> None:
    group = ready.group
    first = group.contenders[0].name
    print(f"\n{group.name}")
    print_row(first, [f"{race.microseconds(first):7.1f} us       1" for race in (ready, queue)])
    for contender in group.contenders[1:]:
        name, target = contender.name, contender.target
        print_row(name, cells(ready, queue, name, first, target, with_time=True), aim(target))
        if contender.beside:
            target = MORE_ROUTES_TARGET
            label = f"  to {contender.beside}"
            print_row(label, cells(ready, queue, name, contender.beside, target, with_time=False), aim(target))


def cells(ready: Race, queue: Race, name: str, other: str, target: Target | None, *, with_time: bool) -> list[str]:
    most = target or (None, None)
    return [cell(*pair, name, other, with_time) for pair in zip((ready, queue), most, strict=True)]


def cell(race: Race, most: float | None, name: str, other: str, with_time: bool) -> str:
    ratio = race.ratio(name, other)
    time_taken = f"{race.microseconds(name):7.1f} us" if with_time else ""
    mark = ABOVE if most is not None and ratio.median > most else " "
    return f"{time_taken:10}{range_of(ratio, mark)}"


def range_of(ratio: Ratio, mark: str) -> str:
    return f"{ratio.median:8.3f}{mark}({ratio.least:.2f}-{ratio.most:.2f})"


def aim(target: Target | None) -> str:
    return f"{target.ready} {target.queue}" if target else ""


def print_table(title: str, table: Table) -> None:
    print(f"\n{title}")
    print_row("", [f"{column:>10}" for column in table.columns])
    for number, (name, figures) in enumerate(table.rows.items()):
        columns = []
        for column, figure in enumerate(figures):
            part = table.ratio(name, column) if number else 1
            ratio = f"{'-' if math.isnan(part) else format(part, '.3g'):>8}"
            mark = ABOVE if number and table.is_above(name, column) else ""
            columns.append(f"{figure:7.2f} {table.unit:3}{ratio}{mark}")
        print_row(name, columns, table.aim() if number else "")


def print_row(label: str, columns: Sequence[str], aim: str = "") -> None:
    print(f"  {label:28}{''.join(f'{column:34}' for column in columns)}{aim}".rstrip())


if __name__ == "__main__":
    main()
