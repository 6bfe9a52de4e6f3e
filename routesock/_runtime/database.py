"""The threads that run the ORM: Django's shared one and dedicated ones, and closing stale connections there."""

from __future__ import annotations

import asyncio
import contextvars
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial
from typing import Any, Final

from asgiref.sync import ThreadSensitiveContext
from channels.db import database_sync_to_async
from django.db import close_old_connections, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created

from .. import _compat, conf

# A plain dict: its values can be listed while another thread adds one; those of a WeakSet cannot.
Opened = dict[int, weakref.ref[BaseDatabaseWrapper]]
"""Connections by their ``id()``."""


class Ages:
    """The ages of the connections of one thread, at which they are closed; put off while :meth:`hold` is in effect.

    Django, Channels and routesock close old connections by ``close_at`` of a connection. It is
    ``None`` meanwhile, which means never.
    """

    def __init__(self) -> None:
        # Reentrant, since the garbage collector may end a socket at any point.
        self.lock = threading.RLock()
        self._holders = 0
        self._opened: Opened = {}
        self._put_off: dict[int, float] = {}

    @property
    def held(self) -> bool:
        """Whether :meth:`hold` is in effect."""
        return self._holders > 0

    def add(self, wrapper: BaseDatabaseWrapper) -> None:
        """Note that ``wrapper`` has been connected."""
        key = id(wrapper)
        with self.lock:
            self._opened[key] = weakref.ref(wrapper, lambda _: self._opened.pop(key, None))
            if self._holders:
                self._suspend(key, wrapper)

    def hold(self) -> None:
        """Let no connection be closed for its age, until :meth:`release` is called as often."""
        with self.lock:
            self._holders += 1
            if self._holders == 1:
                for key, reference in list(self._opened.items()):
                    if (wrapper := reference()) is not None:
                        self._suspend(key, wrapper)

    def release(self) -> bool:
        """Undo :meth:`hold`. Returns whether connections may be closed for their age again."""
        with self.lock:
            self._holders -= 1
            if self._holders:
                return False
            self.resume([*self._put_off])
            return True

    def resume(self, keys: Iterable[int]) -> None:
        """Put the age of the connections ``keys`` off no longer."""
        with self.lock:
            for key in keys:
                close_at = self._put_off.pop(key, None)
                wrapper = self._opened[key]() if key in self._opened else None
                if wrapper is not None and close_at is not None and wrapper.close_at is None:
                    wrapper.close_at = close_at

    def _suspend(self, key: int, wrapper: BaseDatabaseWrapper) -> None:
        if wrapper.close_at is not None:
            self._put_off[key], wrapper.close_at = wrapper.close_at, None


class DatabaseThread:
    """A thread that runs work in order, and the connections that it opened. ``submit`` adds work."""

    def __init__(self, submit: Callable[[Callable[[], None]], Future[None]], opened: Opened, ages: Ages) -> None:
        self._submit = submit
        self._opened = opened
        self._ages = ages
        self._due: set[int] = set()
        self._ident: int | None = None
        self._cleaning: Future[None] | None = None

    def refresh(self) -> None:
        """Close stale connections before the thread's next work. Does not wait."""
        if not self._opened:
            return
        due = self._all_due()
        if not due:
            return
        with self._ages.lock:
            # If one is due for its age although it is held, it is just being opened, and its age will be put off.
            self._due |= {key for key in due if self._has_failed(key)} if self._ages.held else due
            if self._cleaning is None or self._cleaning.running() or self._cleaning.done():
                self._cleaning = self._submit(self._clean)

    def hold(self) -> None:
        """Keep open connections as they are, since work begins that may span several hops to the thread.

        Until :meth:`release`, no other work closes them for their age. Broken ones are closed nevertheless.
        """
        self._ages.hold()

    def release(self) -> None:
        """Undo :meth:`hold`. With the last one, connections whose time has passed are closed."""
        if self._ages.release():
            self.refresh()

    def _all_due(self) -> set[int]:
        """Return the ``id()`` of each connection of the thread that is due."""
        now = time.monotonic()
        due: set[int] = set()
        for key, reference in list(self._opened.items()):
            wrapper = reference()
            # Other threads close their connections themselves.
            if wrapper is not None and is_due(wrapper, now) and self._ident in (None, _compat.thread_of(wrapper)):
                due.add(key)
        return due

    def _has_failed(self, key: int) -> bool:
        wrapper = self._opened[key]() if key in self._opened else None
        return wrapper is not None and wrapper.errors_occurred

    def _clean(self) -> None:
        self._ident = threading.get_ident()
        with self._ages.lock:
            due, self._due = self._due, set()
            # They were due before anybody held them, and the work of those who have done so since comes after this.
            self._ages.resume(due)
        close_old_connections()


