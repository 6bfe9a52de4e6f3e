"""The choice of the store, and its servers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings

from routesock._store.opening import LocalStore, StoreError, forget_stores, get_store
from routesock._store.redis import RedisServers, Script
from tests.throttling.conftest import own_redis, redis_server, session_redis  # noqa: F401
from tests.throttling.redis_server import RedisServer, cache_at

LOCAL = "django.core.cache.backends.locmem.LocMemCache"


def caches(**backends: str) -> dict[str, Any]:
    return {name: {"BACKEND": backend, "LOCATION": name} for name, backend in backends.items()}


class TestChoice:
    async def test_local_memory(self) -> None:
        """All users of a kind share one object."""
        with override_settings(CACHES=caches(default=LOCAL)):
            store = await get_store()
            assert isinstance(store, LocalStore)
            assert store.local is store
            assert store.part("kind", list) is (await get_store()).part("kind", list)

    async def test_setting_names_the_cache(self) -> None:
        """By default it is that of the throttles."""
        with override_settings(CACHES=caches(default=LOCAL, other=LOCAL)):
            with override_settings(ROUTESOCK={"THROTTLE_CACHE": "other"}):
                other = await get_store()
            with override_settings(ROUTESOCK={"STORE": "other"}):
                assert await get_store() is other
            assert await get_store() is not other

    async def test_other_caches_are_refused(self) -> None:
        """Each call says so."""
        with override_settings(CACHES=caches(default="django.core.cache.backends.dummy.DummyCache")):
            for _ in range(2):
                with pytest.raises(ImproperlyConfigured, match="DummyCache"):
                    await get_store()

    async def test_forgetting(self) -> None:
        with override_settings(CACHES=caches(default=LOCAL)):
            (await get_store()).part("kind", list).append(1)
            forget_stores()
            assert (await get_store()).part("kind", list) == []


@pytest.fixture
def script(tmp_path: Path) -> Script:
    path = tmp_path / "echo.lua"
    path.write_text("return {KEYS[1], ARGV[1]}")
    return Script(path)


@pytest.mark.servers
class TestServers:
    async def test_script(self, redis_server: RedisServer, script: Script) -> None:  # noqa: F811
        """It is sent by its hash once the server knows it. Keys have the prefix of the cache."""
        with override_settings(CACHES=cache_at(redis_server.url)):
            store = await get_store()
            assert isinstance(store, RedisServers)
            assert store.local is None
            key = store.key("h", "routesock.group.a", "s")
            for _ in range(2):
                assert await store.run(script, [key], "x", timeout=10) == [key.encode(), b"x"]
        assert key.endswith("routesock:h:{routesock.group.a}:s")
        assert store.reconnect_count == 0

    async def test_server_that_is_gone(self, own_redis: RedisServer, script: Script) -> None:  # noqa: F811
        """A ``StoreError``."""
        with override_settings(CACHES=cache_at(own_redis.url)):
            store = await get_store()
            await store.run(script, ["a"], "x", timeout=10)
            own_redis.execute("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            assert await store.run(script, ["a"], "x", timeout=10) == [b"a", b"x"]
            assert store.reconnect_count == 1
            own_redis.kill()
            with pytest.raises(StoreError):
                await store.run(script, ["a"], "x", timeout=10, retry=False)
