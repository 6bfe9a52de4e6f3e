"""Real servers for tests: daphne, uvicorn, Redis and PostgreSQL in processes of their own, and clients to talk to them.

A test directory gets the fixtures by importing them into its ``conftest.py``::

    from tests.servers import demo_database, example, pytest_runtest_makereport, redis_url

A missing program is an error and never a skip: a suite that passes without its servers says nothing about them.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from http.cookiejar import CookieJar
from pathlib import Path
from typing import Any, ClassVar, Final
from urllib.parse import urlencode
from urllib.request import HTTPCookieProcessor, ProxyHandler, build_opener

import psycopg
import pytest
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as websocket_connect

ROOT: Final = Path(__file__).resolve().parent.parent
EXAMPLE: Final = ROOT / "example_project"
EXAMPLE_APPLICATION: Final = "config.asgi:application"

HOST: Final = "127.0.0.1"
START_WITHIN: Final = 120.0
STOP_WITHIN: Final = 15.0
ANSWER_WITHIN: Final = 30.0

ASGI_SERVERS: Final = ("daphne", "uvicorn")


def free_port() -> int:
    """A port that nobody listens on, and that (on Linux) no other process is given as long as this one lives.

    Tests run in several processes, and a server that is restarted wants its port again.
    """
    probe = socket.socket()
    probe.bind((HOST, 0))
    port: int = probe.getsockname()[1]
    if sys.platform == "linux":
        # A server may listen beside a socket that is bound and does not listen, if both say so.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.detach()
    else:
        probe.close()
    return port


class Server:
    """A server process on a port of its own, which it keeps over a restart; ``user`` is who runs it, else we do."""

    stop_signal: ClassVar = signal.SIGTERM

    def __init__(
        self, command: Sequence[str], *, port: int, env: Mapping[str, str], cwd: Path = ROOT, user: str | None = None
    ) -> None:
        self.command = [*command]
        self.port = port
        self.env = {**env}
        self.cwd = cwd
        self.user = user
        self._process: subprocess.Popen[bytes] | None = None
        self._output = tempfile.TemporaryFile()  # noqa: SIM115  (close() closes it)

    def __repr__(self) -> str:
        return f"<Server {' '.join(self.command)}>"

    @property
    def base_url(self) -> str:
        return f"http://{HOST}:{self.port}"

    def socket_url(self, path: str) -> str:
        return f"ws://{HOST}:{self.port}{path}"

    @property
    def runs(self) -> bool:
        return self._process is not None

    def start(self) -> None:
        """Returns when the port accepts. ``RuntimeError`` with the output if it does not come to that."""
        assert self._process is None, f"{self!r} runs already"
        self._process = subprocess.Popen(
            self.command,
            cwd=self.cwd,
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            **_as_user(self.user),
        )
        deadline = time.monotonic() + START_WITHIN
        while not self._accepts():
            if self._exits_within(0.02) or time.monotonic() > deadline:
                self.stop()
                raise RuntimeError(f"{self!r} did not start:\n{self.output()}")

    def stop(self) -> None:
        """Asks it to end, then makes it; does nothing to a server that has ended."""
        if self._process is None:
            return
        self._process.send_signal(self.stop_signal)
        if not self._exits_within(STOP_WITHIN):
            self._process.kill()
            self._process.wait()
        self._process = None

    def terminate(self) -> None:
        """Asks it to end, and does not wait for that."""
        assert self._process is not None
        self._process.terminate()

    def ended(self, *, within: float = ANSWER_WITHIN) -> int:
        """Its exit status (negative: the signal that ended it). ``TimeoutError`` if it goes on."""
        assert self._process is not None
        if not self._exits_within(within):
            raise TimeoutError(f"{self!r} has not ended.")
        status: int = self._process.returncode
        return status

    def kill(self) -> None:
        """Ends it without a word to its clients, as a crash does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def pause(self) -> None:
        """It hangs from now on: it takes connections, and answers nothing."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """It goes on where it was paused; does nothing to a server that runs or has ended."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        self.resume()
        self.stop()
        self._output.close()

    def output(self) -> str:
        """What it has written to stdout and stderr since it was made."""
        # The process writes at the file's own position: reading must not move it.
        size = os.fstat(self._output.fileno()).st_size
        return os.pread(self._output.fileno(), size, 0).decode(errors="replace")

    def memory(self) -> int:
        """Bytes of memory that the process has at the moment (Linux)."""
        assert self._process is not None
        pages = int(Path(f"/proc/{self._process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def wait_for_output(self, text: str) -> None:
        """Returns when ``text`` has been written. ``TimeoutError`` if that takes too long."""
        deadline = time.monotonic() + ANSWER_WITHIN
        while text not in self.output():
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self!r} did not write {text!r}.")
            time.sleep(0.02)

    def _accepts(self) -> bool:
        try:
            with closing(socket.create_connection((HOST, self.port), timeout=1)):
                return True
        except OSError:
            return False

    def _exits_within(self, seconds: float) -> bool:
        assert self._process is not None
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True


@contextmanager
def run_server(kind: str, application: str, *, cwd: Path = ROOT, **env: str) -> Iterator[Server]:
    """``application`` (``module:name``) served by ``"daphne"`` or ``"uvicorn"``; ``cwd`` comes first on its path.

    ``env`` is added to this process's environment, without its ``DJANGO_SETTINGS_MODULE``.
    """
    port = free_port()
    command = {
        "daphne": ["daphne", "--bind", HOST, "--port", f"{port}", "--application-close-timeout", "2"],
        "uvicorn": ["uvicorn", "--host", HOST, "--port", f"{port}", "--timeout-graceful-shutdown", "2"],
    }[kind]
    server = Server(
        [sys.executable, "-m", *command, application], port=port, env=python_environment(cwd, **env), cwd=cwd
    )
    with closing(server):
        server.start()
        yield server


class RedisServer(Server):
    """A Redis that is empty whenever it starts, and writes nothing to disk."""

    @property
    def url(self) -> str:
        return f"redis://{HOST}:{self.port}/0"


@contextmanager
def run_redis_server() -> Iterator[RedisServer]:
    """A Redis of one's own, to be stopped and started at will."""
    program = shutil.which("redis-server")
    if program is None:
        raise RuntimeError("These tests need redis-server (Debian: apt-get install redis-server).")
    port = free_port()
    command = [program, "--bind", HOST, "--port", f"{port}", "--save", "", "--appendonly", "no"]
    server = RedisServer(command, port=port, env=os.environ, cwd=Path(tempfile.gettempdir()))
    with closing(server):
        server.start()
        yield server


@contextmanager
def run_redis() -> Iterator[str]:
    """The URL of a Redis of one's own."""
    with run_redis_server() as server:
        yield server.url


class Postgres(Server):
    """A PostgreSQL whose only role is ``postgres``, without a password."""

    stop_signal = signal.SIGINT  # at SIGTERM it waits for its clients to leave

    @property
    def conninfo(self) -> str:
        return f"host={HOST} port={self.port} user=postgres dbname=postgres"

    def _accepts(self) -> bool:
        try:
            psycopg.connect(self.conninfo, connect_timeout=2).close()
        except psycopg.OperationalError:  # it listens before it is ready
            return False
        return True


@contextmanager
def run_postgres() -> Iterator[Postgres]:
    """An empty PostgreSQL of one's own. A restart keeps its data, and nothing else does."""
    user = "postgres" if os.geteuid() == 0 else None  # it refuses to run as root; the user comes with its package
    with tempfile.TemporaryDirectory() as folder:
        if user is not None:
            shutil.chown(folder, user)
        data = f"{folder}/data"
        options = ["--auth=trust", "--username=postgres", "--encoding=UTF8", "--locale=C", "--no-sync"]
        done = subprocess.run(
            [_postgres_program("initdb"), *options, data],
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            **_as_user(user),
        )
        if done.returncode:
            raise RuntimeError(f"initdb failed:\n{done.stdout}")
        port = free_port()
        # No socket but that of the port; -F: nothing of this has to outlive a power failure.
        command = [_postgres_program("postgres"), "-D", data, "-h", HOST, "-p", f"{port}", "-k", "", "-F"]
        server = Postgres(command, port=port, env=os.environ, cwd=Path(folder), user=user)
        with closing(server):
            server.start()
            yield server


def _postgres_program(name: str) -> str:
    # Debian keeps the programs of each version in a folder of its own.
    folders = Path("/usr/lib/postgresql").glob("*/bin")
    newest_first = sorted(folders, key=lambda folder: float(folder.parent.name), reverse=True)
    program = shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", os.defpath), *map(str, newest_first)]))
    if program is None:
        raise RuntimeError(f"These tests need {name} of PostgreSQL (Debian: apt-get install postgresql).")
    return program


def _as_user(name: str | None) -> dict[str, Any]:
    """What makes :mod:`subprocess` run a program as ``name``."""
    return {} if name is None else {"user": name, "group": name, "extra_groups": []}


def run_example(kind: str, database: Path, **env: str) -> AbstractContextManager[Server]:
    """The example project, served from the database at ``database``; a context manager, as :func:`run_server`."""
    return run_server(kind, EXAMPLE_APPLICATION, cwd=EXAMPLE, DATABASE_PATH=str(database), **env)


def manage_example(*arguments: str, **env: str) -> str:
    """The output of one ``manage.py`` command of the example. ``RuntimeError`` with the output if it fails."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "manage.py", *arguments],
        cwd=EXAMPLE,
        env=python_environment(EXAMPLE, **env),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
    )
    if done.returncode:
        raise RuntimeError(f"manage.py {' '.join(arguments)} failed:\n{done.stdout}")
    return done.stdout


def python_environment(cwd: Path, **env: str) -> dict[str, str]:
    """The environment of a Python process that imports from ``cwd`` and from this checkout."""
    inherited = {name: value for name, value in os.environ.items() if name not in _NOT_INHERITED}
    return {**inherited, "PYTHONPATH": os.pathsep.join([str(cwd), str(ROOT)]), "PYTHONUNBUFFERED": "1", **env}


# The settings of the tests themselves, and what a developer may have set to look at the example.
_NOT_INHERITED: Final = frozenset(
    {"DJANGO_SETTINGS_MODULE", "DATABASE_PATH", "REDIS_URL", "CHANNEL_LAYER", "CHAT_CONSUMER", "PYTHONWARNINGS"}
)


def log_in(server: Server, username: str, password: str) -> str:
    """Logs in on the example's login page; what to send as ``Cookie`` header from then on."""
    cookies = CookieJar()
    opener = build_opener(ProxyHandler({}), HTTPCookieProcessor(cookies))
    url = f"{server.base_url}/accounts/login/"
    opener.open(url, timeout=ANSWER_WITHIN).close()
    token = next(cookie.value for cookie in cookies if cookie.name == "csrftoken")
    form = {"username": username, "password": password, "csrfmiddlewaretoken": token}
    opener.open(url, urlencode(form).encode(), timeout=ANSWER_WITHIN).close()
    sessions = [f"{cookie.name}={cookie.value}" for cookie in cookies if cookie.name == "sessionid"]
    if not sessions:
        raise RuntimeError(f"{username} could not log in:\n{server.output()}")
    return sessions[0]


def connect(server: Server, path: str, *, cookie: str | None = None, **options: Any) -> websocket_connect:
    """A WebSocket to ``server``, from its own origin and uncompressed, so that frames are on the wire as written."""
    return websocket_connect(
        server.socket_url(path),
        **{
            "origin": server.base_url,
            "additional_headers": {} if cookie is None else {"Cookie": cookie},
            "compression": None,
            "proxy": None,
            **options,
        },
    )


async def send(connection: ClientConnection, frame: Any) -> None:
    """Sends ``frame`` as JSON in one text frame."""
    await connection.send(json.dumps(frame))


async def receive(
    connection: ClientConnection, where: Callable[[Any], bool] = lambda frame: True, *, within: float = ANSWER_WITHIN
) -> Any:
    """The next frame that ``where`` accepts, read as JSON; earlier ones are dropped. ``TimeoutError`` if none comes."""
    async with asyncio.timeout(within):
        while True:
            frame = json.loads(await connection.recv())
            if where(frame):
                return frame


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """One Redis for the whole run."""
    with run_redis() as url:
        yield url


@pytest.fixture(scope="session")
def demo_database(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Path]:
    """Makes databases for the example: copies of one that is migrated and seeded once."""
    folder = tmp_path_factory.mktemp("example")
    seeded = folder / "seeded.sqlite3"
    manage_example("migrate", "--verbosity", "0", DATABASE_PATH=str(seeded))
    manage_example("seed_demo", DATABASE_PATH=str(seeded))

    def copy() -> Path:
        handle, name = tempfile.mkstemp(".sqlite3", dir=folder)
        os.close(handle)
        return Path(shutil.copy(seeded, name))

    return copy


@pytest.fixture(scope="session", params=ASGI_SERVERS)
def example(request: pytest.FixtureRequest, demo_database: Callable[[], Path]) -> Iterator[Server]:
    """The example as it comes, under each server; shared by all tests, so each uses a room of its own."""
    with run_example(request.param, demo_database()) as server:
        yield server
        assert misfits_in(server.output()) == []


def misfits_in(log: str) -> list[str]:
    """The lines of a server's log about frames that do not fit their documents, see ``CHECK_REPLIES``."""
    return [line for line in log.splitlines() if "does not fit its document" in line or "are not checked" in line]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Shows what the servers of a failing test have written."""
    report = yield
    if report.failed:
        for value in getattr(item, "funcargs", {}).values():
            if isinstance(value, Server):
                report.sections.append((f"Output of {value!r}", value.output()[-20_000:]))
    return report
