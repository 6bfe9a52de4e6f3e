"""Spans of OpenTelemetry for requests, made from routesock's signals. Needs ``opentelemetry-api`` alone."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from opentelemetry import context, trace
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer, TracerProvider
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from .._runtime.supervision import reset_after_fork
from .._wire.messages import Request, trace_headers_of
from ..signals import request_finished, request_started

__all__ = ["instrument", "trace_headers", "uninstrument"]

NO_REPLY: Final = "no_reply"
"""The ``error.type`` of requests that got no reply, since the socket was closed before it."""

_PROPAGATOR: Final = TraceContextTextMapPropagator()

_STARTED: Final = "routesock.tracing.otel.started"

_FINISHED: Final = "routesock.tracing.otel.finished"


class _Open(NamedTuple):
    """The span of a request that runs, and the context from before it."""

    request: Request  # so that no other request gets its id()
    span: Span
    before: Context


class _Spans:
    """Starts and ends the spans of one ``tracer``."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer
        self._open: dict[int, _Open] = {}  # each request that is started is finished, so none stays

    def started(self, request: Request, **arguments: Any) -> None:
        """Start the span of ``request``. It is the current one in its schema, its middleware and its handler."""
        span = self._tracer.start_span(
            request.route,
            # Never the current span: it may be that of the request before on the same socket.
            context=_PROPAGATOR.extract(trace_headers_of(request.headers, request.scope), Context()),
            kind=SpanKind.SERVER,
            attributes={
                "rpc.system": "routesock",
                "rpc.service": type(request.consumer).__qualname__,
                "rpc.method": request.route,
            },
        )
        made = span.get_span_context()
        if made.is_valid:
            request._trace_id = trace.format_trace_id(made.trace_id)  # that of the log, and of ``request.trace_id``
        before = context.get_current()
        context.attach(trace.set_span_in_context(span, before))
        self._open[id(request)] = _Open(request, span, before)

    def finished(self, request: Request, status: int | None, **arguments: Any) -> None:
        """End the span of ``request`` with its status."""
        found = self._open.pop(id(request), None)
        if found is None:  # it was started before instrument() was called
            return
        span = found.span
        if trace.get_current_span() is span:
            # Not detach(): the request may finish in a copy of its context, which has no use for the token.
            context.attach(found.before)
        if span.is_recording():
            if status is None:
                span.set_attribute("error.type", NO_REPLY)
            else:
                span.set_attribute("rpc.response.status_code", str(status))
                if status >= 400:
                    span.set_attribute("error.type", str(status))
                if status >= 500:
                    span.set_status(Status(StatusCode.ERROR))
        span.end()


_lock = threading.Lock()

_spans: _Spans | None = None


def instrument(tracer_provider: TracerProvider | None = None) -> None:
    """Make a span for each request from now on. Calling it again has no effect.

    The parent of a span is the ``traceparent`` header of the request, else that of the handshake. The span has the name
    of the route, and the attributes ``rpc.system``, ``rpc.service`` (the class of the consumer), ``rpc.method``,
    ``rpc.response.status_code``, and ``error.type`` for a status of 400 and above. Payloads and users are in none.
    ``request.trace_id`` is the id of its trace.

    Args:
        tracer_provider: Provides the tracer; by default the global one of ``opentelemetry.trace``.
    """
    global _spans
    with _lock:
        if _spans is None:
            _spans = _Spans(trace.get_tracer("routesock", tracer_provider=tracer_provider))
            request_started.connect(_spans.started, weak=False, dispatch_uid=_STARTED)
            request_finished.connect(_spans.finished, weak=False, dispatch_uid=_FINISHED)


def uninstrument() -> None:
    """Undo :func:`instrument`. Spans that are open are not ended."""
    global _spans
    with _lock:
        _spans = None
        request_started.disconnect(dispatch_uid=_STARTED)
        request_finished.disconnect(dispatch_uid=_FINISHED)


def trace_headers() -> Mapping[str, str]:
    """Return the headers that carry the current span, for a push or a broadcast: ``headers=trace_headers()``.

    routesock itself adds them to no frame: clients would learn the trace ids of others.

    Returns:
        A mapping with ``traceparent``, and ``tracestate`` if there is one; empty without a span.
    """
    headers: dict[str, str] = {}
    _PROPAGATOR.inject(headers)
    return headers


@reset_after_fork
def _forget_open() -> None:
    global _lock
    _lock = threading.Lock()
    if _spans is not None:
        _spans._open.clear()
