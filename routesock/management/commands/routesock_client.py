"""The management command ``routesock_client``: writes the types of the project's consumers for a client."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any, Final, Literal

from django.core.management.base import BaseCommand, CommandError, CommandParser

from ..._asyncapi.document import Document, project_document
from ..._codegen.python import python
from ..._codegen.typescript import typescript

_GENERATORS: Final = {"python": python, "typescript": typescript}


class Command(BaseCommand):
    """Writes a typed client: ``manage.py routesock_client typescript|python -o FILE [--path PATH] [--check]``."""

    help = "Write the types of the project's consumers for the TypeScript or the Python client, or check such a file."
    requires_system_checks: list[str] | tuple[str, ...] | Literal["__all__"] = []  # the module is all of the output

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("language", choices=tuple(_GENERATORS), help="the language of the client")
        parser.add_argument("-o", "--output", metavar="FILE", help="the file to write (default: standard output)")
        parser.add_argument("--path", help="only what is served at one path, such as /ws/chat/")
        parser.add_argument(
            "--check",
            action="store_true",
            help="compare FILE with the code instead of writing it; exit with 1 and a diff if they differ",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if options["check"] and options["output"] is None:
            raise CommandError("Name the file that --check compares: -o FILE.", returncode=2)
        document = _document(options["path"])
        text = _GENERATORS[options["language"]](document)
        if options["output"] is None:
            self.stdout.write(text, ending="")
        elif options["check"]:
            self._check(Path(options["output"]), text, options)
        else:
            _write(Path(options["output"]), text)

    def _check(self, file: Path, text: str, options: dict[str, Any]) -> None:
        try:
            committed = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as exc:
            raise CommandError(f"{file} cannot be read: {exc}", returncode=2) from exc
        if committed == text:
            return
        diff = difflib.unified_diff(
            committed.splitlines(keepends=True), text.splitlines(keepends=True), str(file), "the code", n=3
        )
        self.stdout.write("".join(line if line.endswith("\n") else f"{line}\n" for line in diff), ending="")
        path = "" if options["path"] is None else f" --path {options['path']}"
        raise CommandError(
            f"{file} is not what the code says. Write it again: "
            f"manage.py routesock_client {options['language']} -o {file}{path}",
            returncode=1,
        )


def _document(path: str | None) -> Document:
    try:
        document = project_document(path=path)
    except Exception as exc:  # the modules of the project raise what they like
        raise CommandError(f"{type(exc).__name__}: {exc}", returncode=2) from exc
    if path is not None and not document["channels"]:
        known = project_document()["channels"].values()
        paths = ", ".join(sorted(channel["address"] for channel in known if channel["address"])) or "none"
        raise CommandError(f"No routes are served at {path}. The paths are: {paths}.", returncode=2)
    return document


def _write(file: Path, text: str) -> None:
    try:
        file.write_text(text, encoding="utf-8", newline="\n")
    except OSError as exc:
        raise CommandError(f"{file} cannot be written: {exc}", returncode=2) from exc
