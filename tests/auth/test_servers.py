"""Every mode and every source of credentials, over real sockets: who gets in, and what the others are told."""

from __future__ import annotations

import asyncio
import base64
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.auth.consumers import LONG
from tests.servers import ANSWER_WITHIN, ASGI_SERVERS, ROOT, Server, connect, python_environment, run_server, send

pytestmark = pytest.mark.servers

SETTINGS = "tests.auth.settings"
SOURCES = ["frame", "subprotocol", "header", "query"]
SCHEMES = {"jwt": "Bearer", "key": "Token", "session": "Session", "own": "Bearer"}
NAMES = {"jwt": "alice", "key": "alice", "session": "alice", "own": "carol"}


@pytest.fixture(scope="session")
def database(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Any]:
    """The path of a database, and the tokens in it."""
    path = str(tmp_path_factory.mktemp("auth") / "auth.sqlite3")
    done = subprocess.run(
        [sys.executable, "-m", "tests.auth.seed"],
        cwd=ROOT,
        env=python_environment(ROOT, DJANGO_SETTINGS_MODULE=SETTINGS, DATABASE_PATH=path),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return path, json.loads(done.stdout)


@pytest.fixture(scope="session", params=ASGI_SERVERS)
def server(request: pytest.FixtureRequest, database: tuple[str, Any]) -> Iterator[Server]:
    environment = {"DJANGO_SETTINGS_MODULE": SETTINGS, "DATABASE_PATH": database[0]}
    with run_server(request.param, "tests.auth.asgi:application", **environment) as server:
        yield server


@pytest.fixture(scope="session")
def tokens(database: tuple[str, Any]) -> Any:
    return database[1]


def opening(source: str, token: str | None, scheme: str = "Bearer") -> dict[str, Any]:
    """How a client opens its socket to bring ``token``; the path's own part is under ``path``."""
    if token is None or source == "frame":
        return {}
    if source == "subprotocol":
        encoded = base64.urlsafe_b64encode(token.encode()).decode().rstrip("=")
        return {"subprotocols": ["chat", f"base64url.bearer.{encoded}"]}
    if source == "header":
        return {"additional_headers": {"Authorization": f"{scheme} {token}"}}
    return {"query": f"?token={token}"}


async def frames_of(connection: ClientConnection) -> tuple[list[Any], int | None]:
    """What comes until the reply to the request 1 or the close, and the code of that."""
    frames: list[Any] = []
    async with asyncio.timeout(ANSWER_WITHIN):
        try:
            while not frames or frames[-1].get("uuid") != 1:
                frames.append(json.loads(await connection.recv()))
        except ConnectionClosed:
            assert frames[-1]["payload"]["code"] == connection.close_code
            return frames, connection.close_code
    return frames, None


async def outcome(
    server: Server, stack: str, source: str, *brought: str | None, scheme: str = "Bearer", consumer: str = "routed"
) -> Any:
    """The name that a client who brings these tokens has at the end, or the code of the close."""
    options = opening(source, brought[0] if brought else None, scheme)
    url = f"/{stack}/{consumer}/{options.pop('query', '')}"
    async with connect(server, url, **options) as connection:
        if "subprotocols" in options:
            assert connection.subprotocol == "chat"
        with suppress(ConnectionClosed):  # what was said before the close is read all the same
            if source == "frame":
                for token in brought:
                    await send(connection, {"route": "AUTH", "uuid": "auth", "payload": {"token": token}})
            await send(connection, {"route": "me", "uuid": 1})
        frames, code = await frames_of(connection)
    if code is not None:
        return code
    return frames[-1]["payload"] if frames[-1]["status"] == 200 else frames[-1]["status"]


def stack_of(source: str) -> str:
    return "required" if source == "frame" else "token"


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("kind", SCHEMES)
async def test_good(server: Server, tokens: Any, kind: str, source: str) -> None:
    scheme = SCHEMES[kind]
    assert await outcome(server, stack_of(source), source, tokens[kind]["good"], scheme=scheme) == NAMES[kind]


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("kind", SCHEMES)
@pytest.mark.parametrize("state", ["bad", "over"])
async def test_bad_and_expired(server: Server, tokens: Any, kind: str, source: str, state: str) -> None:
    """Expired, deleted, logged out: what was a good token once."""
    wrong = tokens[kind][state]
    found = await outcome(server, stack_of(source), source, wrong, scheme=SCHEMES[kind])
    assert found == (401 if source == "frame" else 4401)


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("kind", ["jwt", "key", "session"])
async def test_of_a_user_who_may_not_sign_in(server: Server, tokens: Any, kind: str, source: str) -> None:
    found = await outcome(server, stack_of(source), source, tokens["inactive"][kind], scheme=SCHEMES[kind])
    assert found == (401 if source == "frame" else 4401)


@pytest.mark.parametrize("source", SOURCES)
async def test_replayed(server: Server, tokens: Any, source: str) -> None:
    """A bearer's token is good for any socket until it ends; one that its authenticator knows once is not."""
    for _ in range(2):
        assert await outcome(server, stack_of(source), source, tokens["jwt"]["good"]) == "alice"
    once = "once" if source == "frame" else "token-once"
    assert await outcome(server, once, source, source) == "carol"
    assert await outcome(server, once, source, source) == (401 if source == "frame" else 4401)


@pytest.mark.parametrize(
    ("stack", "found"),
    [("required", 401), ("session", 401), ("optional", "nobody"), ("disabled", "nobody"), ("token", "nobody")],
)
async def test_missing(server: Server, stack: str, found: Any) -> None:
    assert await outcome(server, stack, "none") == found


@pytest.mark.parametrize("stack", ["required", "optional", "session"])
async def test_a_good_token_after_a_wrong_one(server: Server, tokens: Any, stack: str) -> None:
    assert await outcome(server, stack, "frame", "mallory", tokens["jwt"]["good"]) == "alice"


@pytest.mark.parametrize("stack", ["required", "optional", "session"])
async def test_too_many(server: Server, tokens: Any, stack: str) -> None:
    assert await outcome(server, stack, "frame", "mallory", tokens["jwt"]["bad"], tokens["jwt"]["good"]) == 4401


async def test_too_many_lock_the_address_for_a_while(server: Server) -> None:
    assert await outcome(server, "locking", "frame", "mallory", "mallory") == 4401
    assert await outcome(server, "locking", "frame", "carol") == 4429
    async with asyncio.timeout(ANSWER_WITHIN), connect(server, "/later/") as connection:
        await connection.wait_closed()
    assert await outcome(server, "locking", "frame", "carol") == "carol"


@pytest.mark.parametrize("consumer", ["plain", "routed"])
async def test_too_late(server: Server, consumer: str) -> None:
    """Within a second of its time, though it says nothing: faster only after the time, which it was told."""
    loop = asyncio.get_running_loop()
    began = loop.time()  # and not when the client gets to read the hello, which may be later
    async with connect(server, f"/hurried/{consumer}/") as connection:
        hello = json.loads(await connection.recv())
        assert hello["payload"]["timeout"] == 0.5
        frames, code = await frames_of(connection)
        assert code == 4401
        assert frames[0]["payload"] == {
            "code": 4401,
            "reason": "The client did not authenticate in time.",
            "reconnect": False,
        }
        assert loop.time() - began > 0.4


async def test_the_cookie_of_a_session_needs_no_handshake(server: Server, tokens: Any) -> None:
    for stack in ("session", "requests"):
        for key, found in ((tokens["session"]["good"], "alice"), (tokens["session"]["over"], None)):
            async with connect(server, f"/{stack}/routed/", cookie=f"sessionid={key}") as connection:
                await send(connection, {"route": "me", "uuid": 1})
                frames, _ = await frames_of(connection)
                name = frames[-1]["payload"] if frames[-1]["status"] == 200 else None
                assert name == (found or (None if stack == "session" else "nobody"))


async def test_frames_behind_auth_in_the_same_breath(server: Server, tokens: Any) -> None:
    async with connect(server, "/required/routed/") as connection:
        await send(connection, {"route": "AUTH", "uuid": "a", "payload": {"token": tokens["jwt"]["good"]}})
        for uuid in range(2, 52):
            await send(connection, {"route": "me", "uuid": uuid})
        await send(connection, {"route": "me", "uuid": 1})
        frames, _ = await frames_of(connection)
    assert [frame["uuid"] for frame in frames[1:]] == ["a", *range(2, 52), 1]
    assert {frame["status"] for frame in frames[1:]} == {200}


async def test_public_routes_and_ping_before_it(server: Server) -> None:
    async with connect(server, "/required/routed/") as connection:
        await send(connection, {"route": "PING", "uuid": "p"})
        await send(connection, {"route": "version", "uuid": 1})
        frames, _ = await frames_of(connection)
        assert [frame["route"] for frame in frames] == ["HELLO", "PONG", "version"]
        assert frames[-1]["payload"] == ["nobody", False, "waiting"]


@pytest.mark.parametrize("consumer", ["plain", "plain-sync", "routed", "routed-sync"])
async def test_nothing_runs_for_a_refused_client(server: Server, consumer: str) -> None:
    """Twenty requests behind a bad token: none is answered, and the close says why."""
    async with connect(server, f"/token/{consumer}/?token=mallory") as connection:
        for uuid in range(20):
            try:
                await send(connection, {"route": "version", "uuid": f"{uuid}"})
            except ConnectionClosed:
                break
        frames, code = await frames_of(connection)
    assert [frame["route"] for frame in frames] == ["CLOSE"]
    assert code == 4401


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/token-http/routed/?token=mallory", 401),
        ("/requests-http/routed/?answer=503", 503),
        ("/requests-http/routed/?answer=451", 451),
        ("/bare/close/", 401),
        ("/token/nowhere/", 404),
    ],
)
async def test_a_refused_handshake_has_its_status_where_the_server_can(server: Server, path: str, status: int) -> None:
    with pytest.raises(InvalidStatus) as refusal:
        async with connect(server, path):
            pass
    expected = status if "uvicorn" in server.command else 403
    assert refusal.value.response.status_code == expected


