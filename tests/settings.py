"""The Django project that the tests run in."""

from __future__ import annotations

import json
import os
import tempfile

SECRET_KEY = "only-for-tests"
DEBUG = False
USE_TZ = True
_FILE = os.path.join(tempfile.gettempdir(), f"routesock-tests-{os.getpid()}.sqlite3")
DATABASES = {
    "default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"},
    "files": {  # Django never closes a database in memory, so tests of closing use this one
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": _FILE,
        "TEST": {"NAME": _FILE, "MIGRATE": False},
    },
}
INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "channels",
    "rest_framework.authtoken",
]
CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
ROUTESOCK = json.loads(os.environ.get("ROUTESOCK", "{}"))  # of a server that a test starts
# The default takes a good part of a second for each password.
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
SIMPLE_JWT = {"SIGNING_KEY": "a key for tests that is as long as HS256 wants it"}
