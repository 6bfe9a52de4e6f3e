"""RequestMiddleware: runs Django's request middleware over the handshake, as the HTTP request that it is."""

from __future__ import annotations

import io
from collections.abc import Awaitable, Callable, Sequence
from contextlib import nullcontext
from typing import Any, Final

from django.core.exceptions import BadRequest, MiddlewareNotUsed, SuspiciousOperation
from django.core.handlers.asgi import ASGIRequest
from django.core.handlers.base import BaseHandler
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.utils import translation
from django.utils.functional import LazyObject
from django.utils.module_loading import import_string

from .._compat import unwrapped
from .._runtime import database
from .._runtime.instrumentation import internal_error
from .._wire import problems
from .._wire.messages import Scope
from ..dialects import Dialect
from ..exceptions import RouteSetupError
from .refusals import REFUSALS, Application, Handshake, Receive, Send, deny, enter, has_odd_origin, reject


def request_of(scope: Scope, authorization: str | None = None) -> ASGIRequest:
    """The GET request that opened the socket of ``scope``: ``META`` with address, query and headers, and cookies.

    ``user`` and ``session`` are those of the scope, where it has any. ``authorization`` stands in the place of the
    header of that name. What a client wrote is decoded whatever it is.
    """
    query: Any = scope.get("query_string", b"")
    if isinstance(query, bytes):
        query = query.decode("utf-8", "replace")
    http: dict[str, Any] = {
        **scope,
        "type": "http",
        "method": "GET",
        "scheme": "https" if scope.get("scheme") == "wss" else "http",
        "query_string": query,
        "headers": [(bytes(name).lower(), bytes(value)) for name, value in scope.get("headers", ())],
    }
    request = ASGIRequest(http, io.BytesIO())
    if authorization is not None:
        request.META["HTTP_AUTHORIZATION"] = authorization
    for name in ("user", "session"):
        if name in scope:
            setattr(request, name, scope[name])
    return request


REQUEST: Final = "routesock.request"
"""The key of the scope that holds the handshake as a Django request."""

_PASSED: Final = "_routesock_passed"

Respond = Callable[[HttpRequest], Awaitable[HttpResponseBase]]


class RequestMiddleware:
    """ASGI middleware: runs Django middleware over the handshake's request, and fills the scope with what comes of it.

    ``scope["user"]`` and ``scope["session"]`` are those that a middleware has put on the request, and
    ``scope["routesock.request"]`` is the request itself, with everything else that was put there. The language that one
    has set in ``request.LANGUAGE_CODE`` is active for as long as the socket lives. All of a middleware runs before the
    consumer does, its response phase too: the response is empty, and its cookies go into the handshake's answer. There
    is no view, so ``process_view`` is not called.

    :param app: The ASGI application inside, such as a URLRouter.
    :param middleware: Dotted paths, in the order of ``settings.MIDDLEWARE``: classes or functions, sync or async.
    :param refuse: What becomes of a socket for which a middleware answers itself: ``"close"`` accepts it and closes it
        with 4000 + the response's status, so that a browser can tell; ``"http"`` passes the response on, where the
        server can.
    :param dialect: How the CLOSE notice is spelt.

    Raises :class:`~routesock.exceptions.RouteSetupError` for an option that cannot work, and what importing raises.
    """

    def __init__(
        self,
        app: Application,
        middleware: Sequence[str],
        *,
        refuse: str = "close",
        dialect: Dialect | None = None,
    ) -> None:
        if isinstance(middleware, str) or not all(isinstance(path, str) for path in middleware):
            raise RouteSetupError(f"middleware= is a list of dotted paths; got {middleware!r}.")
        if refuse not in REFUSALS:
            raise RouteSetupError(f'refuse= is "close" or "http"; got {refuse!r}.')
        self.inner = app
        self._refuse = refuse
        self._dialect = dialect
        self._respond = _chained(middleware)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "websocket":
            await self.inner(scope, receive, send)
            return
        if has_odd_origin(scope):
            await deny(403)(scope, receive, send)
            return
        request: Any = request_of(scope)
        database.refresh()
        try:
            response = await self._respond(request)
            if not getattr(request, _PASSED, False) or response.status_code >= 300:
                await (await self._refusal(response))(scope, receive, send)
                return
            filled = {**scope, **await _found(request)}
        except Exception as exc:
            await self._failure(exc, scope)(scope, receive, send)
            return
        language = getattr(request, "LANGUAGE_CODE", None)
        with nullcontext() if language is None else translation.override(language):
            await enter(self.inner, filled, receive, _with_cookies(response, send))

    async def _refusal(self, response: Any) -> Application:
        if self._refuse == "close":
            return reject(response.status_code, dialect=self._dialect)
        if not getattr(response, "is_rendered", True):
            await database.in_thread(response.render)
        headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in response.items()]
        body = b"" if response.streaming else response.content
        return deny(response.status_code, headers=[*headers, *_cookies_of(response)], body=body)

    def _failure(self, exc: Exception, scope: Scope) -> Application:
        error = problems.error_of(exc)
        if error is not None:
            status = error.status
        elif isinstance(exc, SuspiciousOperation | BadRequest):
            status = 400
        else:
            status = internal_error(exc, "A middleware of the handshake", Handshake(scope)).status
        return reject(status, dialect=self._dialect) if self._refuse == "close" else deny(status)


def _chained(paths: Sequence[str]) -> Respond:
    """The middleware of these paths around a view that does nothing, put together as Django does."""
    adapt: Any = BaseHandler().adapt_method_mode
    handler: Any = _arrive
    is_async = True
    for path in reversed(paths):
        middleware: Any = import_string(path)
        can_be_async = getattr(middleware, "async_capable", False)
        stays_sync = not is_async and getattr(middleware, "sync_capable", True)
        becomes_async = False if stays_sync else can_be_async
        try:
            adapted = adapt(becomes_async, handler, is_async, name=f"middleware {path}")
            made = middleware(adapted)
        except MiddlewareNotUsed:
            continue
        if made is None:
            raise RouteSetupError(f"The middleware {path} gave None in place of a function of the request.")
        handler, is_async = made, becomes_async
    respond: Respond = adapt(True, handler, is_async)
    return respond


async def _arrive(request: HttpRequest) -> HttpResponse:
    setattr(request, _PASSED, True)
    return HttpResponse()


async def _found(request: Any) -> dict[str, Any]:
    """What the middleware has put on ``request``, as keys of a scope."""
    found: dict[str, Any] = {REQUEST: request}
    if hasattr(request, "session"):
        found["session"] = request.session
    user = vars(request).get("user")
    if isinstance(user, LazyObject):
        user = await database.in_thread(unwrapped, user)
    if user is not None:
        found["user"] = user
    return found


def _cookies_of(response: Any) -> list[tuple[bytes, bytes]]:
    return [(b"set-cookie", cookie.output(header="").strip().encode("latin-1")) for cookie in response.cookies.values()]


def _with_cookies(response: Any, send: Send) -> Send:
    cookies = _cookies_of(response)
    if not cookies:
        return send

    async def sending(message: Any) -> None:
        if message["type"] == "websocket.accept":
            message = {**message, "headers": [*(message.get("headers") or ()), *cookies]}
        await send(message)

    return sending
