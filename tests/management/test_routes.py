"""``manage.py routesock_routes``: what it lists, how, and with which status it ends."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connections
from django.test import override_settings
from rest_framework import permissions as rest_permissions

from routesock import Throttle, conf, run_on_loop
from routesock.management.commands.routesock_routes import Command
from routesock.permissions import HasPerm, as_permission
from routesock.schemas import SchemaAdapter, as_schema
from tests.management import routes
from tests.schemas.samples import NoteModel, NoteSchema, NoteSerializer, NoteStruct

ROOT = Path(__file__).resolve().parents[2]


class Result(NamedTuple):
    status: int
    out: str
    err: str

    @property
    def rows(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self.out)
        return found


def run(application: str, *words: str, **settings: Any) -> Result:
    """The result of the command for an application of ``routes``."""
    out, err = StringIO(), StringIO()
    with override_settings(ASGI_APPLICATION=f"{routes.__name__}.{application}", **settings):
        try:
            call_command(Command(), *words, stdout=out, stderr=err)
        except CommandError as exc:
            return Result(exc.returncode, out.getvalue(), f"{err.getvalue()}{exc}")
    return Result(0, out.getvalue(), err.getvalue())


def run_example(*calls: list[str]) -> subprocess.CompletedProcess[str]:
    """The result of ``manage.py routesock_routes`` in the example project, called with each of ``calls`` in turn."""
    code = "import sys, json, runpy\nfor words in json.loads(sys.argv.pop()):\n"
    code += "    sys.argv[1:] = words\n    runpy.run_path('manage.py', run_name='__main__')"
    return subprocess.run(
        [sys.executable, "-c", code, json.dumps([["routesock_routes", *words] for words in calls])],
        cwd=ROOT / "example_project",
        env={"PATH": "/usr/bin", "PYTHONPATH": f".:{ROOT}", "PYTHONUTF8": "1"},
        capture_output=True,
        text=True,
        timeout=60,
    )


EXAMPLE = """\
PATH       HANDLER                     KIND   NAME          SCHEMA              PERMISSIONS      THROTTLE  TIMEOUT  FLAGS
/ws/chat/  ChatConsumer.edit_message   route  message.edit  EditSchema          IsAuthor         -         10 s     -
/ws/chat/  ChatConsumer.list_messages  route  message.list  -                   IsAuthenticated  -         10 s     -
/ws/chat/  ChatConsumer.send_message   route  message.send  SendSchema          IsAuthenticated  120/min   10 s     -
/ws/chat/  ChatConsumer.join           route  room.join     JoinSchema          IsAuthenticated  -         10 s     -
/ws/chat/  ChatConsumer.follow         topic  room:{room}   JoinSchema          IsAuthenticated  -         10 s     recover
/ws/chat/  ChatConsumer                push   announcement  AnnouncementSchema  -                -         -        -
/ws/chat/  ChatConsumer                push   message       MessageSchema       -                -         -        -
/ws/chat/  ChatConsumer                push   typing        TypingSchema        -                -         -        -
/ws/chat/  ChatConsumer.chat_typing    event  chat.typing   TypingSchema        -                -         -        -
/ws/tour/  TourConsumer.vote           route  poll.vote     VoteSchema          IsAuthenticated  60/min    10 s     -
/ws/tour/  TourConsumer.tell           route  story.tell    -                   IsAuthenticated  -         10 s     stream
/ws/tour/  TourConsumer.poll           topic  poll.{poll}   PollSchema          IsAuthenticated  -         10 s     -
/ws/tour/  TourConsumer                push   poll.counts   CountsSchema        -                -         -        -
"""  # noqa: E501

HEADING = "PATH  HANDLER  KIND  NAME  SCHEMA  PERMISSIONS  THROTTLE  TIMEOUT  FLAGS\n"


def test_the_example_project() -> None:
    """Its table, and nothing in it that is open. A path that nothing serves ends the process with 2."""
    result = run_example([], ["--open"], ["--path", "/nowhere/"])
    assert result.stdout == EXAMPLE + HEADING
    assert result.stderr == "CommandError: Nothing is served at /nowhere/. The paths are: /ws/chat/, /ws/tour/.\n"
    assert result.returncode == 2


@pytest.mark.parametrize("words", [["--format", "xml"], ["--closed"], ["--path"]], ids=repr)
def test_a_wrong_call_ends_with_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        Command().run_from_argv(["manage.py", "routesock_routes", *words])
    assert caught.value.code == 2
    assert "usage: manage.py routesock_routes" in capsys.readouterr().err
    # The traceback keeps the command. Django 4.2's flushes the streams of capsys at its end, when these are closed.
    del caught


# The columns are separated by two spaces.
EVERYTHING = r"""
/ws/echo/              echo           application  -           -                     -   -  -  -
/ws/plain/             Plain          consumer     -           -                     -   -  -  -
/ws/shop/<int:pk>/     Shop.buy       route   shop.buy   NoteSchema                  (IsAuthenticated & ~(IsStaff | InRoom(...)))  100/min; 5/s per ip, burst 2; 9/h per room_of  5 s  idempotent
/ws/shop/<int:pk>/     Shop.help      route   shop.help  Payload                     ()  100/min  5 s  public no_reply
/ws/shop/<int:pk>/     Shop.listed    route   shop.list  list[NoteStruct]            (IsAuthenticated & ~(IsStaff | InRoom(...)))  -  none  stream deprecated
/ws/shop/<int:pk>/     Shop.load      route   shop.load  load                        Owns  100/min  0.5 s  parallel cancel_on_disconnect
/ws/shop/<int:pk>/     Shop.save      route   shop.save  NoteSerializer(many=True)   is_even, is_mine, HasPerm('shop.buy')  100/min  5 s  atomic=files
/ws/shop/<int:pk>/     Shop.news      topic   news       -                           AllowAny  100/min  5 s  -
/ws/shop/<int:pk>/     Shop.room      topic   room.{id}  Payload                     IsStaff  100/min  5 s  recheck
/ws/shop/<int:pk>/     Shop           push    old        NoteSchema(many=True)       -   -  -  deprecated
/ws/shop/<int:pk>/     Shop           push    paid       Payload                     -   -  -  -
/ws/shop/<int:pk>/     Shop.restocked  event  restocked  NoteSchema                  -   -  -  -
^ws/sync/(?P<name>\w+)$  PlainSync    consumer     -           -                     -   -  -  -
"""  # noqa: E501


def cells(table: str) -> list[list[str]]:
    return [re.split(" {2,}", line) for line in table.strip().splitlines()]


class TestList:
    def test_all_kinds_are_listed_with_their_options(self) -> None:
        """Behind routers and middleware, functions included; HTTP is left out. It is sorted by path, kind and name."""
        result = run("everything")
        assert result.status == 0
        assert cells(result.out)[1:] == cells(EVERYTHING)

    def test_two_runs_give_the_same(self) -> None:
        for format in ("table", "json"):
            assert run("everything", "--format", format) == run("everything", "--format", format)

    def test_as_json(self) -> None:
        rows = run("everything", "--format", "json").rows
        assert [row["kind"] for row in rows].count("route") == 5
        assert next(row for row in rows if row["name"] == "shop.buy") == {
            "path": "/ws/shop/<int:pk>/",
            "consumer": "tests.management.routes.Shop",
            "handler": "Shop.buy",
            "kind": "route",
            "name": "shop.buy",
            "schema": "NoteSchema",
            "permissions": ["(IsAuthenticated & ~(IsStaff | InRoom(...)))"],
            "throttle": ["100/min", "5/s per ip, burst 2", "9/h per room_of"],
            "timeout": 5.0,
            "flags": ["idempotent"],
            "open": False,
            "on_purpose": False,
        }
        assert next(row for row in rows if row["kind"] == "consumer") == {
            "path": "/ws/plain/",
            "consumer": "tests.management.routes.Plain",
            "handler": "Plain",
            "kind": "consumer",
            "name": "",
            "schema": "",
            "permissions": None,
            "throttle": [],
            "timeout": None,
            "flags": [],
            "open": False,
            "on_purpose": False,
        }

    def test_defaults_are_those_of_the_settings(self) -> None:
        """Where neither the route nor the class says anything."""

        def silent(**settings: Any) -> list[Any]:
            rows = run("open_ones", "--format", "json", **settings).rows
            row = next(row for row in rows if row["name"] == "silent")
            return [row[key] for key in ("timeout", "permissions", "open")]

        assert silent() == [conf.get("TIMEOUT"), None, True]
        own = {"TIMEOUT": None, "PERMISSIONS": ["routesock.permissions.IsStaff"]}
        assert silent(ROUTESOCK=own) == [None, ["IsStaff"], False]

    def test_transactions_are_those_of_the_settings(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(connections.settings["files"], "ATOMIC_REQUESTS", True)
        flags = {row["name"]: row["flags"] for row in run("open_ones", "--format", "json").rows}
        assert flags["silent"] == ["atomic=files"]
        assert flags["write"] == []

    @pytest.mark.parametrize("path", ["/ws/plain/", r"^ws/sync/(?P<name>\w+)$", "/ws/sync/ada", "/ws/shop/5/"])
    def test_one_path(self, path: str) -> None:
        """As it is listed, or as a client opens it."""
        rows = run("everything", "--format", "json", "--path", path).rows
        (listed,) = {row["path"] for row in rows}
        assert listed in (path, "/ws/shop/<int:pk>/", r"^ws/sync/(?P<name>\w+)$")

    def test_a_path_that_nothing_serves(self) -> None:
        result = run("everything", "--path", "/ws/shop/five/")
        assert (result.status, result.out) == (2, "")
        assert result.err == (
            "Nothing is served at /ws/shop/five/. "
            r"The paths are: /ws/echo/, /ws/plain/, /ws/shop/<int:pk>/, ^ws/sync/(?P<name>\w+)$."
        )

    @pytest.mark.parametrize("application", ["only_django", "nothing"])
    def test_a_project_without_websockets_has_an_empty_list(self, application: str) -> None:
        assert run(application) == (0, HEADING, "")
        assert run(application, "--format", "json").rows == []

    def test_what_may_be_hidden_is_said(self) -> None:
        """A consumer that no path leads to, where an application cannot be looked into."""
        result = run("hidden")
        assert result.status == 0
        assert "tests.management.routes.Hidden" in result.err
        assert "tests.management.routes.Open" not in result.err
        assert cells(result.out)[1][:3] == ["/hidden/", "partial", "application"]
        assert "Hidden" not in run("open_ones").err

    @pytest.mark.parametrize(
        ("settings", "says"),
        [
            ({"ASGI_APPLICATION": None}, "The setting ASGI_APPLICATION is missing."),
            ({"ASGI_APPLICATION": "not_there.application"}, "ModuleNotFoundError"),
            ({"ROUTESOCK": {"PERMISSIONS": ["not_there.at.all"]}}, "'not_there.at.all' cannot be imported"),
            ({"ROOT_URLCONF": "not_there.urls"}, "ModuleNotFoundError"),
        ],
        ids=["none", "application", "permissions", "urls"],
    )
    def test_a_project_that_cannot_be_loaded(self, settings: dict[str, Any], says: str) -> None:
        out = StringIO()
        application = {"ASGI_APPLICATION": f"{routes.__name__}.open_ones"}
        with override_settings(**(application | settings)), pytest.raises(CommandError) as caught:
            call_command(Command(), stdout=out)
        assert (caught.value.returncode, out.getvalue()) == (2, "")
        assert says in str(caught.value)


class TestNames:
    """The texts for schemas, permissions and throttles are those of the code, and the same in each process."""

    @pytest.mark.parametrize(
        ("schema", "name"),
        [
            (NoteSchema, "NoteSchema"),
            (NoteSchema(only=["title"]), "NoteSchema"),
            (NoteModel, "NoteModel"),
            (NoteStruct, "NoteStruct"),
            (NoteSerializer, "NoteSerializer"),
            (run_on_loop(NoteSerializer), "NoteSerializer"),
            (routes.load, "load"),
            (routes.Shop.is_mine, "Shop.is_mine"),
            (partial(routes.load), "partial"),
        ],
        ids=range(9),
    )
    def test_of_a_schema(self, schema: Any, name: str) -> None:
        assert str(as_schema(schema)) == name

    def test_of_a_schema_of_another_library(self) -> None:
        class Own(SchemaAdapter):
            def load(self, payload: Any) -> Any: ...

            def dump(self, value: Any) -> Any: ...

        assert str(Own()) == Own.__qualname__

    @pytest.mark.parametrize(
        ("permission", "name"),
        [
            (partial(routes.is_even), "partial"),
            (rest_permissions.IsAdminUser | rest_permissions.AllowAny, "(IsAdminUser | AllowAny)"),
            (~routes.Owns, "~Owns"),
            (HasPerm("shop.buy", "shop.sell"), "HasPerm('shop.buy', 'shop.sell')"),
        ],
        ids=range(4),
    )
    def test_of_a_permission(self, permission: Any, name: str) -> None:
        assert str(as_permission(permission)) == name

    @pytest.mark.parametrize(
        ("throttle", "name"),
        [
            (Throttle("5/s"), "5/s"),
            (Throttle("5/s", scope="socket", burst=2, cost=2), "5/s per socket, burst 2, cost 2"),
            (Throttle("5/s", cost=routes.is_even), "5/s, cost is_even"),
        ],
        ids=range(3),
    )
    def test_of_a_throttle(self, throttle: Throttle, name: str) -> None:
        assert str(throttle) == name


class TestOpen:
    def test_what_is_open_by_omission_is_a_finding(self) -> None:
        """Such a route, and a class whose permission is never checked. ``AllowAny`` is as good as ``()``."""
        result = run("open_ones", "--open", "--format", "json")
        assert result.status == 1
        assert [(row["name"], row["on_purpose"]) for row in result.rows] == [
            ("read", False),
            ("any", True),
            ("said", True),
            ("silent", False),
        ]
        assert result.err.startswith(
            "Every client may call Objects.read (read), Open.silent (silent), and nothing says that this is meant."
        )

    def test_what_is_open_on_purpose_is_listed(self) -> None:
        result = run("on_purpose", "--open")
        assert result.status == 0
        assert [line[3] for line in cells(result.out)[1:]] == ["shop.help", "news"]
        assert result.err == "Not looked at, since routesock routes nothing there: Plain at /plain/.\n"

    def test_consumers_of_other_kinds_are_no_finding(self) -> None:
        result = run("everything", "--open")
        assert result.status == 0
        assert "echo at /ws/echo/, Plain at /ws/plain/, PlainSync at ^ws/sync/" in result.err

    def test_the_setting_closes_routes_that_say_nothing(self) -> None:
        result = run("open_ones", "--open", "--path", "/open/", ROUTESOCK={"PERMISSIONS": ["shop.buy"]})
        assert (result.status, result.err) == (0, "")

    def test_a_setting_that_opens_them_does_not_say_it_for_each(self) -> None:
        own = {"PERMISSIONS": ["routesock.permissions.AllowAny"]}
        result = run("open_ones", "--open", "--path", "/open/", ROUTESOCK=own)
        assert result.status == 1
        assert "Open.silent (silent), and nothing" in result.err
