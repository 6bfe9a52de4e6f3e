"""Many subscribers in one thread, on plain sockets: they share the processors with the servers that are measured, so
each counts bytes, and only some of them look into their frames."""

from __future__ import annotations

import json
import re
import selectors
import socket
import struct
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

HANDSHAKE = (
    "GET /{who} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)
STAMP = re.compile(rb'"number": ?"(?P<number>\d+)", ?"sent": ?"(?P<sent>\d+)"')
TIMEOUT = 10.0
BATCH = 0.005
"""Seconds between two looks at the sockets in a flood: one read then takes several frames."""

AFTERWARDS = 0.02
"""Seconds in which nothing more may come."""


class WrongDeliveryError(Exception):
    """What came is not what was sent, so its time says nothing."""


@dataclass
class Heard:
    """What came of ``sent`` deliveries: how many, the seconds from the first send to the last of them, and the seconds
    from its send that each delivery took, of those that were looked into."""

    sent: int
    delivered: int = 0
    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)

    @property
    def lost(self) -> int:
        return self.sent - self.delivered


class Frame:
    """How every frame of one run looks: text of one length, with the number and the time at one place."""

    def __init__(self, beginning: bytes) -> None:
        """``beginning`` holds at least the first frame. :class:`WrongDeliveryError` if that is none."""
        opcode, length, size = struct.unpack("!BBH", beginning[:4])
        found = STAMP.search(beginning)
        if (opcode, length) != (0x81, 126) or found is None:
            raise WrongDeliveryError(f"This is no broadcast: {beginning!r}")
        self.size = size + 4
        self.header = beginning[:4]
        self.number = slice(*found.span("number"))
        self.sent = slice(*found.span("sent"))


class Subscriber:
    """One socket. ``looks`` into its frames, or counts their bytes."""

    __slots__ = ("_expected", "_rest", "looks", "received")

    def __init__(self, *, looks: bool) -> None:
        self.looks = looks
        self.received = 0
        self._expected = 0
        self._rest = b""

    def take(self, data: bytes, frame: Frame) -> list[int]:
        """When each of the frames that ``data`` completes was sent, in nanoseconds."""
        data = self._rest + data
        whole = len(data) - len(data) % frame.size
        self._rest = data[whole:]
        sent = []
        for start in range(0, whole, frame.size):
            one = data[start : start + frame.size]
            number = int(one[frame.number])
            if one[:4] != frame.header or number < self._expected:
                raise WrongDeliveryError(f"{self._expected} is due, this came: {one!r}")
            self._expected = number + 1
            sent.append(int(one[frame.sent]))
        return sent


class Audience:
    """``count`` subscribers, shared among the servers at ``ports``, and one sender at the first. A context manager."""

    def __init__(self, ports: Sequence[int], count: int) -> None:
        self._open = ExitStack()
        self._selector = self._open.enter_context(selectors.DefaultSelector())
        self._buffer = memoryview(bytearray(1 << 20))
        self._subscribers = [self._connect(ports[number % len(ports)], "subscriber") for number in range(count)]
        self._sender = self._connect(ports[0], "sender")

    def __enter__(self) -> Audience:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._open.close()

    def hear(self, broadcasts: int, *, interval: float, every: int) -> Heard:
        """Have so many broadcasts sent, one each ``interval`` seconds or (0) one after the other, and wait until all of
        them came or nothing more comes. One in ``every`` subscribers looks into its frames.

        :class:`WrongDeliveryError` for something else, twice the same, or the wrong order.
        """
        told = {one: Subscriber(looks=not number % every) for number, one in enumerate(self._subscribers)}
        heard = Heard(broadcasts * len(told))
        begun, ended, frame = self._read(told, heard, interval)
        heard.delivered = sum(one.received // frame.size for one in told.values())
        heard.seconds = (ended - begun) / 1e9
        most = broadcasts * frame.size
        if self._selector.select(AFTERWARDS) or any(
            one.received > most or one.received % frame.size for one in told.values()
        ):
            raise WrongDeliveryError("More came than was sent.")
        return heard

    def _read(self, told: dict[socket.socket, Subscriber], heard: Heard, interval: float) -> tuple[int, int, Frame]:
        """When the first was sent and the last arrived, in nanoseconds."""
        begun = ended = 0
        frame: Frame | None = None
        received = 0
        order = {"count": heard.sent // len(told), "interval": interval}
        self._sender.sendall(masked(json.dumps({"route": "send", "payload": order})))
        while frame is None or received < heard.sent * frame.size:
            if not interval:
                time.sleep(BATCH)
            ready = self._selector.select(TIMEOUT)
            if not ready:
                break
            for key, _ in ready:
                count = key.fileobj.recv_into(self._buffer)  # type: ignore[union-attr]
                ended = time.monotonic_ns()
                subscriber = told.get(key.fileobj)  # type: ignore[call-overload]
                if subscriber is None or not count:
                    raise WrongDeliveryError(f"A socket was told {bytes(self._buffer[:count])!r}")
                received += count
                subscriber.received += count
                if frame is None:
                    frame = Frame(bytes(self._buffer[:count]))
                if subscriber.looks:
                    for sent in subscriber.take(bytes(self._buffer[:count]), frame):
                        begun = begun or sent
                        heard.latencies.append((ended - sent) / 1e9)
        if frame is None or not begun:
            raise WrongDeliveryError("Nothing came.")
        return begun, ended, frame

    def _connect(self, port: int, who: str) -> socket.socket:
        connection = self._open.enter_context(socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT))
        connection.sendall(HANDSHAKE.format(who=who).encode())
        answer = connection.recv(1 << 16)
        if not (answer.startswith(b"HTTP/1.1 101") and answer.endswith(b"\r\n\r\n")):
            raise WrongDeliveryError(f"The handshake was answered {answer!r}")
        self._selector.register(connection, selectors.EVENT_READ)
        return connection


def masked(text: str) -> bytes:
    """A client's text frame of less than 126 bytes; its mask is zero, which changes no byte."""
    data = text.encode()
    return bytes((0x81, 0x80 | len(data), 0, 0, 0, 0)) + data
