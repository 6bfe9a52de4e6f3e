"""The management command ``routesock_broadcast``: sends a frame to a group from the command line."""

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
    """Sends a frame to every socket in a group: ``manage.py routesock_broadcast GROUP ROUTE [JSON]``."""

    help = "Send a frame to every socket in a group."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("group", help="the name of the group")
        parser.add_argument("route", help="the route of the frame")
        parser.add_argument("payload", nargs="?", default="null", metavar="JSON", help="the payload (default: null)")
        parser.add_argument("--layer", default=DEFAULT_CHANNEL_LAYER, help="the alias of the channel layer")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            payload = json.loads(options["payload"])
        except ValueError as exc:
            raise CommandError(f"The payload is not valid JSON: {exc}. Put a string in quotes: '\"text\"'.") from exc
        layer = options["layer"]
        if layer not in getattr(settings, "CHANNEL_LAYERS", {}):
            raise CommandError(f"CHANNEL_LAYERS has no layer {layer!r}.")
        if not async_to_sync(_reaches_other_processes)(layer):
            raise CommandError(
                f"The channel layer {layer!r} does not reach other processes, so it cannot reach any socket."
            )
        try:
            broadcast(options["group"], options["route"], payload, layer=layer)
        except Exception as exc:  # layers raise exceptions of their own libraries
            raise CommandError(f"The broadcast was not sent: {type(exc).__name__}: {exc}") from exc
        self.stdout.write(self.style.SUCCESS(f"The broadcast was sent to the channel layer {layer!r}."))


async def _reaches_other_processes(layer: str) -> bool:
    """Call :func:`reaches_other_processes` on an event loop, since the pub/sub layer of Redis needs one."""
    return reaches_other_processes(get_channel_layer(layer))
