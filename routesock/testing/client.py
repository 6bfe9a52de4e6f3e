"""The client that tests open."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any, Self

from ..dialects import Dialect
from .application import ASGIApplication, Headers, signed_in, websocket_scope
from .blocking import BlockingRouteClient
from .conversation import Conversation


class RouteClient(Conversation):
    """A websocket client for tests, without a server.

    ``app``
        A consumer class or any ASGI application.
    ``path``
        With the query string, if any.
    ``as_user``
        Becomes ``scope["user"]``, also under ``AuthMiddlewareStack``; without it, ``scope`` has no user.
    ``headers``
        Of the handshake: a mapping, or pairs where a name comes twice. ``host`` and ``origin`` are those of a page of
        ``http://testserver`` unless they are given; ``None`` removes one.
    ``scope``
        More keys of the ASGI scope (``url_route``, ``session``...); they replace those made here.
    ``dialect``
        The default is the consumer class's ``route_dialect``, so it has to be given where the class is wrapped.
    ``timeout``
        Seconds that each wait may take.
    ``raise_exceptions``
        Whether a handler's unexpected exception is raised in the test; otherwise its 500 is returned.
    ``subprotocols``
        What the client offers in the handshake.

    ``async with`` gives the client itself, ``with`` a :class:`~routesock.testing.BlockingRouteClient` with the same
    methods.
    """

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
    ) -> None:
        consumer_class = app if isinstance(app, type) else getattr(app, "consumer_class", None)
        made = websocket_scope(path, headers, subprotocols)
        if as_user is not None:
            made["user"] = signed_in(as_user)
        super().__init__(
            app.as_asgi() if isinstance(app, type) and hasattr(app, "as_asgi") else app,
            {**made, **(scope or {})},
            dialect=dialect if dialect is not None else getattr(consumer_class, "route_dialect", None),
            timeout=timeout,
            raise_exceptions=raise_exceptions,
        )
        self._blocking: BlockingRouteClient | None = None

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            await self.disconnect()
        except Exception as late:
            if error is None:
                raise
            error.add_note(f"The application failed as well: {late!r}")

    def __enter__(self) -> BlockingRouteClient:
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            pass
        else:
            raise RuntimeError("This is async code: use `async with RouteClient(...)`, and await its methods.")
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
