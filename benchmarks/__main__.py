"""``python -m benchmarks``: see the README beside this file."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Sequence

import django

from . import json_codecs, measuring
from .contenders import MORE_ROUTES_TARGET, Target, groups
from .measuring import Race

CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
ABOVE = "!"


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser("python -m benchmarks", description="routesock beside hand-written consumers.")
    parser.add_argument("--quick", action="store_true", help="a few seconds: whether it runs, not how fast it is")
    parser.add_argument("--rounds", type=int, help="how often each contender runs (50; quick: 3)")
    parser.add_argument("--slot", type=float, help="seconds of one contender in one round (0.01; quick: 0.002)")
    parser.add_argument("--only", default="", help="the groups whose name contains this")
    parser.add_argument(
        "--clock",
        choices=CLOCKS,
        default="wall",
        help="cpu counts the processor time of all threads: steadier on a busy machine, blind to waiting",
    )
    options = parser.parse_args(argv)
    os.environ["DJANGO_SETTINGS_MODULE"] = "benchmarks.settings"
    django.setup()

    rounds = options.rounds or (3 if options.quick else 50)
    slot = options.slot or (0.002 if options.quick else 0.01)
    clock = CLOCKS[options.clock]
    chosen = [group for group in groups() if options.only in group.name]
    print(f"{options.clock} time, {rounds} rounds; a ratio is the median of the rounds' (least-most)")
    print_row("", ["     frames ready", "  through a queue"], None)
    for pair in measuring.run(chosen, rounds=rounds, slot=slot, clock=clock):
        print_group(*pair)
    for title, ways in (("decode JSON", json_codecs.decoders()), ("encode JSON", json_codecs.encoders())):
        print(f"\n{title}")
        for way in json_codecs.measure(ways, rounds=rounds, slot=slot, clock=clock):
            print(f"  {way.name:28}{way.microseconds:8.2f} us{way.ratio:8.2f}")
    print(f"\n{ABOVE} above its target (last two columns: frames ready, through a queue)")


def print_group(ready: Race, queue: Race) -> None:
    group = ready.group
    first = group.contenders[0].name
    print(f"\n{group.name}")
    print_row(first, [f"{race.microseconds(first):7.1f} us       1" for race in (ready, queue)], None)
    for contender in group.contenders[1:]:
        name, target = contender.name, contender.target
        print_row(name, cells(ready, queue, name, first, target, with_time=True), target)
        if contender.beside:
            target = MORE_ROUTES_TARGET
            label = f"  to {contender.beside}"
            print_row(label, cells(ready, queue, name, contender.beside, target, with_time=False), target)


def cells(ready: Race, queue: Race, name: str, other: str, target: Target | None, *, with_time: bool) -> list[str]:
    most = target or (None, None)
    return [cell(*pair, name, other, with_time) for pair in zip((ready, queue), most, strict=True)]


def cell(race: Race, most: float | None, name: str, other: str, with_time: bool) -> str:
    ratio = race.ratio(name, other)
    time_taken = f"{race.microseconds(name):7.1f} us" if with_time else ""
    mark = ABOVE if most is not None and ratio.median > most else " "
    return f"{time_taken:10}{ratio.median:8.3f}{mark}({ratio.least:.2f}-{ratio.most:.2f})"


def print_row(label: str, columns: list[str], target: Target | None) -> None:
    aim = f"{target.ready} {target.queue}" if target else ""
    print(f"  {label:28}{columns[0]:34}{columns[1]:34}{aim}".rstrip())


if __name__ == "__main__":
    main()
