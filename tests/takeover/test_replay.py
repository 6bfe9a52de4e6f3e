"""A legacy consumer answers what it answered before the mixin stood in front of it, byte for byte."""

from __future__ import annotations

import json
import logging
from functools import partial
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from channels.auth import AuthMiddlewareStack
from channels.routing import URLRouter
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.auth.models import User
from django.contrib.sessions.backends.signed_cookies import SessionStore
from django.urls import path

from routesock import Keys, RouteMixin, route

from .driver import Layer, Socket, problems, strict
from .frames import FATAL, RAISING, content, sessions, spelled
from .legacy import ACTIONS, CLOSING, AsyncLegacy, SyncLegacy, visitor
from .replay import record, replay, replay_taken

pytestmark = pytest.mark.repetitions

LEGACY = [AsyncLegacy, SyncLegacy]
ACTION_DIALECT = Keys(route="action", id="request_id", payload=None)

USER = User(pk=7, username="ada", password="!")


class OneUser:
    """An authentication backend whose only user needs no database."""

    def get_user(self, pk: Any) -> User | None:
        return USER if pk == USER.pk else None


@pytest.fixture(autouse=True)
def sessions_without_database(settings: Any) -> None:
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.signed_cookies"
    settings.AUTHENTICATION_BACKENDS = [f"{__name__}.OneUser"]


def cookie() -> bytes:
    session = SessionStore()
    session[SESSION_KEY] = str(USER.pk)
    session[BACKEND_SESSION_KEY] = f"{__name__}.OneUser"
    session[HASH_SESSION_KEY] = USER.get_session_auth_hash()
    session.save()
    assert session.session_key is not None
    return b"sessionid=" + session.session_key.encode()


def socket_of(consumer: Any, *, signed_in: bool = False) -> Socket:
    """A socket behind the stack and the router that most projects have."""
    headers = [(b"cookie", cookie()), (b"x-test", b"1")] if signed_in else [(b"x-test", b"1")]
    application = AuthMiddlewareStack(
        URLRouter([path("ws/<slug:room>/<int:page>/", consumer.as_asgi(greeting="Good morning"))])
    )
    return Socket(application, path="/ws/lobby/3/", headers=headers, subprotocols=["v1", "v2"])


def routed(legacy: type, **namespace: Any) -> Any:
    """``legacy`` with the mixin in front and one route that no client knows."""

    @route("routesock.test")
    async def answer(self: Any, request: Any) -> str:
        return "routed"

    namespace = {"__module__": __name__, "answer": answer, **namespace}
    return type(f"Routed{legacy.__name__}", (RouteMixin, legacy), namespace)


@pytest.mark.parametrize("legacy", LEGACY)
@pytest.mark.parametrize(
    ("dialect", "seed"),
    [(Keys(), 1), (ACTION_DIALECT, 2), (Keys(route="type", id="id"), 2)],
    ids=["default", "action", "type"],
)
async def test_every_conversation_reads_the_same(legacy: type, dialect: Keys, seed: int, layer: Layer) -> None:
    """All that the plain consumer sends, the one behind the mixin sends too, in the same order and nothing else."""
    consumer = routed(legacy, route_dialect=dialect)
    for number, texts in enumerate(sessions(seed, 3, 40)):
        signed_in = number % 2 == 0
        recording = await record(partial(socket_of, legacy, signed_in=signed_in), layer, texts)
        sent = await replay(partial(socket_of, consumer, signed_in=signed_in), texts, recording)
        assert sent == recording.sent


@pytest.mark.parametrize("legacy", LEGACY)
async def test_pipelined_conversation_reads_the_same(legacy: type, layer: Layer) -> None:
    """A client that waits for nothing reads the same answers too, where no channel-layer event comes between."""
    texts = [
        text
        for session in sessions(3, 1, 300)
        for text in session
        if not any(f'"{name}"' in text for name in (*CLOSING, "shout", "self"))
    ]
    recording = await record(partial(socket_of, legacy), layer, texts)
    async with socket_of(routed(legacy)) as socket:
        socket.text(*texts)
        await socket.read(len([message for message in recording.sent if message.get("text") is not None]))
    assert socket.sent == recording.sent


def test_frames_reach_every_branch() -> None:
    """The conversations of the other tests leave no branch of the legacy consumer out."""
    for seed in (1, 2):
        seen = set()
        for text in (text for session in sessions(seed, 3, 40) for text in session):
            frame = json.loads(text)
            if isinstance(frame, dict):
                seen.add(repr(frame.get("action")))
        assert {repr(action) for action in ACTIONS} <= seen


