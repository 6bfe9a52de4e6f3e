"""The benchmarks run, and compare like with like."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from benchmarks import json_codecs
from benchmarks.contenders import Contender, Group, groups
from benchmarks.driving import PAYLOAD, Arrival, Peer, Traffic, WrongReplyError

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


def test_quick_run() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--quick", "--rounds", "1", "--slot", "0.0001"],
        cwd=Path(__file__).parent.parent,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stderr) == (0, "")
    for group in GROUPS:
        assert f"\n{group.name}\n" in done.stdout
