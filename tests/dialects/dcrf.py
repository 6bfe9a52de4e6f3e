"""djangochannelsrestframework 1.3: the conversations in its docstrings, and what dcrf-client 0.3 sends and reads."""

from __future__ import annotations

from typing import Any

from channels.generic.websocket import AsyncJsonWebsocketConsumer
from marshmallow import Schema, fields

from routesock import Reply, Request, RouteMixin, route
from routesock.dialects import Dcrf
from routesock.exceptions import NotFound

from .transcripts import Call, Read, Received, Sent, Suite, Transcript


class TextSchema(Schema):
    text = fields.Str(required=True)


class UserData(Schema):
    username = fields.Str(required=True)
    email = fields.Email()


class UserSchema(Schema):
    data = fields.Nested(UserData, required=True)


class Users(RouteMixin, AsyncJsonWebsocketConsumer):
    """The consumer of the docstrings, with two users."""

    route_dialect = Dcrf()

    async def connect(self) -> None:
        self.users = {
            1: {"email": "42@example.com", "id": 1, "username": "test1"},
            2: {"email": "45@example.com", "id": 2, "username": "test2"},
        }
        await self.accept()

    @route("echo")
    async def echo(self, request: Request) -> Any:
        return request.payload

    @route("text", schema=TextSchema)
    async def text(self, request: Request) -> Any:
        return request.payload

    @route("list")
    async def list(self, request: Request) -> Any:
        return [*self.users.values()]

    @route("retrieve")
    async def retrieve(self, request: Request) -> Any:
        return self._user(request)

    @route("create", schema=UserSchema, status=201)
    async def create(self, request: Request) -> Any:
        return {"id": 42, **request.payload["data"]}

    @route("patch")
    async def patch(self, request: Request) -> Any:
        return {**self._user(request), **request.payload["data"]}

    @route("delete")
    async def delete(self, request: Request) -> Any:
        del self.users[self._user(request)["id"]]

    @route("subscribe_instance", status=201)
    async def subscribe_instance(self, request: Request) -> Any:
        user = self._user(request)
        for action in ("update", "delete"):
            await self.socket.push(action, user, headers={"Request-Id": request.id})
        await self.socket.push("maintenance", "at noon")

    @route("gone")
    async def gone(self, request: Request) -> Any:
        return Reply({"moved_to": 2}, status=410)

    def _user(self, request: Request) -> dict[str, Any]:
        user = self.users.get(request.payload["pk"])
        if user is None:
            raise NotFound("Not found")
        return user


def check_error(frame: Any) -> None:
    assert frame.keys() == {"errors", "data", "action", "response_status", "request_id"}
    assert 400 <= frame["response_status"] <= 599
    assert isinstance(frame["errors"], list)
    assert frame["errors"]
    assert frame["data"] is None


def is_silent(value: Any) -> bool:
    """A cancel of nothing, a PONG, and a notification that succeeded."""
    return isinstance(value, dict) and (
        value.get("action") in ("CANCEL", "PONG")
        or (value.get("action") in ("echo", "text") and value.get("request_id") is None)
    )


MIXINS = "djangochannelsrestframework 1.3.0, mixins.py"

CLIENT = "dcrf-client 0.3.0, lib/index.js"

ADA = {"email": "42@example.com", "id": 1, "username": "test1"}
BOB = {"email": "45@example.com", "id": 2, "username": "test2"}

