"""What the servers load."""

import json
import os

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
os.environ.setdefault("ROUTESOCK", json.dumps({"HISTORY": {"log.{name}": {"size": 100, "ttl": 300}}}))
django.setup()

from .application import application  # noqa: E402  (the consumers need the settings)

__all__ = ["application"]
