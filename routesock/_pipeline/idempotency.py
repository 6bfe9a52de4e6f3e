"""Runs each request of a route with ``idempotent=`` once: claims its key, keeps the reply, and replays it."""

from __future__ import annotations

import asyncio
import json
import secrets
import threading
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import suppress
from contextvars import ContextVar
from hashlib import blake2b
from typing import Any, Final

from django.core.exceptions import ImproperlyConfigured

from .. import conf
from .._routing.class_options import grace_of
from .._routing.route import Idempotent, Route
from .._runtime import instrumentation
from .._runtime.callables import is_from_outside
from .._runtime.supervision import plain_task, safe_logger
from .._store.idempotency import Claimed, Keys, Outcome, get_keys
from .._store.opening import Outage, StoreError
from .._wire.codec import FrameTooLarge, serialise
from .._wire.messages import NO_REPLY, Reply, Request, reply_with
from ..exceptions import BadRequest, Conflict, RoutesockError, Unavailable
from ..typing import UNSET, Unset
from .plan import Middleware, Plan
from .steps import Runs, Step

logger: Final = safe_logger("routesock.idempotency")

KEY_HEADER: Final = "idempotency-key"
"""The header of a request with its key. The case of the name does not matter."""

REPLAYED_HEADER: Final = "Idempotent-Replayed"
"""The header of a reply that was kept, with the value ``true``."""

MAX_KEY_CHARS: Final = 255

LEASE_MARGIN: Final = 10.0
"""Seconds beside the timeout and the grace period after which a request without an outcome no longer runs."""

RETRY_AFTER: Final = 1
"""Seconds for ``Retry-After`` when the same request still runs, or the store fails."""

_outage: Final = Outage()

_tasks: Final[set[asyncio.Task[None]]] = set()
"""Outcomes that are being written. They outlive their sockets."""


# The key, its owner, and the fingerprint of a request


def key_in(headers: Mapping[str, Any]) -> str | None:
    """Return the idempotency key in the headers of a request; ``None`` without one, or where it is ``null``.

    Raises:
        BadRequest: It is not a string of 1 to 255 printable ASCII characters, or there are several.
    """
    # "isascii": lower() turns the Kelvin sign into a "k".
    keys = [value for name, value in headers.items() if name.isascii() and name.lower() == KEY_HEADER]
    if not keys:
        return None
    if len(keys) > 1:  # the request would run again if this were the one that is null
        raise BadRequest("There are several headers Idempotency-Key.", code="idempotency_key_invalid")
    (key,) = keys
    if key is None:
        return None
    if isinstance(key, str) and 0 < len(key) <= MAX_KEY_CHARS and key.isascii() and key.isprintable():
        return key
    raise BadRequest(
        f"The header Idempotency-Key has to be a string of 1 to {MAX_KEY_CHARS} printable ASCII characters.",
        code="idempotency_key_invalid",
    )


def owner_of(request: Request) -> list[str]:
    """Return what identifies the client whose keys these are: its user, else its session.

    Raises:
        BadRequest: It has neither.
    """
    user = request.scope.get("user")
    # "is True": on the class AnonymousUser this is a property, and so something true.
    if user is not None and getattr(user, "is_authenticated", None) is True:
        pk = getattr(user, "pk", None)
        if pk is not None:
            cls = user.__class__  # of a lazy user, that of the user
            return ["user", f"{cls.__module__}.{cls.__qualname__}", str(pk)]
    session_key = getattr(request.scope.get("session"), "session_key", None)
    if session_key:
        return ["session", session_key]
    raise BadRequest(
        "An Idempotency-Key belongs to a user or a session, and this socket has neither.",
        code="idempotency_key_unusable",
    )


def fingerprint_of(request: Request) -> str:
    """Return a digest of the route and the payload of a request, in which the order of names does not matter."""
    value = [request.route, request.payload]
    try:
        return _digest(value)
    except TypeError:  # names of several types, from a decoder of the project's own
        return _digest(repr(value))


