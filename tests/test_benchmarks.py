"""The benchmarks run, and compare like with like."""

from __future__ import annotations

import asyncio
import json
import math
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import connect as websocket_connect
from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection, serve

from benchmarks import ask, audience, database, json_codecs, latency, memory, over_uvicorn
from benchmarks.__main__ import others, print_fan_outs
from benchmarks.audience import Audience, Frame, Heard, Subscriber, WrongDeliveryError
from benchmarks.clients import connected
from benchmarks.contenders import Contender, Group, as_it_came, bare, groups
from benchmarks.driving import PAYLOAD, Application, Arrival, Peer, Traffic, WrongReplyError
from benchmarks.fan_out import ARRANGEMENTS, PLAIN, ROUTED, Outcome, Result, served
from benchmarks.measured_server import served as measured
from benchmarks.tables import Most, Table, percentile
from routesock import Request

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
    isolated = {cls for cls in vars(database).values() if getattr(cls, "route_dedicated_threads", False)}
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


IN_MEMORY, *_ = ARRANGEMENTS


@pytest.mark.servers
async def test_both_ways_of_a_fan_out_deliver_the_same() -> None:
    frames = []
    for way in (PLAIN, ROUTED):
        with served(way, IN_MEMORY.layer(way, None)) as port:
            url = f"ws://127.0.0.1:{port}"
            async with (
                websocket_connect(f"{url}/subscriber") as subscriber,
                websocket_connect(f"{url}/sender") as sender,
            ):
                await sender.send(json.dumps({"route": "send", "payload": {"count": 2, "interval": 0}}))
                async with asyncio.timeout(10):
                    texts = [await subscriber.recv() for _ in range(2)]
                frames.append([re.sub(r'"sent": "\d{18}"', "", str(text)) for text in texts])
    assert frames[0] == frames[1]
    assert [json.loads(text)["payload"]["number"] for text in texts] == ["000000", "000001"]
    assert 100 <= len(texts[0]) <= 200


@pytest.mark.parametrize("arrangement", ARRANGEMENTS, ids=lambda one: one.title)
def test_both_ways_of_a_fan_out_have_the_same_layer(arrangement: Any) -> None:
    layers = [arrangement.layer(way, "redis://127.0.0.1:1") for way in (PLAIN, ROUTED)]
    for layer in layers:
        layer["CONFIG"].pop("prefix", None)
    assert layers[0] == layers[1]
    assert layers[0]["CONFIG"]["capacity"] > 1_000_000


def broadcast(number: int, *, room: str = "room") -> str:
    return json.dumps(
        {"payload": {"number": f"{number:06}", "sent": f"{5 + number:018}", "room": room, "text": "x" * 80}}
    )


def on_the_wire(text: str) -> bytes:
    return b"\x81\x7e" + len(text).to_bytes(2) + text.encode()


@pytest.mark.parametrize("size", [1, 7, 100, 163, 164, 1000])
def test_a_subscriber_finds_its_frames_however_they_arrive(size: int) -> None:
    data = b"".join(on_the_wire(broadcast(number)) for number in range(5))
    frame = Frame(data)
    subscriber = Subscriber(looks=True)
    sent = [subscriber.take(data[start : start + size], frame) for start in range(0, len(data), size)]
    assert [*chain.from_iterable(sent)] == [5, 6, 7, 8, 9]


@contextmanager
def telling(texts: Sequence[str], answers: Sequence[str]) -> Iterator[int]:
    """The port of a server that, once it is asked, sends ``texts`` to each subscriber, and ``answers`` to who asked."""
    asked = threading.Event()

    def talk(connection: ServerConnection) -> None:
        assert connection.request is not None
        if connection.request.path == "/sender":
            connection.recv()
            asked.set()
        asked.wait()
        for text in answers if connection.request.path == "/sender" else texts:
            connection.send(text)
        with suppress(ConnectionClosed):
            connection.recv()

    with serve(talk, "127.0.0.1", 0, compression=None) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.socket.getsockname()[1]
        finally:
            asked.set()
            server.shutdown()
            thread.join()


def heard(texts: Sequence[str], broadcasts: int, answers: Sequence[str] = ()) -> Heard:
    with telling(texts, answers) as port, Audience([port], 2) as listeners:
        return listeners.hear(broadcasts, interval=0, every=2)


