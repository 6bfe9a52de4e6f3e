"""The Django app configuration: registers the system checks and the receivers of Django's login signals."""

from __future__ import annotations

from django.apps import AppConfig
from django.core.checks import register

from .auth._login import revocation
from .checks import CHECKS, DEPLOYMENT_CHECKS, TAG


class RoutesockConfig(AppConfig):
    """Registers the system checks, and the receivers that close sockets when a login ends."""

    name = "routesock"
    verbose_name: str = "routesock"  # pyright: ignore[reportIncompatibleVariableOverride]
    default_auto_field: str = "django.db.models.BigAutoField"  # pyright: ignore[reportIncompatibleVariableOverride]

    def ready(self) -> None:
        for check in CHECKS:
            register(check, TAG)
        for check in DEPLOYMENT_CHECKS:
            register(check, TAG, deploy=True)
        revocation.connect_signals()
