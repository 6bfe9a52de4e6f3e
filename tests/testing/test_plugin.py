"""The pytest plugin, and the test client under other settings, each in a separate pytest process."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

ROOT = Path(__file__).resolve().parent.parent.parent
MODULE = "routesock.pytest_plugin"

SETTINGS = """
SECRET_KEY = "only-for-tests"
USE_TZ = True
INSTALLED_APPS = ["django.contrib.auth", "django.contrib.contenttypes"]
DATABASES = {
    "default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "db.sqlite3", "TEST": {"NAME": "test.sqlite3"}}
}
"""

CONSUMERS = """
import asyncio

from channels.generic.websocket import AsyncJsonWebsocketConsumer, JsonWebsocketConsumer
from django.contrib.auth.models import Group


class Count(AsyncJsonWebsocketConsumer):
    async def receive_json(self, content):
        await self.send_json({**content, "status": 200, "payload": await Group.objects.acount()})

    async def disconnect(self, code):
        await Group.objects.acreate(name=f"left {id(self)}")


class Echo(JsonWebsocketConsumer):
    def receive_json(self, content):
        if content["route"] == "fail":
            raise ValueError("failed")
        self.send_json({**content, "status": 200})
"""


def run(pytester: pytest.Pytester, tests: str, *args: str) -> pytest.RunResult:
    installed = any(point.value == MODULE for point in entry_points(group="pytest11"))
    pytester.makepyfile(settings=SETTINGS, consumers=CONSUMERS, test_it=tests)
    pytester.makeini(
        "[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function\nfilterwarnings = error\n"
        "DJANGO_SETTINGS_MODULE = settings\npythonpath = .\ndjango_find_project = false\n"
    )
    return pytester.runpytest_subprocess(*(() if installed else ("-p", MODULE)), "-p", "no:randomly", *args)


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "settings")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))


def test_sync_tests_get_a_connected_client(pytester: pytest.Pytester) -> None:
    """The fixture connects at once and leaves after the test, while the database is still there."""
    result = run(
        pytester,
        """
        import pytest
        from consumers import Count, Echo
        from django.contrib.auth.models import Group

        @pytest.fixture
        def left(db):
            yield
            assert Group.objects.filter(name__startswith="left").count() == 2

        def test_sync(left, route_client, db):
            Group.objects.create(name="a")
            client, other = route_client(Count), route_client(Count, "/ws/?a=1", timeout=2)
            assert client.call("count").payload == 1
            assert other.call("count").payload == 1

        def test_with(route_client):
            with route_client(Echo) as client:
                assert client.call("echo", 1).payload == 1
            assert not client.connected

        def test_unmarked_after_a_test_with_database(route_client):
            assert route_client(Echo).call("echo").ok

        def test_rolled_back(db):
            assert not Group.objects.exists()
        """,
    )
    result.assert_outcomes(passed=4)


def test_async_tests_get_a_client_for_async_with(pytester: pytest.Pytester) -> None:
    """In an async test the fixture returns a client that is not connected yet."""
    result = run(
        pytester,
        """
        from consumers import Echo

        async def test_async(route_client):
            async with route_client(Echo) as client:
                assert (await client.call("echo", 1)).payload == 1
        """,
    )
    result.assert_outcomes(passed=1)


def test_an_async_client_left_open_is_an_error(pytester: pytest.Pytester) -> None:
    """Nothing can await the disconnect after the test, so the test fails."""
    result = run(
        pytester,
        """
        from consumers import Echo

        async def test_async(route_client):
            client = route_client(Echo)
            await client.connect()
        """,
    )
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["*still open after the test. Use `async with route_client(...) as client`*"])


def test_what_the_application_died_of_fails_the_test(pytester: pytest.Pytester) -> None:
    """An exception that no call has raised is raised at teardown."""
    result = run(
        pytester,
        """
        from channels.generic.websocket import WebsocketConsumer

        class Failing(WebsocketConsumer):
            def disconnect(self, code):
                raise ValueError("failed at the end")

        def test_it(route_client):
            route_client(Failing)
        """,
    )
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["*ValueError: failed at the end"])


def test_a_transaction_survives_on_a_database_in_a_file(pytester: pytest.Pytester) -> None:
    """The application does not close the connection under a ``TestCase``, in sync and in async tests."""
    result = run(
        pytester,
        """
        from consumers import Count, Echo
        from django.contrib.auth.models import Group
        from django.db import connection
        from django.test import SimpleTestCase, TestCase
        from routesock.testing import RouteClient

        class Tests(TestCase):
            def test_sync(self):
                Group.objects.create(name="a")
                with RouteClient(Count) as client, RouteClient(Echo) as other:
                    assert other.call("echo").ok
                    assert client.call("count").payload == 1
                    assert client.call("count").payload == 1
                assert Group.objects.count() == 2

            async def test_async(self):
                await Group.objects.acreate(name="a")
                async with RouteClient(Count) as client, RouteClient(Echo) as other:
                    assert (await other.call("echo")).ok
                    assert (await client.call("count")).payload == 1
                assert await Group.objects.acount() == 2

        class Unmarked(SimpleTestCase):
            def test_sync(self):
                with RouteClient(Echo) as client:
                    assert client.call("echo").ok

            async def test_async(self):
                async with RouteClient(Echo) as client:
                    assert (await client.call("echo")).ok

        def test_connections_are_closed_as_ever(transactional_db):
            Group.objects.create(name="a")
            with RouteClient(Echo) as client:
                assert client.call("echo").ok
            assert connection.connection is None
        """,
    )
    result.assert_outcomes(passed=5)


def test_the_tests_run_without_pytest(pytester: pytest.Pytester) -> None:
    """Django's own test runner needs no plugin."""
    pytester.makepyfile(
        settings=SETTINGS,
        consumers=CONSUMERS,
        tests="""
        from consumers import Count
        from django.contrib.auth.models import Group
        from django.test import TestCase
        from routesock.testing import RouteClient

        class Tests(TestCase):
            def test_sync(self):
                Group.objects.create(name="a")
                with RouteClient(Count) as client:
                    assert client.call("count").payload == 1

            async def test_async(self):
                await Group.objects.acreate(name="a")
                async with RouteClient(Count) as client:
                    assert (await client.call("count")).payload == 1
        """,
    )
    django = [sys.executable, "-W", "error", "-m", "django", "test", "--settings", "settings", "--pythonpath", "."]
    result = subprocess.run(
        [*django, "--parallel", "2"], capture_output=True, text=True, check=False, cwd=pytester.path
    )
    assert "Ran 2 tests" in result.stderr
    assert result.returncode == 0, result.stderr


def test_the_plugin_loads_before_django_is_set_up() -> None:
    """Importing it reads no settings and imports no test client."""
    code = f"import sys, {MODULE}; sys.exit('routesock.testing' in sys.modules)"
    environment = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, env=environment)
