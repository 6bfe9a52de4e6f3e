"""RouteClient: the test client for consumers, in async and in sync tests."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any, ClassVar, Self

from django.utils.functional import LazyObject

from .. import conf
from .._compat import unwrap_lazy_user
from ..dialects import Dialect
from .application import ASGIApplication, Headers, websocket_scope
from .async_client import AsyncClient
from .blocking import BlockingRouteClient


class RouteClient(AsyncClient):
    """A WebSocket client for tests, which calls the application without a server.

    ``async with RouteClient(...) as client`` returns the client itself. ``with RouteClient(...) as client`` returns a
    :class:`~routesock.testing.BlockingRouteClient` with the same methods.

    Args:
        app: A consumer class or any ASGI application.
        path: The path, with a query string if needed.
        as_user: The user in ``scope["user"]``, also behind ``AuthMiddlewareStack``. By default the scope has no user.
        headers: The headers of the handshake: a mapping, or pairs if a name occurs twice. The default ``host`` and
            ``origin`` are those of a page of ``http://testserver``; ``None`` as the value removes one.
        scope: Further keys of the ASGI scope, such as ``url_route`` or ``session``. They replace the default ones.
        dialect: The dialect of the consumer. The default is ``route_dialect`` of the consumer class; pass it if ``app``
            is not a consumer class.
        timeout: Seconds that each wait may take.
        raise_exceptions: Whether an unexpected exception of a handler is raised in the test. If false, the reply with
            the status 500 is returned.
        subprotocols: The subprotocols that the client offers.
        documented: Whether a frame that does not fit the document of ``app`` fails the test with an
            :class:`~routesock.testing.UndocumentedFrame`. The default is the setting ``CHECK_REPLIES`` if it is a bool,
            else that of ``pytest --documented``.
    """

    _documented_by_default: ClassVar[bool] = False
    """Set by ``pytest --documented``."""

    def __init__(
        self,
        app: ASGIApplication | type[Any],
        path: str = "/",
        *,
        as_user: Any = None,
        headers: Headers = (),
        scope: Mapping[str, Any] | None = None,
        dialect: Dialect | None = None,
        timeout: float = 1.0,
        raise_exceptions: bool = True,
        subprotocols: Iterable[str] = (),
        documented: bool | None = None,
    ) -> None:
        consumer_class = app if isinstance(app, type) else getattr(app, "consumer_class", None)
        default_scope = websocket_scope(path, headers, subprotocols)
        if as_user is not None:
            # A lazy object such as request.user would not keep its user behind Channels' AuthMiddleware.
            default_scope["user"] = unwrap_lazy_user(as_user) if isinstance(as_user, LazyObject) else as_user
        super().__init__(
            app.as_asgi() if isinstance(app, type) and hasattr(app, "as_asgi") else app,
            {**default_scope, **(scope or {})},
            dialect=dialect if dialect is not None else getattr(consumer_class, "route_dialect", None),
            timeout=timeout,
            raise_exceptions=raise_exceptions,
            documented=self._default_documented() if documented is None else documented,
        )
        self._blocking: BlockingRouteClient | None = None

    @classmethod
    def _default_documented(cls) -> bool:
        setting: bool | None = conf.get("CHECK_REPLIES")
        return cls._documented_by_default if setting is None else setting

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            await self.disconnect()
        except Exception as exc:
            if error is None:
                raise
            error.add_note(f"The application failed as well: {exc!r}")

    def __enter__(self) -> BlockingRouteClient:
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            pass
        else:
            raise RuntimeError("An event loop is running. Use `async with RouteClient(...)` and await its methods.")
        blocking = BlockingRouteClient(self, self._timeout)
        blocking.connect()
        self._blocking = blocking
        return blocking

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        blocking, self._blocking = self._blocking, None
        if blocking is not None:
            blocking.__exit__(kind, error, traceback)
