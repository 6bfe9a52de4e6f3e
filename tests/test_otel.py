"""Spans of OpenTelemetry: one for each request, with the right parent, and nothing of the client in them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any, Final

import pytest
from channels.generic.websocket import AsyncJsonWebsocketConsumer, JsonWebsocketConsumer
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import SpanKind, StatusCode

from routesock import Request, RouteMixin, broadcast, route, topic
from routesock.exceptions import Conflict
from routesock.signals import request_finished, request_started
from routesock.testing import RouteClient
from routesock.tracing import otel
from tests.takeover.driver import until

TRACE: Final = "0af7651916cd43dd8448eb211c80319c"

PARENT: Final = f"00-{TRACE}-b7ad6b7169203331-01"


async def around(request: Request, call_next: Any) -> Any:
    with trace.get_tracer("tests").start_as_current_span("middleware"):
        return await call_next(request)


class Shop(RouteMixin, AsyncJsonWebsocketConsumer):
    route_disconnect_grace = 0

    @route("get")
    async def get(self, request: Request) -> Any:
        return request.trace_id

    @route("current")
    async def current(self, request: Request) -> Any:
        return trace.format_span_id(trace.get_current_span().get_span_context().span_id)

    @route("parallel", parallel=True)
    async def parallel(self, request: Request) -> Any:
        await asyncio.sleep(0)
        return trace.format_span_id(trace.get_current_span().get_span_context().span_id)

    @route("wrapped", middleware=[around])
    async def wrapped(self, request: Request) -> Any:
        return None

    @route("number", schema=lambda payload: int(payload))
    async def number(self, request: Request) -> None: ...

    @route("conflict")
    async def conflict(self, request: Request) -> None:
        raise Conflict

    @route("fail")
    async def fail(self, request: Request) -> None:
        raise LookupError

    @route("slow")
    async def slow(self, request: Request) -> None:
        await asyncio.Event().wait()

    @topic("room")
    async def room(self, request: Request) -> None: ...

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        await self.send_json({"valid": trace.get_current_span().get_span_context().is_valid})


class SyncShop(RouteMixin, JsonWebsocketConsumer):
    @route("current")
    def current(self, request: Request) -> Any:
        return trace.format_span_id(trace.get_current_span().get_span_context().span_id)


@pytest.fixture
def exporter() -> Iterator[InMemorySpanExporter]:
    """What the spans of a test are exported to."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    otel.instrument(provider)
    yield exporter
    otel.uninstrument()


async def spans(exporter: InMemorySpanExporter, number: int = 1) -> list[ReadableSpan]:
    """The spans that have ended, when there are so many."""
    await until(lambda: len(exporter.get_finished_spans()) == number)
    return [*exporter.get_finished_spans()]


async def test_a_request_is_a_span(exporter: InMemorySpanExporter) -> None:
    async with RouteClient(Shop) as client:
        reply = await client.call("get", {"secret": 1})
    [span] = await spans(exporter)
    assert (span.name, span.kind, span.parent) == ("get", SpanKind.SERVER, None)
    assert dict(span.attributes or {}) == {
        "rpc.system": "routesock",
        "rpc.service": "Shop",
        "rpc.method": "get",
        "rpc.response.status_code": "200",
    }
    assert span.status.status_code is StatusCode.UNSET
    assert span.context is not None
    assert reply.payload == trace.format_trace_id(span.context.trace_id), "the log has the trace id of the span"


@pytest.mark.parametrize(
    ("name", "status", "error"),
    [("number", "422", False), ("conflict", "409", False), ("fail", "500", True)],
)
async def test_errors_have_a_type(exporter: InMemorySpanExporter, name: str, status: str, error: bool) -> None:
    async with RouteClient(Shop, raise_exceptions=False) as client:
        await client.call(name, "x")
    [span] = await spans(exporter)
    attributes = span.attributes or {}
    assert (attributes["rpc.response.status_code"], attributes["error.type"]) == (status, status)
    assert (span.status.status_code is StatusCode.ERROR) is error


async def test_a_request_without_a_reply_ends_its_span(exporter: InMemorySpanExporter) -> None:
    async with RouteClient(Shop) as client:
        await client.send("slow", id=1)
        await client.ping()
    [span] = await spans(exporter)
    assert (span.attributes or {})["error.type"] == otel.NO_REPLY
    assert otel._spans is not None
    assert not otel._spans._open


