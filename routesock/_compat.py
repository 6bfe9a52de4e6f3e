"""Private parts of asyncio, asgiref, Channels, Django and ``json`` that routesock uses: here and nowhere else.

Each of them may change in any release of its owner. ``tests/test_compat.py`` has a test for each, which says what
stops working then. ``setup.cfg`` has the upper bounds. Adapters of optional libraries keep theirs to themselves.
"""

from __future__ import annotations

import asyncio
import contextvars
import re
import threading
from collections.abc import Callable, Coroutine, Iterable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from json import JSONEncoder
from json import encoder as json_encoder
from typing import Any, Final, cast
from urllib.parse import parse_qs, urlsplit

from asgiref.sync import AsyncToSync, SyncToAsync, ThreadSensitiveContext, async_to_sync
from channels.auth import get_user
from channels.consumer import SyncConsumer
from channels.layers import InMemoryChannelLayer
from django.conf import settings
from django.db.backends.base.base import BaseDatabaseWrapper
from django.dispatch import Signal
from django.utils.functional import LazyObject, empty

# asyncio

enter_task: Final[Any] = asyncio._enter_task
"""Makes a task the current one of a loop. "Extending", in asyncio's documentation, names it for those who step
coroutines themselves."""

leave_task: Final[Any] = asyncio._leave_task
"""Undoes :data:`enter_task`."""

# asgiref: which thread runs the sync work of a context


def submit_to_shared_thread(work: Callable[[], None]) -> Future[None]:
    """Run ``work`` in the thread that ``sync_to_async`` uses for contexts without a thread of their own."""
    return SyncToAsync.single_thread_executor.submit(work)


def is_shared_thread() -> bool:
    """Whether the current thread is that of :func:`submit_to_shared_thread`."""
    return threading.current_thread() in SyncToAsync.single_thread_executor._threads


def clear_deadlock_mark() -> None:
    """Remove the mark that this context waits for its thread.

    The tasks of a socket share one context. To asgiref, a call of one task while another waits looks like a call from
    inside the other one, which would deadlock, so it refuses it.
    """
    SyncToAsync.deadlock_context.set(False)


def assign_thread(key: ThreadSensitiveContext, executor: Executor) -> None:
    """Use ``executor`` for the sync work of contexts that have ``key``."""
    SyncToAsync.context_to_thread_executor[key] = cast(Any, executor)


def release_thread(key: ThreadSensitiveContext) -> None:
    """Forget the executor of ``key``."""
    SyncToAsync.context_to_thread_executor.pop(key, None)


def thread_key(context: contextvars.Context | None = None) -> Any:
    """The key of ``context``, by default the current one; ``None`` if it has none."""
    if context is None:
        return SyncToAsync.thread_sensitive_context.get(None)
    return context.get(SyncToAsync.thread_sensitive_context)


def set_thread_key(context: contextvars.Context, key: ThreadSensitiveContext) -> None:
    """Give ``context`` the key of its thread."""
    context.run(SyncToAsync.thread_sensitive_context.set, key)


def reset_thread_key(token: contextvars.Token[ThreadSensitiveContext]) -> None:
    """Undo :func:`enter_thread_key`."""
    # The token belongs to another context if the coroutine is thrown away with its loop; then nothing is left to undo.
    with suppress(ValueError):
        SyncToAsync.thread_sensitive_context.reset(token)


def enter_thread_key(key: ThreadSensitiveContext) -> contextvars.Token[ThreadSensitiveContext]:
    """Give the current context the key of its thread, until :func:`reset_thread_key`."""
    return SyncToAsync.thread_sensitive_context.set(key)


def executor_for(key: ThreadSensitiveContext | None) -> Executor:
    """The executor that asgiref uses on the running loop for contexts with ``key``, ``None`` for those without one."""
    if key is None:
        waiting = AsyncToSync.loop_thread_executors.get(asyncio.get_running_loop())
        return cast(Executor, waiting or SyncToAsync.single_thread_executor)
    executor = SyncToAsync.context_to_thread_executor.get(key)
    if executor is None:
        executor = ThreadPoolExecutor(max_workers=1)
        assign_thread(key, executor)
    return executor


def with_function(work: Callable[..., Any], change: Callable[[Any], Callable[[], Any]]) -> Callable[[], Any]:
    """``work``, which ``sync_to_async`` submits, with the function that it calls in the thread replaced.

    What subclasses of ``SyncToAsync`` do around the function, as ``database_sync_to_async`` closes stale connections,
    stays around the new one.
    """
    if isinstance(work, partial) and isinstance(getattr(work.func, "__self__", None), SyncToAsync) and work.args:
        *others, function = work.args
        return partial(work.func, *others, change(function))
    return change(work)


