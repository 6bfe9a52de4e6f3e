"""The health view: what it answers, when it answers 503, and what it keeps to itself."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, Final

import pytest
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from channels.layers import channel_layers
from django.db import DatabaseError
from django.test import AsyncRequestFactory, Client, override_settings
from django.urls import path

from routesock import Request, RouteMixin, health, route
from routesock._runtime import loop_lag, shutdown
from routesock._store import opening
from routesock.health import health_view
from routesock.testing import RouteClient, forget_throttles
from routesock.throttling import stores
from tests.layers.flaky import FlakyLayer
from tests.takeover.driver import until

urlpatterns = [path("health/", health_view)]

FLAKY: Final = {"default": {"BACKEND": "tests.layers.flaky.FlakyLayer"}}

BROKEN_CACHE: Final = {"default": {"BACKEND": "tests.test_health.BrokenCache"}}


class BrokenCache:
    """A cache whose server is down."""

    def __init__(self, location: str, params: Any) -> None:
        pass

    def incr(self, key: str, delta: int = 1) -> int:
        raise ConnectionError("secret.internal:6379 is down")


class Clock:
    """A clock that tests set."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    clock = Clock()
    monkeypatch.setattr(health, "clock", clock)
    health._forget_all()
    yield clock
    health._forget_all()
    loop_lag._forget_all()


@pytest.fixture
def flaky() -> Iterator[FlakyLayer]:
    """The channel layer, which reaches other processes and can be made to fail."""
    with override_settings(CHANNEL_LAYERS=FLAKY):
        channel_layers.backends = {}
        layer = channel_layers["default"]
        assert isinstance(layer, FlakyLayer)
        yield layer
    channel_layers.backends = {}


async def ask(query: str = "", *, user: Any = None, method: str = "GET", **cookies: str) -> tuple[int, dict[str, Any]]:
    request = AsyncRequestFactory().generic(method, f"/health/{query}")
    request.COOKIES = cookies
    request.user = user
    response = await health_view(request)
    return response.status_code, json.loads(response.content or "{}")


async def test_a_process_that_works_is_ok() -> None:
    status, body = await ask()
    assert status == 200
    assert body.pop("loop_lag_ms") >= 0
    assert body == {"status": "ok", "sockets": 0, "layer": "ok", "store": "ok"}


async def test_open_sockets_are_counted() -> None:
    class Chat(RouteMixin, AsyncJsonWebsocketConsumer):
        @route("echo")
        async def echo(self, request: Request) -> Any:
            return request.payload

    async with RouteClient(Chat):
        assert (await ask())[1]["sockets"] == 1
    assert (await ask())[1]["sockets"] == 0


async def test_only_get_and_head_are_answered_and_nothing_is_cached() -> None:
    assert (await ask(method="POST"))[0] == 405
    assert (await ask(method="HEAD"))[0] == 200
    assert (await health_view(AsyncRequestFactory().get("/health/")))["Cache-Control"] == "no-store"


@override_settings(ROOT_URLCONF="tests.test_health", ALLOWED_HOSTS=["*"])
def test_it_answers_behind_sync_servers_too() -> None:
    """Each request has an event loop of its own there."""
    assert [Client().get("/health/").status_code for _ in range(3)] == [200, 200, 200]


async def test_a_process_that_drains_answers_503(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutdown.sockets(), "draining", True)
    status, body = await ask()
    assert (status, body["status"]) == (503, "draining")
    status, body = await ask("?live=1")
    assert (status, body["status"]) == (200, "draining")


class TestLag:
    async def test_a_loop_that_was_late_answers_503(self) -> None:
        await ask()
        lag = loop_lag.measure()
        lag._lags.append(1.5)
        status, body = await ask()
        assert (status, body["status"], body["loop_lag_ms"] >= 1500) == (503, "failing", True)
        assert (await ask("?live=1"))[0] == 200

    async def test_the_lag_is_that_of_the_timer(self) -> None:
        lag = loop_lag.measure()
        assert lag._timer is not None
        time.sleep(loop_lag.BEAT + 0.2)  # noqa: ASYNC251  (it blocks the loop, which is the point)
        assert lag.value() >= 0.2 - 0.05, "seen from another thread while the loop is blocked"
        await until(lambda: len(lag._lags) == 1)
        assert lag.value() >= 0.2 - 0.05
        assert loop_lag.largest() == lag.value()

    async def test_the_oldest_lags_are_forgotten(self) -> None:
        lag = loop_lag.measure()
        lag._lags.extend([9.0] + [0.0] * 20)
        assert lag.value() < 9

    async def test_measuring_ends_when_nothing_asks(self) -> None:
        lag = loop_lag.measure()
        lag._wanted_until = 0
        await until(lambda: lag._timer is None)
        assert lag.value() == 0 or lag._lags
        loop_lag.measure()
        assert lag._timer is not None
        assert not lag._lags

    def test_loops_that_are_closed_are_forgotten(self) -> None:
        async def measure() -> None:
            loop_lag.measure()

        for _ in range(3):
            asyncio.run(measure())
        assert len(loop_lag._measured) == 1
        assert loop_lag.largest() == 0