def is_due(wrapper: BaseDatabaseWrapper, now: float) -> bool:
    """Whether ``close_old_connections()`` would do anything to ``wrapper``. Does not change it."""
    if wrapper.connection is None or wrapper.in_atomic_block:
        return False
    return bool(
        wrapper.errors_occurred
        or wrapper.settings_dict.get("CONN_HEALTH_CHECKS")
        or wrapper.autocommit != wrapper.settings_dict["AUTOCOMMIT"]
        or (wrapper.close_at is not None and now >= wrapper.close_at)
    )


_everywhere: Final[Opened] = {}

_here: Final = threading.local()


_ages_of_shared: Final = Ages()


def remember_in(opened: Opened, ages: Ages) -> None:
    """Record the connections that this thread opens from now on in ``opened``, apart from those of other threads."""
    _here.opened, _here.ages = opened, ages


def _remember(connection: BaseDatabaseWrapper, **kwargs: Any) -> None:
    """Receives ``connection_created`` in the thread that has opened the connection."""
    opened: Opened = getattr(_here, "opened", _everywhere)
    key = id(connection)
    if key not in opened:
        opened[key] = weakref.ref(connection, lambda _: opened.pop(key, None))
    ages: Ages | None = getattr(_here, "ages", None)
    if ages is None and _compat.is_shared_thread():
        ages = _here.ages = _ages_of_shared
    if ages is not None:
        ages.add(connection)


connection_created.connect(_remember, dispatch_uid="routesock.db")


def in_test_case() -> bool:
    """Whether a transaction of a ``TestCase`` is open, in any thread but the dedicated ones."""
    wrappers = [reference() for reference in list(_everywhere.values())]
    return any(_compat.is_test_case_transaction(wrapper) for wrapper in wrappers if wrapper is not None)


_shared: Final = DatabaseThread(_compat.submit_to_shared_thread, _everywhere, _ages_of_shared)

refresh: Final = _shared.refresh
"""Close stale connections before the next work of the shared database thread. Does not wait."""


def atomic_requests() -> tuple[str, ...]:
    """The aliases of the databases with ``ATOMIC_REQUESTS``."""
    return tuple(alias for alias, options in connections.settings.items() if options["ATOMIC_REQUESTS"])


def _outcome(function: Callable[..., Any], args: tuple[Any, ...]) -> tuple[Any, BaseException | None]:
    try:
        return function(*args), None
    except BaseException as exc:
        return None, exc


_in_thread: Final = database_sync_to_async(_outcome)


def forget_waiting() -> None:
    """Remove asgiref's mark that this context waits for its thread; see :func:`~routesock._compat.clear_deadlock_mark`.

    Called before each wait, since the tasks of a socket share one context.
    """
    _compat.clear_deadlock_mark()


async def in_thread(function: Callable[..., Any], *args: Any) -> Any:
    """``function(*args)`` in the context's database thread, with stale connections closed before and after.

    What it raises is raised here. The exception is passed as a value, because a future cannot raise ``StopIteration``,
    and a ``SystemExit`` in the thread must not reach the event loop. A cancelled caller continues at once; the function
    runs to its end.
    """
    forget_waiting()
    value, exc = await _in_thread(function, args)
    if exc is not None:
        raise exc
    return value


class ThreadContext(ThreadSensitiveContext):
    """The key of a context whose sync work runs inside ``factory()``, a new context manager for each piece of it.

    asgiref finds the thread of a context by such a key. So all sync work is wrapped that it runs for the context:
    that of routesock, and that of Django's async ORM and of ``sync_to_async``. A piece of work that runs inside another
    one, through ``async_to_sync``, is not wrapped again.
    """

    def __init__(
        self, factory: Callable[[], AbstractContextManager[Any]], outer: ThreadSensitiveContext | None
    ) -> None:
        super().__init__()
        self._factory = factory
        self.outer = outer
        """The key by which asgiref would find the thread without this one."""
        # A weak reference, since asgiref keeps the executor for as long as the key exists.
        _compat.assign_thread(self, _WrappingExecutor(weakref.ref(self)))  # type: ignore[arg-type]

    def wrap(self, function: Any) -> Callable[[], Any]:
        """Return ``function``, called inside the context manager."""
        if isinstance(function, partial):
            if function.func is close_old_connections:  # Channels does this for each message
                return function
            if function.func is _outcome:  # so that the manager sees what it raises
                return partial(_outcome, self._call, function.args)
        return partial(self._call, function)

    def _call(self, function: Callable[..., Any], args: tuple[Any, ...] = ()) -> Any:
        with self._factory():
            return function(*args)


