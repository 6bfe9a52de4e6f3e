"""Those of the servers: a database that several processes see."""

from __future__ import annotations

import os

from tests.settings import *  # noqa: F403

DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": os.environ["DATABASE_PATH"]}}
ROOT_URLCONF = "tests.auth.urls"
