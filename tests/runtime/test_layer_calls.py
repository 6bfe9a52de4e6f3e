"""Calls to channel layers: bounded in number, with limits that cut no call short, and refused in a known outage."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from asgiref.sync import async_to_sync

from routesock import _compat
from routesock._runtime import layer_calls
from routesock._runtime.layer_calls import MAX_CALLS, RESERVED_CONNECTIONS, call, is_known_outage
from tests.takeover.driver import turns, until


class Hanging:
    """A layer whose calls hang while it is paused."""

    def __init__(self, *, hosts: Any = None) -> None:
        if hosts is not None:
            self.hosts = hosts
        self.paused = False
        self.began = 0
        self.ended = 0
        self.cancelled = 0
        self.most = 0

    async def group_send(self, group: str, message: Any) -> str:
        self.began += 1
        self.most = max(self.most, self.began - self.ended)
        try:
            while self.paused:  # noqa: ASYNC110  (several loops wait for it)
                await asyncio.sleep(0.001)
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.ended += 1
        return group

    async def send(self, group: str = "room", **options: Any) -> Any:
        return await call(self, self.group_send, group, {}, **options)


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layer_calls, "SLOW", 0.02)
    monkeypatch.setattr(layer_calls, "FIRST_PROBE", 0.001)
    monkeypatch.setattr(layer_calls, "LAST_PROBE", 0.01)
    monkeypatch.setattr(layer_calls, "PROBE_LIMIT", 0.01)


@pytest.fixture
def layer() -> Iterator[Hanging]:
    layer = Hanging()
    yield layer
    layer.paused = False
    async_to_sync(partial(until, lambda: not is_known_outage(layer)))()


async def test_some_run_at_a_time_and_all_of_them_in_the_end(layer: Hanging) -> None:
    assert await asyncio.gather(*(layer.send(f"{number}") for number in range(300))) == [*map(str, range(300))]
    assert layer.most == MAX_CALLS


@pytest.mark.parametrize(
    ("hosts", "bound"),
    [
        ([{"address": "redis://a", "max_connections": 10}, {"address": "redis://b"}], 10),
        ([{"address": "redis://a/0?max_connections=12"}], 12),
        ([{"address": "redis://a/0?max_connections=x"}], None),
        ([{"host": "a", "port": 1}, "?"], None),
        ("?", None),
        ([{"max_connections": 1}], 1),
    ],
)
async def test_a_small_pool_is_left_some_connections(hosts: Any, bound: int | None) -> None:
    layer = Hanging(hosts=hosts)
    assert _compat.max_connections(layer) == bound
    await asyncio.gather(*(layer.send() for _ in range(100)))
    assert layer.most == (MAX_CALLS if bound is None else max(bound - RESERVED_CONNECTIONS, 1))


async def test_a_limit_ends_the_waiting_and_not_the_call(layer: Hanging, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layer_calls, "SLOW", 60)
    layer.paused = True
    with pytest.raises(TimeoutError):
        await layer.send(limit=0.01)
    waiting = asyncio.create_task(layer.send())
    await turns(5)
    waiting.cancel()
    await asyncio.wait({waiting})
    assert (layer.began, layer.ended) == (2, 0)
    layer.paused = False
    await until(lambda: layer.ended == 2)
    assert layer.cancelled == 0


async def test_a_call_that_never_ends_gives_its_slot_back(layer: Hanging, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layer_calls, "GIVEN_UP", 0.01)
    layer.paused = True
    with pytest.raises(TimeoutError):
        await layer.send(limit=0.01)
    await until(lambda: layer.cancelled == 1)


async def test_a_known_outage_costs_nothing_until_it_is_over(layer: Hanging, caplog: pytest.LogCaptureFixture) -> None:
    layer.paused = True
    with pytest.raises(TimeoutError):
        await layer.send(limit=0.05)
    began = layer.began
    for _ in range(100):
        with pytest.raises(TimeoutError, match="does not answer at present"):
            await layer.send(limit=60)
    in_thread = asyncio.to_thread(async_to_sync(layer.send))
    with pytest.raises(TimeoutError, match="does not answer at present"):
        await in_thread
    assert is_known_outage(layer)
    trying = asyncio.create_task(layer.send(even_in_outage=True, limit=60))
    await until(lambda: layer.began > began)
    layer.paused = False
    await trying
    await until(lambda: not is_known_outage(layer))
    assert await layer.send("room") == "room"
    await until(lambda: len(caplog.records) == 2)
    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING"]
    first, last = [record.getMessage() for record in caplog.records]
    assert first.startswith("The channel layer Hanging does not answer.")
    assert last == "The channel layer Hanging answers again."


async def test_a_call_that_fails_at_once_is_no_outage(layer: Hanging) -> None:
    async def fail() -> None:
        raise ConnectionError("A stale connection.")

    with pytest.raises(ConnectionError):
        await call(layer, fail)
    assert not is_known_outage(layer)


async def test_one_slow_call_beside_others_that_are_answered_is_no_outage(layer: Hanging) -> None:
    slow = asyncio.create_task(call(layer, asyncio.Event().wait, limit=0.1))
    while not slow.done():
        await layer.send()
        await asyncio.sleep(0.001)
    with pytest.raises(TimeoutError):
        await slow
    assert not is_known_outage(layer)


async def test_what_ends_a_process_is_an_error_of_the_layer(layer: Hanging) -> None:
    async def leave() -> None:
        raise SystemExit(3)

    with pytest.raises(RuntimeError, match="SystemExit"):
        await call(layer, leave)


async def test_a_layer_that_cannot_be_probed_answers(layer: Hanging, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(group: str, message: Any) -> None:
        raise TypeError("own")

    layer.paused = True
    monkeypatch.setattr(layer, "group_send", refuse)
    with pytest.raises(TimeoutError):
        await call(layer, asyncio.Event().wait, limit=0.05)
    await until(lambda: not is_known_outage(layer))
