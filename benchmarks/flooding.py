"""Clients that send without end to a uvicorn: what they cost its memory, and how long others wait for a PONG."""

from __future__ import annotations

import json
import logging
import socket
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import Any, Final

from channels.generic.websocket import AsyncJsonWebsocketConsumer

from routesock import RouteMixin
from routesock.auth import HandshakeMiddleware, Identity

from .audience import HANDSHAKE, TIMEOUT, masked
from .driving import Application, Receive, Send, WrongReplyError
from .measured_server import served
from .tables import Most, Table, percentile

FLOODERS = 8
MOST_MEMORY = Most(30)
MOST_WAITING = Most(2, of_first=True)
INTERVAL = 0.02
"""Seconds between two PINGs."""

SMALL = masked('{"route":"PING"}') * 64
"""The frame that costs a server least, as often as a client may send it before it has authenticated."""

PING = masked(json.dumps({"route": "PING", "uuid": "the ping"}))
AUTH = masked(json.dumps({"route": "AUTH", "uuid": "t", "payload": {"token": "any"}}))


class Flooded(RouteMixin, AsyncJsonWebsocketConsumer):
    """It has no route."""


async def any_token(credentials: Any) -> Identity:
    from django.contrib.auth.models import User  # needs Django's settings

    return Identity(User(pk=1, username="ada"))


async def handshake(scope: Any, receive: Receive, send: Send) -> None:
    """Serve the consumer behind a handshake, without a line in the log for each refused AUTH and each lost client."""
    for name in ("routesock.request", "asyncio"):
        logging.getLogger(name).setLevel(logging.ERROR)
    await _guarded(scope, receive, send)


_guarded: Final = HandshakeMiddleware(Flooded.as_asgi(), authenticators=[any_token])

WAYS: dict[str, Application] = {"handshake": handshake}


def waiting(*, seconds: float) -> Table:
    """How long a socket waits for a PONG while others send small frames, behind the handshake and in front of it."""
    rows = {}
    with served(__name__, "handshake") as port:
        for name, authenticated in {"flood behind the handshake": True, "flood in front of it": False}.items():
            waits = _pinged(port, seconds, authenticated=authenticated)
            rows[name] = [percentile(waits, 50) * 1000, percentile(waits, 95) * 1000]
    return Table("ms", ("p50", "p95"), rows, (MOST_WAITING, MOST_WAITING))


def memory(*, megabytes: float) -> Table:
    """By how much the process grows while a client sends AUTH frames and reads none of the answers."""
    with served(__name__, "handshake") as port, ExitStack() as stack:
        asking = stack.enter_context(_connected(port, "rss"))
        before = _resident(asking)
        client = stack.enter_context(_connected(port, receive_buffer=4096))
        _authenticate(client)
        client.settimeout(1.0)
        left = int(megabytes * 1e6)
        try:
            while left > 0:
                left -= client.send(AUTH * 200)
        except TimeoutError:  # it is not read either, as long as it does not read
            pass
        rows = {"AUTH, unread": [max(_resident(asking) - before, 0) / 2**20]}
    return Table("MiB", ("RSS of uvicorn",), rows, (MOST_MEMORY,))


def _pinged(port: int, seconds: float, *, authenticated: bool) -> list[float]:
    ended = threading.Event()
    clients: list[socket.socket] = []
    flooders = [threading.Thread(target=_flood, args=(port, authenticated, ended, clients)) for _ in range(FLOODERS)]
    with _connected(port) as pinging:
        _authenticate(pinging)
        for flooder in flooders:
            flooder.start()
        try:
            waits: list[float] = []
            end = time.perf_counter() + seconds
            while (sent := time.perf_counter()) < end or not waits:
                pinging.sendall(PING)
                _read(pinging, lambda data: b"the ping" in data)
                waits.append(time.perf_counter() - sent)
                time.sleep(INTERVAL)
        finally:
            ended.set()
            for client in clients:  # which may wait for an answer
                with suppress(OSError):
                    client.shutdown(socket.SHUT_RDWR)
            for flooder in flooders:
                flooder.join()
    return waits


def _flood(port: int, authenticated: bool, ended: threading.Event, clients: list[socket.socket]) -> None:
    """Send small frames and read the answers until ``ended``. Connect again where the server has closed the socket."""
    while not ended.is_set():
        with suppress(OSError, WrongReplyError), _connected(port) as client:
            clients.append(client)
            if authenticated:
                _authenticate(client)
            while not ended.is_set():
                client.sendall(SMALL)
                if not client.recv(1 << 16):
                    break


def _connected(port: int, path: str = "", *, receive_buffer: int | None = None) -> socket.socket:
    client = socket.socket()
    if receive_buffer is not None:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    client.settimeout(TIMEOUT)
    client.connect(("127.0.0.1", port))
    client.sendall(HANDSHAKE.format(who=path).encode())
    answer = _read(client, lambda data: b"\r\n\r\n" in data)
    if not answer.startswith(b"HTTP/1.1 101"):
        raise WrongReplyError(f"The handshake was answered {answer!r}")
    return client


def _authenticate(client: socket.socket) -> None:
    client.sendall(AUTH)
    answer = _read(client, lambda data: b'"status"' in data)
    if b"200" not in answer:
        raise WrongReplyError(f"AUTH was answered {answer!r}")


def _resident(asking: socket.socket) -> float:
    asking.sendall(masked("now"))
    return float(_read(asking, lambda data: len(data) > 2 and len(data) >= 2 + data[1])[2:])


def _read(client: socket.socket, is_whole: Callable[[bytes], bool]) -> bytes:
    data = b""
    while not is_whole(data):
        more = client.recv(1 << 16)
        if not more:
            raise WrongReplyError(f"The server has closed the connection after {data!r}")
        data += more
    return data
