"""System checks of the settings, of the consumers with routes, and of the server in front of them."""

from __future__ import annotations

from typing import Final

from .application import check_consumers
from .daphne import check_daphne
from .messages import TAG, Id
from .settings import check_middleware, check_settings
from .throttles import check_throttles

__all__ = ["CHECKS", "TAG", "Id"]

CHECKS: Final = (check_settings, check_middleware, check_consumers, check_throttles, check_daphne)
