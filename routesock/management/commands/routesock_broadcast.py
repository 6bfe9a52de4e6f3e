"""``manage.py routesock_broadcast GROUP ROUTE [JSON]``: a broadcast by hand."""

from __future__ import annotations

import json
from typing import Any

from asgiref.sync import async_to_sync
from channels import DEFAULT_CHANNEL_LAYER
from channels.layers import get_channel_layer
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from ..._compat import reaches_other_processes
from ..._groups.broadcasting import broadcast


class Command(BaseCommand):
    """Sends a frame to every socket in a group, in all processes that the channel layer reaches."""

    help = "Send a frame to every socket in a group."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("group", help="what sockets have joined")
        parser.add_argument("route", help="the route of the frame")
        parser.add_argument("payload", nargs="?", default="null", metavar="JSON", help="the payload; none: null")
        parser.add_argument("--layer", default=DEFAULT_CHANNEL_LAYER, help="the alias of the channel layer")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            payload = json.loads(options["payload"])
        except ValueError as exc:
            raise CommandError(f"The payload is no JSON: {exc}. A text has quotes of its own: '\"text\"'.") from exc
        layer = options["layer"]
        if layer not in getattr(settings, "CHANNEL_LAYERS", {}):
            raise CommandError(f"There is no {layer!r} in CHANNEL_LAYERS.")
        if not async_to_sync(_reaches_other_processes)(layer):
            raise CommandError(f"The channel layer {layer!r} reaches no other process, so no socket from here.")
        try:
            broadcast(options["group"], options["route"], payload, layer=layer)
        except Exception as exc:  # whatever a layer's library raises
            raise CommandError(f"The broadcast was not sent: {type(exc).__name__}: {exc}") from exc
        self.stdout.write(self.style.SUCCESS(f"The channel layer {layer!r} has taken it."))


async def _reaches_other_processes(layer: str) -> bool:
    """Whether the layer with the alias ``layer`` reaches other processes; on a loop, which a pub/sub layer needs."""
    return reaches_other_processes(get_channel_layer(layer))
