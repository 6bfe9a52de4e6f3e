"""Processor time of a uvicorn process per request: the echo of many sockets, with marshmallow."""

from __future__ import annotations

import selectors
import socket
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from statistics import median

from .audience import HANDSHAKE, masked
from .contenders import ROUTE, MarshmallowEcho, bare, by_hand, loaded, loaded_and_dumped, routed
from .driving import TIMEOUT, Application, Traffic, WrongReplyError
from .measured_server import served
from .measuring import Ratio

SOCKETS = 50
MOST_RATIO = 1.15
WARM_UP = 20
BARE, BY_HAND, ROUTED, BEFORE = "bare ASGI callable", "hand-written consumer", "1 route", "1 route, before"

WORKS: Mapping[str, Mapping[str, Application]] = {
    "load": {
        BARE: bare(loaded),
        BY_HAND: by_hand(loaded),
        ROUTED: routed(schema=MarshmallowEcho),
    },
    "load and dump": {
        BARE: bare(loaded_and_dumped),
        BY_HAND: by_hand(loaded_and_dumped),
        ROUTED: routed(schema=MarshmallowEcho, dehydrate=MarshmallowEcho),
    },
}
WAYS: dict[str, Application] = {f"{work}: {name}": way for work, ways in WORKS.items() for name, way in ways.items()}


@dataclass
class Outcome:
    """The seconds of processor time per request of each contender, round by round."""

    seconds: dict[str, list[float]] = field(default_factory=dict)

    def microseconds(self, name: str) -> Ratio:
        times = [seconds * 1e6 for seconds in self.seconds[name]]
        return Ratio(median(times), min(times), max(times))

    def ratio(self, name: str) -> Ratio:
        """The time of ``name`` as a part of bare ASGI's, round by round."""
        ratios = [a / b for a, b in zip(self.seconds[name], self.seconds[BARE], strict=True)]
        return Ratio(median(ratios), min(ratios), max(ratios))


def title(work: str) -> str:
    return f"processor time of uvicorn per request, {SOCKETS} sockets, {work}"


def measure(work: str, *, quick: bool = False, before: str | None = None) -> Outcome:
    """All contenders in turn, round by round, each in its own server.

    Args:
        work: What marshmallow does, a key of :data:`WORKS`.
        quick: One round of few requests, to see whether it runs.
        before: A directory whose ``routesock`` takes part as one more contender.
    """
    rounds, sockets, requests = (1, 4, 5) if quick else (100, SOCKETS, 10)
    outcome = Outcome()
    with ExitStack() as stack:
        crowds = {}
        contenders: list[tuple[str, str, str | None]] = [(name, name, None) for name in WORKS[work]]
        if before is not None:
            contenders.append((BEFORE, ROUTED, before))
        for label, name, checkout in contenders:
            port = stack.enter_context(served(__name__, f"{work}: {name}", checkout=checkout))
            crowds[label] = stack.enter_context(Crowd(port, sockets))
            crowds[label].talk(WARM_UP)
        outcome.seconds = {label: [] for label in crowds}
        for _ in range(rounds):
            for label, crowd in crowds.items():
                outcome.seconds[label].append(crowd.talk(requests))
    return outcome


@dataclass
class Talk:
    """What one socket sends again and again, what has to come back, and how often it still does so."""

    request: bytes
    reply: bytes
    left: int = 0


class Crowd:
    """``count`` clients of the server at ``port`` and one that asks for its processor time. A context manager.

    They are plain sockets in one thread, since they share the processors with the server.
    """

    def __init__(self, port: int, count: int) -> None:
        self._port = port
        self._open = ExitStack()
        self._selector = self._open.enter_context(selectors.DefaultSelector())
        self._clients: list[tuple[socket.socket, Talk]] = []
        traffic = Traffic(count, (ROUTE,))
        for request, reply in zip(traffic.frames, traffic.replies, strict=True):
            talk = Talk(masked(request), _text_frame(reply))
            client = self._connect("/")
            self._selector.register(client, selectors.EVENT_READ, talk)
            self._clients.append((client, talk))
        self._asking = self._connect("/cpu")

    def __enter__(self) -> Crowd:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._open.close()

    def talk(self, requests: int) -> float:
        """Have each client send so many requests, each after the reply to the one before.

        Returns:
            Seconds of the server's processor time per request.

        Raises:
            WrongReplyError: A reply is not the expected one, or does not come.
        """
        begun = self._processor_time()
        for client, talk in self._clients:
            talk.left = requests
            client.sendall(talk.request)
        left = len(self._clients)
        while left:
            ready = self._selector.select(TIMEOUT)
            if not ready:
                raise WrongReplyError(f"{left} clients have no reply.")
            for key, _ in ready:
                talk = key.data
                client: socket.socket = key.fileobj  # type: ignore[assignment]
                if (reply := _read(client, len(talk.reply))) != talk.reply:
                    raise WrongReplyError(f"{reply!r} is not {talk.reply!r}")
                talk.left -= 1
                if talk.left:
                    client.sendall(talk.request)
                else:
                    left -= 1
        return (self._processor_time() - begun) / (requests * len(self._clients))

    def _processor_time(self) -> float:
        self._asking.sendall(masked("now"))
        _, length = _read(self._asking, 2)
        return float(_read(self._asking, length))

    def _connect(self, path: str) -> socket.socket:
        connection = self._open.enter_context(socket.create_connection(("127.0.0.1", self._port), timeout=TIMEOUT))
        connection.sendall(HANDSHAKE.format(who=path.removeprefix("/")).encode())
        answer = b""
        while not answer.endswith(b"\r\n\r\n"):
            answer += _read(connection, 1)
        if not answer.startswith(b"HTTP/1.1 101"):
            raise WrongReplyError(f"The handshake was answered {answer!r}")
        return connection


def _read(connection: socket.socket, size: int) -> bytes:
    """Exactly so many bytes, or fewer if the server has closed the connection."""
    data = connection.recv(size)
    while len(data) < size and (more := connection.recv(size - len(data))):
        data += more
    return data


def _text_frame(text: str) -> bytes:
    """A server's text frame of less than 126 bytes."""
    data = text.encode()
    return bytes((0x81, len(data))) + data
