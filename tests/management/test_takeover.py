"""``manage.py routesock_takeover``: what it reads in consumers, and what it says."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from functools import cache
from io import StringIO
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from channels.consumer import AsyncConsumer
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from django.core.management import call_command
from django.core.management.base import CommandError

from routesock import Request, RouteMixin, dialects, route
from routesock.dialects import Dialect, Keys
from routesock.management._takeover.dialect import LIBRARIES, protocol_of
from routesock.management._takeover.frames import read_frames
from routesock.management._takeover.overrides import no_longer_called, overrides_of
from routesock.management._takeover.report import report
from routesock.management._takeover.source import Source, load
from routesock.management.commands.routesock_takeover import Command
from routesock.testing import RouteClient
from tests.management import consumers
from tests.management.consumers import Arrays, Boundary
from tests.takeover import flavours, legacy, test_override_matrix, threads
from tests.takeover.legacy import ACTIONS

CONSUMERS = "tests.management.consumers"
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def _at_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def output(path: str, *options: str) -> str:
    """The output of the command, its paragraphs on one line each."""
    out = StringIO()
    call_command(Command(), path if "." in path else f"{CONSUMERS}.{path}", *options, stdout=out)
    return out.getvalue()


@cache
def said(path: str) -> str:
    """The text in front of the diff."""
    text = output(path).partition("\ndiff --git")[0]
    return re.sub(r"\n    (?=\S)", " ", text)


def section(path: str, title: str) -> list[str]:
    """The paragraphs of one section."""
    found = re.search(rf"^{re.escape(title)}\n((?:  .*\n)+)", said(path) + "\n", re.MULTILINE)
    return [] if found is None else [line.strip() for line in found[1].splitlines()]


def actions(path: str) -> dict[str, str]:
    return dict(line.split("  ", 1) for line in section(path, "Actions"))


def doubts(path: str) -> str:
    return "\n".join(section(path, "What this command cannot tell"))


def own(path: str) -> str:
    return "\n".join(section(path, "Your own methods and attributes"))


@pytest.mark.parametrize(
    ("consumer", "key", "names"),
    [
        ("Branches", "action", ["PING", "room.join", "room.leave", "room.quit", "room.close"]),
        ("Matching", "command", ["play", "stop", "pause"]),
        ("MatchingMaps", "type", ["say", "leave"]),
        ("Table", "event", ["subscribe", "unsubscribe"]),
        ("InlineTable", "op", ["up", "down"]),
        ("ClassTable", "kind", ["left", "right"]),
        ("Commands", "command", ["fetch", "new"]),
        ("Spread", "action", ["join", "leave"]),
        ("Rooms", "cmd", ["open", "shut"]),
        ("OwnReceive", "type", ["start", "stop"]),
        ("Terminal", "action", ["input", "resize"]),
        ("Boundary", "action", ["divide"]),
        ("Constants", "action", ["say", "leave", "one", "two", "three"]),
        ("Sync", "action", ["list", "get"]),
        ("OpCodes", "msg_type", ["7"]),
        ("Rpc", "method", ["add"]),
        ("tests.takeover.legacy.AsyncLegacy", "action", None),
    ],
)
def test_the_key_and_the_actions_are_found(consumer: str, key: str, names: list[str] | None) -> None:
    assert f'The key "{key}" tells frames apart.' in section(consumer, "Frames")
    if names is None:
        assert set(actions(consumer)) == {*ACTIONS, "raise"}
    else:
        assert list(actions(consumer)) == names


def test_actions_have_the_lines_where_they_are_compared() -> None:
    lines = (ROOT / "tests" / "management" / "consumers.py").read_text().splitlines()
    for name, place in actions("Branches").items():
        assert place.strip().startswith("management/consumers.py line ")
        assert f'"{name}"' in lines[int(place.rpartition(" ")[2]) - 1]


@pytest.mark.parametrize(
    ("consumer", "dialect"),
    [
        ("Branches", 'Keys(route="action", id="request_id", payload=None, status="status")'),
        ("Matching", 'Keys(route="command", id=None, payload="payload", status=None, headers=None)'),
        ("MatchingMaps", 'Keys(route="type", id=None, payload=None, status=None)'),
        ("Table", 'Keys(route="event", id="id", payload=None, status=None)'),
        ("ByName", 'Keys(route="type", id=None, payload=None, status=None)'),
        ("Sync", 'Keys(route="action", id="request_id", payload="data", status=None, headers=None)'),
        ("Commands", 'Keys(route="command", id=None, payload=None, status=None)'),
        ("Spread", 'Keys(route="action", id="request_id", payload=None, status=None)'),
        ("Rooms", 'Keys(route="cmd", id="ref", payload="data", status=None, headers=None)'),
        ("tests.takeover.legacy.AsyncLegacy", 'Keys(route="action", id="request_id", payload=None, status=None)'),
        ("tests.takeover.legacy.SyncLegacy", 'Keys(route="action", id="request_id", payload=None, status=None)'),
    ],
)
def test_keys_are_suggested(consumer: str, dialect: str) -> None:
    assert section(consumer, "Dialect") == [f"route_dialect = {dialect}"]
    assert isinstance(eval(dialect, {"Keys": Keys}), Keys)


@pytest.mark.parametrize(
    ("consumer", "names"), [("Tutorial", ["message"]), ("Presence", ["message", "typing"]), ("Optional", ["a", "b"])]
)
def test_the_presence_of_a_key_becomes_a_dialect(consumer: str, names: list[str]) -> None:
    assert list(actions(consumer)) == names
    dialect = _suggested(consumer)
    for name in names:
        frame = dialect.read({name: "hi", "more": 1})
        assert (frame.route, frame.id, frame.payload) == (name, None, {name: "hi", "more": 1})
    assert dialect.read({"other": 1}) is None
    assert dialect.read(["message"]) is None
    assert "until you give" in doubts(consumer)


def test_an_array_becomes_a_dialect() -> None:
    assert list(actions("Arrays")) == ["join", "leave"]
    dialect = _suggested("Arrays")
    frame = dialect.read(["join", "lobby"])
    assert (frame.route, frame.id, frame.payload) == ("join", None, ["lobby"])
    assert [dialect.read(value) for value in ({}, [], [1], "join")] == [None] * 4
    assert dialect.push("joined", 1) == ["joined", 1]
    assert "until you change reply()" in doubts("Arrays")


def _suggested(consumer: str) -> Any:
    source = load(f"{CONSUMERS}.{consumer}")
    suggestion = protocol_of(source, read_frames(source)).suggestion
    assert suggestion is not None
    namespace: dict[str, Any] = {}
    for module, name in suggestion.imports:
        exec(f"from {module} import {name}", namespace)
    exec(suggestion.definition, namespace)
    return eval(suggestion.expression, namespace)


@pytest.mark.parametrize(
    ("consumer", "says"),
    [
        ("Rivals", 'Several keys are compared to as many names: "size", "colour".'),
        ("OneName", '"colour" is compared to one name only (management/consumers.py line'),
        ("Nested", 'Frames are distinguished by "message" > "action"'),
        ("Silent", "No key that tells frames apart was found"),
        ("OpCodes", 'Some names under "msg_type" are numbers'),
        ("Binary", "The code reads binary frames"),
        ("Packed", "The code reads binary frames"),
        ("Prefixed", "looks at the text of a frame before it decodes it"),
        ("SeveralReads", 'the code reads "first", "second" and compares none of them'),
        ("Untold", "A frame is an array"),
        ("Mixed", "No Keys(...) fits these frames"),
        ("NumberedArrays", "The names are numbers"),
    ],
)
def test_no_dialect_is_suggested_where_none_is_certain(consumer: str, says: str) -> None:
    assert says in doubts(consumer)
    if consumer != "Packed":
        assert section(consumer, "Dialect")[0].startswith("None can be suggested.")
        assert "route_dialect" not in output(consumer, "--diff")


@pytest.mark.parametrize(
    ("consumer", "says"),
    [
        ("ByName", 'builds the name of a method that begins with "on_" from "type". Which of them clients use'),
        ("ByName", "(on_say)"),
        ("Constants", 'compares "action" to something that is known only at run time'),
        ("Constants", "passes a frame to record.delay(), which was not read"),
        ("Constants", "may send an id back"),
        ("Loose", 'takes every name that begins with "room."'),
        ("Loose", 'changes "action" before it compares it'),
        ("Loose", 'has a default for frames without "action"'),
        ("Loose", "A frame may be a list of frames"),
        ("Loose", "puts a whole frame into a reply, so an id may be among its keys"),
        ("Table", "payload=None may be wrong"),
        ("Branches", "These classes derive from it and get the mixin, too; run the command on each: Gated."),
        ("ManyIds", 'several keys that may be the id of a request: "id"'),
        ("ManyIds", 'sends "seq" of a frame as "ack"'),
        ("ManyIds", "Other values of a frame are compared as well"),
        ("ManyIds", 'Some of the code reads "data" and some reads keys beside it'),
        ("Tutorial", 'Whether "message" tells frames apart'),
    ],
)
def test_it_says_what_it_cannot_tell(consumer: str, says: str) -> None:
    assert says in doubts(consumer)
    assert "The code was read, not run." in doubts(consumer)


@pytest.mark.parametrize(
    ("consumer", "says"),
    [
        ("OwnReceive", "websocket_receive (OwnReceive, management/consumers.py line"),
        ("OwnReceive", "no frame reaches a route. Call super().websocket_receive(message)"),
        ("Gated", "It passes frames on under a condition."),
        ("Boundary", "What an old handler raises still reaches it. What a route raises does not"),
        ("Rooms", "receive_json (DispatchingConsumer, management/bases.py line"),
        ("Guarded", "The check in line"),
        ("Guarded", "The call of self.count()"),
        ("Guarded", "What @signed_in does"),
        ("Guarded", "permission_classes (Guarded): It does not guard routes."),
        ("OwnEverything", "decode_json (OwnEverything"),
        ("OwnEverything", "encode_json (OwnEverything"),
        ("OwnEverything", "the size of replies has no bound"),
        ("OwnEverything", "send_json (OwnEverything"),
        ("OwnEverything", "as send(text_data=...)"),
        ("OwnEverything", "It does not call super(). Errors in routes and options show when"),
        ("OwnEverything", "socket (OwnEverything"),
        ("OwnEverything", "receive_json (OwnEverything, management/consumers.py line"),
        ("OwnEverything", "__init__() sets it on the consumer."),
        ("OwnEverything", "connect() sets it on the consumer. routesock looks overrides up when a socket opens."),
        ("WithSocket", "socket (WithSocket): Your own attribute stays"),
        ("Silent", "also malformed, binary and empty ones"),
    ],
)
def test_it_says_what_becomes_of_overrides(consumer: str, says: str) -> None:
    assert says in own(consumer)


def test_checks_are_named_only_in_front_of_the_branches() -> None:
    text = own("Guarded")
    lines = (ROOT / "tests" / "management" / "consumers.py").read_text().splitlines()
    numbers = [
        int(number) for number in re.findall(r"check in line (\d+)|in line (\d+) is not made", text)[0] if number
    ]
    assert "isinstance(content, dict)" in lines[numbers[0] - 1]
    assert "does not run for routes" not in own("Branches") + own("Rooms") + own("Tutorial") + own("Spread")
    assert "does not run for routes" in own("Token")


def test_members_that_a_spread_frame_passes_are_its_payload() -> None:
    assert 'A frame is flat: its other keys are the payload ("room").' in section("Spread", "Frames")
    assert 'A frame is flat: its other keys are the payload ("from", "message").' in section("Commands", "Frames")


@pytest.mark.parametrize(
    ("consumer", "title", "says"),
    [
        ("Branches", "What is no longer called", 'Your branch for "PING" (management/consumers.py line'),
        ("Branches", "What is no longer called", "receive_json() with the frames of an action"),
        ("Empty", "What is no longer called", "Nothing with the mixin alone."),
        ("Branches", "What changes with the mixin alone", "are answered 400."),
        ("Branches", "What changes with the mixin alone", 'route_foreign_errors = "close" keeps that.'),
        ("Terminal", "What stays", "Your thread (management/consumers.py line"),
        ("Terminal", "What stays", "The consumer is sync: write routes as def"),
        ("Heartbeats", "What stays", 'Your "ping" stays with your code.'),
        ("Empty", "Your own methods and attributes", "None that Channels or routesock calls."),
    ],
)
def test_it_says_what_changes_and_what_stays(consumer: str, title: str, says: str) -> None:
    assert says in "\n".join(section(consumer, title))


def test_an_own_receive_handles_what_is_malformed() -> None:
    assert "400" not in "\n".join(section("Silent", "What changes with the mixin alone"))


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("Demultiplexer", "run this command on those, and put the mixin into them"),
        ("Demultiplexer", "class Both(Demultiplexer, Routed)"),
        ("Worker", "It is not a WebSocket consumer."),
        ("Events", "It is not a WebSocket consumer."),
        ("Plain", "It is not a Channels consumer"),
        ("Adopted", "It has RouteMixin already."),
        ("Optioned", "Optioned.route_limit looks like an option of routesock and is none."),
        ("Optioned", "Optioned.route_timeout has the name of an option of routesock."),
        ("channels.generic.websocket.AsyncJsonWebsocketConsumer", "It is a class of Channels."),
    ],
)
def test_a_class_that_cannot_have_the_mixin(path: str, says: str) -> None:
    assert says in "\n".join(section(path, "The mixin cannot go into this class"))
    assert "diff" not in output(path)
    with pytest.raises(CommandError, match="Run the command without --diff to see why"):
        output(path, "--diff")


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("InFunction", "is defined in a function"),
        (f"{CONSUMERS}:Outer.Inner", "is defined in another class"),
        (f"{CONSUMERS}.Outer.Inner", "is defined in another class"),
        ("ByType", "has no statement `class ByType`"),
        ("Decorated", "The statement `class Decorated` has no bases"),
    ],
)
def test_a_class_whose_statement_cannot_be_changed(path: str, says: str) -> None:
    assert says in "\n".join(section(path, "First step"))
    with pytest.raises(CommandError, match="There is no diff"):
        output(path, "--diff")


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("Consumer", "is not the path of a class"),
        ("a b.C", "is not the path of a class"),
        (f"{CONSUMERS}:", "is not the path of a class"),
        (":Branches", "is not the path of a class"),
        ("no_such_package.consumers.Chat", "no_such_package cannot be imported: ModuleNotFoundError"),
        (f"{CONSUMERS}.Nowhere", f"The module {CONSUMERS} has no attribute 'Nowhere'"),
        (f"{CONSUMERS}:Outer.Nowhere", "The class Outer has no attribute 'Nowhere'"),
        (f"{CONSUMERS}.NAMES", "is not a class, but of the type tuple"),
        (f"{CONSUMERS}.application", f"It serves {CONSUMERS}.Branches: pass that path."),
        (CONSUMERS, "is not a class, but of the type module"),
        ("builtins.dict", "The source of builtins.dict cannot be read"),
        ("broken_consumers.Chat", "broken_consumers cannot be imported: ZeroDivisionError"),
        ("broken_package.consumers.Chat", "cannot be imported: ZeroDivisionError"),
        ("leaving_consumers.Chat", "leaving_consumers cannot be imported: SystemExit: 3"),
        ("in_memory_consumers.Chat", "The source of in_memory_consumers.Chat cannot be read"),
    ],
)
def test_a_path_that_cannot_be_read_is_an_error_of_the_command(
    path: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_consumers.py").write_text("1 / 0\n")
    (tmp_path / "leaving_consumers.py").write_text("raise SystemExit(3)\n")
    (tmp_path / "broken_package").mkdir()
    (tmp_path / "broken_package" / "__init__.py").write_text("1 / 0\n")
    in_memory = ModuleType("in_memory_consumers")
    exec("class Chat: pass", vars(in_memory))
    monkeypatch.setitem(sys.modules, "in_memory_consumers", in_memory)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(CommandError, match=re.escape(says)):
        call_command(Command(), path)


@pytest.fixture
def dcrf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A consumer of djangochannelsrestframework, with a stand-in for that library; gives its path."""
    package = tmp_path / "djangochannelsrestframework"
    package.mkdir()
    (package / "__init__.py").write_text(
        "from channels.generic.websocket import AsyncJsonWebsocketConsumer\n\n\n"
        "def action(**options):\n    return lambda method: method\n\n\n"
        "class GenericAsyncAPIConsumer(AsyncJsonWebsocketConsumer):\n"
        "    available_actions = {'list': 'list', 'archive': 'archive', 'rename': 'rename_it'}\n\n"
        "    async def receive_json(self, content, **kwargs):\n"
        "        if content['action'] == 'x' or content['action'] == 'y':\n            pass\n"
    )
    (tmp_path / "dcrf_consumers.py").write_text(
        "from djangochannelsrestframework import GenericAsyncAPIConsumer, action\n\n\n"
        "class Notes(GenericAsyncAPIConsumer):\n"
        "    permission_classes = ['IsAuthenticated']\n\n"
        "    @action()\n    async def archive(self, **kwargs): ...\n\n"
        "    @action(name='rename')\n    async def rename_it(self, **kwargs): ...\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    yield "dcrf_consumers.Notes"
    for name in ("djangochannelsrestframework", "dcrf_consumers"):
        sys.modules.pop(name, None)


def test_a_consumer_of_a_known_library_gets_its_dialect(dcrf: str) -> None:
    assert section(dcrf, "Dialect") == ["route_dialect = Dcrf()"]
    assert list(actions(dcrf)) == ["archive", "rename", "list"]
    assert actions(dcrf)["list"].strip() == "from a base class"
    assert "permission_classes (Notes): It does not guard routes." in own(dcrf)
    assert "receive_json (GenericAsyncAPIConsumer" in own(dcrf)
    assert "was not read" not in doubts(dcrf)


@pytest.fixture
def chanx(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A consumer of chanx, with a stand-in for that library; gives its path."""
    (tmp_path / "chanx.py").write_text(
        "from channels.generic.websocket import AsyncJsonWebsocketConsumer\n\n\n"
        "def ws_handler(method):\n    return method\n\n\n"
        "class AsyncJsonWebsocketConsumer(AsyncJsonWebsocketConsumer):\n    pass\n"
    )
    (tmp_path / "chanx_consumers.py").write_text(
        "from typing import Literal\n\nfrom chanx import AsyncJsonWebsocketConsumer, ws_handler\n\n\n"
        "class Say:\n    action: Literal['say', 'shout']\n\n\n"
        "class Room(AsyncJsonWebsocketConsumer):\n"
        "    @ws_handler\n    async def say(self, message: Say) -> None: ...\n\n"
        "    @ws_handler\n    async def other(self, message: 'Unknown') -> None: ...\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    yield "chanx_consumers.Room"
    for name in ("chanx", "chanx_consumers"):
        sys.modules.pop(name, None)


def test_the_actions_of_chanx_are_in_its_message_classes(chanx: str) -> None:
    assert section(chanx, "Dialect") == ["route_dialect = Chanx()"]
    assert list(actions(chanx)) == ["say", "shout"]
    assert "the name of the action is in the message class of other()" in doubts(chanx)


async def test_a_dispatch_with_except_clauses_sees_what_old_handlers_raise() -> None:
    """As the text about ``Boundary`` says."""

    class Routed(RouteMixin, Boundary):
        @route("fail")
        async def fail(self, request: Request) -> None:
            raise ZeroDivisionError

    async with RouteClient(Routed, raise_exceptions=False) as client:
        await client.send_json({"action": "divide", "by": 0})
        assert await client.receive() == {"action": "error"}
        reply = await client.call("fail")
        assert (reply.status, reply.payload["code"]) == (500, "internal_error")


@pytest.mark.parametrize(("consumer", "key"), [("Tutorial", "message"), ("Presence", "typing")])
async def test_a_route_by_the_presence_of_a_key_is_called(consumer: str, key: str) -> None:
    class Routed(RouteMixin, AsyncJsonWebsocketConsumer):
        route_dialect = _suggested(consumer)

        @route(key)
        async def handle(self, request: Request) -> Any:
            return {"got": request.payload[key]}

        async def receive_json(self, content: Any, **kwargs: Any) -> None:
            await self.send_json({"old": content})

    async with RouteClient(Routed) as client:
        await client.send_json({key: "hi"})
        assert await client.receive() == {"action": key, "got": "hi"}
        await client.send_json({"other": 1})
        assert await client.receive() == {"old": {"other": 1}}


async def test_a_route_by_the_first_element_of_an_array_is_called() -> None:
    class Routed(RouteMixin, Arrays):
        route_dialect = _suggested("Arrays")

        @route("join")
        async def join(self, request: Request) -> Any:
            return {"room": request.payload[0]}

    async with RouteClient(Routed) as client:
        await client.send_text('["join", "lobby"]')
        assert json.loads(await client.receive()) == ["join", {"room": "lobby"}]
        await client.send_text('["leave", "lobby"]')
        assert json.loads(await client.receive()) == ["left", "lobby"]


@pytest.mark.repetitions
@pytest.mark.parametrize("module", [legacy, flavours, threads, test_override_matrix, consumers])
def test_no_consumer_is_too_much_for_it(module: ModuleType) -> None:
    for value in vars(module).values():
        if not isinstance(value, type) or value.__module__ != module.__name__ or not issubclass(value, AsyncConsumer):
            continue
        source = Source(value)
        facts = read_frames(source)
        protocol = protocol_of(source, facts)
        for found in (overrides_of(source, facts), no_longer_called(source, facts, protocol)):
            assert isinstance(list(found), list)
        assert source.name in report(source, ROOT)[0]


@pytest.mark.parametrize("name", [dialect for _, dialect in LIBRARIES.values()])
def test_the_dialects_of_known_libraries_exist(name: str) -> None:
    assert isinstance(getattr(dialects, name)(), Dialect)


def test_it_changes_no_file() -> None:
    file = ROOT / "tests" / "management" / "consumers.py"
    before = file.read_bytes()
    output("Branches")
    output("Branches", "--diff")
    assert file.read_bytes() == before


def test_the_diff_alone_is_the_end_of_the_text() -> None:
    text, diff = output("Branches"), output("Branches", "--diff")
    assert diff.startswith("diff --git a/tests/management/consumers.py b/tests/management/consumers.py\n")
    assert text.endswith("\n\n" + diff)
