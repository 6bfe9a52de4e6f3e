from __future__ import annotations

from collections.abc import Iterator

import pytest
from asgiref.sync import SyncToAsync
from django.contrib.auth.models import User
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

from tests.takeover.conftest import layer  # noqa: F401  (a fixture, which pytest finds by name)


@pytest.fixture
def alice(transactional_db: None) -> User:
    """In the database that the database thread sees too."""
    return User.objects.create_user("alice", password="in wonderland")


@pytest.fixture(autouse=True)
def connection_of_the_thread() -> Iterator[None]:
    """Closed after each test: Django's own ``close()`` keeps a database in memory open, and so due to be closed."""
    yield
    SyncToAsync.single_thread_executor.submit(lambda: BaseDatabaseWrapper.close(connections["default"])).result()
