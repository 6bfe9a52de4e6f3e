"""The Django app: it is needed in ``INSTALLED_APPS`` for the system checks only."""

from __future__ import annotations

from django.apps import AppConfig
from django.core.checks import register

from .checks import CHECKS, TAG


class RoutesockConfig(AppConfig):
    """Registers the system checks."""

    name = "routesock"

    def ready(self) -> None:
        for check in CHECKS:
            register(check, TAG)
