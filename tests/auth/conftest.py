from __future__ import annotations

import pytest
from django.contrib.auth.models import User

from tests.takeover.conftest import layer  # noqa: F401  (a fixture, which pytest finds by name)


@pytest.fixture
def alice(transactional_db: None) -> User:
    """In the database that the database thread sees too."""
    return User.objects.create_user("alice", password="in wonderland")
