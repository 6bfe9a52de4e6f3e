"""Metrics for Prometheus, with ``prometheus_client``: sockets, requests, deliveries, and the event loop."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import accumulate
from typing import Final
from weakref import WeakSet

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import REGISTRY, Collector, CollectorRegistry

from ._groups.losses import DeliveryCounts, delivery_counts
from ._runtime import counters, loop_lag, shutdown
from .status import TITLES

__all__ = ["register"]

_SENT_CODES: Final = frozenset([*range(1000, 1016), *(4000 + status for status in TITLES)])
"""The close codes of RFC 6455, and those that routesock sends. A client may choose any other."""

OTHER: Final = "other"
"""The label of all other close codes."""

_REASONS: Final = {
    1012: "draining",
    4401: "unauthenticated",
    4403: "forbidden",
    4404: "not_found",
    4429: "too_many",
}
"""Why sockets are refused, by the close code; :data:`OTHER` for the rest."""

NO_REPLY: Final = "none"
"""The label of the status of requests that got no reply, since the socket was closed before it."""

_BOUNDS: Final = (*map(str, counters.BUCKETS), "+Inf")

_DELIVERIES: Final = {
    "sent": "Broadcasts of this process that went out.",
    "failed": "Broadcasts of this process that the channel layer did not take.",
    "received": "Broadcasts that the channel layer brought to this process.",
    "lost": "Broadcasts that the channel layer should have brought, and did not.",
    "repeated": "Broadcasts that the channel layer brought twice.",
    "dropped": "Frames and events that single sockets did not get, since too many waited.",
    "healed": "Broadcasts that the channel layer had lost, and that were read from the history.",
}


_registered: Final[WeakSet[CollectorRegistry]] = WeakSet()


def register(registry: CollectorRegistry = REGISTRY) -> None:
    """Export the metrics of this process from now on. Calling it again for the same registry has no effect.

    Call it when the process starts, such as in ``asgi.py``: requests and sockets are counted from then on. The numbers
    are read when Prometheus scrapes. Each process counts for itself, so each needs its own port.

    Args:
        registry: The registry of ``prometheus_client`` to register with.
    """
    counters.start_recording()
    if registry not in _registered:
        registry.register(_SocketCollector())
        _registered.add(registry)


class _SocketCollector(Collector):
    """Reads what the process has counted."""

    def describe(self) -> Iterator[Metric]:
        """The metrics without values. A registry looks for names that are taken."""
        for metric in self.collect():
            metric.samples = []
            yield metric

    def collect(self) -> Iterator[Metric]:
        """The metrics as they are now. May be called in any thread."""
        recorder = counters.recorder
        assert recorder is not None, "register() makes one"
        yield from _sockets(recorder)
        yield from _requests(recorder)
        yield from _deliveries()
        yield from _recoveries()
        loop_lag.keep_measuring()
        yield GaugeMetricFamily(
            "routesock_loop_lag_seconds",
            "How late the event loop was, at most, within the last ten seconds.",
            loop_lag.largest(),
        )
        yield CounterMetricFamily(
            "routesock_answers_dropped", "Answers of clients that nothing waited for.", counters.dropped_answers()
        )
        yield CounterMetricFamily(
            "routesock_store_errors", "Calls of the store that failed or took too long.", counters.store_errors()
        )


def _sockets(recorder: counters.Recorder) -> Iterator[Metric]:
    openings = recorder.openings()
    open_now: Counter[str] = Counter(dict.fromkeys(openings, 0))
    running = queued = outgoing = 0
    for socket in shutdown.open_sockets():
        load = socket.load()
        if load is not None:
            open_now[load.consumer] += 1
            running, queued, outgoing = running + load.running, queued + load.queued, outgoing + load.outgoing
    yield _labelled(GaugeMetricFamily("routesock_sockets", "Open sockets.", labels=["consumer"]), open_now)
    yield CounterMetricFamily("routesock_sockets_opened", "Sockets that have opened.", sum(openings.values()))
    codes: Counter[str] = Counter()
    for code, number in recorder.closings().items():
        codes[str(code) if code in _SENT_CODES else OTHER] += number
    yield _labelled(CounterMetricFamily("routesock_sockets_closed", "Sockets that have ended.", labels=["code"]), codes)
    reasons: Counter[str] = Counter(dict.fromkeys([*_REASONS.values(), OTHER], 0))
    for code, number in recorder.refused_sockets().items():
        reasons[_REASONS.get(code, OTHER)] += number
    refused = CounterMetricFamily(
        "routesock_sockets_refused", "Sockets that the server closed before they had opened.", labels=["reason"]
    )
    yield _labelled(refused, reasons)
    yield GaugeMetricFamily("routesock_draining", "1 while the process drains, else 0.", int(shutdown.is_draining()))
    yield GaugeMetricFamily(
        "routesock_sockets_outgoing_bytes", "Bytes of unsolicited frames that wait for clients.", outgoing
    )
    yield GaugeMetricFamily("routesock_requests_in_flight", "Requests and messages that run.", running)
    yield GaugeMetricFamily("routesock_requests_queued", "Requests and messages that wait for their turn.", queued)


def _labelled(metric: GaugeMetricFamily | CounterMetricFamily, values: Mapping[str, int]) -> Metric:
    for label, value in values.items():
        metric.add_metric([label], value)
    return metric


def _requests(recorder: counters.Recorder) -> Iterator[Metric]:
    total = CounterMetricFamily(
        "routesock_requests", "Requests, and frames that were refused.", labels=["route", "status"]
    )
    numbers: Counter[counters.Key] = Counter(recorder.refusals())
    by_route: dict[str, list[float]] = {}
    for (route, status), (buckets, seconds) in recorder.durations().items():
        numbers[route, status] += sum(buckets)
        sums = by_route.setdefault(route, [0.0] * (len(_BOUNDS) + 1))
        for index, value in enumerate((*buckets, seconds)):
            sums[index] += value
    for (route, status), number in numbers.items():
        total.add_metric([route, NO_REPLY if status is None else str(status)], number)
    yield total
    histogram = HistogramMetricFamily(
        "routesock_request_seconds", "Seconds from the turn of a request until its reply.", labels=["route"]
    )
    for route, sums in by_route.items():
        histogram.add_metric([route], [*zip(_BOUNDS, accumulate(sums[:-1]), strict=True)], sums[-1])
    yield histogram


def _deliveries() -> Iterator[Metric]:
    counts: DeliveryCounts = delivery_counts()
    for name, value in counts._asdict().items():
        yield CounterMetricFamily(f"routesock_deliveries_{name}", _DELIVERIES.get(name, name), value)


def _recoveries() -> Iterator[Metric]:
    metric = CounterMetricFamily(
        "routesock_recoveries", "Clients that came back to a topic after a reconnect.", labels=["outcome"]
    )
    yield _labelled(metric, counters.recoveries())
