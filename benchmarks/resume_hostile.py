"""Hostile positions, and permissions that are taken away: what ``benchmarks/resume.py`` does to one server or two."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
from collections import Counter
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

from tests.servers import HOST

SHAPES = 200
USERS = 40
SECRETS = 25
WITHIN = 20.0


def hostile_shapes(position: str, number: int = SHAPES) -> list[Any]:
    """Return ``number`` values for ``since`` that no client has been sent, the same ones each time.

    Args:
        position: The current position of the room. The shapes lie about its epoch and its offset.
        number: How many.
    """
    epoch, _, top = position.partition(":")
    found: list[Any] = [
        True, False, 0, -1, 17, 2**31, 2**63, 2**64, 10**30, 1.5, -0.0, 1e308, [], {}, [position], {position: position},
        [[[[position]]]], {"epoch": epoch, "offset": int(top)}, [epoch, top], {"since": {"since": position}},
        "", " ", ":", "::", epoch, f"{epoch}:", f":{top}", f"{epoch}:{top}:{top}", f"{epoch}::{top}", f"{epoch};{top}",
        f" {position}", f"{position} ", f"{position}\n", f"{position}\r\n", f"{position}\x00", f"\x00{position}",
        f"{epoch}\x00:{top}", f"\ufeff{position}", f"{position}\u2028", f"{epoch}:-{top}", f"{epoch}:+{top}",
        f"{epoch}:{top}.0", f"{epoch}:1e3", f"{epoch}:0x10", f"{epoch}:1_0", f"{epoch}:\u0661", f"{epoch}:\uff11",
        f"{epoch}:\u00b2", f"{epoch}:NaN", f"{epoch}:None", f"{epoch}:true", f"{epoch}:$", f"{epoch}:+", f"{epoch}:-",
        "\u00e9:1", "\U0001f600:1", "*:1", "..:1", "../../etc/passwd:1", "{room}:1", "a b:1", "a\tb:1",
        "'; DROP TABLE rooms; --:1", "%s:%d", "%00:1", "<script>:1", "${jndi:ldap://x}:1", "x" * 23 + ":1",
        "x" * 60_000, "x" * 60_000 + ":1", f"{epoch}:" + "9" * 20, f"{epoch}:" + "9" * 60_000, f"{epoch}:" + "0" * 20,
        f"{epoch.lower()}x:{top}", f"{epoch[:-1]}:{top}", f"{epoch}{epoch}:{top}", f"{epoch[::-1]}:{top}", "0:0", "-:0",
    ]  # fmt: skip
    chance = random.Random(15)
    alphabet = "abcXYZ019_-:. \x00\x7f\u00e9\u4e2d\U0001f600"
    while len(found) < number:
        offset = chance.choice([2**bits + chance.randint(-1, 1) for bits in (31, 32, 53, 62, 63, 64, 127)])
        found += [
            f"{epoch}:{offset}",  # beyond the end, or no number that a position may have
            f"{''.join(chance.choices('abcXYZ019_-', k=chance.randint(1, 22)))}:{chance.randint(0, 2**63 - 1)}",
            "".join(chance.choices(alphabet, k=chance.randint(1, 40))),
            nested(chance, position),
        ]
    return found[:number]


def nested(chance: random.Random, leaf: Any) -> Any:
    """Return lists and objects in each other, with ``leaf`` inside."""
    for _ in range(chance.randint(1, 30)):
        leaf = [leaf] if chance.random() < 0.5 else {"topic": leaf}
    return leaf


class Asking:
    """One socket that sends a request at a time, and counts its pushes."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.ids = itertools.count()
        self.pushes: Counter[str] = Counter()
        self.endings: list[Any] = []
        self.position: str | None = None

    async def call(self, route: str, payload: Any) -> dict[str, Any]:
        """Return the reply."""
        id = next(self.ids)
        await self.socket.send(json.dumps({"route": route, "uuid": id, "payload": payload}))
        while True:
            async with asyncio.timeout(WITHIN):
                frame: dict[str, Any] = json.loads(await self.socket.recv())
            if frame.get("uuid") == id:
                self.position = frame.get("headers", {}).get("Position", self.position)
                return frame
            self.note(frame)

    async def listen(self, seconds: float) -> None:
        """Count what comes within ``seconds``."""
        try:
            async with asyncio.timeout(seconds):
                while True:
                    self.note(json.loads(await self.socket.recv()))
        except TimeoutError:
            return

    def note(self, frame: dict[str, Any]) -> None:
        self.pushes[frame["route"]] += 1
        self.position = frame.get("headers", {}).get("Position", self.position)
        if frame["route"] == "UNSUBSCRIBE":
            self.endings.append(frame["payload"])


