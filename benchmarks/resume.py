"""Clients that come and go while a channel layer loses messages and processes are killed: what they miss.

Run ``python -m benchmarks.resume --lose 0.1 --kill process,layer,store --clients 200 --seconds 60``. It starts two
uvicorn processes, and two Redis servers: one for the channel layer, one for the histories. ``--kill`` may name
``redis-failover`` as well: then both are on a primary that is killed while its replica lags behind, and a sentinel
promotes the replica.

``--lie`` sets histories back under the same epoch, and sends 200 hostile values of ``since``. A client that comes back
before a hub has noticed may miss pushes; it has to be notified by the next check. ``--revoked`` takes permissions away
while their users are away, or connected.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from tests.servers import HOST

from .resume_arrangement import Arrangement, kill, run_arrangement
from .resume_hostile import lie, revoke

ROOMS = 10
HEALED_WITHIN = 18.0
"""Seconds after the end until every client has to have everything: a check, and a client that comes back."""


class Room:
    """The pushes to one room."""

    def __init__(self, name: int, truth: Path) -> None:
        self.name = f"room.{name}"
        self.file = truth / str(name)
        self.said = 0
        self.resent: set[int] = set()
        """Numbers that were sent again, since the store did not answer the first time."""
        self.write()

    def write(self) -> None:
        """Replace the number that snapshots have. A reader finds the old one or the new one.

        If the file was written in place, a reader would find it empty now and then, and count a gap from 0.
        """
        new = self.file.with_suffix(".new")
        new.write_text(str(self.said))
        new.replace(self.file)


class Client:
    """Follows the rule for clients, and counts what is wrong."""

    def __init__(self, room: Room, ports: list[int], counts: Counter[str]) -> None:
        self.room = room
        self.ports = ports
        self.counts = counts
        self.position: str | None = None
        self.state = self.snapshot = 0
        self.recovered: Any = None
        self.has_missed = False
        """It has a gap, and has not been given a snapshot since."""
        self.moves = True

    async def run(self) -> None:
        while True:
            with suppress(OSError, WebSocketException, TimeoutError):
                url = f"ws://{HOST}:{random.choice(self.ports)}/"
                async with connect(url, open_timeout=5, compression=None) as socket:
                    await self.talk(socket)
            await asyncio.sleep(random.uniform(0.05, 0.5))

    async def talk(self, socket: Any) -> None:
        await self.subscribe(socket)
        stay = random.uniform(0.5, 6)
        began = asyncio.get_running_loop().time()
        while not self.moves or asyncio.get_running_loop().time() < began + stay:
            try:
                async with asyncio.timeout(0.5):
                    frame = json.loads(await socket.recv())
            except TimeoutError:
                continue
            await self.got(socket, frame)

    async def subscribe(self, socket: Any) -> None:
        payload = {"topic": self.room.name} | ({} if self.position is None else {"since": self.position})
        await socket.send(json.dumps({"route": "SUBSCRIBE", "uuid": 1, "payload": payload}))

    async def got(self, socket: Any, frame: dict[str, Any]) -> None:
        headers = frame.get("headers", {})
        if frame["route"] == "SUBSCRIBE":
            self.recovered = headers.get("Recovered")
            self.counts[f"reply {frame['status']}, recovered {self.recovered}"] += 1
            if frame["status"] >= 400:  # as that of a channel layer that is down
                raise TimeoutError
            if frame["status"] == 200:
                self.state = self.snapshot = frame["payload"]
                self.has_missed = False
            self.position = headers.get("Position")
        elif frame["route"] == "UNSUBSCRIBE":
            self.counts["history_lost"] += 1
            await asyncio.sleep(frame["payload"]["retry_after"] / 5)
            await self.subscribe(socket)
        elif frame["route"] == "said":
            self.position = headers.get("Position", self.position)
            self.push(frame["payload"])

    def push(self, number: int) -> None:
        self.counts["pushes"] += 1
        if number <= self.snapshot:
            return
        if number == self.state + 1:
            self.state = number
        elif number > self.state + 1:
            behind = "Recovered: true" if self.recovered else "a snapshot"
            what = "gaps without a position" if self.position is None else f"GAPS behind {behind}"
            self.counts[what] += 1
            self.has_missed = True
            self.state = number
        elif number not in self.room.resent:
            self.counts["REPEATS OR DISORDER"] += 1


async def say(rooms: list[Room], counts: Counter[str], until: float) -> None:
    """Broadcast to the rooms, one number after the other in each."""
    from routesock import abroadcast
    from routesock.exceptions import Unavailable

    async def talk(room: Room) -> None:
        loop = asyncio.get_running_loop()
        while loop.time() < until:
            room.said += 1
            room.write()
            while True:
                try:
                    await abroadcast(room.name, "said", room.said)
                    break
                except Unavailable:
                    counts["broadcasts that raised"] += 1
                    room.resent.add(room.said)
                    await asyncio.sleep(0.1)
            await asyncio.sleep(random.uniform(0.02, 0.2))

    await asyncio.gather(*map(talk, rooms))


async def crowd(options: argparse.Namespace, on: Arrangement, counts: Counter[str]) -> None:
    """Have clients come and go, and count what they miss."""
    rooms = [Room(number, on.truth) for number in range(ROOMS)]
    clients = [Client(rooms[n % ROOMS], on.ports, counts) for n in range(options.clients)]
    if options.lie:  # a hub that has seen what was there has to notice it: one stays for each room and server
        for number, port in enumerate(on.ports):
            for client in clients[number * ROOMS : (number + 1) * ROOMS]:
                client.ports, client.moves = [port], False
    tasks = [asyncio.create_task(client.run()) for client in clients]
    until = asyncio.get_running_loop().time() + options.seconds
    kinds = [kind for kind in options.kill.split(",") if kind] + (["lie"] if options.lie else [])
    await asyncio.gather(say(rooms, counts, until), kill(kinds, on, counts, until))
    for client in clients:
        client.moves = False
    behind = clients
    deadline = asyncio.get_running_loop().time() + HEALED_WITHIN
    while behind and asyncio.get_running_loop().time() < deadline:
        await asyncio.sleep(0.5)
        behind = [client for client in clients if client.state != client.room.said or client.has_missed]
    for client in behind[:5]:
        print(f"{client.room.name} has {client.room.said}, a client {client.state} at {client.position}")
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    counts["said"] = sum(room.said for room in rooms)
    counts["CLIENTS BEHIND AT THE END"] = sum(client.state != client.room.said for client in clients)
    counts["CLIENTS WITH A GAP AT THE END"] = sum(client.has_missed for client in clients)


async def run(options: argparse.Namespace, on: Arrangement) -> Counter[str]:
    counts: Counter[str] = Counter()
    if options.revoked:
        await revoke(on.ports, on.truth, counts)
        return counts
    if options.lie:
        Room(0, on.truth)
        await lie(on.ports, counts)
    await crowd(options, on, counts)
    if options.lie:  # those that were notified in time
        for what in [what for what in counts if what.startswith("GAPS")]:
            counts["gaps before a check"] += counts.pop(what)
    return counts


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layer", choices=["pubsub"], default="pubsub")
    parser.add_argument("--lose", type=float, default=0.1, help="the part of the layer's messages that is lost")
    parser.add_argument("--kill", default="", help="what is killed in turn: process, layer, store, redis-failover")
    parser.add_argument("--lie", action="store_true", help="set histories back, and send hostile positions")
    parser.add_argument("--revoked", action="store_true", help="take permissions away")
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=60)
    options = parser.parse_args()
    with run_arrangement(options.lose, fails_over="redis-failover" in options.kill) as on:
        counts = asyncio.run(run(options, on))
        for what, number in sorted(counts.items()):
            print(f"{number:>9,}  {what}")
        for server in on.servers:
            lines = [line for line in server.output().splitlines() if "Traceback" in line]
            print(f"{len(lines):>9,}  tracebacks in the log of {server!r}"[:60])
            if lines:
                Path(f"/tmp/resume-{server.port}.log").write_text(server.output())
        return 1 if any(number for what, number in counts.items() if what.split()[0].isupper()) else 0


if __name__ == "__main__":
    sys.exit(main())
