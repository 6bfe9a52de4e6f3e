"""A throttled consumer for real servers; ``CACHES_JSON`` in the environment says where it is counted."""

from __future__ import annotations

import json
import os
from typing import Any

import django
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from channels.routing import ProtocolTypeRouter
from django.conf import settings

from routesock import Request, RouteMixin, Throttle, route

settings.configure(
    SECRET_KEY="only-for-tests",
    ALLOWED_HOSTS=["*"],
    INSTALLED_APPS=["channels"],
    CACHES=json.loads(os.environ["CACHES_JSON"]),
    ROUTESOCK={"THROTTLE_TIMEOUT": 10},
)
django.setup()


class Limited(RouteMixin, AsyncJsonWebsocketConsumer):
    route_connection_throttle = Throttle("3/h", scope="ip")

    @route("limited", throttle="2/h")
    async def limited(self, request: Request) -> Any:
        return "passed"


application = ProtocolTypeRouter({"websocket": Limited.as_asgi()})
