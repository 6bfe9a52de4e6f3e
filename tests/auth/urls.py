"""No page: Django's LocaleMiddleware looks for languages in the paths of a URLconf."""

from __future__ import annotations

from typing import Any

urlpatterns: list[Any] = []
