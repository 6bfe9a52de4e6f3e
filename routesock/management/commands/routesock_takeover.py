"""The management command ``routesock_takeover``: says what adopting routesock means for one consumer."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from django.core.management.base import BaseCommand, CommandError, CommandParser

from .._takeover.report import report
from .._takeover.source import NotReadable, load


class Command(BaseCommand):
    """Reads a consumer class and prints what adopting would mean: ``manage.py routesock_takeover path.to.Consumer``.

    It changes no file.
    """

    help = "Read a consumer class and print what adopting routesock would mean for it. Changes no file."
    requires_system_checks: (
        list[str] | tuple[str, ...] | Literal["__all__"]
    ) = []  # the diff has to be all of the output

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("consumer", help="the path of the class: package.module.Class or package.module:Class")
        parser.add_argument(
            "--diff", action="store_true", help="print only the diff of the first step, for `git apply`"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            source = load(options["consumer"])
        except NotReadable as exc:
            raise CommandError(str(exc)) from exc
        text, diff = report(source, Path.cwd())
        if not options["diff"]:
            self.stdout.write(text, ending="")
        elif diff is None:
            raise CommandError(
                f"There is no diff for {options['consumer']}. Run the command without --diff to see why."
            )
        else:
            self.stdout.write(diff.text, ending="")
