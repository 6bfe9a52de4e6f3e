"""Signals of what happens to requests, sockets and broadcasts; ``sender`` is a class, mostly that of the consumer.

Receivers are called on the event loop, one after the other, with keyword arguments. What they raise is logged and
changes nothing for the client.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable
from typing import Any, Final

from asgiref.sync import iscoroutinefunction
from django.dispatch import Signal

__all__ = ["deliveries_lost", "request_finished", "request_started", "socket_closed", "socket_opened"]

_logger: Final = logging.getLogger("django.dispatch")
"""Where Django itself logs what receivers raise."""


class LoopSignal(Signal):
    """A signal that is sent from the event loop, which no receiver may hold up."""

    def connect(
        self,
        receiver: Callable[..., Any],
        sender: object | None = None,
        weak: bool = True,
        dispatch_uid: Hashable | None = None,
    ) -> None:
        """Call ``receiver`` at each signal. Raises ``TypeError`` for an async function: nobody would await it."""
        if iscoroutinefunction(receiver) or iscoroutinefunction(getattr(type(receiver), "__call__", None)):  # noqa: B004
            raise TypeError(
                f"{receiver!r} is async, but routesock's signals are sent without waiting for anybody. "
                f"Connect a plain function, which may start a task: asyncio.create_task(...)."
            )
        super().connect(receiver, sender, weak, dispatch_uid)

    def tell(self, sender: type, /, **arguments: Any) -> None:
        """Call the receivers. Raises nothing."""
        try:
            self.send_robust(sender, **arguments)
        except BaseException:  # Django's own logging of a failure needs a name, and SystemExit passes it
            _logger.exception("A receiver of routesock's signals failed.")


request_started: Final = LoopSignal(use_caching=True)
"""A request's turn has come, and its permissions are next; or it will have none, and ``request_finished`` is next.

``request``
    The :class:`~routesock.Request`, with the payload as the client sent it.
``trace_id``
    That of the request.
"""

request_finished: Final = LoopSignal(use_caching=True)
"""A request has its final reply. Sent once for each ``request_started``.

``request``
    The :class:`~routesock.Request`.
``trace_id``
    That of the request.
``route``
    The name of its route.
``status``
    That of its final reply, ``None`` if none was made because the socket ended first.
``duration``
    Seconds since ``request_started``, the sending of the reply included.
"""

socket_opened: Final = LoopSignal(use_caching=True)
"""A socket was accepted, and ``connect()`` has returned.

``consumer``
    The consumer that serves it.
``scope``
    Its ASGI scope.
"""

socket_closed: Final = LoopSignal(use_caching=True)
"""A socket has ended and ``disconnect()`` has run or raised. Sent once for each ``socket_opened``.

``consumer``
    The consumer that served it.
``code``
    The WebSocket close code, as ``disconnect()`` gets it.
``duration``
    Seconds since ``socket_opened``.
"""

deliveries_lost: Final = LoopSignal(use_caching=True)
"""Broadcasts, or frames for single sockets, were lost. Sent once per burst. The ``sender`` is the class of the channel
layer; where ``reason`` is ``"client"``, ``"connect"``, ``"permission"`` or ``"busy"``, the class of the consumer.

``count``
    How many.
``groups``
    The groups that they were sent to, as the channel layer calls them; empty where ``reason`` is ``"client"``,
    ``"connect"``, ``"permission"`` or ``"busy"``.
``reason``
    ``"layer"``: broadcasts and events that the channel layer did not bring to this process. The others are what sockets
    did not get since too many waited: ``"client"`` for their client to read, ``"connect"`` for ``connect()`` to return,
    ``"permission"`` for the permissions of a topic, ``"backlog"`` for the event loop, while other threads went on
    broadcasting; and ``"busy"``, events for the handlers in front of them, and pushes for the consumer's own
    ``encode_json``, ``send_json`` or ``send``.
"""
