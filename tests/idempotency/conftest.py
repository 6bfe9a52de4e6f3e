from __future__ import annotations

import pytest

from routesock._pipeline import idempotency
from routesock._store.opening import Outage
from routesock.testing import forget_stores, forget_throttles
from tests.servers import pytest_runtest_makereport  # noqa: F401  (a hook, which pytest finds by name)
from tests.throttling.conftest import own_redis, redis_server, session_redis  # noqa: F401


@pytest.fixture(autouse=True)
def nothing_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test meets the keys of another, or its outages."""
    forget_stores()
    forget_throttles()
    monkeypatch.setattr(idempotency, "_outage", Outage())
