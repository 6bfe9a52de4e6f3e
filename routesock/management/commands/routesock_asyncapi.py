"""The management command ``routesock_asyncapi``: writes the AsyncAPI document of the project, or checks one."""

from __future__ import annotations

import difflib
import json
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from django.core.management.base import BaseCommand, CommandError, CommandParser

from ..._asyncapi.document import SPECS, Document, as_json, as_yaml, from_yaml, project_document
from ..._asyncapi.inexact import inexact_parts
from ..._asyncapi.validation import canonical
from ...exceptions import RouteSetupError


class Command(BaseCommand):
    """Writes the AsyncAPI document: ``manage.py routesock_asyncapi [-o FILE] [--check FILE] [--exact]``."""

    help = "Write the AsyncAPI document of the project, or compare a file with it."
    requires_system_checks: list[str] | tuple[str, ...] | Literal["__all__"] = []  # the document is all of the output

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("-o", "--output", metavar="FILE", help="the file to write (default: standard output)")
        parser.add_argument(
            "--format", choices=("json", "yaml"), help="the format (default: by the name of the file, else json)"
        )
        parser.add_argument(
            "--check", metavar="FILE", help="compare FILE with the document; exit with 1 and a diff if they differ"
        )
        parser.add_argument("--spec", choices=SPECS, default=SPECS[0], help="the version of AsyncAPI")
        parser.add_argument("--path", help="only what is served at one path, such as /ws/chat/")
        parser.add_argument("--server", help="the URL of the server, such as wss://chat.example.com")
        parser.add_argument(
            "--exact",
            action="store_true",
            help="exit with 1 if a schema accepts values that the server refuses, and list why",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if options["output"] is not None and options["check"] is not None:
            raise CommandError("Write either -o to write a file, or --check to compare one.", returncode=2)
        document = self._document(options)
        file = options["check"] or options["output"]
        is_yaml = options["format"] == "yaml" or (options["format"] is None and _is_yaml(file))
        try:
            text = as_yaml(document) if is_yaml else as_json(document)
        except RouteSetupError as exc:
            raise CommandError(str(exc), returncode=2) from exc
        if options["check"] is not None:
            self._check(Path(options["check"]), document, text, is_yaml=is_yaml)
        elif options["output"] is not None:
            _write(Path(options["output"]), text)
        elif not options["exact"]:
            self.stdout.write(text, ending="")
        if options["exact"]:
            self._exact(document)

    def _document(self, options: dict[str, Any]) -> Document:
        server, path = options["server"], options["path"]
        if server is not None and not _is_server(server):
            raise CommandError(f"--server is a URL such as wss://chat.example.com; got {server!r}.", returncode=2)
        servers = () if server is None else (server,)
        try:
            document = project_document(servers=servers, path=path, spec=options["spec"], replace_servers=bool(servers))
        except Exception as exc:  # the modules of the project raise what they like
            raise CommandError(f"{type(exc).__name__}: {exc}", returncode=2) from exc
        if path is not None and not document["channels"]:
            known = project_document(spec=options["spec"])["channels"].values()
            paths = ", ".join(sorted(channel["address"] for channel in known if channel["address"])) or "none"
            raise CommandError(f"No routes are served at {path}. The paths are: {paths}.", returncode=2)
        return document

    def _check(self, file: Path, document: Document, text: str, *, is_yaml: bool) -> None:
        try:
            committed = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as exc:
            raise CommandError(f"{file} cannot be read: {exc}", returncode=2) from exc
        try:
            found = from_yaml(committed) if is_yaml else json.loads(committed)
            is_same = canonical(found) == canonical(document)
        except (ValueError, TypeError):
            is_same = False  # the diff shows what is in the file instead
        if is_same:
            return
        diff = difflib.unified_diff(
            committed.splitlines(keepends=True), text.splitlines(keepends=True), str(file), "the code", n=3
        )
        self.stdout.write("".join(line if line.endswith("\n") else f"{line}\n" for line in diff), ending="")
        raise CommandError(
            f"{file} is not what the code says. Write it anew: manage.py routesock_asyncapi -o {file}", returncode=1
        )

    def _exact(self, document: Document) -> None:
        parts = inexact_parts(document)
        for part in parts:
            self.stdout.write(str(part))
        if parts:
            raise CommandError(f"{len(parts)} parts of the document are inexact.", returncode=1)


def _is_yaml(file: str | None) -> bool:
    return file is not None and file.endswith((".yaml", ".yml"))


def _is_server(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in ("ws", "wss") and bool(parts.hostname)


def _write(file: Path, text: str) -> None:
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as exc:
        raise CommandError(f"{file} cannot be written: {exc}", returncode=2) from exc
