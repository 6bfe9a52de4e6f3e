"""A Redis of a test's own, to be restarted, paused and asked; and a django-redis cache in it."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import redis

from tests import servers
from tests.servers import HOST, free_port


class RedisServer(servers.RedisServer):
    """One that tests ask directly."""

    def execute(self, *command: Any) -> Any:
        """The reply to one command."""
        with closing(redis.Redis(host=HOST, port=self.port, decode_responses=True)) as client:
            return client.execute_command(*command)  # type: ignore[no-untyped-call]

    def key_names(self) -> list[str]:
        found: list[str] = self.execute("KEYS", "*")
        return found


@contextmanager
def run_redis_server(*options: str) -> Iterator[RedisServer]:
    """An empty one, with ``options`` of its command line."""
    program = shutil.which("redis-server")
    if program is None:
        raise RuntimeError("These tests need redis-server (Debian: apt-get install redis-server).")
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        command = [program, "--bind", HOST, "--port", f"{port}", "--save", "", "--appendonly", "no", *options]
        with closing(RedisServer(command, port=port, env=os.environ, cwd=Path(folder))) as server:
            server.start()
            yield server


def cache_at(location: Any, **options: Any) -> dict[str, Any]:
    """``CACHES`` with django-redis there as the default."""
    return {
        "default": {
            "BACKEND": "django_redis.cache.RedisCache",
            "LOCATION": location,
            "OPTIONS": options,
            "KEY_PREFIX": "shop",
        }
    }
