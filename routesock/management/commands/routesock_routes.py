"""The management command ``routesock_routes``: lists the routes, topics, pushes and events of the project."""

from __future__ import annotations

from typing import Any, Literal

from django.core.management.base import BaseCommand, CommandError, CommandParser

from ..._runtime.asgi_tree import load_application, websocket_endpoints
from .._routes import as_json, as_table, hidden_consumers, path_of, project_rows


class Command(BaseCommand):
    """Lists what the consumers of the ASGI application take and send: ``manage.py routesock_routes [--open]``."""

    help = "List the routes, topics, pushes and events of the project, with who may call them."
    requires_system_checks: (
        list[str] | tuple[str, ...] | Literal["__all__"]
    ) = []  # the list has to be all of the output

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--format", choices=("table", "json"), default="table", help="the format of the output")
        parser.add_argument("--path", help="list one path only, such as /ws/chat/")
        parser.add_argument(
            "--open",
            action="store_true",
            help="list only what every client may call; exit with 1 if any of it does not say so with permissions=()",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            application = load_application()
            rows = project_rows(application, options["path"])
        except Exception as exc:  # the modules of the project raise what they like
            raise CommandError(f"{type(exc).__name__}: {exc}", returncode=2) from exc
        if options["path"] is not None and not rows:
            known = ", ".join(sorted({*map(path_of, websocket_endpoints(application))})) or "none"
            raise CommandError(f"Nothing is served at {options['path']}. The paths are: {known}.", returncode=2)
        self._note_others(application, rows, options)
        listed = [row for row in rows if row.open] if options["open"] else rows
        self.stdout.write(as_json(listed) if options["format"] == "json" else as_table(listed))
        omitted = [row for row in listed if row.open and not row.on_purpose]
        if options["open"] and omitted:
            names = ", ".join(dict.fromkeys(f"{row.handler} ({row.name})" for row in omitted))
            raise CommandError(
                f"Every client may call {names}, and nothing says that this is meant. Set permissions=() on each, or "
                "permissions that restrict it. route_permissions does either for a class."
            )

    def _note_others(self, application: Any, rows: Any, options: dict[str, Any]) -> None:
        """Write to stderr what the list cannot show."""
        others = [row for row in rows if row.kind in ("consumer", "application")] if options["open"] else []
        if others:
            names = ", ".join(f"{row.handler} at {row.path}" for row in others)
            self.stderr.write(f"Not looked at, since routesock routes nothing there: {names}.")
        hidden = hidden_consumers(application) if options["path"] is None else []
        if hidden:
            self.stderr.write(
                f"No path that was found leads to {', '.join(hidden)}. An application that cannot be looked into may "
                "serve them."
            )
