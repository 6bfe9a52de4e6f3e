from __future__ import annotations

from django.db import models


class Backend(models.Model):
    """PostgreSQL's own list of who is connected: a table that needs no migration."""

    pid = models.IntegerField(primary_key=True)
    application_name = models.TextField()

    class Meta:
        app_label = "database"
        managed = False
        db_table = "pg_stat_activity"

    def __str__(self) -> str:
        return f"{self.application_name} {self.pid}"


class OwnPid(models.Func):
    """The ``pid`` of the connection that asks."""

    function = "pg_backend_pid"
    output_field = models.IntegerField()