def test_what_does_not_come_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audience, "TIMEOUT", 0.5)
    result = heard([broadcast(number) for number in (0, 2, 3)], 4)
    assert (result.sent, result.delivered, result.lost) == (8, 6, 2)
    assert len(result.latencies) == 3


@pytest.mark.parametrize(
    "texts",
    [
        pytest.param([broadcast(0), broadcast(2), broadcast(1)], id="the wrong order"),
        pytest.param([broadcast(0), broadcast(1), broadcast(1)], id="twice the same"),
        pytest.param([broadcast(number) for number in range(4)], id="one too many"),
        pytest.param([broadcast(0), broadcast(1, room="rooms"), broadcast(2)], id="another length"),
        pytest.param(["x" * 200] * 3, id="another text"),
    ],
)
def test_what_was_not_sent_is_no_result(texts: Sequence[str]) -> None:
    with pytest.raises(WrongDeliveryError):
        heard(texts, 3)


def test_a_sender_that_is_refused_is_no_result() -> None:
    with pytest.raises(WrongDeliveryError, match="too many"):
        heard([broadcast(0)], 2, answers=["too many"])


def test_fan_outs_are_compared_round_by_round() -> None:
    outcome = Outcome(Result(per_second=[10.0, 20.0, 40.0]), Result(per_second=[60.0, 100.0, 280.0]))
    assert outcome.ratio() == (6.0, 5.0, 7.0)


def test_a_fan_out_without_its_redis_is_left_out(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    print_fan_outs("channels_redis core", quick=True)
    assert capsys.readouterr().out == (
        "\nfan-out to 200 subscribers, channels_redis core, 2 processes: left out, since there is no redis-server\n"
    )


@pytest.mark.servers
def test_a_wrong_reply_over_uvicorn_is_no_result(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PAYLOAD, "text", "")
    way = f"load: {over_uvicorn.ROUTED}"
    with (
        measured(over_uvicorn.__name__, way) as port,
        over_uvicorn.Crowd(port, 1) as crowd,
        pytest.raises(WrongReplyError),
    ):
        crowd.talk(1)


def test_contenders_over_uvicorn_are_compared_to_bare_asgi_round_by_round() -> None:
    outcome = over_uvicorn.Outcome({over_uvicorn.BARE: [10e-6, 20e-6, 40e-6], "other": [20e-6, 20e-6, 60e-6]})
    assert outcome.ratio("other") == (1.5, 1.0, 2.0)
    assert outcome.microseconds("other") == pytest.approx((20.0, 20.0, 60.0))


def test_what_a_socket_holds_and_leaves_is_counted() -> None:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        held = Request("held")
        cycle: list[Any] = [held, bytes(100_000)]
        cycle.append(cycle)
        await bare(as_it_came)(scope, receive, send)

    assert memory.held(application, 3) == 1
    assert memory.left(application, 3) > 100_000


def test_a_socket_that_holds_and_leaves_nothing() -> None:
    assert memory.held(bare(as_it_came), 3) == 0
    assert memory.left(bare(as_it_came), 3) < 10_000


def test_nothing_measured_is_no_ratio() -> None:
    table = Table("KiB", ["memory"], {"one": [0.0], "other": [1.0]}, [Most(1.15, of_first=True)])
    assert math.isnan(table.ratio("other", 0))
    assert not table.is_above("other", 0)


@pytest.mark.servers
def test_quick_run() -> None:
    """Everything is measured. A contender over uvicorn whose reply is wrong would end it: see the test above."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--quick", "--rounds", "1", "--slot", "0.0001"],
        cwd=Path(__file__).parent.parent,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert (done.returncode, done.stderr) == (0, "")
    fan_outs = [arrangement.title for arrangement in ARRANGEMENTS]
    on_servers = [over_uvicorn.title(work) for work in over_uvicorn.WORKS]
    for title in [*(group.name for group in GROUPS), *others(quick=True, full=False), *on_servers, *fan_outs]:
        assert f"\n{title}\n" in done.stdout


async def test_asks_are_answered_and_false_answers_bring_nothing() -> None:
    figures = await ask.measure(3, 50, 1)
    assert figures.replies == 0
    assert min(figures.answer, figures.ping, figures.end) > 0
    assert "replies to false answers: 0" in ask.report(figures)
