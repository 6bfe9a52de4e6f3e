"""An event's way on one socket, compiled once per class: the schema, then the handler."""

from __future__ import annotations

from typing import Any

from . import db, isolation
from .events import Event, EventMark
from .exceptions import Invalid
from .faults import printable
from .steps import Runs, settled


class EventRefused(Exception):
    """The payload of an event does not fit the schema of its handler."""


class Telling:
    """What is done with an event of one name: ``await telling.run(event, consumer)``.

    Errors of any kind come through; the caller is the error boundary.
    """

    __slots__ = ("_loads", "_refresh", "_runs", "_schema", "attr")

    def __init__(self, cls: type, mark: EventMark, *, isolated: bool) -> None:
        self.attr = mark.attr
        self._schema = mark.schema
        self._loads = Runs.IN_THREAD if mark.schema is not None and mark.schema.blocking else Runs.ON_LOOP
        self._runs = Runs.of(getattr(cls, mark.attr))
        self._refresh = isolation.refresh if isolated else db.refresh

    async def run(self, event: Event, consumer: Any) -> None:
        self._refresh()
        if self._loads is Runs.ON_LOOP:
            self._load(event)
            if self._runs is Runs.IN_THREAD:
                await db.in_thread(self._call, event, consumer)
                return
        elif self._runs is Runs.IN_THREAD:
            await db.in_thread(self._load_and_call, event, consumer)
            return
        else:
            await db.in_thread(self._load, event)
        if self._runs is Runs.AWAITED:
            await getattr(consumer, self.attr)(event)
        else:
            self._call(event, consumer)

    def _load_and_call(self, event: Event, consumer: Any) -> None:
        self._load(event)
        self._call(event, consumer)

    def _load(self, event: Event) -> None:
        if self._schema is None:
            return
        try:
            event.payload = self._schema.load(event.payload)
        except Invalid as exc:
            raise EventRefused(f"The schema of {self.attr} refuses the payload: {printable(exc.errors)}") from exc

    # Looked up at each call, so that a test can patch it on the class or on one consumer.
    def _call(self, event: Event, consumer: Any) -> None:
        settled(getattr(consumer, self.attr)(event), self.attr)