def waiting_caller() -> Executor | None:
    """The executor of the thread that waits in ``async_to_sync`` for the current context; ``None`` if none waits.

    That thread runs the sync work of the context meanwhile.
    """
    return cast("Executor | None", getattr(AsyncToSync.executors, "current", None))


def set_waiting_caller(executor: Executor | None) -> None:
    """Make ``executor`` what :func:`waiting_caller` returns; with ``None``, the context uses its own thread again.

    When asgiref cancels a wait for a thread that is entering or leaving ``async_to_sync``, it leaves the executor of
    that call behind. It breaks once the thread goes on, and so would all later sync work of the context.
    """
    AsyncToSync.executors.current = cast(Any, executor)


def has_waiting_thread(loop: asyncio.AbstractEventLoop) -> bool:
    """Whether a thread waits for ``loop`` in ``async_to_sync`` and runs the loop's sync work meanwhile."""
    return loop in AsyncToSync.loop_thread_executors


def add_waiting_thread(loop: asyncio.AbstractEventLoop, executor: Executor) -> None:
    """Let ``executor`` run the sync work of ``loop``; asgiref only ever submits to it."""
    AsyncToSync.loop_thread_executors[loop] = cast(Any, executor)


def remove_waiting_thread(loop: asyncio.AbstractEventLoop) -> None:
    """Undo :func:`add_waiting_thread`."""
    del AsyncToSync.loop_thread_executors[loop]


def thread_notes() -> dict[str, Any]:
    """The values that asgiref keeps for the current thread, such as the loop whose sync work the thread runs."""
    return vars(SyncToAsync.threadlocal)


def sync_function(function: Callable[..., Coroutine[Any, Any, Any]]) -> Callable[..., Any]:
    """As ``async_to_sync(function)``, but may be made on an event loop and called in any thread.

    Before asgiref 3.12, an ``AsyncToSync`` that is made on a loop runs all calls there. It is made anew for each call,
    so that calls of a thread that asgiref does not know get a separate loop: see :func:`is_sync_call`.
    """

    def call(*args: Any, **kwargs: Any) -> Any:
        return async_to_sync(function)(*args, **kwargs)

    return call


_SYNC_CALL: Final = AsyncToSync.main_wrap.__code__


def is_sync_call() -> bool:
    """Whether the current task is a call that sync code in an asgiref thread makes with ``async_to_sync``.

    That thread waits for the task. A thread that asgiref does not know makes such calls on a separate loop.
    """
    task = asyncio.current_task()
    coroutine: Any = None if task is None else task.get_coro()
    return getattr(coroutine, "cr_code", None) is _SYNC_CALL


# Channels

dispatch_in_thread: Final[Callable[[Any, dict[str, Any]], None]] = vars(SyncConsumer)["dispatch"].func
"""``SyncConsumer.dispatch`` without its decorator, to be called in a thread."""

get_user_in_thread: Final[Callable[[dict[str, Any]], Any]] = vars(get_user)["func"]
"""``channels.auth.get_user`` without its decorator, to be called in a thread."""

MIN_CAPACITY: Final = 1000
"""Messages. Channels' default of 100 is meant for one socket; a process that is busy for 0.1 s exceeds it."""

_SUFFIX: Final = ".routesock"

_HUBS: Final = re.compile(r"[^!]+![^!]*\.routesock\Z")


def hub_channel(layer: Any, channel: str) -> str:
    """``channel``, a new one of ``layer``, with a suffix by which :func:`ensure_capacity` knows a hub's channel."""
    return channel + _SUFFIX if _capacities(layer) is not None and "!" in channel else channel


def ensure_capacity(layer: Any) -> None:
    """Let ``layer`` keep at least :data:`MIN_CAPACITY` messages for each hub. The senders decide on that.

    A ``channel_capacity`` in the project's settings that matches such a channel takes precedence.
    """
    capacities = _capacities(layer)
    if capacities is not None and not any(pattern is _HUBS for pattern, _ in capacities):
        capacities.append((_HUBS, max(MIN_CAPACITY, layer.capacity)))


def _capacities(layer: Any) -> list[tuple[re.Pattern[str], int]] | None:
    """The capacities by channel name of a layer that inherits them from Channels' base class."""
    capacities = getattr(layer, "channel_capacity", None)
    return capacities if isinstance(capacities, list) and isinstance(getattr(layer, "capacity", None), int) else None


