"""Consumers that note what reaches them, routed and plain, async and sync."""

from __future__ import annotations

from typing import Any

from channels.exceptions import DenyConnection
from channels.generic.websocket import AsyncJsonWebsocketConsumer, JsonWebsocketConsumer
from channels.routing import URLRouter
from django.urls import path

from routesock import Request, RouteMixin, route


def name_of(user: Any) -> str:
    return getattr(user, "username", "") or "nobody"


class Noting:
    scope: dict[str, Any]

    def note(self, *entry: Any) -> None:
        self.scope.setdefault("log", []).append(entry)


class Plain(Noting, AsyncJsonWebsocketConsumer):
    async def connect(self) -> None:
        self.note("connect", name_of(self.scope.get("user")))
        await self.accept()

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:  # type: ignore[override]
        self.note("receive", text_data if text_data is not None else bytes_data)
        await self.send(text_data="got it")

    async def disconnect(self, code: int) -> None:
        self.note("disconnect", code)


class PlainSync(Noting, JsonWebsocketConsumer):
    def connect(self) -> None:
        self.note("connect", name_of(self.scope.get("user")))
        self.accept()

    def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:  # type: ignore[override]
        self.note("receive", text_data)

    def disconnect(self, code: int) -> None:
        self.note("disconnect", code)


LONG = "żółw 🐢 " * 30
"""A reason that no close frame holds."""


class Wordy(AsyncJsonWebsocketConsumer):
    async def connect(self) -> None:
        await self.close(4403, LONG)


class Denying(Noting, AsyncJsonWebsocketConsumer):
    async def connect(self) -> None:
        raise DenyConnection


class Routed(RouteMixin, Noting, AsyncJsonWebsocketConsumer):
    async def connect(self) -> None:
        self.note("connect", name_of(self.scope.get("user")))
        await self.accept()

    @route("me")
    async def me(self, request: Request) -> Any:
        self.note("me")
        return name_of(request.user)

    @route("version", public=True)
    async def version(self, request: Request) -> Any:
        self.note("version", id(self))
        return [name_of(request.user), request.user.is_authenticated, "connected" if self.connected else "waiting"]

    @property
    def connected(self) -> bool:
        return any(entry[0] == "connect" for entry in self.scope.get("log", ()))

    async def disconnect(self, code: int) -> None:
        self.note("disconnect", code)


class RoutedSync(RouteMixin, Noting, JsonWebsocketConsumer):
    def connect(self) -> None:
        self.note("connect", name_of(self.scope.get("user")))
        self.accept()

    @route("me")
    def me(self, request: Request) -> Any:
        return name_of(request.user)

    @route("version", public=True)
    def version(self, request: Request) -> Any:
        return [name_of(request.user), request.user.is_authenticated, "?"]

    def disconnect(self, code: int) -> None:
        self.note("disconnect", code)


class RoutedDenying(RouteMixin, AsyncJsonWebsocketConsumer):
    async def connect(self) -> None:
        await self.close()


class Refusing(RouteMixin, AsyncJsonWebsocketConsumer):
    """Says with an HTTP status that nobody gets in, so or so."""

    async def connect(self) -> None:
        if "reject" in self.scope["path"]:
            await self.socket.reject(403, "Not here.")
        else:
            await self.socket.close(401, "Who are you?", retry_after=1.5)


router = URLRouter(
    [
        path("plain/", Plain.as_asgi()),
        path("plain-sync/", PlainSync.as_asgi()),
        path("denying/", Denying.as_asgi()),
        path("routed/", Routed.as_asgi()),
        path("routed-sync/", RoutedSync.as_asgi()),
        path("routed-denying/", RoutedDenying.as_asgi()),
        path("close/", Refusing.as_asgi()),
        path("reject/", Refusing.as_asgi()),
    ]
)
PLAIN = ["/plain/", "/plain-sync/"]
ROUTED = ["/routed/", "/routed-sync/"]
EVERY = [*PLAIN, *ROUTED]
