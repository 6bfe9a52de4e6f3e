"""Clients that come and go while a channel layer loses messages and processes are killed: what they miss.

Run ``python -m benchmarks.resume --lose 0.1 --kill process,layer,store --clients 200 --seconds 60``. It starts two
uvicorn processes, and two Redis servers: one for the channel layer, one for the histories. With ``--lie`` a client that
comes back before a hub has checked may miss pushes; each gap is one such client.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import sys
import tempfile
from collections import Counter
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import redis
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from tests.servers import HOST, RedisServer, Server, free_port, run_redis_server

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
        """Replace the number that snapshots have. A reader finds the old one or the new one."""
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
            self.counts[f"reply {frame['status']}, recovered {headers.get('Recovered')}"] += 1
            if frame["status"] >= 400:  # as that of a channel layer that is down
                raise TimeoutError
            if frame["status"] == 200:
                self.state = self.snapshot = frame["payload"]
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
            self.counts["gaps without a position" if self.position is None else "GAPS"] += 1
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


async def kill(kinds: list[str], servers: list[Server], layer: RedisServer, store: RedisServer, until: float) -> None:
    """Every few seconds, kill something and start it again."""
    loop = asyncio.get_running_loop()
    turn = 0
    while kinds and loop.time() < until - 5:
        await asyncio.sleep(random.uniform(2, 4))
        kind = kinds[turn % len(kinds)]
        turn += 1
        victim: Any = {"process": servers[turn % len(servers)], "layer": layer, "store": store}.get(kind)
        if kind == "lie":
            await asyncio.to_thread(set_back, store)
        else:
            await asyncio.to_thread(victim.kill)
            await asyncio.sleep(0.5)
            await asyncio.to_thread(victim.start)


def set_back(store: RedisServer) -> None:
    """Take the last 20 pushes from each history, under the same epoch, as a failover does that loses writes."""
    client: Any = redis.Redis(host=HOST, port=store.port)
    for meta in client.keys("*:h:*:m"):
        stream = meta[:-1] + b"s"
        last = [id for id, _ in client.xrevrange(stream, count=20)]
        if last:
            with client.pipeline() as together:
                together.xdel(stream, *last)
                together.hincrby(meta, "o", -len(last))
                together.delete(stream)  # or its last id would show it
                together.execute()


async def run(options: argparse.Namespace, servers: list[Server], layer: RedisServer, store: RedisServer) -> int:
    counts: Counter[str] = Counter()
    rooms = [Room(number, Path(os.environ["RESUME_TRUTH"])) for number in range(ROOMS)]
    clients = [Client(rooms[n % ROOMS], [each.port for each in servers], counts) for n in range(options.clients)]
    tasks = [asyncio.create_task(client.run()) for client in clients]
    until = asyncio.get_running_loop().time() + options.seconds
    kinds = [kind for kind in options.kill.split(",") if kind] + (["lie"] if options.lie else [])
    await asyncio.gather(say(rooms, counts, until), kill(kinds, servers, layer, store, until))
    for client in clients:
        client.moves = False
    behind = clients
    deadline = asyncio.get_running_loop().time() + HEALED_WITHIN
    while behind and asyncio.get_running_loop().time() < deadline:
        await asyncio.sleep(0.5)
        behind = [client for client in clients if client.state != client.room.said]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    counts["said"] = sum(room.said for room in rooms)
    counts["CLIENTS BEHIND AT THE END"] = len(behind)
    for what, number in sorted(counts.items()):
        print(f"{number:>9,}  {what}")
    return 1 if counts["GAPS"] or counts["REPEATS OR DISORDER"] or behind else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layer", choices=["pubsub"], default="pubsub")
    parser.add_argument("--lose", type=float, default=0.1, help="the part of the layer's messages that is lost")
    parser.add_argument("--kill", default="", help="what is killed in turn: process, layer, store")
    parser.add_argument("--lie", action="store_true", help="set histories back under the same epoch")
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=60)
    options = parser.parse_args()
    with ExitStack() as stack:
        layer, store = (stack.enter_context(run_redis_server()) for _ in range(2))
        truth = stack.enter_context(tempfile.TemporaryDirectory())
        names = {"RESUME_LAYER": layer.url, "RESUME_STORE": store.url, "RESUME_TRUTH": truth}
        os.environ.update(names, RESUME_LOSE=str(options.lose))
        servers = []
        for _ in range(2):
            port = free_port()
            application = "benchmarks.resume_server:application"
            command = [sys.executable, "-m", "uvicorn", application, "--host", HOST, "--port", str(port)]
            server = Server(
                [*command, "--log-level", "warning", "--ws", "websockets-sansio"], port=port, env=os.environ
            )
            stack.callback(server.close)
            server.start()
            servers.append(server)
        from . import resume_server  # configures Django for the sender, too

        assert options.lose == resume_server.LOSE
        status = asyncio.run(run(options, servers, layer, store))
        for server in servers:
            lines = [line for line in server.output().splitlines() if "Traceback" in line]
            print(f"{len(lines):>9,}  tracebacks in the log of {server!r}"[:60])
            if lines:
                Path(f"/tmp/resume-{server.port}.log").write_text(server.output())
        return status


if __name__ == "__main__":
    sys.exit(main())
