"""Django signals for requests, sockets and lost broadcasts. The ``sender`` is usually the consumer class.

routesock calls the receivers on the event loop, one after the other, with keyword arguments. It logs what a receiver
raises; the client is not affected.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable
from contextlib import suppress
from typing import Any, Final

from asgiref.sync import iscoroutinefunction
from django.dispatch import Signal

from ._compat import live_receivers

__all__ = ["deliveries_lost", "request_finished", "request_started", "socket_closed", "socket_opened"]

_logger: Final = logging.getLogger("django.dispatch")
"""The logger on which Django itself logs exceptions of receivers."""


class LoopSignal(Signal):
    """A signal that is sent on the event loop. Its receivers are plain functions and must not block."""

    def connect(
        self,
        receiver: Callable[..., Any],
        sender: object | None = None,
        weak: bool = True,
        dispatch_uid: Hashable | None = None,
    ) -> None:
        """Connect a receiver.

        Args:
            receiver: A plain function that takes keyword arguments.
            sender: The class whose signals it receives; ``None`` for all.
            weak: Whether to hold the receiver by a weak reference.
            dispatch_uid: Identifies the receiver, so that it is connected once.

        Raises:
            TypeError: If ``receiver`` is async, since nothing would await it.
        """
        if iscoroutinefunction(receiver) or iscoroutinefunction(getattr(type(receiver), "__call__", None)):  # noqa: B004
            raise TypeError(
                f"The receiver {receiver!r} is async, but routesock does not await the receivers of its signals. "
                "Connect a plain function; it may start a task with asyncio.create_task()."
            )
        super().connect(receiver, sender, weak, dispatch_uid)

    def notify(self, sender: type, /, **arguments: Any) -> None:
        """Call the receivers and log what they raise, ``SystemExit`` included. Never raises."""
        for receiver in live_receivers(self, sender):
            try:
                receiver(signal=self, sender=sender, **arguments)
            except BaseException:
                with suppress(Exception):  # of a log handler
                    _logger.exception("A receiver of a routesock signal failed: %r.", receiver)


request_started: Final = LoopSignal(use_caching=True)
"""Sent when a request leaves the queue, before its permissions are checked.

A request that never runs, such as one cancelled in the queue, sends this signal directly before
``request_finished``.

``request``
    The :class:`~routesock.Request`, with the payload as the client sent it.
``trace_id``
    The trace id of the request.
"""

request_finished: Final = LoopSignal(use_caching=True)
"""Sent when a request has its final reply, once for each ``request_started``.

``request``
    The :class:`~routesock.Request`.
``trace_id``
    The trace id of the request.
``route``
    The name of its route.
``status``
    The status of the final reply; ``None`` if there is none because the socket ended first.
``duration``
    Seconds since ``request_started``, including the time to send the reply.
"""

socket_opened: Final = LoopSignal(use_caching=True)
"""Sent when a socket has been accepted and ``connect()`` has returned.

``consumer``
    The consumer of the socket.
``scope``
    Its ASGI scope.
"""

socket_closed: Final = LoopSignal(use_caching=True)
"""Sent when a socket has ended and ``disconnect()`` has returned or raised, once for each ``socket_opened``.

``consumer``
    The consumer of the socket.
``code``
    The WebSocket close code that ``disconnect()`` got.
``duration``
    Seconds since ``socket_opened``.
"""

deliveries_lost: Final = LoopSignal(use_caching=True)
"""Sent once per burst of lost broadcasts, events and pushes.

For the reasons ``"layer"`` and ``"backlog"`` the ``sender`` is the class of the channel layer, for the others it is
the consumer class.

``count``
    How many frames were lost.
``groups``
    The groups they were sent to, by their names in the channel layer. Empty unless the reason is ``"layer"`` or
    ``"backlog"``.
``reason``
    Why they were lost:

    - ``"layer"``: the channel layer did not deliver broadcasts or events to this process.
    - ``"backlog"``: too many waited for the event loop while other threads went on broadcasting.
    - ``"client"``: too many waited for a client that does not read.
    - ``"connect"``: too many waited for ``connect()`` to return.
    - ``"permission"``: too many waited for the permissions of a topic.
    - ``"busy"``: too many events waited for earlier handlers, or too many pushes for the consumer's own
      ``encode_json``, ``send_json`` or ``send``.
"""
