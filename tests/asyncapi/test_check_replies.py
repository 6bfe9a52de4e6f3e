"""Frames that break their document: logged with CHECK_REPLIES, and raised by a documented client."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from channels.routing import URLRouter
from django.test import override_settings
from django.urls import path
from marshmallow import Schema, fields

from routesock import Keys, Push, Reply, Request, RouteMixin, route
from routesock._asyncapi.conformance import Conformance, conformance_at
from routesock._runtime.asgi_tree import Endpoint
from routesock.dialects import Dcrf, Dialect
from routesock.exceptions import Conflict
from routesock.testing import RouteClient, UndocumentedFrame

EXAMPLE = Path(__file__).resolve().parents[2] / "example_project"


class RoomSchema(Schema):
    room = fields.String(required=True)
    members = fields.Integer(required=True)


news = Push("news", schema=RoomSchema)

GOOD = {"room": "5", "members": 1}


class Liar(RouteMixin, AsyncJsonWebsocketConsumer):
    route_permissions = ()
    route_pushes = [news]

    @route("answer", reply=RoomSchema, errors={409: "Join first.", 410: RoomSchema})
    async def answer(self, request: Any) -> Any:
        match request.payload.get("as"):
            case "missing":
                return {"room": "5"}
            case "type":
                return {"room": 5, "members": 1}
            case "status":
                return Reply(GOOD, status=201)
            case "teapot":
                raise Undeclared("No coffee.")
            case "no problem":
                return Reply({"why": "because"}, status=409)
            case "conflict":
                raise Conflict("Join first.")
            case "gone":
                return Reply(GOOD, status=410)
        return GOOD

    @route("items", reply=RoomSchema)
    async def items(self, request: Any) -> Any:
        yield GOOD
        if request.payload.get("lie"):
            yield {"room": "6", "members": "many"}

    @route("pushes")
    async def pushes(self, request: Any) -> None:
        await self.socket.push("news", GOOD)
        if request.payload.get("lie"):
            await self.socket.push("rumour", GOOD)


def waiting(dialect: Dialect) -> tuple[type[AsyncJsonWebsocketConsumer], asyncio.Event]:
    """A consumer whose route waits for the event."""
    go_on = asyncio.Event()

    class Waiting(RouteMixin, AsyncJsonWebsocketConsumer):
        route_permissions = ()
        route_dialect = dialect

        @route("wait")
        async def wait(self, request: Any) -> None:
            await go_on.wait()

        @route("refuse")
        async def refuse(self, request: Any) -> None:
            raise Conflict("No.")

    return Waiting, go_on


class Undeclared(Conflict):
    status = 418


async def answer(client: RouteClient, lie: str) -> None:
    await client.call("answer", {"as": lie})


async def stream(client: RouteClient, lie: str) -> None:
    async for _ in client.stream("items", {"lie": lie}):
        pass


async def push(client: RouteClient, lie: str) -> None:
    await client.send("pushes", {"lie": lie})
    await client.expect_push("news")
    if lie:
        await client.expect_push("rumour")


Act = Callable[[RouteClient, str], Awaitable[None]]

LIES: dict[str, tuple[Act, str, str, str, str]] = {
    "missing field": (answer, "missing", "answer", "/payload", "has no 'members'"),
    "wrong type": (answer, "type", "answer", "/payload/room", "is not of the type string"),
    "undeclared status": (answer, "status", "answer", "/status", "the status 201 is not declared"),
    "undeclared error": (answer, "teapot", "answer", "/status", "the status 418 is not declared"),
    "no problem": (answer, "no problem", "answer", "/payload", "no problem object"),
    "wrong item": (stream, "yes", "items", "/payload/members", "is not of the type integer"),
    "undeclared push": (push, "yes", "rumour", "/route", "no push of this name is declared"),
}

TRUTHS: list[tuple[Act, str]] = [(answer, ""), (answer, "conflict"), (answer, "gone"), (stream, ""), (push, "")]


@pytest.mark.parametrize("name", LIES)
async def test_a_documented_client_raises(name: str) -> None:
    act, lie, route_name, pointer, reason = LIES[name]
    async with RouteClient(Liar, documented=True) as client:
        with pytest.raises(UndocumentedFrame, match=reason) as caught:
            await act(client, lie)
    assert (caught.value.route, caught.value.pointer) == (route_name, pointer)


@pytest.mark.parametrize("name", LIES)
@override_settings(ROUTESOCK={"CHECK_REPLIES": True}, ASGI_APPLICATION=None)
async def test_a_lie_is_logged_and_sent_all_the_same(name: str, caplog: pytest.LogCaptureFixture) -> None:
    act, lie, route_name, pointer, reason = LIES[name]
    async with RouteClient(Liar, documented=False) as client:
        await act(client, lie)
    (record,) = [each for each in caplog.records if each.name == "routesock.documents"]
    assert record.levelno == logging.ERROR
    assert (vars(record)["route"], vars(record)["pointer"]) == (route_name, pointer)
    assert reason in record.getMessage()
    assert repr(route_name) in record.getMessage()


@override_settings(ROUTESOCK={"CHECK_REPLIES": True}, ASGI_APPLICATION=None)
async def test_frames_that_fit_are_neither_logged_nor_raised(caplog: pytest.LogCaptureFixture) -> None:
    async with RouteClient(Liar) as client:
        for act, value in TRUTHS:
            await act(client, value)
        assert (await client.call("unknown")).status == 404
        await client.ping({"at": 1})
        await client.send_text("no json")
        assert (await client.receive())["status"] == 400
    assert [each for each in caplog.records if each.name == "routesock.documents"] == []


FORMATS: dict[str, tuple[Dialect, str]] = {
    "default": (Keys(), '{"route": "NAME", "uuid": 1}'),
    "spread": (Keys(payload=None), '{"route": "NAME", "uuid": 1}'),
    "dcrf": (Dcrf(), '{"action": "NAME", "request_id": 1}'),
}


@pytest.mark.parametrize("name", FORMATS)
@override_settings(ROUTESOCK={"CHECK_REPLIES": True}, ASGI_APPLICATION=None)
async def test_the_refusal_of_an_id_in_use_needs_no_declaration(name: str, caplog: pytest.LogCaptureFixture) -> None:
    """routesock answers it to any route."""
    dialect, frame = FORMATS[name]
    consumer, go_on = waiting(dialect)
    async with RouteClient(consumer, documented=True) as client:
        for _ in range(2):
            await client.send_text(frame.replace("NAME", "wait"))
        assert 409 in (await client.receive()).values()
        go_on.set()
        assert 204 in (await client.receive()).values()
    assert [each for each in caplog.records if each.name == "routesock.documents"] == []


@pytest.mark.parametrize("name", ["default", "spread"])
async def test_another_conflict_needs_one(name: str) -> None:
    """With Dcrf they look alike, since the code of an error is not sent."""
    dialect, frame = FORMATS[name]
    consumer, _ = waiting(dialect)
    async with RouteClient(consumer, documented=True) as client:
        await client.send_text(frame.replace("NAME", "refuse"))
        with pytest.raises(UndocumentedFrame, match="the status 409 is not declared"):
            await client.receive()


async def test_an_undeclared_push_in_the_frames_of_dcrf_may_be_either() -> None:
    """A push has a status and an id there, as a reply has."""

    class Silent(RouteMixin, AsyncJsonWebsocketConsumer):
        route_dialect = Dcrf()

        @route("save", reply=None, permissions=())
        async def save(self, request: Any) -> None:
            await self.socket.push("update", GOOD)

    async with RouteClient(Silent, documented=True) as client:
        await client.send_json({"action": "save", "request_id": 1})
        with pytest.raises(UndocumentedFrame, match="no route or push of this name is declared"):
            await client.receive()


@override_settings(ROUTESOCK={"CHECK_REPLIES": True}, ASGI_APPLICATION="tests.no.such.module")
async def test_a_document_that_cannot_be_built_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(2):
        async with RouteClient(Liar, documented=False) as client:
            await answer(client, "missing")
    (record,) = [each for each in caplog.records if each.name == "routesock.documents"]
    assert "its document cannot be built" in record.getMessage()


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=EXAMPLE.parent,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


OFF = """
import asyncio, sys
from django.conf import settings
settings.configure(ROUTESOCK={"PERMISSIONS": ()})
import django
django.setup()
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from channels.routing import URLRouter
from routesock import RouteMixin, route
from routesock.testing import RouteClient

