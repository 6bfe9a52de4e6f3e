"""When a server's PING is due, and what a client's silence means."""

from __future__ import annotations

from dataclasses import dataclass, fields
from math import isfinite


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """The server's own PING, for ``route_heartbeat`` of a class.

    ``interval``
        Seconds without any frame from the client, after which it is sent a PING.
    ``timeout``
        Seconds that it then has to send something, be it the PONG or any other frame. A client that stays silent gets a
        CLOSE notice and is closed with 4408; it may reconnect.

    ``ValueError`` for anything but a positive number of seconds.
    """

    interval: float = 25
    timeout: float = 10

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if type(value) not in (int, float) or not (value > 0 and isfinite(value)):
                raise ValueError(f"A heartbeat's {field.name} is a positive number of seconds; got {value!r}.")
