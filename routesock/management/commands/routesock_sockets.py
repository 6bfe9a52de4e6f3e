"""The management command ``routesock_sockets``: lists the open sockets of all processes."""

from __future__ import annotations

import json
from typing import Any, Literal

from django.core.management.base import BaseCommand, CommandParser

from ..._groups.census import FIELDS, ask, rows_of
from .._sockets import add_timeout, asked

_COLUMNS = ("process", *FIELDS)


class Command(BaseCommand):
    """Lists the open sockets of all processes: ``manage.py routesock_sockets [--format json]``."""

    help = "List the open sockets of all processes: their consumer, user, age, groups, and what waits."
    requires_system_checks: (
        list[str] | tuple[str, ...] | Literal["__all__"]
    ) = []  # the list has to be all of the output

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--format", choices=("table", "json"), default="table", help="the format of the output")
        add_timeout(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        answers = asked(lambda: ask(options["timeout"], "list"))
        rows = rows_of(answers)
        if options["format"] == "json":
            self.stdout.write(json.dumps(rows, indent=2))
        else:
            texts = [
                [str(name).upper() for name in _COLUMNS],
                *([_text(row[name]) for name in _COLUMNS] for row in rows),
            ]
            widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
            for line in texts:
                cells = [text.ljust(width) for text, width in zip(line, widths, strict=True)]
                self.stdout.write("  ".join(cells).rstrip())
        for answer in answers:
            if answer.number > len(answer.sockets):
                self.stderr.write(f"{answer.process} has {answer.number} sockets; {len(answer.sockets)} are listed.")


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.0f}s"
    return "-" if value is None else str(value)
