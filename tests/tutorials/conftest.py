from __future__ import annotations

from tests.browser.conftest import chromium  # noqa: F401  (a fixture, which pytest finds by name)
from tests.servers import redis_url  # noqa: F401