class _WrappingExecutor:
    """Wraps work that asgiref submits, and passes it on to the executor of the outer key. asgiref only submits."""

    def __init__(self, key: weakref.ref[ThreadContext]) -> None:
        self._key = key

    def submit(self, work: Callable[..., Any]) -> Future[Any]:
        key = self._key()
        assert key is not None, "asgiref looks the executor up by its key."
        return _compat.executor_for(key.outer).submit(_compat.with_function(work, key.wrap))


def set_thread_context(context: contextvars.Context, factory: Callable[[], AbstractContextManager[Any]]) -> None:
    """Run the sync work of ``context``, and of its copies, inside ``factory()``."""
    _compat.set_thread_key(context, ThreadContext(factory, _compat.thread_key(context)))


@contextmanager
def thread_context(factory: Callable[[], AbstractContextManager[Any]]) -> Iterator[None]:
    """Run the sync work of the current context inside ``factory()``."""
    token = _compat.enter_thread_key(ThreadContext(factory, _compat.thread_key()))
    try:
        yield
    finally:
        _compat.reset_thread_key(token)


class DedicatedThread(ThreadSensitiveContext):
    """A thread for the sync work of some sockets, and the key by which asgiref finds it in a context."""

    def __init__(self) -> None:
        super().__init__()
        self.sockets = 0
        opened: Opened = {}
        ages = Ages()
        self._worker = ThreadPoolExecutor(1, "routesock-db", remember_in, (opened, ages))
        self.work = DatabaseThread(self._worker.submit, opened, ages)
        _compat.assign_thread(self, self._worker)

    def end(self) -> None:
        """Close the thread's connections and end it, after the work that it still has.

        A task of the project that continues gets another thread from asgiref, as one that outlives an HTTP request.
        """
        _compat.release_thread(self)
        with suppress(RuntimeError):  # the interpreter is about to exit, and executors accept no work
            self._worker.submit(connections.close_all)
        self._worker.shutdown(wait=False)


class _DedicatedThreads:
    """The dedicated threads that are in use, at most ``DB_THREADS`` of them."""

    def __init__(self) -> None:
        # Sockets of several loops share them. Reentrant, since the garbage collector may end a socket at any point.
        self._lock = threading.RLock()
        self._used: list[DedicatedThread] = []

    def take(self) -> DedicatedThread:
        """The thread with the fewest sockets; a new one below the limit."""
        limit: int = conf.get("DB_THREADS")
        with self._lock:
            if len(self._used) < limit:
                self._used.append(DedicatedThread())
            thread = min(self._used, key=lambda thread: thread.sockets)
            thread.sockets += 1
            return thread

    def give_back(self, thread: DedicatedThread) -> None:
        """A socket of ``thread`` has ended. With the last one the thread ends."""
        with self._lock:
            thread.sockets -= 1
            if thread.sockets:
                return
            self._used.remove(thread)
        thread.end()


_dedicated: Final = _DedicatedThreads()

release_dedicated_thread: Final = _dedicated.give_back
"""Give back what :func:`take_dedicated_thread` returned, when the socket has ended."""


def take_dedicated_thread(context: contextvars.Context) -> DedicatedThread | None:
    """Run the sync work of ``context`` in a thread other than the shared one, until it is given back.

    Returns:
        The thread; ``None`` if the work has to stay in its present thread, see :func:`_is_bound_to_thread`.

    Raises:
        ImproperlyConfigured: If ``DB_THREADS`` is not a positive integer.
    """
    if _is_bound_to_thread(context):
        return None
    thread = _dedicated.take()
    key = _compat.thread_key(context)
    if isinstance(key, ThreadContext):
        key.outer = thread
    else:
        _compat.set_thread_key(context, thread)
    return thread


def _thread_key(context: contextvars.Context | None = None) -> Any:
    """The key of the thread of ``context``, by default the current one; ``None`` if it has none."""
    key = _compat.thread_key(context)
    return key.outer if isinstance(key, ThreadContext) else key


def refresh_current() -> None:
    """As :data:`refresh`, for the thread of the current context."""
    _database_thread().refresh()


def hold_connections(context: contextvars.Context) -> DatabaseThread:
    """Call :meth:`DatabaseThread.hold` for the thread of ``context``; returns the thread, which has to be released."""
    thread = _database_thread(context)
    thread.hold()
    return thread


def _database_thread(context: contextvars.Context | None = None) -> DatabaseThread:
    key = _thread_key(context)
    return key.work if isinstance(key, DedicatedThread) else _shared


def _is_bound_to_thread(context: contextvars.Context) -> bool:
    """Whether the sync work of ``context`` must stay in its present thread.

    So it is in a ``ThreadSensitiveContext``; while a thread waits for this loop (``async_to_sync``, Django's async
    tests, the blocking test client); and in a ``TestCase``, where nothing is committed.
    """
    return _thread_key(context) is not None or _compat.has_waiting_thread(asyncio.get_running_loop()) or in_test_case()
