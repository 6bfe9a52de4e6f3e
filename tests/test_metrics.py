"""The metrics for Prometheus: which there are, what they count, and what never becomes a label."""

from __future__ import annotations

import asyncio
import json
import re
import sys
import textwrap
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from asgiref.testing import ApplicationCommunicator
from channels.exceptions import DenyConnection, StopConsumer
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from django.http import Http404
from django.test import override_settings
from django.urls import path
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse

from routesock import NO_REPLY, Reply, Request, RouteMixin, abroadcast, metrics, route, signals, topic
from routesock._groups import losses
from routesock._runtime import counters, loop_lag, shutdown
from routesock.auth import HandshakeMiddleware, deny, reject
from routesock.dialects import JsonRpc
from routesock.exceptions import Conflict
from routesock.health import health_view
from routesock.metrics import register
from routesock.testing import RouteClient, forget_throttles
from routesock.throttling import stores
from tests.connection.test_cost import Arrival, Echo, calls_per_frame
from tests.takeover.driver import until

FILES: Final = Path(__file__).parent.parent / "docs" / "howto" / "monitoring"

Samples = dict[tuple[str, tuple[str, ...]], float]


class Shop(RouteMixin, AsyncJsonWebsocketConsumer):
    route_disconnect_grace = 0

    @route("get")
    async def get(self, request: Request) -> Any:
        return request.payload

    @route("status")
    async def status(self, request: Request) -> Reply:
        return Reply(None, status=request.payload)

    @route("silent")
    async def silent(self, request: Request) -> Any:
        return NO_REPLY

    @route("conflict")
    async def conflict(self, request: Request) -> None:
        raise Conflict

    @route("object")
    async def object(self, request: Request) -> Any:
        return object()

    @route("slow")
    async def slow(self, request: Request) -> None:
        await asyncio.Event().wait()

    @route("limited", throttle="1/min")
    async def limited(self, request: Request) -> None: ...

    @topic("room")
    async def room(self, request: Request) -> None: ...


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[CollectorRegistry]:
    monkeypatch.setattr(counters, "recorder", None)
    registry = CollectorRegistry()
    register(registry)
    yield registry
    loop_lag._forget_all()


