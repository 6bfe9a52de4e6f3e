"""The server of ``benchmarks/resume.py``: rooms that clients resume, on a channel layer that loses messages."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs

import django
from django.conf import settings

STORE: Final = os.environ.get("RESUME_STORE", "")
LAYER: Final = os.environ.get("RESUME_LAYER", "")
SENTINEL: Final = os.environ.get("RESUME_SENTINEL", "")
LOSE: Final = float(os.environ.get("RESUME_LOSE", "0"))
PLAIN: Final = f"plain.{os.getpid()}"


def _cache() -> dict[str, Any]:
    cache: dict[str, Any] = {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": STORE}
    if SENTINEL:
        cache["LOCATION"] = "redis://resume/0"
        cache["OPTIONS"] = {
            "CLIENT_CLASS": "django_redis.client.SentinelClient",
            "CONNECTION_FACTORY": "django_redis.pool.SentinelConnectionFactory",
            "SENTINELS": [("127.0.0.1", int(SENTINEL))],
        }
    return cache


def _hosts() -> list[Any]:
    return [{"sentinels": [("127.0.0.1", int(SENTINEL))], "master_name": "resume"}] if SENTINEL else [LAYER]


if not settings.configured:
    policy = {"size": 500, "ttl": 300}
    settings.configure(
        SECRET_KEY="only-for-benchmarks",
        USE_TZ=True,
        INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "channels"],
        CACHES={"default": _cache()},
        CHANNEL_LAYERS={"default": {"BACKEND": f"{__name__}.LossyLayer", "CONFIG": {"hosts": _hosts()}}},
        ROUTESOCK={
            "HISTORY": {"room.{id}": policy, "private.{id}": policy},
            "STORE_TIMEOUT": float(os.environ.get("RESUME_TIMEOUT", "0.25")),
        },
    )
    django.setup()

from channels.generic.websocket import AsyncJsonWebsocketConsumer  # noqa: E402
from channels_redis.pubsub import RedisPubSubChannelLayer  # noqa: E402
from django.contrib.auth.models import AnonymousUser, User  # noqa: E402

from routesock import RouteMixin, route, topic  # noqa: E402
from routesock.permissions import BasePermission  # noqa: E402


class LossyLayer(RedisPubSubChannelLayer):
    """Loses a part of what is sent."""

    async def group_send(self, group: str, message: Any) -> None:
        if random.random() >= LOSE:
            await self.__getattr__("group_send")(group, message)  # it has a layer for each event loop


class MayRead(BasePermission):
    """Permits the users for whom there is a file."""

    async def has_permission(self, request: Any) -> bool:
        name = request.consumer.scope["user"].username
        return bool(name) and Path(os.environ["RESUME_TRUTH"], f"may-read-{name}").exists()  # noqa: ASYNC240


class Rooms(RouteMixin, AsyncJsonWebsocketConsumer):
    @topic("room.{id}", permissions=(), recover=True)
    async def room(self, request: Any) -> int:
        """Return the number of the last push that was sent."""
        with open(f"{os.environ['RESUME_TRUTH']}/{request.payload['id']}", "rb") as file:  # noqa: ASYNC230
            return int(file.read())

    @topic("private.{id}", permissions=[MayRead], recover=True, recheck=True)
    async def private(self, request: Any) -> None: ...


class Plain(RouteMixin, AsyncJsonWebsocketConsumer):
    """Its sockets join a group without a history."""

    async def connect(self) -> None:
        await self.socket.join(PLAIN)
        await self.accept()

    @route("nothing", permissions=())
    async def nothing(self, request: Any) -> None: ...


async def bare(scope: Any, receive: Any, send: Any) -> None:
    """Without routesock: answer a JSON array of two frames by the first, and by as many of the second as it says."""
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        first, frame, number = json.loads(message["text"])
        await send({"type": "websocket.send", "text": first})
        message = {"type": "websocket.send", "text": frame}
        for _ in range(number):
            await send(message)


class AsUser:
    """Signs in the user whose name is in the URL: ``/?user=ann``."""

    def __init__(self, application: Any) -> None:
        self.application = application

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/bare":
            await bare(scope, receive, send)
            return
        [name] = parse_qs(scope.get("query_string", b"").decode()).get("user", [""])
        user = User(pk=int.from_bytes(name.encode()), username=name) if name else AnonymousUser()
        await self.application({**scope, "user": user}, receive, send)


application = AsUser(Rooms.as_asgi())
