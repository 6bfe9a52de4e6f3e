"""The Django project that the benchmarks run in."""

from __future__ import annotations

SECRET_KEY = "only-for-benchmarks"
DEBUG = False
USE_TZ = True
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
INSTALLED_APPS = ["django.contrib.auth", "django.contrib.contenttypes", "channels"]
CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
# More than one slot sends: a machine that stands still for a moment must not turn into refused requests.
ROUTESOCK = {"MAX_QUEUED": 20_000, "MAX_QUEUED_BYTES": 100_000_000}