TRANSCRIPTS = (
    Transcript(
        "list",
        MIXINS,
        (
            Sent('{"action": "list", "request_id": 1500000}', Call("list", 1500000)),
            Received(
                """{"action": "list", "errors": [], "response_status": 200, "request_id": 1500000, "data": [
                    {"email": "42@example.com", "id": 1, "username": "test1"},
                    {"email": "45@example.com", "id": 2, "username": "test2"}]}""",
                Read("list", 1500000, 200, [ADA, BOB]),
            ),
        ),
    ),
    Transcript(
        "create",
        MIXINS,
        (
            Sent(
                '{"action": "create", "request_id": 150060530, "data": {"username": "test"}}',
                Call("create", 150060530, {"data": {"username": "test"}}),
            ),
            Received(
                """{"action": "create", "errors": [], "response_status": 201, "request_id": 150060530,
                    "data": {"username": "test", "id": 42}}""",
                Read("create", 150060530, 201, {"username": "test", "id": 42}),
            ),
        ),
    ),
    Transcript(
        "errors-by-field",
        "djangochannelsrestframework 1.3.0, consumers.py, handle_exception and _format_errors",
        (
            Sent(
                '{"action": "create", "request_id": 1, "data": {"email": "nobody"}}',
                Call("create", 1, {"data": {"email": "nobody"}}),
            ),
            Received(
                """{"action": "create", "data": null, "response_status": 422, "request_id": 1, "errors": [{"data": {
                    "username": ["Missing data for required field."], "email": ["Not a valid email address."]}}]}""",
                Read(
                    "create",
                    1,
                    422,
                    [
                        {
                            "data": {
                                "username": ["Missing data for required field."],
                                "email": ["Not a valid email address."],
                            }
                        }
                    ],
                ),
            ),
        ),
    ),
    Transcript(
        "an-error-of-one-sentence",
        "djangochannelsrestframework 1.3.0, consumers.py, handle_exception and _format_errors",
        (
            Sent('{"action": "retrieve", "request_id": 1, "pk": 7}', Call("retrieve", 1, {"pk": 7})),
            Received(
                """{"action": "retrieve", "errors": ["Not found"], "response_status": 404, "request_id": 1,
                    "data": null}""",
                Read("retrieve", 1, 404, ["Not found"]),
            ),
        ),
    ),
    Transcript(
        "a-status-beside-the-data",
        "djangochannelsrestframework 1.3.0, consumers.py, handle_action",
        (
            Sent('{"action": "gone", "request_id": 1}', Call("gone", 1)),
            Received(
                """{"action": "gone", "errors": [], "response_status": 410, "request_id": 1,
                    "data": {"moved_to": 2}}""",
                Read("gone", 1, 410, {"moved_to": 2}),
            ),
        ),
    ),
    Transcript(
        "dcrf-client",
        CLIENT,
        (
            Sent(
                '{"action": "retrieve", "pk": 1, "data": {}, "request_id": "a-1"}',
                Call("retrieve", "a-1", {"pk": 1, "data": {}}),
            ),
            Received(
                """{"action": "retrieve", "errors": [], "response_status": 200, "request_id": "a-1",
                    "data": {"email": "42@example.com", "id": 1, "username": "test1"}}""",
                Read("retrieve", "a-1", 200, ADA),
            ),
            Sent(
                '{"action": "patch", "pk": 1, "data": {"username": "ada"}, "request_id": "a-2"}',
                Call("patch", "a-2", {"pk": 1, "data": {"username": "ada"}}),
            ),
            Received(
                """{"action": "patch", "errors": [], "response_status": 200, "request_id": "a-2",
                    "data": {"email": "42@example.com", "id": 1, "username": "ada"}}""",
                Read("patch", "a-2", 200, {**ADA, "username": "ada"}),
            ),
            Sent(
                '{"action": "delete", "pk": 1, "data": {}, "request_id": "a-3"}',
                Call("delete", "a-3", {"pk": 1, "data": {}}),
            ),
            Received(
                """{"action": "delete", "errors": [], "response_status": 204, "request_id": "a-3", "data": null}""",
                Read("delete", "a-3", 204, None),
            ),
        ),
    ),
    Transcript(
        "a-subscription",
        CLIENT,
        (
            Sent(
                '{"action": "subscribe_instance", "request_id": "s-1", "pk": 2}',
                Call("subscribe_instance", "s-1", {"pk": 2}),
            ),
            Received(
                """{"action": "update", "errors": [], "response_status": 200, "request_id": "s-1",
                    "data": {"email": "45@example.com", "id": 2, "username": "test2"}}""",
                Read("update", "s-1", 200, BOB),
            ),
            Received(
                """{"action": "delete", "errors": [], "response_status": 200, "request_id": "s-1",
                    "data": {"email": "45@example.com", "id": 2, "username": "test2"}}""",
                Read("delete", "s-1", 200, BOB),
            ),
            Received(
                """{"action": "maintenance", "errors": [], "response_status": 200, "request_id": null,
                    "data": "at noon"}""",
                Read("maintenance", None, None, "at noon"),
            ),
            Received(
                """{"action": "subscribe_instance", "errors": [], "response_status": 201, "request_id": "s-1",
                    "data": null}""",
                Read("subscribe_instance", "s-1", 201, None),
            ),
        ),
    ),
    Transcript(
        "frames-that-are-no-requests",
        "djangochannelsrestframework 1.3.0, consumers.py, receive_json; bad JSON costs its clients their socket",
        (
            Sent('{"request_id": 1}'),
            Received(
                '{"action": null, "errors": ["..."], "data": null, "response_status": 400, "request_id": 1}',
                Read(None, 1, 400, ["..."]),
            ),
            Sent("{"),
            Received(
                """{"action": null, "errors": ["The frame is not valid JSON."], "data": null, "response_status": 400,
                    "request_id": null}""",
                Read(None, None, 400, ["The frame is not valid JSON."]),
            ),
            Sent("[]"),
            Received(
                """{"action": null, "errors": ["A request is a JSON object."], "data": null, "response_status": 400,
                    "request_id": null}""",
                Read(None, None, 400, ["A request is a JSON object."]),
            ),
        ),
    ),
    Transcript(
        "a-ping",
        "the control messages of routesock, which DCRF has none of",
        (
            Sent('{"action": "PING", "request_id": 1, "sent": 5}', Call("PING", 1, {"sent": 5})),
            Received(
                """{"action": "PONG", "errors": [], "response_status": 200, "request_id": 1, "data": {"sent": 5}}""",
                Read("PONG", 1, None, {"sent": 5}),
            ),
            Sent('{"action": "CANCEL", "request_id": 1}', Call("CANCEL", 1)),
        ),
    ),
)

SUITE = Suite(
    "dcrf",
    Users,
    TRANSCRIPTS,
    keys=("action", "request_id", "data"),
    is_silent=is_silent,
    check_error=check_error,
)
