"""What code leaves on the database connections of its thread, by the statements that it runs."""

from __future__ import annotations

import pytest
from django.db import connections

from routesock._runtime.connection_state import ConnectionLeftovers


def leftovers_of(*statements: str) -> str:
    """What these statements would leave on PostgreSQL."""
    leftovers = ConnectionLeftovers()

    def execute(*args: object) -> None:
        """As a cursor of PostgreSQL, which the tests need not have."""

    for statement in statements:
        with leftovers.watch():
            [wrapper] = connections["default"].execute_wrappers
            wrapper(execute, statement, None, False, {})
    assert bool(leftovers) is (str(leftovers) != "")
    return str(leftovers)


@pytest.mark.parametrize(
    ("statement", "left"),
    [
        ("SET search_path TO tenant_a, public", "search_path"),
        ("set search_path = %s", "search_path"),
        ("SET SESSION search_path = 'a'", "search_path"),
        ("SET ROLE tenant_a", "role"),
        ("SET app.tenant = '7'", "app.tenant"),
        ("  SELECT set_config('app.tenant', %s, false)", "app.tenant"),
        ("SELECT pg_catalog.set_config( 'app.tenant' , '7' , %s )", "app.tenant"),
        ("SELECT set_config('app.tenant', '7', true)", ""),
        ("SET LOCAL search_path TO tenant_a", ""),
        ("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE", ""),
        ("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY", ""),
        ("SET CONSTRAINTS ALL IMMEDIATE", ""),
        ("SELECT 1", ""),
        ("UPDATE note SET text = 'x'", ""),
        ("INSERT INTO note VALUES ('SET ROLE x')", ""),
    ],
)
def test_a_setting_of_the_session_is_left_and_one_of_a_transaction_is_not(statement: str, left: str) -> None:
    assert leftovers_of(statement) == left


@pytest.mark.parametrize(
    "reset",
    ["RESET search_path", "reset SEARCH_PATH;", "RESET ALL", "DISCARD ALL", "SET search_path TO DEFAULT"],
)
def test_what_is_reset_is_not_left(reset: str) -> None:
    assert leftovers_of("SET search_path TO a", reset) == ""
    assert leftovers_of("SET ROLE a", "SET ROLE NONE") == ""
    assert leftovers_of("SET search_path TO a", "SET ROLE b", "RESET search_path") == "role"


@pytest.mark.parametrize("name", ["tenant", "schema_name"])
def test_the_tenant_of_a_connection_is_left_unless_it_is_that_of_before(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As django-tenants sets it, whose statements go around Django's cursors."""
    monkeypatch.setattr(connections["default"], name, "public", raising=False)
    leftovers = ConnectionLeftovers()

    with leftovers.watch():
        setattr(connections["default"], name, "a")
    assert str(leftovers) == name
    with leftovers.watch():
        setattr(connections["default"], name, "public")
    assert not leftovers


class FakeTenant:
    """As the tenants that django-tenants makes for a schema: each is equal to itself only."""

    def __init__(self, schema_name: str) -> None:
        self.schema_name = schema_name


def test_another_tenant_object_of_the_same_schema_is_not_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """As ``connection.set_schema_to_public()`` leaves one."""
    monkeypatch.setattr(connections["default"], "tenant", FakeTenant("public"), raising=False)
    leftovers = ConnectionLeftovers()
    with leftovers.watch():
        connections["default"].tenant = FakeTenant("public")
    assert not leftovers
    with leftovers.watch():
        connections["default"].tenant = FakeTenant("a")
    assert str(leftovers) == "tenant"


@pytest.mark.parametrize("name", ["search_path_set_schemas", "search_path_set"])
def test_search_path_that_the_backend_sets_before_each_query_is_not_left(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That of django-tenants and its relatives: the tenant decides. Other settings are left."""
    monkeypatch.setattr(connections["default"], name, None, raising=False)
    assert leftovers_of("SET search_path = a,public") == ""
    assert leftovers_of("SET ROLE a", "SET search_path = a,public") == "role"


def test_the_connections_are_watched_no_longer_afterwards() -> None:
    with ConnectionLeftovers().watch():
        assert len(connections["files"].execute_wrappers) == 1
    assert connections["files"].execute_wrappers == []
