"""Adapters that turn requests into spans of tracing libraries; see :mod:`routesock.tracing.otel`."""
