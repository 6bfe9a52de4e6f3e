"""The model behind the permissions for open sockets. It has no table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from django.db import models


class _NoRows(models.Manager[Any]):
    """Finds nothing and asks no database, so that ``dumpdata`` and the like work without a table."""

    def get_queryset(self) -> models.QuerySet[Any]:
        return super().get_queryset().none()


class OpenSocket(models.Model):
    """Stands for the open sockets of all processes, for the permissions and the page of the admin.

    Django grants and stores permissions by model, so there is one. It is not managed: it needs no migration.
    """

    objects: _NoRows = _NoRows()

    class Meta:
        managed = False
        default_permissions: ClassVar[Sequence[str]] = ()
        base_manager_name = "objects"
        permissions: ClassVar[list[tuple[str, Any]]] = [
            ("view_sockets", "Can view open sockets"),
            ("close_sockets", "Can close open sockets"),
        ]
        verbose_name = "open socket"
        verbose_name_plural = "open sockets"

    def __str__(self) -> str:
        return "An open socket"
