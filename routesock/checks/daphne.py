"""The check of daphne, where it is the project's server."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from django.apps import AppConfig, apps
from django.conf import settings
from django.core.checks import CheckMessage, Warning
from django.utils.version import get_version_tuple

from .messages import Id
from .settings import setting_if_valid

_MIB: Final = 1024 * 1024


def check_daphne(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """daphne, if it is the project's server, bounds frames, and not below what routesock allows."""
    daphne = next((config.module for config in apps.get_app_configs() if config.name == "daphne"), None)
    version = getattr(daphne, "__version__", None)
    if version is None:
        return []
    if get_version_tuple(version) < (4, 2, 2):
        return [
            Warning(
                f"daphne {version} takes frames of any size into memory before MAX_FRAME is asked (CVE-2026-44545).",
                hint="Install daphne>=4.2.2.",
                id=Id.UNBOUNDED_DAPHNE,
            )
        ]
    return [
        *_check_limit("MAX_FRAME", "and closes the socket at a larger frame", "MESSAGE", "FRAME"),
        *_check_limit("MAX_REPLY", "and refuses to send a larger reply", "MESSAGE"),
    ]


def _check_limit(key: str, consequence: str, *kinds: str) -> Iterator[CheckMessage]:
    options = {f"DAPHNE_WEBSOCKET_MAX_{kind}_SIZE": f"--websocket-max-{kind.lower()}-size" for kind in kinds}
    limits = {option: getattr(settings, option, _MIB) for option in options}
    name = min((name for name in limits if limits[name]), key=lambda name: limits[name], default=None)
    value = setting_if_valid(key)
    if name is not None and value is not None and value > limits[name]:
        yield Warning(
            f"ROUTESOCK[{key!r}] is {value}, but daphne stops at {limits[name]} bytes {consequence}.",
            hint=f"Lower it, or raise {name} (runserver) and {options[name]} (the daphne command).",
            id=Id.OVER_DAPHNES_LIMIT,
        )