def keeps_channel(layer: Any, channel: str) -> bool:
    """Whether ``layer`` keeps ``channel`` in this process, as channels_redis' pub/sub layer does from its creation."""
    channels = getattr(layer, "channels", None)
    return isinstance(channels, dict) and channel in channels


def tracks_channels(layer: Any) -> bool:
    """Whether :func:`keeps_channel` says for ``layer`` which channels it keeps."""
    return isinstance(getattr(layer, "channels", None), dict)


END: Final = "routesock.end"
"""The type of a message that only ends a ``receive()``."""


def wake_receiver(layer: Any, channel: str) -> bool:
    """Have a ``receive()`` of ``channel`` that waits in a channels_redis core layer return; ``False`` for other layers.

    It returns at once, or, if it is the one that reads for the whole process, when it has read the next message. To
    cancel it would lose the message that it has just taken from Redis.
    """
    buffer = getattr(layer, "receive_buffer", None)
    if not isinstance(buffer, dict) or "!" not in channel:
        return False
    buffer[channel].put_nowait({"type": END})
    return True


def max_connections(layer: Any) -> int | None:
    """The smallest ``max_connections`` of the hosts of a channels_redis layer; ``None`` if it names none."""
    hosts = getattr(layer, "hosts", None)
    if not isinstance(hosts, list):
        return None
    return min((bound for bound in map(_bound_of, hosts) if bound), default=None)


def _bound_of(host: Any) -> int | None:
    if not isinstance(host, dict):
        return None
    named = parse_qs(urlsplit(str(host.get("address", ""))).query).get("max_connections")
    bound = str(host.get("max_connections") or (named[0] if named else ""))
    return int(bound) if bound.isdigit() else None


def reaches_other_processes(layer: Any) -> bool:
    """Whether ``layer`` has groups that reach other processes."""
    return layer.__class__ is not InMemoryChannelLayer and "groups" in getattr(layer, "extensions", ())


# Django


def thread_of(connection: BaseDatabaseWrapper) -> int | None:
    """The ``ident`` of the thread that has opened ``connection``; ``None`` if Django no longer says."""
    return getattr(connection, "_thread_ident", None)


def is_test_case_transaction(connection: BaseDatabaseWrapper) -> bool:
    """Whether the outermost transaction that is open on ``connection`` is that of a ``TestCase``."""
    blocks: list[Any] = connection.atomic_blocks
    return bool(blocks and blocks[0]._from_testcase)


def live_receivers(signal: Signal, sender: type) -> list[Callable[..., Any]]:
    """The sync receivers of ``signal`` for ``sender``."""
    receivers: Any = signal._live_receivers(sender)
    # Since Django 5.0 a tuple: sync receivers, async ones.
    return list(receivers[0] if isinstance(receivers, tuple) else receivers)


def unwrap_lazy_user(user: LazyObject[Any]) -> Any:
    """The object inside a lazy ``user``. Channels' ``AuthMiddleware`` replaces the one inside, but not this one."""
    if user._wrapped is empty:
        user._setup()
    return user._wrapped


def forget_permissions(user: Any) -> None:
    """Remove from ``user`` the permissions that Django's authentication backends cache on it."""
    for name in [name for name in vars(user) if name.endswith("_perm_cache")]:
        delattr(user, name)


_settings_read: Final[dict[str, Any]] = object.__getattribute__(settings, "__dict__")


def django_setting(name: str, default: Any) -> Any:
    """The value of a setting, as ``getattr(settings, name, default)``, but in a tenth of the time once it was read.

    Django keeps what was read in the ``__dict__`` of its settings, and forgets it when it is changed or overridden.
    """
    value = _settings_read.get(name, empty)
    return getattr(settings, name, default) if value is empty else value


# json


def c_encoder(encoder: JSONEncoder) -> Callable[[Any, int], Iterable[str]] | None:
    """The C function that ``encoder.encode`` sets up anew for each value; ``None`` without the C accelerator.

    It keeps no markers: these are a dict that would have to be emptied after every failure. A circular value is a
    ``RecursionError`` then, instead of a ``ValueError``.
    """
    make: Callable[..., Callable[[Any, int], Iterable[str]]] | None = getattr(json_encoder, "c_make_encoder", None)
    if make is None:
        return None
    return make(
        None,
        encoder.default,
        json_encoder.encode_basestring_ascii,
        None,
        encoder.key_separator,
        encoder.item_separator,
        False,
        False,
        False,
    )
