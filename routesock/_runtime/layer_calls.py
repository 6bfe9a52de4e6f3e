"""Calls to channel layers: so many at a time, with time limits that cut no call short, and refused in an outage."""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import Awaitable, Callable
from typing import Any, Final

from .._compat import max_connections
from .fair_timeout import FairTimeout
from .supervision import backoff, reset_after_fork, safe_logger

logger: Final = safe_logger("routesock.socket")

MAX_CALLS: Final = 32
"""Calls to one layer at a time from one event loop. Further ones wait, since the pool of redis-py is bounded."""

RESERVED_CONNECTIONS: Final = 4
"""Connections of a small pool that are left to the reading of channels."""

SLOW: Final = 1.0
"""Seconds after which a call without an answer says that the layer does not answer, if no other call got one."""

GIVEN_UP: Final = 30.0
"""Seconds that a call may go on after its caller has stopped waiting. A layer must be able to finish its own clean-up,
but a connection that is dead must not take up a slot for good."""

PROBE_LIMIT: Final = 1.0

FIRST_PROBE: Final = 0.1

LAST_PROBE: Final = 2.0
"""Seconds for one try to reach a layer that does not answer, and between two of them."""

PROBE: Final = "routesock.probe"
"""A group that no channel is in."""

DEFECTS: Final = (TypeError, ValueError, AssertionError, AttributeError, NotImplementedError)
"""Exceptions of a layer that does not accept a call: it has answered."""


class _Calls:
    """The calls of one event loop to one layer."""

    def __init__(self, layer: Any) -> None:
        bound = max_connections(layer)
        number = MAX_CALLS if bound is None else min(MAX_CALLS, max(bound - RESERVED_CONNECTIONS, 1))
        self.slots = asyncio.Semaphore(number)
        self.answers = 0
        self.running: set[asyncio.Task[Any]] = set()

    def start(self, function: Callable[..., Awaitable[Any]], args: tuple[Any, ...]) -> asyncio.Task[Any]:
        """Call ``function`` in a task that nothing but :data:`GIVEN_UP` cancels. It has a slot, and gives it back."""
        task = asyncio.Task(self._run(function, args), loop=asyncio.get_running_loop())  # with no task factory
        self.running.add(task)
        task.add_done_callback(self._ended)
        return task

    async def _run(self, function: Callable[..., Awaitable[Any]], args: tuple[Any, ...]) -> Any:
        try:
            result = await function(*args)
        except (SystemExit, KeyboardInterrupt) as exc:  # which a task passes on to the loop, and so to all sockets
            raise RuntimeError(f"A channel layer raised {exc!r}.") from exc
        self.answers += 1
        return result

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self.running.discard(task)
        self.slots.release()
        if not task.cancelled():
            task.exception()  # or asyncio would log it as never retrieved where the caller has stopped waiting


_calls: Final[weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, dict[int, tuple[Any, _Calls]]]] = (
    weakref.WeakKeyDictionary()
)

_lock = threading.Lock()


def _calls_of(layer: Any) -> _Calls:
    loop = asyncio.get_running_loop()
    with _lock:
        by_layer = _calls.setdefault(loop, {})
    if id(layer) not in by_layer:
        by_layer[id(layer)] = (layer, _Calls(layer))  # the layer, so that no other one gets its id
    return by_layer[id(layer)][1]


async def call(
    layer: Any,
    function: Callable[..., Awaitable[Any]],
    *args: Any,
    limit: float | None = None,
    even_in_outage: bool = False,
) -> Any:
    """``await function(*args)``, a method of ``layer``, when fewer than :data:`MAX_CALLS` are under way.

    Whatever ends the waiting, the call itself goes on for up to :data:`GIVEN_UP` seconds: some layers clean up in it,
    and lose a subscription or a message if that is cut short.

    Args:
        limit: Seconds to wait; ``None`` for as long as the layer takes. The process's own lateness does not count.
        even_in_outage: Call also a layer that is known not to answer.

    Raises:
        TimeoutError: The layer does not answer within ``limit``, or it is known not to answer.
        Exception: What the layer raises.
    """
    if not even_in_outage and id(layer) in _outages:
        raise TimeoutError(f"The channel layer {type(layer).__name__} does not answer at present.")
    calls = _calls_of(layer)
    before = calls.answers
    loop = asyncio.get_running_loop()
    began = loop.time()
    task: asyncio.Task[Any] | None = None
    try:
        if limit is None:
            await calls.slots.acquire()
            task = calls.start(function, args)
            return await asyncio.shield(task)
        async with FairTimeout(limit):
            await calls.slots.acquire()
            task = calls.start(function, args)
            return await asyncio.shield(task)
    except BaseException as exc:
        if task is not None and not task.done():
            loop.call_later(GIVEN_UP, task.cancel)  # no FairTimeout: nothing waits for the result
        if calls.answers == before and loop.time() - began >= SLOW and not isinstance(exc, DEFECTS):
            _begin_outage(layer)
        raise


async def answers(layer: Any, limit: float) -> bool:
    """Whether ``layer`` takes a message within ``limit`` seconds. The message is sent to a group without members."""
    try:
        await call(layer, layer.group_send, PROBE, {"type": PROBE}, limit=limit, even_in_outage=True)
    except DEFECTS:  # it has answered
        return True
    except Exception:
        logger.debug("The channel layer %s does not take a message.", type(layer).__name__, exc_info=True)
        return False
    return True


class _Outage:
    """A layer that does not answer, and the thread that tries to reach it until it does.

    A separate thread, since the calls come from several loops and threads, which may end before the outage.
    """

    def __init__(self, layer: Any) -> None:
        self.layer = layer
        self._thread = threading.Thread(target=self._probe, name="routesock-layer", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def _probe(self) -> None:
        try:
            asyncio.run(self._until_it_answers())
        except Exception:
            logger.exception("A channel layer that did not answer could not be tried.")
        finally:
            _outages.pop(id(self.layer), None)
        logger.warning("The channel layer %s answers again.", type(self.layer).__name__)

    async def _until_it_answers(self) -> None:
        for pause in backoff(FIRST_PROBE, LAST_PROBE):
            await asyncio.sleep(pause)
            try:
                async with FairTimeout(PROBE_LIMIT):
                    await self.layer.group_send(PROBE, {"type": PROBE})
            except DEFECTS:
                return
            except Exception:
                continue
            return


_outages: Final[dict[int, _Outage]] = {}
"""By the ``id()`` of the layer."""


def is_known_outage(layer: Any) -> bool:
    """Whether ``layer`` is known not to answer."""
    return id(layer) in _outages


def _begin_outage(layer: Any) -> None:
    with _lock:
        if id(layer) in _outages:
            return
        outage = _outages[id(layer)] = _Outage(layer)
    logger.warning(
        "The channel layer %s does not answer. Until it does, broadcasts, joins and the like fail at once.",
        type(layer).__name__,
    )
    outage.start()


@reset_after_fork
def _forget_all() -> None:
    global _lock
    _lock = threading.Lock()
    _outages.clear()
    _calls.clear()
