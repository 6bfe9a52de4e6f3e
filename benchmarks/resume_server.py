"""The server of ``benchmarks/resume.py``: rooms that clients resume, on a channel layer that loses messages."""

from __future__ import annotations

import os
import random
from typing import Any, Final

import django
from django.conf import settings

STORE: Final = os.environ.get("RESUME_STORE", "")
LAYER: Final = os.environ.get("RESUME_LAYER", "")
LOSE: Final = float(os.environ.get("RESUME_LOSE", "0"))

if not settings.configured:
    settings.configure(
        SECRET_KEY="only-for-benchmarks",
        USE_TZ=True,
        INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "channels"],
        CACHES={"default": {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": STORE}},
        CHANNEL_LAYERS={"default": {"BACKEND": f"{__name__}.LossyLayer", "CONFIG": {"hosts": [LAYER]}}},
        ROUTESOCK={
            "HISTORY": {"room.{id}": {"size": 500, "ttl": 300}},
            "STORE_TIMEOUT": float(os.environ.get("RESUME_TIMEOUT", "0.25")),
        },
    )
    django.setup()

from channels.generic.websocket import AsyncJsonWebsocketConsumer  # noqa: E402
from channels_redis.pubsub import RedisPubSubChannelLayer  # noqa: E402

from routesock import RouteMixin, topic  # noqa: E402


class LossyLayer(RedisPubSubChannelLayer):
    """Loses a part of what is sent."""

    async def group_send(self, group: str, message: Any) -> None:
        if random.random() >= LOSE:
            await self.__getattr__("group_send")(group, message)  # it has a layer for each event loop


class Rooms(RouteMixin, AsyncJsonWebsocketConsumer):
    @topic("room.{id}", permissions=(), recover=True)
    async def room(self, request: Any) -> int:
        """Return the number of the last push that was sent."""
        with open(f"{os.environ['RESUME_TRUTH']}/{request.payload['id']}", "rb") as file:  # noqa: ASYNC230
            return int(file.read() or 0)


application = Rooms.as_asgi()
