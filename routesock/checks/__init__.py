"""System checks of the settings, of the consumers with routes, and of what they run on."""

from __future__ import annotations

from typing import Final

from .application import check_consumers
from .daphne import check_daphne
from .layers import check_layers, check_processes
from .messages import TAG, Id
from .settings import check_middleware, check_settings
from .throttles import check_throttles

__all__ = ["CHECKS", "DEPLOYMENT_CHECKS", "TAG", "Id"]

CHECKS: Final = (check_settings, check_middleware, check_consumers, check_throttles, check_layers, check_daphne)
DEPLOYMENT_CHECKS: Final = (check_processes,)
