"""What the pipeline asks of a schema, whichever library it comes from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar


class SchemaAdapter(ABC):
    """One schema, resolved when a class is created and kept for all its messages.

    An adapter is shared by every socket, so ``load`` and ``dump`` hold no state between calls.
    """

    blocking: ClassVar[bool] = False
    """Whether ``load`` and ``dump`` may touch the database, so that they run in Django's database thread."""

    @abstractmethod
    def load(self, payload: Any) -> Any:
        """What the schema makes of a client's ``payload``.

        Raises :class:`routesock.exceptions.Invalid` where the schema refuses it, with the library's own messages in
        ``errors``; whatever else is raised is a fault of the schema.
        """

    @abstractmethod
    def dump(self, value: Any) -> Any:
        """``value`` (a handler's result) as the JSON encoder can spell it."""