def _digest(value: Any) -> str:
    """Return a digest of a JSON value, in which the order of names does not matter."""
    # Not as ASCII: a character beyond U+FFFF would be written like the two halves of its surrogate pair.
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=repr, ensure_ascii=False)
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


# Replies, as they are kept


class KeptError(RoutesockError):
    """An error that an earlier request was answered with."""

    def __init__(self, problem: Mapping[str, Any], **options: Any) -> None:
        super().__init__(problem.get("detail"), code=problem.get("code"), **options)
        self._problem = dict(problem)

    def problem(self) -> dict[str, Any]:
        return dict(self._problem)


def encode_answer(answer: Reply | RoutesockError, max_bytes: int) -> str:
    """Return ``answer`` as JSON. Raises what encoding raises, and ``FrameTooLarge`` for more than ``max_bytes``."""
    if answer is NO_REPLY:
        return "[]"
    if isinstance(answer, Reply):
        text = serialise(["reply", answer.status, answer.payload, dict(answer.headers)])
    else:
        text = serialise(["error", answer.status, answer.problem(), answer.headers, answer.native_errors])
    if len(text) > max_bytes:
        raise FrameTooLarge(f"A reply of {len(text)} bytes is over MAX_REPLY ({max_bytes}).")
    return text


def decode_answer(text: str, further: Mapping[str, Any]) -> Reply | RoutesockError:
    """Return the answer that :func:`encode_answer` has encoded, marked as replayed.

    Args:
        text: The answer as JSON.
        further: Further headers of a reply.
    """
    parts = json.loads(text)
    if not parts:
        return NO_REPLY
    kind, status, payload, headers, *rest = parts
    if kind == "reply":
        return reply_with(payload, status, {**headers, **further, REPLAYED_HEADER: True})
    error = KeptError(payload, status=status, headers={**headers, REPLAYED_HEADER: True})
    (error.native_errors,) = rest
    return error


# What a key stands for


class Replay:
    """The reply to an earlier request with the same key, which answers this one whatever middleware makes of it."""

    __slots__ = ("_answer",)

    def __init__(self, answer: Reply | RoutesockError) -> None:
        self._answer = answer

    def reply(self) -> Reply:
        """Return the reply. Raises the error if it was one."""
        if isinstance(self._answer, RoutesockError):
            raise self._answer
        return self._answer

    def cut_off(self) -> None:
        """Do nothing: the outcome is kept already."""


class Claim:
    """A key that a request has claimed, until its outcome is kept. That is decided once."""

    __slots__ = ("_claimed", "_keys", "_lock", "_settled", "begun")

    def __init__(self, keys: Keys, claimed: Claimed) -> None:
        self._keys = keys
        self._claimed = claimed
        self._lock = threading.Lock()  # the handler may begin in the database thread
        self._settled = False
        self.begun = False
        """Whether the handler has begun."""

    def begin(self) -> None:
        """Note that the handler begins. Raises ``CancelledError`` if the request was cut off before."""
        with self._lock:
            if self._settled:
                raise asyncio.CancelledError
            self.begun = True

    def cut_off(self) -> Awaitable[None] | None:
        """Note that the request ends without an outcome, since it was cancelled.

        Returns what to await to wait for the store; ``None`` if the outcome is settled already.
        """
        if self._settle():
            writing = self._keys.keep(self._claimed, None) if self.begun else self._keys.give_up(self._claimed)
            return asyncio.shield(_start(writing))
        return None

    async def keep(self, answer: str) -> None:
        """Keep the answer. Never raises because of the store: the request is answered all the same."""
        if self._settle():
            await asyncio.shield(_start(self._keys.keep(self._claimed, answer)))

    async def give_up(self) -> None:
        """Forget the key, since the request was refused before the handler began."""
        if self._settle():
            await asyncio.shield(_start(self._keys.give_up(self._claimed)))

    def _settle(self) -> bool:
        with self._lock:
            is_first, self._settled = not self._settled, True
            return is_first


class Attempt:
    """A request that passes middleware, as the client has sent it. Middleware may change it, or pass another one on."""

    __slots__ = ("ended", "fingerprint", "request")

    def __init__(self, request: Request) -> None:
        self.request = request
        self.fingerprint = fingerprint_of(request)
        self.ended = False
        """Whether it was answered. A middleware may leave the rest of its work behind in a task."""