class TestLayer:
    async def test_a_layer_may_fail_for_half_a_minute(self, flaky: FlakyLayer, clock: Clock) -> None:
        assert (await ask())[1]["layer"] == "ok"
        flaky.stop()
        clock.now += 10
        status, body = await ask()
        assert (status, body["status"], body["layer"]) == (200, "ok", "failing")
        clock.now += 29
        assert (await ask())[0] == 200
        clock.now += 1
        status, body = await ask()
        assert (status, body["status"], body["layer"], body["store"]) == (503, "failing", "failing", "ok")
        assert (await ask("?live=1"))[0] == 200
        flaky.start()
        clock.now += 10
        status, body = await ask()
        assert (status, body["layer"]) == (200, "ok")

    async def test_one_look_serves_ten_seconds(self, flaky: FlakyLayer, clock: Clock) -> None:
        sent: list[str] = []

        async def group_send(group: str, message: dict[str, Any]) -> None:
            sent.append(group)

        flaky.group_send = group_send
        for _ in range(100):
            await ask()
        assert len(sent) == 1
        clock.now += 10
        await ask()
        assert len(sent) == 2

    async def test_it_is_noticed_without_traffic(
        self, flaky: FlakyLayer, clock: Clock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Between two calls of the view nothing else uses the layer."""
        monkeypatch.setattr(health, "INTERVAL", 0.01)
        await ask("?live=1")
        flaky.stop()
        clock.now += 1
        await until(lambda: health._looks.failing("layer") == {"default"})

    async def test_looks_end_when_the_view_is_not_called(
        self, flaky: FlakyLayer, clock: Clock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(health, "INTERVAL", 0.01)
        await ask("?live=1")
        [watcher] = health._watchers.values()
        assert watcher.is_running
        clock.now += health.KEEP
        await until(lambda: not watcher.is_running)
        await ask("?live=1")
        assert watcher.is_running

    async def test_a_layer_that_hangs_does_not_hold_up_the_view(
        self, flaky: FlakyLayer, clock: Clock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(health, "FIRST_LOOK_WAIT", 0.01)
        monkeypatch.setattr(health, "LOOK_LIMIT", 0.05)
        goes_on = asyncio.Event()

        async def hang(group: str, message: dict[str, Any]) -> None:
            await goes_on.wait()

        flaky.group_send = hang
        assert (await ask())[0] == 200
        await until(lambda: not health._pending)
        assert health._looks.failing("layer") == {"default"}
        goes_on.set()

    @pytest.mark.parametrize(
        "config",
        [
            {"BACKEND": "nowhere.Layer"},
            {"BACKEND": "tests.layers.flaky.NoLayer"},
            {"BACKEND": "tests.layers.flaky.FlakyLayer", "CONFIG": {"capacities": 5}},
            {},
        ],
        ids=["package", "name", "option", "nothing"],
    )
    async def test_a_layer_that_cannot_be_made_fails_at_once(
        self, config: dict[str, Any], clock: Clock, caplog: pytest.LogCaptureFixture
    ) -> None:
        """It is no outage, so nothing is gained by waiting: a rollout has to stop at the first process."""
        with override_settings(CHANNEL_LAYERS={"default": config}):
            channel_layers.backends = {}
            status, body = await ask()
            assert (status, body["status"], body["layer"]) == (503, "failing", "failing")
            assert (await ask("?live=1"))[0] == 200
            clock.now += 10
            assert (await ask())[0] == 503
        channel_layers.backends = {}
        assert [record.levelname for record in caplog.records if "cannot be created" in record.getMessage()] == [
            "ERROR"
        ]

    async def test_a_layer_that_refuses_the_message_has_answered(self, flaky: FlakyLayer) -> None:
        async def refuse(group: str, message: dict[str, Any]) -> None:
            raise TypeError("Not a name that I like.")

        flaky.group_send = refuse
        assert (await ask())[1]["layer"] == "ok"


class TestStore:
    @pytest.fixture(autouse=True)
    def stores_of_other_tests(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(opening._stores, "by_loop", {})
        monkeypatch.setattr(stores._openings, "by_loop", {})

    @override_settings(CACHES=BROKEN_CACHE, ROUTESOCK={"THROTTLE_CACHE": "default"})
    async def test_a_store_that_the_project_names_is_watched(self, clock: Clock) -> None:
        assert (await ask())[1]["store"] == "failing"
        clock.now += 30
        status, body = await ask()
        assert (status, body["status"], body["layer"]) == (503, "failing", "ok")

    @pytest.mark.parametrize(
        ("cache", "named"),
        [
            ({"BACKEND": "nowhere.Cache"}, {"THROTTLE_CACHE": "default"}),
            ({"BACKEND": "nowhere.Cache"}, {"STORE": "default"}),
            ({"BACKEND": "tests.test_health.NoCache"}, {"THROTTLE_CACHE": "default"}),
            ({"BACKEND": "tests.test_health.BrokenCache"}, {"THROTTLE_CACHE": "throttles"}),
        ],
        ids=["package", "package-of-the-store", "name", "alias"],
    )
    async def test_a_store_that_cannot_be_made_fails_at_once(
        self, cache: dict[str, str], named: dict[str, str], clock: Clock
    ) -> None:
        """Such as that of django-redis where the package is missing."""
        with override_settings(CACHES={"default": cache}, ROUTESOCK=named):
            status, body = await ask()
            assert (status, body["status"], body["store"]) == (503, "failing", "failing")
            assert (await ask("?live=1"))[0] == 200

    @override_settings(
        CACHES={**BROKEN_CACHE, "throttles": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
    )
    @pytest.mark.parametrize("named", [{"STORE": "default"}, {"HISTORY": {"room": {}}}], ids=["store", "history"])
    async def test_the_store_of_histories_is_watched(self, named: dict[str, Any], clock: Clock) -> None:
        with override_settings(ROUTESOCK=named):
            assert (await ask())[1]["store"] == "failing"

    async def test_a_store_that_is_open_is_watched(self) -> None:
        await opening.get_store()
        with override_settings(CACHES=BROKEN_CACHE):
            assert (await ask())[1]["store"] == "failing"

    @override_settings(CACHES=BROKEN_CACHE)
    async def test_a_cache_that_nothing_uses_may_fail(self) -> None:
        assert (await ask())[1]["store"] == "ok"

    async def test_a_store_that_throttles_use_is_watched(self) -> None:
        class Chat(RouteMixin, AsyncJsonWebsocketConsumer):
            @route("echo", throttle="5/s")
            async def echo(self, request: Request) -> Any:
                return request.payload

        with override_settings(CACHES=BROKEN_CACHE):
            async with RouteClient(Chat) as client:
                assert (await client.call("echo", 1)).payload == 1  # THROTTLE_FAIL is "open"
                assert (await ask())[1]["store"] == "failing"

    @override_settings(ROUTESOCK={"THROTTLE_CACHE": "default"})
    async def test_local_memory_works(self) -> None:
        assert (await ask())[1]["store"] == "ok"
        forget_throttles()

    @override_settings(
        CACHES={"default": {"BACKEND": "django.core.cache.backends.dummy.DummyCache"}},
        ROUTESOCK={"THROTTLE_CACHE": "default"},
    )
    async def test_a_cache_that_answers_works(self) -> None:
        assert (await ask())[1]["store"] == "ok"


class TestStaff:
    staff: Final = SimpleNamespace(is_active=True, is_staff=True)

    @override_settings(CACHES=BROKEN_CACHE, ROUTESOCK={"THROTTLE_CACHE": "default"})
    async def test_staff_see_names(self) -> None:
        body = (await ask(user=self.staff, sessionid="x"))[1]
        assert body["process"] == shutdown.process_name()
        assert body["failing"] == {"layer": [], "store": ["default"]}

    @override_settings(CACHES=BROKEN_CACHE, ROUTESOCK={"THROTTLE_CACHE": "default"})
    @pytest.mark.parametrize("user", [SimpleNamespace(is_active=True, is_staff=False), None], ids=["member", "none"])
    async def test_nobody_else_does(self, user: Any) -> None:
        body = (await ask(user=user, sessionid="x"))[1]
        assert set(body) == {"status", "sockets", "loop_lag_ms", "layer", "store"}
        assert "secret" not in json.dumps(body)

    async def test_a_probe_costs_no_query(self) -> None:
        """Without a cookie the user is not asked for."""

        class Lazy:
            @property
            def is_active(self) -> bool:
                raise AssertionError("The user was loaded.")

        assert set((await ask(user=Lazy()))[1]) == {"status", "sockets", "loop_lag_ms", "layer", "store"}

    async def test_a_database_that_is_down_hides_nothing(self) -> None:
        class Lazy:
            @property
            def is_active(self) -> bool:
                raise DatabaseError("down")

        assert (await ask(user=Lazy(), sessionid="x"))[0] == 200
