"""The management command ``routesock_close``: closes the sockets of a user or of an address, in all processes."""

from __future__ import annotations

from typing import Any, Literal

from django.core.management.base import BaseCommand, CommandError, CommandParser

from ..._groups.census import CLOSED_BY_OPERATOR, close_sockets
from ...status import Ending, is_close_code
from .._sockets import add_timeout, asked, total


class Command(BaseCommand):
    """Closes sockets in all processes: ``manage.py routesock_close --user 7``, or ``--address 203.0.113.9``."""

    help = "Close the sockets of a user or of an address, in all processes."
    requires_system_checks: list[str] | tuple[str, ...] | Literal["__all__"] = []  # it has to work in an outage

    def add_arguments(self, parser: CommandParser) -> None:
        whose = parser.add_mutually_exclusive_group(required=True)
        whose.add_argument("--user", metavar="PK", help="the primary key of the user")
        whose.add_argument("--address", help="the address of the client, as the log has it")
        parser.add_argument(
            "--code", type=int, default=4401, help="the close code: 1000, or 3000 to 4999 (default: 4401)"
        )
        parser.add_argument("--reconnect", action="store_true", help="let the clients connect again")
        add_timeout(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        code = options["code"]
        if not is_close_code(code):
            raise CommandError(f"A socket cannot be closed with {code}. Use 1000, or a code from 3000 to 4999.")
        ending = Ending(code, CLOSED_BY_OPERATOR, reconnect=options["reconnect"])
        user, address = options["user"], options["address"]
        answers = asked(lambda: close_sockets(options["timeout"], ending, user=user, address=address))
        self.stdout.write(total("Closed", answers))