class TestParent:
    async def test_it_is_in_the_headers_of_the_frame(self, exporter: InMemorySpanExporter) -> None:
        async with RouteClient(Shop) as client:
            headers = {"traceparent": PARENT, "tracestate": "a=1"}
            assert (await client.call("get", headers=headers)).payload == TRACE
        [span] = await spans(exporter)
        assert span.parent is not None
        assert trace.format_span_id(span.parent.span_id) == "b7ad6b7169203331"
        assert span.parent.trace_state["a"] == "1"

    async def test_else_in_those_of_the_handshake(self, exporter: InMemorySpanExporter) -> None:
        async with RouteClient(Shop, headers={"traceparent": PARENT}) as client:
            assert (await client.call("get")).payload == TRACE

    @pytest.mark.parametrize(
        "headers",
        [
            {"traceparent": 7},
            {"traceparent": ["x"]},
            {"traceparent": "00-x"},
            {"traceparent": None, "tracestate": {}},
            {"traceparent": PARENT, "tracestate": "a" * 2000},
            {"traceparent": PARENT, "tracestate": 5},
        ],
        ids=["number", "list", "malformed", "null", "long-state", "state-of-another-type"],
    )
    async def test_malformed_headers_do_no_harm(self, exporter: InMemorySpanExporter, headers: Any) -> None:
        async with RouteClient(Shop) as client:
            assert (await client.call("get", headers=headers)).status == 200
        [span] = await spans(exporter)
        assert (span.parent is not None) is (headers["traceparent"] == PARENT)

    async def test_requests_of_one_socket_are_not_each_others(self, exporter: InMemorySpanExporter) -> None:
        async with RouteClient(Shop) as client:
            await client.call("get")
            await client.call("get")
            await client.send_json({"own": "frame"})
            assert await client.receive() == {"valid": False}, "the span of a request ends with it"
        assert [span.parent for span in await spans(exporter, 2)] == [None, None]


class TestContext:
    @pytest.mark.parametrize(("consumer", "name"), [(Shop, "current"), (Shop, "parallel"), (SyncShop, "current")])
    async def test_the_span_is_current_in_the_handler(
        self, exporter: InMemorySpanExporter, consumer: Any, name: str
    ) -> None:
        async with RouteClient(consumer) as client:
            reply = await client.call(name)
        [span] = await spans(exporter)
        assert span.context is not None
        assert reply.payload == trace.format_span_id(span.context.span_id)

    async def test_subscriptions_are_requests(self, exporter: InMemorySpanExporter) -> None:
        async with RouteClient(Shop) as client:
            await client.call("SUBSCRIBE", {"topic": "room"})
        [span] = await spans(exporter)
        assert span.name == "SUBSCRIBE"

    async def test_middleware_is_inside_of_it(self, exporter: InMemorySpanExporter) -> None:
        async with RouteClient(Shop) as client:
            await client.call("wrapped")
            await client.call("get")
        first, second = await spans(exporter, 2)
        assert (first.name, second.name, second.parent) == ("wrapped", "get", None)


def test_a_broadcast_has_headers_if_it_is_asked_to(exporter: InMemorySpanExporter) -> None:
    assert otel.trace_headers() == {}
    provider = TracerProvider(shutdown_on_exit=False)
    with trace.use_span(provider.get_tracer("tests").start_span("view")) as span:
        assert trace.format_trace_id(span.get_span_context().trace_id) in otel.trace_headers()["traceparent"]
        with RouteClient(Shop) as client:
            client.call("SUBSCRIBE", {"topic": "room"})
            broadcast("room", "said", headers=otel.trace_headers())
            assert dict(client.expect_push("said").headers)["traceparent"] == otel.trace_headers()["traceparent"]
            broadcast("room", "said")
            assert "traceparent" not in client.expect_push("said").headers


async def test_spans_that_are_not_sampled_cost_no_attributes() -> None:
    otel.instrument(TracerProvider(sampler=ALWAYS_OFF, shutdown_on_exit=False))
    try:
        async with RouteClient(Shop) as client:
            assert len((await client.call("get")).payload) == 32
    finally:
        otel.uninstrument()


async def test_without_a_provider_nothing_changes() -> None:
    """The API alone makes spans that are not valid."""
    otel.instrument()
    try:
        async with RouteClient(Shop) as client:
            assert (await client.call("get", headers={"traceparent": PARENT})).payload == TRACE
    finally:
        otel.uninstrument()


def test_instrumenting_twice_connects_once(exporter: InMemorySpanExporter) -> None:
    before = len(request_started.receivers), len(request_finished.receivers)
    otel.instrument()
    assert (len(request_started.receivers), len(request_finished.receivers)) == before


async def test_requests_that_run_when_it_begins_have_no_span() -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    async with RouteClient(Shop) as client:
        await client.send("slow", id=1)
        await client.ping()
        otel.instrument(provider)
    otel.uninstrument()
    assert not exporter.get_finished_spans()


def test_a_forked_process_has_no_open_spans(exporter: InMemorySpanExporter) -> None:
    assert otel._spans is not None
    otel._spans._open[1] = otel._Open(Request("get"), trace.INVALID_SPAN, otel.Context())
    otel._forget_open()
    assert not otel._spans._open
