"""Django system checks: settings, consumers, channel layers, the throttle cache, and daphne."""

from __future__ import annotations

from typing import Final

from .consumers import check_consumers
from .deployment import (
    check_application,
    check_daphne,
    check_layers,
    check_local_store,
    check_processes,
    check_store,
    check_throttles,
)
from .history import check_history
from .settings import TAG, Id, check_documents, check_middleware, check_settings

__all__ = ["CHECKS", "DEPLOYMENT_CHECKS", "TAG", "Id"]

CHECKS: Final = (
    check_settings,
    check_middleware,
    check_documents,
    check_consumers,
    check_throttles,
    check_store,
    check_history,
    check_layers,
    check_daphne,
)

DEPLOYMENT_CHECKS: Final = (check_application, check_processes, check_local_store)
