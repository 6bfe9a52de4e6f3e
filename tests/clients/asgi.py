"""What the servers load."""

import os

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
django.setup()

from .application import application  # noqa: E402  (the consumers need the settings)

__all__ = ["application"]
