"""Asks all processes from the command line, for the commands of operators."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from asgiref.sync import async_to_sync
from django.core.management.base import CommandError, CommandParser

from .._groups.census import Answer, reaches_others
from .._runtime.instrumentation import counted


def add_timeout(parser: CommandParser) -> None:
    """Add the option ``--timeout``."""
    parser.add_argument(
        "--timeout", type=float, default=2.0, metavar="SECONDS", help="how long to wait for the answers (default: 2)"
    )


def asked(question: Callable[[], Coroutine[Any, Any, list[Answer]]]) -> list[Answer]:
    """Return what the processes answer to ``question``.

    Raises:
        CommandError: No channel layer reaches other processes, or one of them fails.
    """

    async def ask() -> list[Answer] | None:
        return await question() if await reaches_others() else None

    try:
        answers: list[Answer] | None = async_to_sync(ask)()
    except Exception as exc:  # layers raise exceptions of their own libraries
        raise CommandError(f"The processes were not asked: {type(exc).__name__}: {exc}") from exc
    if answers is None:
        raise CommandError("No channel layer reaches other processes, so this command cannot reach any socket.")
    return answers


def total(verb: str, answers: list[Answer]) -> str:
    """Return what was done, such as "Closed 3 sockets in 2 processes."."""
    number = sum(answer.number for answer in answers)
    return f"{verb} {counted(number, 'socket')} in {counted(len(answers), 'process', 'processes')}."
