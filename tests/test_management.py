"""``manage.py routesock_broadcast``."""

from __future__ import annotations

from io import StringIO
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from django.core.management import call_command
from django.core.management.base import CommandError
from django.test import override_settings

from routesock import RouteMixin
from routesock.management.commands.routesock_broadcast import Command
from routesock.testing import RouteClient
from tests.layers.in_memory import CROSSING, Crossing

NOWHERE = "redis://127.0.0.1:1"


class Room(RouteMixin, AsyncJsonWebsocketConsumer):
    channel_layer_alias = "other"

    async def connect(self) -> None:
        await self.socket.join("room 1")
        await self.accept()


@pytest.mark.parametrize(
    ("words", "payload"), [([], None), (['{"a": [1, "ż"]}'], {"a": [1, "ż"]}), (['"text"'], "text")]
)
async def test_it_sends(words: list[str], payload: Any) -> None:
    out = StringIO()
    with override_settings(CHANNEL_LAYERS={"other": CROSSING}):
        async with RouteClient(Room) as client:
            await sync_to_async(call_command)(Command(), "room 1", "told", *words, "--layer", "other", stdout=out)
            assert (await client.expect_push("told")).payload == payload
    assert "was sent to the channel layer 'other'" in out.getvalue()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["room", "told", "{text}"], "not valid JSON"),
        (["room", "told", "1", "--layer", "nowhere"], "CHANNEL_LAYERS has no layer 'nowhere'"),
        (["room", "told", "1", "--layer", "memory"], "does not reach other processes"),
        (["room", "PING", "1"], "reserved"),
        (["room", "told", "1", "--layer", "down"], "ConnectionError: down"),
        (["room", "told", "1", "--layer", "core"], "was not sent: ConnectionError"),
        (["room", "told", "1", "--layer", "pubsub"], "was not sent: ConnectionError"),
    ],
)
def test_what_cannot_be_sent_is_an_error_of_the_command(
    words: list[str], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Down(Crossing):
        async def group_send(self, group: str, message: Any) -> None:
            raise ConnectionError("down")

    monkeypatch.setattr(f"{__name__}.Down", Down, raising=False)
    layers = {
        "default": CROSSING,
        "memory": {"BACKEND": "channels.layers.InMemoryChannelLayer"},
        "down": {"BACKEND": f"{__name__}.Down"},
        "core": {"BACKEND": "channels_redis.core.RedisChannelLayer", "CONFIG": {"hosts": [NOWHERE]}},
        "pubsub": {"BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer", "CONFIG": {"hosts": [NOWHERE]}},
    }
    with override_settings(CHANNEL_LAYERS=layers), pytest.raises(CommandError, match=says):
        call_command(Command(), *words)