class Plain(RouteMixin, AsyncJsonWebsocketConsumer):
    @route("echo")
    async def echo(self, request):
        return request.payload

async def main():
    async with RouteClient(Plain) as client:
        assert (await client.call("echo", {"a": 1})).payload == {"a": 1}

asyncio.run(main())
assert not [name for name in sys.modules if name.startswith("routesock._asyncapi")]
"""


def test_off_nothing_is_imported() -> None:
    done = run("-c", OFF)
    assert done.returncode == 0, done.stderr


def test_the_suite_of_the_example_fits_its_document() -> None:
    done = run(
        "-m", "pytest", "example_project", "--documented", "-q", "-p", "no:cacheprovider", "-p", "no:xdist",
        DJANGO_SETTINGS_MODULE="config.settings",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout


class TestWhatADocumentSaysNothingAbout:
    """Frames for which there is no rule are never a misfit."""

    @staticmethod
    def checks(cls: Any) -> Conformance:
        return Conformance(Endpoint("", cls), alone=True)

    def test_frames_that_are_none_of_the_dialect(self) -> None:
        checks = self.checks(Liar)
        for data in ("no json", "[1]", '"text"', "{}", '{"payload": 1}', b"\xff", '{"type": "chat.message"}'):
            assert checks.misfit(data) is None

    def test_dialect_with_methods_of_the_project(self) -> None:
        class Shouting(Keys):
            def reply(self, request: Request, status: int, payload: Any, headers: Mapping[str, Any]) -> Any:
                return {"LOUD": payload}

        cls = type("Loud", (Liar,), {"route_dialect": Shouting()})
        assert self.checks(cls).misfit('{"route": "answer", "uuid": "1", "status": 200, "payload": 5}') is None

    def test_other_routes_of_a_consumer_with_code_of_its_own(self) -> None:
        class Mixed(Liar):
            async def receive_json(self, content: Any, **kwargs: Any) -> None: ...

        assert self.checks(Mixed).misfit('{"route": "chat.message", "text": "hi"}') is None
        assert self.checks(Liar).misfit('{"route": "chat.message", "text": "hi"}') is not None


NOTHING_DECLARED = "no route of this name is declared"


@pytest.mark.parametrize(
    ("frame", "pointer", "reason"),
    [
        ({"route": "rumour", "payload": 1}, "/route", "no push of this name is declared"),
        ({"route": "rumour", "uuid": "1", "status": 200, "payload": 1}, "/status", NOTHING_DECLARED),
        ({"route": "answer", "payload": GOOD}, "/route", "no push of this name is declared"),
        ({"route": "news", "uuid": "1", "status": 200, "payload": GOOD}, "/status", "it is a push"),
        ({"route": "answer", "uuid": "1", "status": 207, "payload": GOOD}, "/status", "the status 207 is not declared"),
        ({"route": "error", "uuid": "1", "status": 400, "payload": "why"}, "/payload", NOTHING_DECLARED),
    ],
)
def test_the_place_of_a_fault(frame: Any, pointer: str, reason: str) -> None:
    found = Conformance(Endpoint("", Liar), alone=True).misfit(json.dumps(frame))
    assert found is not None
    assert (found.route, found.pointer) == (frame["route"], pointer)
    assert reason in found.reason


def test_an_application_without_consumers_at_a_path_has_no_checks() -> None:
    plain: Any = AsyncJsonWebsocketConsumer.as_asgi()
    liar: Any = Liar.as_asgi()
    patterns: list[Any] = [path("plain/", plain), path("liar/", liar)]
    application = URLRouter(patterns)
    assert conformance_at(application, "/plain/") is None
    assert conformance_at(application, "/elsewhere/") is None
    checks = conformance_at(application, "/liar/")
    assert checks is not None
    assert checks.misfit('{"route": "rumour"}') is not None
