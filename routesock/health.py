"""The health view: whether this process can serve sockets, for load balancers and orchestrators."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import Any, Final

from asgiref.sync import sync_to_async
from channels.layers import get_channel_layer
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, JsonResponse

from . import conf
from ._compat import reaches_other_processes
from ._runtime import loop_lag, shutdown
from ._runtime.fair_timeout import wait_fairly
from ._runtime.layer_calls import answers
from ._runtime.supervision import Supervisor, plain_task, reset_after_fork, safe_logger
from ._store.opening import is_open, store_alias
from .throttling.stores import is_in_use, probe

__all__ = ["health_view"]

logger: Final = safe_logger("routesock.socket")

INTERVAL: Final = 10.0
"""Seconds between two looks at the channel layers and the store. They are made without traffic, too."""

LOOK_LIMIT: Final = 5.0
"""Seconds for a channel layer or the store to answer a look."""

FIRST_LOOK_WAIT: Final = 1.0
"""Seconds for which a view waits for a look if there was none lately."""

TOLERATED: Final = 30.0
"""Seconds for which a channel layer or the store may fail before the view answers 503."""

MAX_LAG: Final = 1.0
"""Seconds of lag of the event loop above which the view answers 503."""

KEEP: Final = 300.0
"""Seconds after the last call of the view at which the looks end."""

clock: Callable[[], float] = time.monotonic
"""Measures for how long something has failed, and when the last look was. Tests replace it."""


class Looks:
    """What the looks of this process have found, by kind (``"layer"`` or ``"store"``) and alias."""

    def __init__(self) -> None:
        self._failing_since: dict[tuple[str, str], float] = {}
        self._last_look = -INTERVAL
        self._lock = threading.Lock()
        self.wanted_until: float = 0.0

    def is_due(self) -> bool:
        """Whether to look now. Returns true once for each :data:`INTERVAL`, whichever loop asks."""
        with self._lock:
            due = clock() - self._last_look >= INTERVAL
            if due:
                self._last_look = clock()
            return due

    async def look(self) -> None:
        """Look at all channel layers and at the store."""
        await asyncio.gather(*(self._look_at(kind, alias, try_it) for kind, alias, try_it in _targets()))

    async def _look_at(self, kind: str, alias: str, try_it: Callable[[], Awaitable[bool]]) -> None:
        began = clock()
        try:
            works = await try_it()
        except (ImproperlyConfigured, ImportError):
            works = False
            began -= TOLERATED  # no outage, which would be over some time
            if (kind, alias) not in self._failing_since:
                logger.exception("The %s %r cannot be created, so the health view answers 503.", kind, alias)
        except Exception:  # StoreError
            logger.debug("A look at the %s %r failed.", kind, alias, exc_info=True)
            works = False
        if works:
            self._failing_since.pop((kind, alias), None)
        else:
            self._failing_since.setdefault((kind, alias), began)

    def failing(self, kind: str, for_seconds: float = 0.0) -> set[str]:
        """The aliases of what has failed for more than so many seconds."""
        now = clock()
        since = self._failing_since.copy()
        return {alias for (of, alias), began in since.items() if of == kind and now - began >= for_seconds}


def _targets() -> Iterator[tuple[str, str, Callable[[], Awaitable[bool]]]]:
    for alias in getattr(settings, "CHANNEL_LAYERS", {}):
        yield "layer", alias, partial(_layer_works, alias)
    for alias in _stores():
        yield "store", alias, partial(_store_works, alias)


async def _layer_works(alias: str) -> bool:
    try:
        layer: Any = get_channel_layer(alias)
    except Exception as exc:  # of any type: each layer has its own options
        raise ImproperlyConfigured(f"{type(exc).__name__}: {exc}") from exc
    return not reaches_other_processes(layer) or await answers(layer, LOOK_LIMIT)


def _stores() -> set[str]:
    """The aliases of the caches that throttles, histories and idempotent requests need.

    A cache that the project neither names for them nor uses may fail without a 503.
    """
    throttles, store, named = conf.get("THROTTLE_CACHE"), store_alias(), conf.project_settings()
    stores = set()
    if "THROTTLE_CACHE" in named or is_in_use(throttles):
        stores.add(throttles)
    if not {"STORE", "HISTORY"}.isdisjoint(named) or is_open(store):
        stores.add(store)
    return stores


async def _store_works(alias: str) -> bool:
    await probe(alias, LOOK_LIMIT)
    return True


_looks = Looks()

_watchers: Final[dict[asyncio.AbstractEventLoop, Supervisor]] = {}
"""What looks without traffic, by event loop. In a process of a server there is one."""


def _watch() -> None:
    """Look again and again on the running loop, until the view was not called for :data:`KEEP` seconds."""
    _looks.wanted_until = clock() + KEEP
    loop = asyncio.get_running_loop()
    if loop not in _watchers:
        for other in [other for other in _watchers if other.is_closed()]:
            del _watchers[other]
        _watchers[loop] = Supervisor("The watch over channel layers and the store", _look_on, loop)
    _watchers[loop].start()


async def _look_on() -> None:
    while clock() < _looks.wanted_until:
        await asyncio.sleep(INTERVAL)
        if _looks.is_due():
            await _looks.look()


async def _look_if_due() -> None:
    """Look, unless that was done lately. What takes longer than :data:`FIRST_LOOK_WAIT` goes on in the background."""
    if _looks.is_due():
        look = plain_task(_looks.look(), asyncio.get_running_loop())
        _pending.add(look)
        look.add_done_callback(_pending.discard)
        await wait_fairly({look}, FIRST_LOOK_WAIT)


_pending: Final[set[asyncio.Task[None]]] = set()
"""Looks that go on. A loop keeps no reference to its tasks."""


@reset_after_fork
def _forget_all() -> None:
    global _looks
    _looks = Looks()
    _watchers.clear()
    _pending.clear()


async def health_view(request: HttpRequest) -> HttpResponse:
    """Answer whether this process can serve sockets: 200 if it can, 503 if not.

    Add it to the URLs of the process that serves the sockets: ``path("health/", health_view)``. It answers 503 while
    the process drains, if its event loop was more than a second late within the last ten, or if a channel layer or the
    store has failed for more than 30 seconds. One that cannot be created fails at once. The channel layers and the
    store are tried every ten seconds, from the first call until there was none for five minutes. With ``?live=1`` the
    status is 200 in any case: an outage of Redis is no reason to restart the process.

    Args:
        request: A GET or HEAD request.

    Returns:
        A JSON object with ``status`` (``"ok"``, ``"draining"`` or ``"failing"``), ``sockets``, ``loop_lag_ms``,
        ``layer`` and ``store`` (``"ok"`` or ``"failing"``). Staff also get ``process`` and ``failing``, the aliases of
        what fails.
    """
    if request.method not in ("GET", "HEAD"):
        return HttpResponseNotAllowed(["GET", "HEAD"])
    is_live = request.GET.get("live") == "1"
    lag = loop_lag.measure()
    _watch()
    if not is_live:
        await _look_if_due()
    seconds = lag.value()
    draining = shutdown.is_draining()
    failing = seconds > MAX_LAG or any(_looks.failing(kind, TOLERATED) for kind in ("layer", "store"))
    body: dict[str, Any] = {
        "status": "draining" if draining else "failing" if failing else "ok",
        "sockets": shutdown.socket_count(),
        "loop_lag_ms": round(seconds * 1000),
        **{kind: "failing" if _looks.failing(kind) else "ok" for kind in ("layer", "store")},
    }
    if await _is_staff(request):
        body["process"] = shutdown.process_name()
        body["failing"] = {kind: sorted(_looks.failing(kind)) for kind in ("layer", "store")}
    response = JsonResponse(body, status=503 if (draining or failing) and not is_live else 200)
    response["Cache-Control"] = "no-store"
    return response


# Django 5.1's LoginRequiredMiddleware would redirect probes to the login page.
health_view.login_required = False  # type: ignore[attr-defined]


async def _is_staff(request: HttpRequest) -> bool:
    """Whether the visitor is staff. A probe has no credentials, and so costs no query."""
    if not request.COOKIES and "Authorization" not in request.headers:
        return False
    try:
        return await sync_to_async(_has_staff)(request)
    except DatabaseError:  # a database that is down must not hide what else is
        logger.debug("The visitor of the health view could not be loaded.", exc_info=True)
        return False


def _has_staff(request: HttpRequest) -> bool:
    user = getattr(request, "user", None)
    return bool(user is not None and user.is_active and user.is_staff)