async def test_a_middleware_that_answers_is_told_to_browsers(server: Server) -> None:
    async with connect(server, "/requests/routed/?answer=503") as connection:
        frames, code = await frames_of(connection)
    assert frames[-1]["payload"] == {"code": 4503, "reason": "", "reconnect": True}
    assert code == 4503


@pytest.mark.parametrize("stack", ["wordy", "wordy-reject"])
async def test_a_long_reason_does_not_drop_the_connection(server: Server, stack: str) -> None:
    """One over 123 bytes: the client gets a close frame, with the code and as much of the reason as it holds."""
    async with connect(server, f"/{stack}/") as connection:
        with suppress(ConnectionClosed):
            await send(connection, {"route": "anything"})
        frames, code = await frames_of(connection)
    reason = frames[-1]["payload"]["reason"]
    assert code == 4403
    assert LONG.startswith(reason)
    assert 120 <= len(reason.encode()) <= 123
    # daphne sends no reason at all, which is why there is a notice.
    assert connection.close_reason == (reason if "uvicorn" in server.command else "")


async def test_an_unknown_path_behind_the_gate_is_told(server: Server) -> None:
    assert await outcome(server, "required", "frame", "carol", consumer="nowhere") == 4404


HANDSHAKE = (
    b"GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n%s\r\n"
)


