"""The benchmarks run, and compare like with like."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from benchmarks import database, json_codecs, latency
from benchmarks.__main__ import others
from benchmarks.clients import connected
from benchmarks.contenders import Contender, Group, groups
from benchmarks.driving import PAYLOAD, Application, Arrival, Peer, Traffic, WrongReplyError
from benchmarks.tables import Most, Table, percentile

GROUPS = groups()


@pytest.mark.parametrize("arrival", Arrival)
@pytest.mark.parametrize(
    ("group", "contender"),
    [pytest.param(group, one, id=f"{group.name}: {one.name}") for group in GROUPS for one in group.contenders],
)
async def test_every_contender_gives_the_same_replies(group: Group, contender: Contender, arrival: Arrival) -> None:
    traffic = Traffic(5, contender.routes)
    assert traffic.replies[0] == (
        f'{{"uuid": "c0000000", "route": "{contender.routes[0]}", "status": 200, '
        '"payload": {"text": "hello world", "room": "general"}}'
    )
    assert await Peer(traffic, arrival, time.perf_counter).serve(contender.application) > 0


@pytest.mark.parametrize("arrival", Arrival)
@pytest.mark.parametrize(
    "contender",
    [
        pytest.param(one, id=f"{group.name}: {one.name}")
        for group in GROUPS
        if group.name in ("marshmallow", "marshmallow, load and dump", "pydantic", "msgspec")
        for one in group.contenders
        if "bare" not in one.name and "hand" not in one.name
    ],
)
async def test_schemas_do_check_what_they_are_timed_for(
    contender: Contender, arrival: Arrival, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(PAYLOAD, "text", "")
    with pytest.raises(WrongReplyError, match="422"):
        await Peer(Traffic(1, contender.routes), arrival, time.perf_counter).serve(contender.application)


async def test_a_wrong_reply_is_no_result() -> None:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await receive()
        await send({"type": "websocket.send", "text": "{}"})

    with pytest.raises(WrongReplyError):
        await Peer(Traffic(1, ["echo.0"]), Arrival.READY, time.perf_counter).serve(application)


@pytest.mark.parametrize("ways", [json_codecs.decoders(), json_codecs.encoders()], ids=["decode", "encode"])
def test_json_codecs_agree(ways: dict[str, Any]) -> None:
    results = [call() for call in ways.values()]
    texts = [result.replace(" ", "") if isinstance(result, str) else result for result in results]
    assert texts == texts[:1] * len(texts)


def ways(of: dict[str, Application]) -> Any:
    return pytest.mark.parametrize("way", [pytest.param(way, id=name) for name, way in of.items()])


@ways(latency.WAYS)
async def test_each_way_answers_what_its_latency_is_measured_of(way: Application) -> None:
    async with connected(way, 2) as clients:
        for client in clients:
            assert await client.ask("wait", 0.01) >= 0.01
            assert await client.ask("PING") > 0


@pytest.mark.django_db
def test_the_query_takes_its_time() -> None:
    begun = time.perf_counter()
    database.query(0.01)
    assert time.perf_counter() - begun >= 0.01


def test_isolation_is_what_separates_the_ways() -> None:
    isolated = {cls for cls in vars(database).values() if getattr(cls, "route_db_isolation", False)}
    assert isolated == {database.SyncIsolated, database.AsyncIsolated}


async def test_an_error_is_no_answer() -> None:
    async with connected(latency.WAYS["1 route"], 1) as (client,):
        with pytest.raises(WrongReplyError, match="404"):
            await client.ask("no such route")


def test_a_figure_is_held_against_its_target() -> None:
    """In its own unit, or as a part of the first way's."""
    table = Table("ms", ("a", "b", "c"), {"first": (10, 4, 9), "other": (9, 5, 9)}, (Most(8), Most(1.2, True), None))
    assert [table.is_above("other", column) for column in range(3)] == [True, True, False]
    assert [table.ratio("other", column) for column in range(2)] == [0.9, 1.25]
    assert table.aim() == "8 ms 1.2 -"
    assert Table("ms", ("a",), {"first": (1,), "other": (9,)}).is_above("other", 0) is False


def test_percentiles_are_values_that_were_measured() -> None:
    values = [float(value) for value in range(200, 0, -1)]
    assert [percentile(values, percent) for percent in (50, 99, 100)] == [100.0, 198.0, 200.0]
    assert percentile([7.0], 99) == 7.0


def test_quick_run() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--quick", "--rounds", "1", "--slot", "0.0001"],
        cwd=Path(__file__).parent.parent,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stderr) == (0, "")
    for title in [*(group.name for group in GROUPS), *others(quick=True, full=False)]:
        assert f"\n{title}\n" in done.stdout
