"""What ``benchmarks/resume.py`` runs on: two uvicorn processes, Redis servers, and what is done to them."""

from __future__ import annotations

import asyncio
import os
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis

from tests.servers import HOST, RedisServer, Server, free_port
from tests.throttling.redis_server import run_redis_server

NAME = "resume"
"""The name of the primary for the sentinel."""

LAG = 0.3
"""Seconds of writes that the replica has not got when the primary is killed."""


@dataclass
class Arrangement:
    """The servers of a run."""

    servers: list[Server]
    layer: RedisServer
    store: RedisServer
    truth: Path
    """A folder: a file for each room with the number of the last push, and one for each user with a permission."""
    failover: Failover | None = None

    @property
    def ports(self) -> list[int]:
        return [server.port for server in self.servers]

    def store_client(self) -> Any:
        port = self.store.port if self.failover is None else self.failover.primary.port
        return redis.Redis(host=HOST, port=port)


class Failover:
    """A primary, its replica, and a sentinel that watches them. Channel layer and store are both there."""

    def __init__(self, primary: RedisServer, replica: RedisServer, sentinel: RedisServer) -> None:
        self.primary = primary
        self.replica = replica
        self.sentinel = sentinel

    def wait_for_replica(self) -> None:
        """Return when the replica has everything, and the sentinel knows it."""
        self._until(lambda: any(one["state"] == "online" for one in self._slaves()), "The replica is not online.")
        sentinel = self._client(self.sentinel)
        self._until(lambda: self._is_known(sentinel), "The sentinel does not know the replica.")

    def kill_primary(self) -> int:
        """Kill the primary ``LAG`` seconds after its replica has read for the last time, and have that promoted.

        Returns the number of bytes of the replication that are lost.
        """
        client = self._client(self.primary)
        self.replica.pause()
        client.execute_command("CLIENT", "KILL", "TYPE", "replica")  # or the replica would find the rest in its buffer
        time.sleep(LAG)
        before = self._offset(client)
        self.primary.kill()
        self.replica.resume()
        promoted = self._client(self.replica)
        self._until(lambda: promoted.info("replication")["role"] == "master", "The replica was not promoted.")
        lost = before - promoted.info("replication")["second_repl_offset"]
        self.primary, self.replica = self.replica, self.primary
        self.replica.start()
        self._client(self.replica).execute_command("REPLICAOF", HOST, self.primary.port)  # as the sentinel would, later
        self.wait_for_replica()
        return int(lost)

    def _slaves(self) -> list[Any]:
        found = self._client(self.primary).info("replication")
        return [value for name, value in found.items() if name.startswith("slave") and isinstance(value, dict)]

    def _is_known(self, sentinel: Any) -> bool:
        replicas = sentinel.sentinel_slaves(NAME)
        return any(one["port"] == self.replica.port and not one["is_disconnected"] for one in replicas)

    @staticmethod
    def _client(server: RedisServer) -> Any:
        return redis.Redis(host=HOST, port=server.port)

    @staticmethod
    def _offset(client: Any) -> int:
        return int(client.info("replication")["master_repl_offset"])

    @staticmethod
    def _until(done: Any, failure: str) -> None:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            try:
                if done():
                    return
            except redis.RedisError:  # it is being started, or promoted
                continue
            finally:
                time.sleep(0.05)
        raise TimeoutError(failure)


@contextmanager
def run_failover() -> Iterator[Failover]:
    """Start a primary, a replica and a sentinel."""
    with ExitStack() as stack:
        options = ("--repl-diskless-sync-delay", "0")
        primary = stack.enter_context(run_redis_server(*options))
        replica = stack.enter_context(run_redis_server(*options, "--replicaof", f"{HOST} {primary.port}"))
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        port = free_port()
        file = Path(folder, "sentinel.conf")
        file.write_text(
            f"port {port}\nbind {HOST}\ndir {folder}\n"
            f"sentinel monitor {NAME} {HOST} {primary.port} 1\n"
            f"sentinel down-after-milliseconds {NAME} 1000\nsentinel failover-timeout {NAME} 5000\n"
        )
        command = [primary.command[0], str(file), "--sentinel"]
        sentinel = stack.enter_context(closing(RedisServer(command, port=port, env=os.environ, cwd=Path(folder))))
        sentinel.start()
        failover = Failover(primary, replica, sentinel)
        failover.wait_for_replica()
        yield failover


@contextmanager
def run_arrangement(lose: float, *, fails_over: bool = False) -> Iterator[Arrangement]:
    """Start everything, and configure Django in this process for the sender."""
    with ExitStack() as stack:
        truth = stack.enter_context(tempfile.TemporaryDirectory())
        os.environ.update(RESUME_TRUTH=truth, RESUME_LOSE=str(lose))
        if fails_over:
            failover = stack.enter_context(run_failover())
            layer = store = failover.primary
            os.environ["RESUME_SENTINEL"] = str(failover.sentinel.port)
        else:
            failover = None
            layer, store = (stack.enter_context(run_redis_server()) for _ in range(2))
        os.environ.update(RESUME_LAYER=layer.url, RESUME_STORE=store.url)
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
        from . import resume_server  # configures Django

        assert lose == resume_server.LOSE
        yield Arrangement(servers, layer, store, Path(truth), failover)


async def kill(kinds: list[str], on: Arrangement, counts: Counter[str], until: float) -> None:
    """Every few seconds, kill something and start it again."""
    loop = asyncio.get_running_loop()
    turn = 0
    while kinds and loop.time() < until - 5:
        await asyncio.sleep(random.uniform(2, 4))
        kind = kinds[turn % len(kinds)]
        turn += 1
        if kind == "lie":
            await asyncio.to_thread(set_back, on.store_client())
        elif kind == "redis-failover":
            assert on.failover is not None
            lost = await asyncio.to_thread(on.failover.kill_primary)
            counts["bytes of the replication that failovers lost"] += lost
            counts["failovers"] += 1
        else:
            victims = {"process": on.servers[turn % len(on.servers)], "layer": on.layer, "store": on.store}
            await asyncio.to_thread(victims[kind].kill)
            await asyncio.sleep(0.5)
            await asyncio.to_thread(victims[kind].start)


def set_back(client: Any) -> None:
    """Take the last 20 pushes from each history, under the same epoch, as a failover does that loses writes."""
    for meta in client.keys("*:h:*:m"):
        stream = meta[:-1] + b"s"
        last = [id for id, _ in client.xrevrange(stream, count=20)]
        if last:
            with client.pipeline() as together:
                together.xdel(stream, *last)
                together.hincrby(meta, "o", -len(last))
                together.delete(stream)  # or its last id would show it
                together.execute()