def verdict(status: int, recovered: Any) -> str:
    """Return what the answer to a hostile position is worth, in capitals if it is wrong."""
    if status == 422:
        return "hostile positions: 422"
    if status == 200 and recovered is False:
        return "hostile positions: an honest false"
    return f"HOSTILE POSITIONS: {status}, recovered {recovered}"


async def ask(asking: Asking, since: Any) -> Iterator[tuple[int, Any]]:
    """Return the statuses and ``Recovered`` for a SUBSCRIBE and a RESUME with ``since``."""
    found = []
    reply = await asking.call("SUBSCRIBE", {"topic": "room.0", "since": since})
    found.append((reply["status"], reply.get("headers", {}).get("Recovered")))
    await asking.call("UNSUBSCRIBE", {"topic": "room.0"})
    reply = await asking.call("RESUME", {"topics": {"room.0": since}})
    one = reply["payload"].get("room.0", reply)
    found.append((one["status"], one.get("recovered")))
    await asking.call("UNSUBSCRIBE", {"topic": "room.0"})
    return iter(found)


async def lie(ports: list[int], counts: Counter[str]) -> None:
    """Send hostile positions to each server over one socket, which has to survive."""
    for port in ports:
        async with connect(f"ws://{HOST}:{port}/", compression=None) as socket:
            asking = Asking(socket)
            await asking.call("SUBSCRIBE", {"topic": "room.0"})
            assert asking.position is not None
            await asking.call("UNSUBSCRIBE", {"topic": "room.0"})
            for since in hostile_shapes(asking.position):
                try:
                    for status, recovered in await ask(asking, since):
                        counts[verdict(status, recovered)] += 1
                except (WebSocketException, TimeoutError):
                    counts["SOCKETS LOST to a hostile position"] += 1
                    break
            reply = await asking.call("SUBSCRIBE", {"topic": "room.0"})
            counts["sockets that work behind them"] += reply["status"] == 200


async def revoke(ports: list[int], truth: Path, counts: Counter[str]) -> None:
    """Take a permission away from users that are connected and from users that are away, and say secrets."""
    from routesock import abroadcast

    names = [f"user{number}" for number in range(USERS)]
    for name in names:
        (truth / f"may-read-{name}").touch()
    denied, away = set(names[: USERS // 2]), set(names[::2])
    positions: dict[str, str] = {}
    stayed: dict[str, Asking] = {}
    async with AsyncExitStack() as stack:

        async def enter(name: str) -> Asking:
            url = f"ws://{HOST}:{random.choice(ports)}/?user={name}"
            return Asking(await stack.enter_async_context(connect(url, compression=None)))

        for name in names:
            asking = await enter(name)
            reply = await asking.call("SUBSCRIBE", {"topic": "private.1"})
            assert reply["status"] == 204, reply
            positions[name] = reply["headers"]["Position"]
            if name in away:
                await asking.socket.close()
            else:
                stayed[name] = asking
        for name in denied:
            (truth / f"may-read-{name}").unlink()
        for number in range(SECRETS):
            await abroadcast("private.1", "secret", number)
        await asyncio.gather(*(asking.listen(12) for asking in stayed.values()))
        for name, asking in stayed.items():
            if name in denied:
                counts["SECRETS that the denied got while connected"] += asking.pushes["secret"]
                codes = [ending["code"] for ending in asking.endings]
                counts[f"subscriptions of the denied that ended with {codes}"] += 1
                counts["DENIED that stayed subscribed"] += codes != ["permission_denied"]
            else:
                counts["PERMITTED that missed a secret"] += asking.pushes["secret"] != SECRETS
        thief = positions[names[-1]]
        for name in [*names, "stranger"]:
            asking = await enter(name)
            since = positions.get(name, thief)
            reply = await asking.call("SUBSCRIBE", {"topic": "private.1", "since": since})
            resumed = await asking.call("RESUME", {"topics": {"private.1": since}})
            await asking.listen(0.2 if name in denied or name == "stranger" else 1)
            if name in denied or name == "stranger":
                statuses = [reply["status"], resumed["payload"]["private.1"]["status"]]
                counts[f"SUBSCRIBE and RESUME of the denied: {statuses}"] += 1
                counts["DENIED that were let in"] += statuses != [403, 403]
                counts["SECRETS that the denied got when they came back"] += asking.pushes["secret"]
            else:
                counts["PERMITTED that missed a secret"] += asking.pushes["secret"] != SECRETS