def samples(registry: CollectorRegistry) -> Samples:
    """The values of all samples, by their names and the values of their labels, in the order of the labels' names."""
    text = generate_latest(registry).decode()
    return {
        (sample.name, tuple(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in parse(text)
        for sample in family.samples
    }


def grown(registry: CollectorRegistry, before: Samples) -> Samples:
    return {key: value - before.get(key, 0) for key, value in samples(registry).items() if value != before.get(key, 0)}


def requests_in(found: Samples) -> dict[tuple[str, ...], float]:
    """The number of requests, by route and status."""
    return {labels: value for (name, labels), value in found.items() if name == "routesock_requests_total"}


async def test_requests_are_counted_by_route_and_status(registry: CollectorRegistry) -> None:
    before = samples(registry)
    async with RouteClient(Shop, raise_exceptions=False) as client:
        for payload in range(3):
            await client.call("get", payload)
        await client.call("status", 201)
        await client.call("status", 204)
        await client.call("status", 503)
        await client.call("conflict")
        await client.call("object")
        await client.send("get", 1)
        await client.send("silent")
        await client.call("get", 1)
    counted = requests_in(grown(registry, before))
    assert counted == {
        ("get", "200"): 5,
        ("status", "201"): 1,
        ("status", "204"): 1,
        ("status", "503"): 1,
        ("conflict", "409"): 1,
        ("object", "500"): 1,
        ("silent", "204"): 1,
    }
    found = samples(registry)
    assert found["routesock_request_seconds_count", ("get",)] == 5
    assert found["routesock_request_seconds_bucket", ("+Inf", "get")] == 5
    assert 0 < found["routesock_request_seconds_sum", ("get",)] < 60


@pytest.mark.parametrize("logged", [True, False], ids=["logged", "not-logged"])
async def test_a_request_is_counted_once_whatever_else_watches(
    registry: CollectorRegistry, logged: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO" if logged else "CRITICAL", "routesock.request")
    before = samples(registry)
    async with RouteClient(Shop) as client:
        await client.call("get", 1)
    assert requests_in(grown(registry, before)) == {("get", "200"): 1}


async def test_a_request_without_a_reply_is_counted(registry: CollectorRegistry) -> None:
    before = samples(registry)
    async with RouteClient(Shop) as client:
        await client.send_json({"route": "slow", "uuid": 1})
        await until(lambda: samples(registry)["routesock_requests_in_flight", ()] == 1)
    assert requests_in(grown(registry, before)) == {("slow", metrics.NO_REPLY): 1}


async def test_subscriptions_are_requests(registry: CollectorRegistry) -> None:
    before = samples(registry)
    async with RouteClient(Shop) as client:
        await client.call("SUBSCRIBE", {"topic": "room"})
        await client.call("SUBSCRIBE", {"topic": "nowhere"})
    assert requests_in(grown(registry, before)) == {("SUBSCRIBE", "204"): 1, ("SUBSCRIBE", "404"): 1}


async def test_unknown_routes_make_no_series(registry: CollectorRegistry) -> None:
    before = samples(registry)
    number = 10_000
    consumer_plans = Shop._routesock.current_plans()
    async with RouteClient(Shop) as client:
        reply = await client.call("unknown")
        assert reply.status == 404
        after_one = samples(registry)
        recorder = counters.recorder
        assert recorder is not None
        for index in range(200):
            await client.call(f"unknown.{index}")
        for index in range(number - 200):  # the rest of the way, which takes the longest, is the same for all
            name = f"unknown.{index}"
            recorder.refused(name if name in consumer_plans else counters.UNKNOWN, 404)
    assert samples(registry).keys() - after_one.keys() == {("routesock_sockets_closed_total", ("1000",))}
    assert requests_in(samples(registry)).keys() == requests_in(before).keys() == {("", "404")}
    assert requests_in(samples(registry)) == {("", "404"): number + 1}


async def test_refused_frames_are_counted(registry: CollectorRegistry) -> None:
    before = samples(registry)
    async with RouteClient(Shop) as client:
        await client.send_text("{")
        await client.receive()
        await client.send_json({"route": "get", "uuid": {}})
        await client.receive()
        await client.send_json({"route": "get\nforged_total 7", "uuid": 1})
        await client.receive()
    assert requests_in(grown(registry, before)) == {("", "400"): 1, ("get", "400"): 1, ("", "404"): 1}


async def test_a_batch_is_counted_by_its_requests(registry: CollectorRegistry) -> None:
    class Batched(Shop):
        route_dialect = JsonRpc()

    before = samples(registry)
    async with RouteClient(Batched) as client:
        await client.send_text(
            json.dumps([{"jsonrpc": "2.0", "method": "get", "params": [1], "id": id} for id in (1, 2)])
        )
        await client.receive()
        await until(lambda: requests_in(grown(registry, before)) == {("get", "200"): 2})


async def test_sockets_are_counted_by_consumer(registry: CollectorRegistry) -> None:
    name = Shop.__qualname__
    before = samples(registry)
    async with RouteClient(Shop), RouteClient(Shop):
        found = grown(registry, before)
        assert found["routesock_sockets", (name,)] == found["routesock_sockets_opened_total", ()] == 2
    found = grown(registry, before)
    assert samples(registry)["routesock_sockets", (name,)] == 0
    assert found["routesock_sockets_opened_total", ()] == 2
    assert found["routesock_sockets_closed_total", ("1000",)] == 2


async def test_close_codes_of_clients_make_no_series(registry: CollectorRegistry) -> None:
    before = samples(registry)
    for code in (3000, 4999, 4777, 4401):
        client = RouteClient(Shop)
        await client.connect()
        await client.disconnect(code)
    closed = {
        labels: value for (name, labels), value in grown(registry, before).items() if name.endswith("closed_total")
    }
    assert closed == {(metrics.OTHER,): 3, ("4401",): 1}


class TestRefusedSockets:
    """Sockets that the server closes before they have opened, which are not among those that have opened."""

    @staticmethod
    def refused_in(found: Samples) -> dict[str, float]:
        """The refused sockets by their reason. No socket may count as opened and closed as well."""
        assert not found.get(("routesock_sockets_opened_total", ()))
        assert not [name for name, _ in found if name == "routesock_sockets_closed_total"]
        return {
            labels[0]: value for (name, labels), value in found.items() if name == "routesock_sockets_refused_total"
        }

    def test_every_reason_is_a_series_from_the_start_on(self, registry: CollectorRegistry) -> None:
        """So that the first refusal is an increase."""
        reasons = {"draining", "unauthenticated", "forbidden", "not_found", "too_many", metrics.OTHER}
        assert self.refused_in(samples(registry)) == dict.fromkeys(reasons, 0)

    async def test_a_process_that_drains_refuses_sockets(
        self, registry: CollectorRegistry, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        before = samples(registry)
        assert before["routesock_draining", ()] == 0
        monkeypatch.setattr(shutdown.sockets(), "draining", True)
        for _ in range(3):
            await refused_with(1012, Shop.as_asgi())
        found = grown(registry, before)
        assert found["routesock_draining", ()] == 1
        assert self.refused_in(found) == {"draining": 3}

    async def test_a_limit_refuses_sockets(self, registry: CollectorRegistry) -> None:
        class Throttled(Shop):
            route_connection_throttle = "1/min"

        scope = {"client": ["203.0.113.9", 40000]}
        before = samples(registry)
        async with RouteClient(Throttled, scope=scope):
            await refused_with(4429, Throttled.as_asgi(), scope)
        with override_settings(ROUTESOCK={"MAX_SOCKETS_PER_ADDRESS": 1}):
            async with RouteClient(Shop, scope=scope):
                await refused_with(4429, Shop.as_asgi(), scope)
        found = grown(registry, before)
        assert found["routesock_sockets_refused_total", ("too_many",)] == 2
        forget_throttles()

    @pytest.mark.parametrize(
        ("method", "code", "reason"),
        [
            ("close", 1000, metrics.OTHER),
            ("accept_and_close", 4009, metrics.OTHER),
            ("deny", 1000, metrics.OTHER),
            ("forbid", 4403, "forbidden"),
            ("sign_in_first", 4401, "unauthenticated"),
        ],
    )
    async def test_a_consumer_refuses_a_socket(
        self, method: str, code: int, reason: str, registry: CollectorRegistry
    ) -> None:
        """It is closed in ``connect()``, in one of the ways of Channels or of routesock."""

        class Choosy(Shop):
            async def connect(self) -> None:
                if method == "accept_and_close":
                    await self.accept()
                if method in ("close", "accept_and_close"):
                    await self.close(None if method == "close" else code)
                elif method == "deny":
                    raise DenyConnection
                else:
                    await self.socket.reject(code - 4000)
                raise StopConsumer

        before = samples(registry)
        await refused_with(code, Choosy.as_asgi())
        assert self.refused_in(grown(registry, before)) == {reason: 1}

    @pytest.mark.parametrize(
        ("application", "code", "reason"),
        [
            (reject(401), 4401, "unauthenticated"),
            (reject(503), 4503, metrics.OTHER),
            (deny(404), 4404, "not_found"),
            (deny(403), 4403, "forbidden"),
        ],
        ids=["reject-401", "reject-503", "deny-404", "deny-403"],
    )
    async def test_middleware_refuses_a_handshake(
        self, application: Any, code: int, reason: str, registry: CollectorRegistry
    ) -> None:
        before = samples(registry)
        await refused_with(code, application)
        assert self.refused_in(grown(registry, before)) == {reason: 1}

    async def test_a_client_that_does_not_authenticate_is_refused(self, registry: CollectorRegistry) -> None:
        async def never(credentials: Any) -> None: ...

        before = samples(registry)
        application = HandshakeMiddleware(Shop.as_asgi(), authenticators=[never], attempts=1)
        await refused_with(4401, application, first={"route": "AUTH", "uuid": 1, "payload": {"token": "wrong"}})
        assert self.refused_in(grown(registry, before)) == {"unauthenticated": 1}

    @pytest.mark.parametrize(("drains", "reason"), [(False, "unauthenticated"), (True, "draining")])
    async def test_a_socket_that_has_used_a_public_route_is_refused_once(
        self, drains: bool, reason: str, registry: CollectorRegistry, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Its consumer exists already, and ends with it. ``connect()`` has not run, so it has not opened."""

        class Public(Shop):
            @route("hello", public=True)
            async def hello(self, request: Request) -> str:
                return "hello"

        async def never(credentials: Any) -> None: ...

        monkeypatch.setattr(shutdown.sockets(), "draining", False)
        before = samples(registry)
        application = HandshakeMiddleware(Public.as_asgi(), authenticators=[never], attempts=1)
        async with RouteClient(application) as client:
            await client.call("hello")
            if drains:
                shutdown.sockets().begin_drain()
            else:
                await client.send_json({"route": "AUTH", "uuid": 1, "payload": {"token": "wrong"}})
            await client.expect_close()
        monkeypatch.setattr(shutdown.sockets(), "draining", False)
        assert self.refused_in(grown(registry, before)) == {reason: 1}

    async def test_a_client_that_leaves_is_not_refused(self, registry: CollectorRegistry) -> None:
        left = asyncio.Event()

        class Slow(Shop):
            async def connect(self) -> None:
                await left.wait()

        before = samples(registry)
        communicator = ApplicationCommunicator(Slow.as_asgi(), handshake())
        await communicator.send_input({"type": "websocket.connect"})
        await communicator.send_input({"type": "websocket.disconnect", "code": 4429})
        left.set()
        await communicator.wait(10)
        assert self.refused_in(grown(registry, before)) == {}

    async def test_a_socket_that_was_open_is_not_refused(self, registry: CollectorRegistry) -> None:
        class Ended(Shop):
            @route("end")
            async def end(self, request: Request) -> None:
                await self.socket.close(403)

        before = samples(registry)
        async with RouteClient(Ended) as client:
            await client.send("end")
            assert (await client.expect_close()).code == 4403
        found = grown(registry, before)
        assert found["routesock_sockets_closed_total", ("4403",)] == 1
        assert not [labels for name, labels in found if name == "routesock_sockets_refused_total"]


def handshake(scope: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"type": "websocket", "path": "/", "headers": [], "subprotocols": []} | (scope or {})


async def refused_with(
    code: int, application: Any, scope: dict[str, Any] | None = None, first: dict[str, Any] | None = None
) -> None:
    """Open a socket at ``application``, send the ``first`` frame, and read until it is closed with ``code``."""
    communicator = ApplicationCommunicator(application, handshake(scope))
    await communicator.send_input({"type": "websocket.connect"})
    if first is not None:
        await communicator.send_input({"type": "websocket.receive", "text": json.dumps(first)})
    while (message := await communicator.receive_output(10))["type"] != "websocket.close":
        pass
    assert message.get("code") in (code, None)
    await communicator.send_input({"type": "websocket.disconnect", "code": 1006})
    await communicator.wait(10)


async def test_waiting_requests_and_bytes_are_shown(registry: CollectorRegistry) -> None:
    async with RouteClient(Shop) as client:
        await client.send_json({"route": "slow", "uuid": 1})
        await client.send_json({"route": "get", "uuid": 2})
        await until(lambda: samples(registry)["routesock_requests_queued", ()] == 1)
        assert samples(registry)["routesock_requests_in_flight", ()] == 1
        assert samples(registry)["routesock_sockets_outgoing_bytes", ()] == 0


async def test_deliveries_are_those_of_the_counts(registry: CollectorRegistry) -> None:
    before = samples(registry)
    await abroadcast("room", "said")
    assert grown(registry, before)["routesock_deliveries_sent_total", ()] == 1
    names = {name for name, _ in samples(registry) if name.startswith("routesock_deliveries_")}
    assert names == {f"routesock_deliveries_{field}_total" for field in losses.DeliveryCounts._fields}


@override_settings(CACHES={"default": {"BACKEND": "tests.test_health.BrokenCache"}})
async def test_errors_of_the_store_are_counted(registry: CollectorRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stores._openings, "by_loop", {})
    before = samples(registry)
    async with RouteClient(Shop) as client:
        await client.call("limited")
    assert grown(registry, before)["routesock_store_errors_total", ()] == 1
    forget_throttles()


def test_recoveries_are_counted(registry: CollectorRegistry) -> None:
    before = samples(registry)
    counters.count_recovery("recovered")
    assert grown(registry, before) == {("routesock_recoveries_total", ("recovered",)): 1}


async def test_the_lag_of_the_loop_is_measured_from_the_first_socket_on(registry: CollectorRegistry) -> None:
    assert samples(registry)["routesock_loop_lag_seconds", ()] == 0
    async with RouteClient(Shop):
        [lag] = loop_lag._measured.values()
        lag._lags.append(0.7)
        assert samples(registry)["routesock_loop_lag_seconds", ()] >= 0.7
        lag._wanted_until = 0
        samples(registry)
        await until(lambda: lag._wanted_until > 0)


def test_a_closed_loop_is_not_asked_to_go_on_measuring(registry: CollectorRegistry) -> None:
    async def measure() -> None:
        loop_lag.measure()

    asyncio.run(measure())
    assert samples(registry)["routesock_loop_lag_seconds", ()] == 0


async def test_a_scrape_in_another_thread_disturbs_nothing(registry: CollectorRegistry) -> None:
    """``start_http_server`` has a thread of its own."""
    ended = threading.Event()
    found: list[bytes] = []

    def scrape() -> None:
        while not ended.is_set():
            found.append(generate_latest(registry))

    thread = threading.Thread(target=scrape)
    thread.start()
    try:
        for _ in range(5):
            async with RouteClient(Shop) as client:
                await client.call("get", 1)
    finally:
        ended.set()
        thread.join()
    assert found
    assert samples(registry)["routesock_requests_total", ("get", "200")] == 5


def test_counting_in_several_threads_loses_nothing(registry: CollectorRegistry) -> None:
    recorder = counters.recorder
    assert recorder is not None
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [
            threading.Thread(target=lambda: [recorder.add("get", 200, 0.1) for _ in range(2000)]) for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(before)
    assert samples(registry)["routesock_requests_total", ("get", "200")] == 8000


def test_durations_are_in_the_buckets_that_bound_them(registry: CollectorRegistry) -> None:
    recorder = counters.recorder
    assert recorder is not None
    for seconds in (0.001, 0.0011, 30.0, 31.0):
        recorder.add("get", 200, seconds)
    buckets = {labels[0]: value for (name, labels), value in samples(registry).items() if name.endswith("_bucket")}
    assert [buckets[bound] for bound in ("0.001", "0.0025", "10.0", "30.0", "+Inf")] == [1, 2, 2, 3, 4]


def test_short_durations_are_in_the_first_bucket(registry: CollectorRegistry) -> None:
    recorder = counters.recorder
    assert recorder is not None
    for _ in range(2):
        for seconds in (0.001, 0.0005, 0.0):
            recorder.add("get", 200, seconds)
        found = samples(registry)
    assert found["routesock_request_seconds_sum", ("get",)] == pytest.approx(0.003)
    assert found["routesock_request_seconds_count", ("get",)] == 6
    assert {value for (name, _), value in found.items() if name == "routesock_request_seconds_bucket"} == {6}


async def test_replies_are_counted_many_at_a_time(registry: CollectorRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a process that is never scraped keeps few of their durations."""
    monkeypatch.setattr(counters, "MAX_PENDING", 2)
    recorder = counters.recorder
    assert recorder is not None
    async with RouteClient(Shop) as client:
        for _ in range(5):
            await client.call("get", 1)
    assert [len(waiting) for waiting in recorder.pending["get"].values()] == [1]
    assert requests_in(samples(registry))["get", "200"] == 5


async def test_the_text_is_valid(registry: CollectorRegistry) -> None:
    async with RouteClient(Shop, raise_exceptions=False) as client:
        await client.call("get")
        await client.call('"\n\\')
        families = [*parse(generate_latest(registry).decode())]
        assert [family.name for family in parse_openmetrics(generate_openmetrics(registry).decode())] == [
            family.name for family in families
        ]
    assert all(family.documentation.endswith(".") for family in families)
    assert all(re.fullmatch(r"routesock_[a-z_]+", family.name) for family in families)
    names = [family.name for family in families]
    assert len(set(names)) == len(names)


def test_registering_twice_has_no_effect(registry: CollectorRegistry) -> None:
    recorder = counters.recorder
    register(registry)
    assert counters.recorder is recorder
    assert samples(registry)


def test_a_name_that_is_taken_is_an_error(registry: CollectorRegistry) -> None:
    """``prometheus_client`` finds it, since the collector names its metrics before the first scrape."""
    with pytest.raises(ValueError, match="Duplicated"):
        registry.register(metrics._SocketCollector())


def test_a_forked_process_begins_at_zero(registry: CollectorRegistry) -> None:
    recorder = counters.recorder
    assert recorder is not None
    recorder.opened("Shop")
    counters.count_store_error()
    counters._reset()
    assert counters.recorder is not None
    assert not counters.recorder.openings()
    assert counters.store_errors() == 0


class TestCost:
    async def test_without_metrics_nothing_is_called(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(counters, "recorder", None)
        calls = await calls_per_frame(Echo.as_asgi(), Arrival.READY)
        assert not [name for name in calls if "Recorder" in name and calls[name]]

    async def test_with_metrics_no_more_functions_are_called(
        self, registry: CollectorRegistry, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A reply still takes the short way, without the coroutine that signals and log records need."""
        # Other tests may have left a receiver that is not collected yet.
        monkeypatch.setattr(signals.request_finished, "receivers", [])
        with_metrics = await calls_per_frame(Echo.as_asgi(), Arrival.READY)
        counters.recorder = None
        without = await calls_per_frame(Echo.as_asgi(), Arrival.READY)
        with_metrics.subtract(without)
        more = Counter({name: number for name, number in with_metrics.items() if name.startswith("routesock: ")})
        assert {name: number for name, number in more.items() if number} == {}


class TestFiles:
    """The dashboard and the alert rules in ``docs/howto/monitoring``."""

    @pytest.fixture
    def names(self, registry: CollectorRegistry) -> set[str]:
        """The names of all samples that there can be."""
        recorder = counters.recorder
        assert recorder is not None
        recorder.add("get", 200, 0.1)
        recorder.opened("Shop")
        recorder.closed(1000)
        return {name for name, _ in samples(registry)}

    def test_alert_rules_name_metrics_that_exist(self, names: set[str]) -> None:
        assert len(self.rules()) > 5
        for rule in self.rules():
            found = set(re.findall(r"routesock_\w+", rule["expr"]))
            assert found or rule["expr"] == "up == 0", rule["alert"]
            assert found <= names, rule["alert"]
            assert rule["annotations"]["summary"]
            assert rule["annotations"]["runbook"]
            assert rule["labels"]["severity"] in ("warning", "critical")

    def test_an_alert_fires_for_a_process_that_is_down(self) -> None:
        assert "up == 0" in [rule["expr"] for rule in self.rules()]

    def test_alert_rules_count_a_process_without_sockets_as_zero(self, registry: CollectorRegistry) -> None:
        assert "routesock_sockets" not in {name for name, _ in samples(registry)}  # before its first socket
        rules = [rule["expr"] for rule in self.rules() if "routesock_sockets" in rule["expr"]]
        assert rules
        for expr in rules:
            now = expr.replace("routesock_sockets offset 10m", "")
            assert now.count("routesock_sockets") == 1
            assert "(sum by (job) (routesock_sockets) or 0 * sum by (job) (up))" in now

    @staticmethod
    def rules() -> list[dict[str, Any]]:
        [group] = yaml.safe_load((FILES / "alerts.yaml").read_text(encoding="utf-8"))["groups"]
        rules: list[dict[str, Any]] = group["rules"]
        return rules

    def test_the_dashboard_names_metrics_that_exist(self, names: set[str]) -> None:
        dashboard = json.loads((FILES / "dashboard.json").read_text(encoding="utf-8"))
        for panel in dashboard["panels"]:
            for target in panel["targets"]:
                found = set(re.findall(r"routesock_\w+", target["expr"]))
                assert found, panel["title"]
                assert found <= names, panel["title"]
        ids = [panel["id"] for panel in dashboard["panels"]]
        assert len(set(ids)) == len(ids)

    def test_the_dashboard_shows_every_metric(self, names: set[str]) -> None:
        text = (FILES / "dashboard.json").read_text(encoding="utf-8")
        shown = set(re.findall(r"routesock_\w+", text))
        left_out = {name for name in names if name not in shown and not name.startswith("routesock_recoveries")}
        assert left_out == set()

    async def test_the_views_that_the_page_appends(self, registry: CollectorRegistry, async_rf: Any) -> None:
        page = (FILES.parent / "monitoring.rst").read_text(encoding="utf-8")
        found = re.search(r"cat >> example_project/config/urls.py <<'END'\n(.*?)   END\n", page, re.DOTALL)
        assert found
        appended: dict[str, Any] = {"path": path, "urlpatterns": []}
        exec(textwrap.dedent(found[1]), appended)
        views = {str(pattern.pattern): pattern.callback for pattern in appended["urlpatterns"]}
        assert views["health/"] is health_view
        response = await views["metrics/"](async_rf.get("/metrics/"))
        assert response.headers["Content-Type"].startswith("text/plain")
        with pytest.raises(Http404):
            await views["metrics/"](async_rf.get("/metrics/", headers={"X-Forwarded-For": "203.0.113.9"}))

    def test_prometheus_scrapes_that_view(self) -> None:
        settings = yaml.safe_load((FILES / "prometheus.yml").read_text(encoding="utf-8"))
        assert settings["scrape_configs"][0]["metrics_path"] == "/metrics/"
        assert all((FILES / name).is_file() for name in settings["rule_files"])