@pytest.mark.parametrize("legacy", LEGACY)
async def test_routes_work_between_foreign_frames(legacy: type) -> None:
    """The mixin is really there: its route, PING and CANCEL are answered between the frames of the legacy client."""
    async with socket_of(routed(legacy)) as socket:
        socket.json({"action": "count", "request_id": 1})
        socket.request("routesock.test", "u1")
        socket.json({"route": "CANCEL", "uuid": "nobody"}, {"action": "count", "request_id": 2})
        frames = (await socket.read(4))[1:]
    assert frames == [
        {"action": "count", "request_id": 1, "count": 1},
        {"uuid": "u1", "route": "routesock.test", "status": 200, "payload": "routed"},
        {"action": "count", "request_id": 2, "count": 2},
    ]


@pytest.mark.parametrize("legacy", LEGACY)
@pytest.mark.parametrize("text", FATAL, ids=lambda text: repr(text[:20]))
async def test_text_that_killed_the_plain_consumer_is_a_400(legacy: type, text: str, layer: Layer) -> None:
    """What ``decode_json`` does not accept ended the socket; now it is one 400 without a uuid, and the socket lives."""
    async with socket_of(legacy) as plain:
        plain.text(text)
        assert isinstance(await plain.ending(), Exception)
    async with socket_of(routed(legacy)) as socket:
        socket.text(text, '{"action": "count", "request_id": 1}')
        frames = (await socket.read(3))[1:]
    assert {problem[:2] for problem in problems(frames[:1])} == {(400, "parse_error")}
    assert frames[0]["uuid"] is None
    assert frames[1] == {"action": "count", "request_id": 1, "count": 1}


@pytest.mark.parametrize("legacy", LEGACY)
@pytest.mark.parametrize("data", [b"", b'{"action": "echo"}', b"\xff\xfe", b"x" * 100_000], ids=len)
async def test_binary_frame_that_killed_the_plain_consumer_is_a_400(legacy: type, data: bytes) -> None:
    """A binary frame ended the socket of a JSON consumer; now it is one 400 without a uuid."""
    async with socket_of(legacy) as plain:
        plain.binary(data)
        assert isinstance(await plain.ending(), ValueError)
    async with socket_of(routed(legacy)) as socket:
        socket.binary(data)
        socket.json({"action": "count", "request_id": 1})
        frames = (await socket.read(3))[1:]
    assert problems(frames[:1]) == [(400, "parse_error", None)]
    assert frames[1]["count"] == 1


@pytest.mark.parametrize("legacy", LEGACY)
@pytest.mark.parametrize("text", RAISING)
async def test_code_that_raises_is_a_500_without_uuid(legacy: type, text: str, caplog: Any) -> None:
    """Where the consumer's own code raises, the client reads a 500 with ``"uuid": null`` and no word of it."""
    async with socket_of(legacy) as plain:
        plain.text(text)
        assert isinstance(await plain.ending(), KeyError)
    with caplog.at_level(logging.ERROR, "routesock"):
        async with socket_of(routed(legacy)) as socket:
            socket.text(text, '{"action": "count", "request_id": 1}')
            frames = (await socket.read(3))[1:]
    (record,) = [record for record in caplog.records if record.name.startswith("routesock")]
    assert record.exc_info
    assert record.exc_info[0] is KeyError
    assert problems(frames[:1]) == [(500, "internal_error", None)]
    assert frames[0]["payload"]["error_id"] in record.getMessage()
    assert "secret" not in json.dumps(frames[0])
    assert frames[1]["count"] == 1


def taken(legacy: type, actions: list[str]) -> Any:
    """``legacy`` with routes for ``actions``, in the legacy frontend's own spelling."""

    def handler(action: str) -> Any:
        @route(action)
        async def handle(self: Any, request: Any) -> dict[str, Any]:
            return {"taken": request.route}

        return handle

    namespace = {f"take_{action}": handler(action) for action in actions}
    return type(f"Taken{legacy.__name__}", (RouteMixin, legacy), {"route_dialect": ACTION_DIALECT, **namespace})


def expected_status(actions: list[str], text: str) -> int | None:
    """What the contract says of a frame: a status if its action is taken, 0 where that has no reply."""
    frame = json.loads(text)
    if not isinstance(frame, dict) or frame.get("action") not in [*actions]:
        return None
    try:
        strict(text)
        json.dumps(frame, ensure_ascii=False).encode()  # half a surrogate pair
    except ValueError:
        return 400
    if len(text.encode("utf-8", "surrogatepass")) > 65_536:
        return 413
    if text.count("[") > 64:
        return 400
    return 0 if frame.get("request_id") is None else 200


