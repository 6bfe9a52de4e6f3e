"""The management command ``routesock_drain``: has processes close their sockets and take no others."""

from __future__ import annotations

from typing import Any, Literal

from django.core.management.base import BaseCommand, CommandError, CommandParser

from ..._groups.census import drain
from .._sockets import add_timeout, asked, total


class Command(BaseCommand):
    """Has processes close their sockets and take no others: ``manage.py routesock_drain [--process web-1:4242]``."""

    help = (
        "Have a process, or all of them, close their sockets as on SIGTERM: running requests may finish, and clients "
        "are asked to come back. The process takes no sockets until it is started again."
    )
    requires_system_checks: list[str] | tuple[str, ...] | Literal["__all__"] = []  # it has to work in an outage

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--process", help="the name of the process, as routesock_sockets lists it (default: all)")
        add_timeout(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        answers = asked(lambda: drain(options["timeout"], options["process"]))
        if options["process"] is not None and not answers:
            raise CommandError(f"No process {options['process']!r} has answered. Processes without sockets do not.")
        self.stdout.write(total("Draining", answers))
