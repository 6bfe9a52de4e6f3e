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


class TypeName(models.Model):
    """PostgreSQL's own list of types: some hundred rows in a table that needs no migration."""

    oid = models.IntegerField(primary_key=True)
    typname = models.TextField()

    class Meta:
        app_label = "database"
        managed = False
        db_table = "pg_type"

    def __str__(self) -> str:
        return self.typname


class Note(models.Model):
    """A table that each tenant has in a schema of its own; ``public`` has one, too."""

    text = models.TextField()

    class Meta:
        app_label = "database"
        managed = False
        db_table = "note"

    def __str__(self) -> str:
        return self.text


class Secret(models.Model):
    """One table for all tenants. Row-level security shows each role its own rows, and a superuser all of them."""

    text = models.TextField()

    class Meta:
        app_label = "database"
        managed = False
        db_table = "secret"

    def __str__(self) -> str:
        return self.text