async def status_of(server: Server, path: bytes, *headers: bytes) -> int:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(HANDSHAKE % (path, b"".join(header + b"\r\n" for header in headers)))
    async with asyncio.timeout(ANSWER_WITHIN):
        line = await reader.readline()
    writer.close()
    return int(line.split()[1])


@pytest.mark.parametrize("stack", ["required", "optional", "token", "requests"])
@pytest.mark.parametrize(
    ("path", "headers"),
    [
        (b"/routed/", [b"Origin: http://["]),
        (b"/routed/", [b"Origin: http://a:99999999"]),
        (b"/nowhere/", []),
        (b"/%00%ff/", []),
        (b"/routed/?%ff=%00&token", []),
        (b"/routed/", [b"Sec-WebSocket-Protocol: bearer."]),
        (b"/routed/", [b"Sec-WebSocket-Protocol: base64url.bearer._w, base64url.bearer.!"]),
        (b"/routed/", [b"Sec-WebSocket-Protocol: " + b"a, " * 200 + b"z"]),
        (b"/routed/", [b"Authorization: Bearer \xff\xfe", b"Authorization: x"]),
        (b"/routed/", [b"Cookie: \xff=\xfe;;;sessionid="]),
    ],
)
async def test_odd_handshakes_are_no_errors_of_the_server(
    server: Server, stack: str, path: bytes, headers: list[bytes]
) -> None:
    assert await status_of(server, f"/{stack}".encode() + path, *headers) < 500


async def test_no_token_is_in_the_output_of_a_server(server: Server, tokens: Any) -> None:
    """uvicorn writes query strings into its access log."""
    for source in SOURCES:
        for token in ("s3cr3t-token", tokens["jwt"]["good"]):
            await outcome(server, stack_of(source), source, token)
    output = server.output()
    assert "s3cr3t-token" not in output
    assert tokens["jwt"]["good"] not in output


@pytest.mark.parametrize("kind", ASGI_SERVERS)
async def test_who_waits_is_told_of_a_restart(kind: str, database: tuple[str, Any]) -> None:
    """By a code that the server can send: daphne's autobahn has no 1012."""
    environment = {"DJANGO_SETTINGS_MODULE": SETTINGS, "DATABASE_PATH": database[0]}
    with run_server(kind, "tests.auth.asgi:application", **environment) as server:
        async with connect(server, "/required/routed/") as connection:
            assert json.loads(await connection.recv())["route"] == "HELLO"
            server.terminate()
            notice = json.loads(await connection.recv())
            assert (notice["payload"]["code"], notice["payload"]["reconnect"]) == (1012, True)
            await connection.wait_closed()
            assert connection.close_code == (1012 if kind == "uvicorn" else 4503)