async def check_taken(legacy: type, actions: list[str], layer: Layer, texts: list[str]) -> None:
    status_of = partial(expected_status, actions)
    rest = [text for text in texts if status_of(text) is None]
    recording = await record(partial(socket_of, legacy, signed_in=True), layer, rest)
    consumer = taken(legacy, actions)
    sent, statuses = await replay_taken(partial(socket_of, consumer, signed_in=True), texts, recording, status_of)
    assert sent == recording.sent
    assert statuses == [status for text in texts if (status := status_of(text))]


@pytest.mark.parametrize("legacy", LEGACY)
@pytest.mark.parametrize("action", ACTIONS)
async def test_taking_over_one_action_leaves_the_others(legacy: type, action: str, layer: Layer) -> None:
    """The taken action answers with a status; every other frame is answered as by the plain consumer."""
    conversations = sessions(4, 9, 8)  # the first three end in each way there is
    with_action = [texts for texts in conversations[3:] if any(f'"{action}"' in text for text in texts)]
    for texts in conversations[:3] if action in CLOSING else [conversations[0], *with_action[:1]]:
        await check_taken(legacy, [action], layer, [*texts[:-1], f'{{"action":"{action}","request_id":1}}', texts[-1]])


@pytest.mark.parametrize("legacy", LEGACY)
async def test_taking_over_action_after_action(legacy: type, layer: Layer) -> None:
    """At each step of a takeover, up to the last action, what is still with the consumer is answered as before."""
    all_sessions = sessions(5, len(ACTIONS), 12)
    for count, texts in enumerate(all_sessions, 1):
        await check_taken(legacy, list(ACTIONS[:count]), layer, texts)


@pytest.mark.parametrize("legacy", LEGACY)
async def test_visitor_and_other_middleware_values_are_seen_by_routes(legacy: type) -> None:
    """A route reads what the stack and ``connect()`` left: user, url kwargs, initkwargs and context variables."""

    class Consumer(RouteMixin, legacy):  # type: ignore[misc, valid-type]
        @route("all")
        async def all(self, request: Any) -> Any:
            kwargs = request.scope["url_route"]["kwargs"]
            return [request.user.pk, request.user.username, kwargs, self.greeting, visitor.get()]

        @route("all.sync")
        def all_sync(self, request: Any) -> Any:
            kwargs = request.scope["url_route"]["kwargs"]
            return [request.user.pk, request.user.username, kwargs, self.greeting, visitor.get()]

    async with socket_of(Consumer, signed_in=True) as socket:
        expected = [7, "ada", {"room": "lobby", "page": 3}, "Good morning", "ada"]
        assert (await socket.call("all", 1))["payload"] == expected
        assert (await socket.call("all.sync", 2))["payload"] == expected


@pytest.mark.parametrize("legacy", LEGACY)
async def test_routed_and_legacy_code_share_the_consumer(legacy: type) -> None:
    """A route and ``receive_json`` see one and the same instance, and the groups that either joined."""

    class Consumer(RouteMixin, legacy):  # type: ignore[misc, valid-type]
        route_dialect = ACTION_DIALECT

        @route("recall")
        async def recall_route(self, request: Any) -> Any:
            return {"value": self.notes.get(request.payload["key"])}

    async with socket_of(Consumer) as socket:
        socket.json({"action": "remember", "key": "k", "data": 5}, {"action": "recall", "key": "k", "request_id": 1})
        frames = await socket.read(3)
    assert frames[-1] == {"request_id": 1, "action": "recall", "status": 200, "value": 5}


@pytest.mark.parametrize("legacy", LEGACY)
async def test_groups_are_left(legacy: type, layer: Layer) -> None:
    """Neither the groups of ``groups`` nor those that ``disconnect()`` leaves keep the socket as a member."""
    async with socket_of(routed(legacy)) as socket:
        socket.json({"action": "join", "request_id": 1})
        await socket.read(2)
        assert (layer.members("everyone"), layer.members("lobby")) == (1, 1)
    assert (layer.members("everyone"), layer.members("lobby")) == (0, 0)


def test_content_is_deterministic() -> None:
    """A failure can be looked at again: one seed gives one list of frames."""
    import random

    first, second = (spelled(random.Random(9), content(random.Random(9), "echo")) for _ in range(2))
    assert first == second
    assert sessions(1, 3, 5) == sessions(1, 3, 5)


async def test_sync_code_of_the_stack_is_not_in_the_way() -> None:
    """The helper that tests use to sign in needs no database either."""
    assert await sync_to_async(cookie)()
