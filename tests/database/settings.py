"""A project on PostgreSQL: an alias for each kind of connection, so that none meets another's."""

from __future__ import annotations

import os
from typing import Any, Final

KINDS: Final[dict[str, dict[str, Any]]] = {
    "0": {"CONN_MAX_AGE": 0},
    "60": {"CONN_MAX_AGE": 60},
    "none": {"CONN_MAX_AGE": None},
    "checked": {"CONN_MAX_AGE": None, "CONN_HEALTH_CHECKS": True},
}
WAYS: Final = ("async", "sync", "sync-consumer")
"""Kinds of handler that use the database."""


def _database(alias: str, **options: Any) -> dict[str, Any]:
    return {
        "ENGINE": "django.db.backends.postgresql",
        "HOST": "127.0.0.1",
        "PORT": os.environ.get("POSTGRES_PORT", ""),
        "USER": "postgres",
        "NAME": "postgres",
        "OPTIONS": {"application_name": alias},
        **options,
    }


SECRET_KEY = "only-for-tests"
USE_TZ = True
INSTALLED_APPS = ["channels", "tests.database"]
DATABASES = {
    "default": _database("default", CONN_MAX_AGE=None),
    "tenant.0": _database("tenant.0", CONN_MAX_AGE=0),
    "tenant.60": _database("tenant.60", CONN_MAX_AGE=60),
    **{f"{kind}.{way}": _database(f"{kind}.{way}", **KINDS[kind]) for kind in KINDS for way in WAYS},
}
CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
ROUTESOCK = {"DB_THREADS": 2}