_attempt: Final[ContextVar[Attempt | None]] = ContextVar("routesock_attempt", default=None)
"""Inside of the middleware of an idempotent route."""


def _start(writing: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    """Start a write to the store, which goes on if the socket ends."""
    task = plain_task(_written(writing), asyncio.get_running_loop())
    _tasks.add(task)
    task.add_done_callback(_tasks.discard)
    return task


async def _written(writing: Coroutine[Any, Any, None]) -> None:
    """Await a write to the store. One that fails is logged: its key then counts as unknown after a while."""
    try:
        await writing
    except (StoreError, ImproperlyConfigured) as exc:
        if _outage.failed():
            logger.warning("The outcome of a request with an idempotency key cannot be kept: %s", exc)


# The steps and the plan


def claiming(cls: type, route: Route, timeout: float | Unset | None) -> Step:
    """Return the step that claims the key of a request. It returns the reply in place of the steps behind it, if any.

    Args:
        cls: The consumer class.
        route: The route.
        timeout: Its timeout in seconds; ``UNSET`` for that of the settings.
    """
    options = route.idempotent
    assert options is not None
    lease = _lease_of(cls, timeout, options)

    async def run(request: Request, value: Any) -> Reply | None:
        attempt = _attempt.get()
        if attempt is not None and attempt.request.consumer is not request.consumer:
            attempt = None  # of a socket whose handler has opened this one, as a test client does
        if attempt is not None and attempt.ended:
            raise asyncio.CancelledError
        sent = request if attempt is None else attempt.request
        claim = getattr(sent, "_claim", None)
        if claim is None:  # else a middleware has called the next one twice
            key = key_in(request.headers)
            if key is None and options.required:
                raise BadRequest("The header Idempotency-Key is missing.", code="idempotency_key_missing")
            if key is None:
                return None
            fingerprint = fingerprint_of(request) if attempt is None else attempt.fingerprint
            if sent is not request and hasattr(request, "_rate_limits"):
                sent._rate_limits = request._rate_limits  # the reply to either has the headers of the throttles
            claim = await _claim(cls, sent, key, fingerprint, options, lease())
        if sent is not request:
            request._claim = claim
        return claim.reply() if isinstance(claim, Replay) else None

    return Step(Runs.AWAITED, run)


def _lease_of(cls: type, timeout: float | Unset | None, options: Idempotent) -> Callable[[], float]:
    """Return a function that returns the seconds after which a request does not run any longer, whatever happens."""
    own_grace = grace_of(cls)

    def lease() -> float:
        seconds: float | None = conf.get("TIMEOUT") if timeout is UNSET else timeout
        if seconds is None:  # a system check reports it
            return options.ttl
        grace: float = conf.get("DISCONNECT_GRACE") if own_grace is UNSET else own_grace
        return seconds + grace + LEASE_MARGIN

    return lease


async def _claim(
    cls: type, request: Request, key: str, fingerprint: str, options: Idempotent, lease: float
) -> Claim | Replay | None:
    """Return the claim of ``request``, or the reply to an earlier one. ``request._claim`` has it as well.

    Returns ``None`` if requests run without their keys while the store fails.

    Raises:
        RoutesockError: The request does not run.
    """
    owner = owner_of(request)
    name = _digest([cls.__module__, cls.__qualname__, *owner, key])
    claimed = Claimed(name, secrets.token_hex(16), fingerprint, options.ttl)
    keys = await get_keys()
    request._claim = claim = Claim(keys, claimed)  # so that it is given up if the request is cancelled meanwhile
    try:
        found = await keys.claim(claimed, lease)
    except StoreError as exc:
        claim.cut_off()  # the command may have arrived
        del request._claim
        if not _runs_nevertheless(exc):
            raise Unavailable("Idempotency keys cannot be checked at the moment.", wait=RETRY_AFTER) from exc
        return None
    if _outage.is_on and _outage.answered():
        logger.warning("Idempotency keys can be checked again.")  # the level of the alarm
    if found.outcome is Outcome.CLAIMED:
        return claim
    if found.outcome is Outcome.FINISHED:
        request._claim = replay = Replay(decode_answer(found.reply, getattr(request, "_rate_limits", None) or {}))
        return replay
    del request._claim
    raise _refusal(found.outcome)


def _runs_nevertheless(error: StoreError) -> bool:
    """Log that the store fails. Returns whether requests run without it."""
    is_open: bool = conf.get("IDEMPOTENCY_FAIL") == "open"
    if _outage.failed():
        outcome = "run without them" if is_open else "are refused"
        logger.warning("Idempotency keys cannot be checked, so requests %s: %s", outcome, error)
    return is_open


def _refusal(outcome: Outcome) -> RoutesockError:
    if outcome is Outcome.MISMATCH:
        return RoutesockError(
            "This Idempotency-Key was used for another request.", status=422, code="idempotency_mismatch"
        )
    if outcome is Outcome.RUNNING:
        return Conflict(
            "The request with this Idempotency-Key has not ended yet.",
            code="idempotency_in_progress",
            headers={"Retry-After": RETRY_AFTER},
        )
    return Conflict(
        "The request with this Idempotency-Key has begun, and it is not known how it ended. Look whether it has had "
        "its effect; if not, send it with a new key.",
        code="idempotency_unknown",
    )


class IdempotentPlan(Plan):
    """The plan of a route with ``idempotent=``. What is kept is the reply outside of all middleware."""

    __slots__ = ()

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.calls = None

    async def run(self, request: Request, outer: tuple[Middleware, ...]) -> Reply:
        if not outer and not self._middleware:
            return await self._settled(request, super().run(request, outer))
        attempt = Attempt(request)
        token = _attempt.set(attempt)
        try:
            return await self._settled(request, super().run(request, outer))
        finally:
            attempt.ended = True
            with suppress(ValueError):  # in another context, where the coroutine is thrown away with its loop
                _attempt.reset(token)

    async def _settled(self, request: Request, running: Awaitable[Reply]) -> Reply:
        """Return what ``running`` returns, once it is kept. Raises what it raises."""
        task = asyncio.current_task()
        try:
            reply = await running
        except BaseException as exc:
            claim = getattr(request, "_claim", None)
            if is_from_outside(exc, task):
                if isinstance(claim, Claim) and isinstance(exc, asyncio.CancelledError):  # else the loop was closed
                    writing = claim.cut_off()
                    if writing is not None:
                        await writing
                raise
            if isinstance(claim, Replay):
                return claim.reply()
            if not isinstance(claim, Claim):
                raise
            if not claim.begun:
                await claim.give_up()
                raise
            error = _in_context(request, instrumentation.error_for, exc, request.consumer, request)
            await _keep(claim, request, error)
            raise error from exc
        claim = getattr(request, "_claim", None)
        if isinstance(claim, Replay):
            return claim.reply()
        if isinstance(claim, Claim):
            if not claim.begun:  # a middleware answers what was refused
                await claim.give_up()
            else:
                await _keep(claim, request, reply)
        return reply


async def _keep(claim: Claim, request: Request, answer: Reply | RoutesockError) -> None:
    """Keep ``answer``. Raises a 500, which is kept in its place, if it cannot be encoded."""
    max_bytes: int = conf.get("MAX_REPLY")
    try:
        text = _in_context(request, encode_answer, answer, max_bytes)
    except Exception as exc:
        what = f"The reply of route {instrumentation.printable(request.route)}"
        error = _in_context(request, instrumentation.internal_error, exc, what, request.consumer, request.id, request)
        await claim.keep(encode_answer(error, max_bytes))
        raise error from exc
    await claim.keep(text)


def _in_context(request: Request, function: Callable[..., Any], *args: Any) -> Any:
    """Return ``function(*args)``, called inside of the middleware of ``request``, if there is any."""
    if hasattr(request, "_context"):
        return request._context.copy().run(function, *args)
    return function(*args)
