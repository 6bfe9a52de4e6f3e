"""RequestMiddleware: runs Django middleware on the HTTP request of a WebSocket handshake."""

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

from .._compat import unwrap_lazy_user
from .._runtime import database
from .._runtime.connection_state import ConnectionLeftovers
from .._runtime.instrumentation import internal_error
from .._runtime.supervision import safe_logger
from .._wire import problems
from .._wire.messages import Scope
from ..dialects import Dialect
from ..exceptions import RouteSetupError
from .refusals import REFUSALS, Application, Handshake, Receive, Send, deny, enter, has_odd_origin, reject


def build_request(scope: Scope, authorization: str | None = None) -> ASGIRequest:
    """Return the GET request of the handshake as a Django request.

    It has ``META`` with address, query and headers, the cookies, and ``user`` and ``session`` of the scope if present.
    Invalid UTF-8 in the query string is replaced.

    Args:
        scope: The ASGI scope of the socket.
        authorization: Replaces the header ``Authorization``.
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


logger: Final = safe_logger("routesock.socket")

REQUEST: Final = "routesock.request"
"""The key of the ASGI scope for the Django request of the handshake."""

_REACHED_VIEW: Final = "_routesock_reached_view"
"""The attribute of a request that no middleware has answered itself."""

Respond = Callable[[HttpRequest], Awaitable[HttpResponseBase]]


class RequestMiddleware:
    """ASGI middleware that runs Django middleware on the HTTP request of the handshake.

    ``scope["user"]`` and ``scope["session"]`` are those that the middleware has set on the request.
    ``scope["routesock.request"]`` is the request itself, with all other attributes. A language in
    ``request.LANGUAGE_CODE`` is active as long as the socket is open.

    The whole middleware runs before the consumer, including its response phase. The response is empty; its cookies are
    sent with the answer to the handshake. There is no view, so ``process_view`` is not called.

    Args:
        app: The inner ASGI application, such as a ``URLRouter``.
        middleware: Dotted paths in the order of ``settings.MIDDLEWARE``, of classes or functions, sync or async.
        refuse: What happens when a middleware returns its own response. ``"close"`` accepts the socket and closes it
            with 4000 plus the status of the response, so that browsers can read the reason. ``"http"`` sends the
            response, if the server supports it.
        dialect: The dialect of the CLOSE notice.

    Raises:
        RouteSetupError: If an argument is not valid. Exceptions from importing the middleware are not caught.
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
            raise RouteSetupError(f"middleware= must be a list of dotted paths; got {middleware!r}.")
        if refuse not in REFUSALS:
            raise RouteSetupError(f'refuse= must be "close" or "http"; got {refuse!r}.')
        self.inner = app
        self.middleware: tuple[str, ...] = tuple(middleware)
        self._refuse = refuse
        self._dialect = dialect
        self._respond = _load_middleware(middleware)
        self._has_warned = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "websocket":
            await self.inner(scope, receive, send)
            return
        if has_odd_origin(scope):
            await deny(403)(scope, receive, send)
            return
        request: Any = build_request(scope)
        database.refresh()
        leftovers = ConnectionLeftovers()
        try:
            with database.thread_context(leftovers.watch):
                response = await self._respond(request)
            self._warn_about(leftovers)
            if not getattr(request, _REACHED_VIEW, False) or response.status_code >= 300:
                await (await self._refusal(response))(scope, receive, send)
                return
            new_scope = {**scope, **await _scope_values(request)}
        except Exception as exc:
            await self._failure(exc, scope)(scope, receive, send)
            return
        language = getattr(request, "LANGUAGE_CODE", None)
        with nullcontext() if language is None else translation.override(language):
            await enter(self.inner, new_scope, receive, _with_cookies(response, send))

    def _warn_about(self, leftovers: ConnectionLeftovers) -> None:
        """Log, once, what the middleware has left on connections that the sockets of other clients use too."""
        if leftovers and not self._has_warned:
            self._has_warned = True
            logger.warning(
                "A middleware of RequestMiddleware has left %s on the database connection, which other sockets share: "
                "each of them uses what the last handshake has left there. Set it in route_thread_context of the "
                "consumers instead.",
                leftovers,
            )

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


def _load_middleware(paths: Sequence[str]) -> Respond:
    """Return the middleware around an empty view, as Django's ``BaseHandler.load_middleware`` does."""
    adapt: Any = BaseHandler().adapt_method_mode
    handler: Any = _empty_view
    is_async = True
    for path in reversed(paths):
        middleware: Any = import_string(path)
        can_be_async = getattr(middleware, "async_capable", False)
        stays_sync = not is_async and getattr(middleware, "sync_capable", True)
        becomes_async = False if stays_sync else can_be_async
        try:
            adapted = adapt(becomes_async, handler, is_async, name=f"middleware {path}")
            instance = middleware(adapted)
        except MiddlewareNotUsed:
            continue
        if instance is None:
            raise RouteSetupError(f"The middleware {path} returned None instead of a callable that takes a request.")
        handler, is_async = instance, becomes_async
    respond: Respond = adapt(True, handler, is_async)
    return respond


async def _empty_view(request: HttpRequest) -> HttpResponse:
    setattr(request, _REACHED_VIEW, True)
    return HttpResponse()


async def _scope_values(request: Any) -> dict[str, Any]:
    """Return the keys of the scope for what the middleware has set on ``request``."""
    values: dict[str, Any] = {REQUEST: request}
    if hasattr(request, "session"):
        values["session"] = request.session
    user = vars(request).get("user")
    if isinstance(user, LazyObject):
        user = await database.in_thread(unwrap_lazy_user, user)
    if user is not None:
        values["user"] = user
    return values


def _cookies_of(response: Any) -> list[tuple[bytes, bytes]]:
    return [(b"set-cookie", cookie.output(header="").strip().encode("latin-1")) for cookie in response.cookies.values()]


def _with_cookies(response: Any, send: Send) -> Send:
    cookies = _cookies_of(response)
    if not cookies:
        return send

    async def send_with_cookies(message: Any) -> None:
        if message["type"] == "websocket.accept":
            message = {**message, "headers": [*(message.get("headers") or ()), *cookies]}
        await send(message)

    return send_with_cookies
