"""The open sockets of all processes: listed, closed and drained, from Python and by the commands."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterator
from io import StringIO
from types import SimpleNamespace
from typing import Any, Final

import pytest
from asgiref.sync import sync_to_async
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from channels.layers import channel_layers, get_channel_layer
from django.core import signing
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.test import override_settings

import routesock
from routesock import Request, RouteMixin, acensus, census, route, topic
from routesock._groups import census as module
from routesock._groups import hub
from routesock._runtime import shutdown
from routesock.management.commands import routesock_close, routesock_drain, routesock_sockets
from routesock.status import Ending
from routesock.testing import RouteClient
from tests.layers.flaky import FlakyLayer
from tests.layers.in_memory import CROSSING, Crossing
from tests.servers import RedisServer, Server, run_redis_server, run_server
from tests.servers import connect as connect_to
from tests.takeover.driver import until

ALICE: Final = SimpleNamespace(pk=7, is_authenticated=True)

KEYS: Final = ["process", "consumer", "user", "age", "groups", "queued", "bytes"]

TIMEOUT: Final = 0.5
"""Seconds for the answers of a layer in memory, which has them at once."""

ENDING: Final = Ending(4401, "x", reconnect=False)


class Chat(RouteMixin, AsyncJsonWebsocketConsumer):
    route_disconnect_grace = 0

    async def connect(self) -> None:
        await self.socket.join("room 1")
        await self.accept()

    @route("echo")
    async def echo(self, request: Request) -> Any:
        return request.payload

    @route("slow")
    async def slow(self, request: Request) -> None:
        await asyncio.Event().wait()

    @topic("news")
    async def news(self, request: Request) -> None: ...


@pytest.fixture
def crossing() -> Iterator[None]:
    """A channel layer that other processes could share, and processes that answer."""
    with override_settings(CHANNEL_LAYERS={"default": CROSSING}, ROUTESOCK={"CENSUS": True}):
        yield
    hub._forget_all()


@pytest.fixture
def from_outside(crossing: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is asked goes through the layer, as from a process without sockets."""
    monkeypatch.setattr(shutdown, "socket_count", lambda: 0)


async def present() -> None:
    """Wait until this process is in the group of processes."""
    layer: Any = get_channel_layer()
    await until(
        lambda: any(module.GROUP in one._groups and one._groups[module.GROUP].joined for one in hub._hubs_of(layer))
    )


async def ending_of(client: RouteClient) -> tuple[int, bool]:
    """The code with which the socket of ``client`` is closed, and whether it should connect again."""
    notice = (await client.expect_push("CLOSE")).payload
    assert (await client.expect_close()).code == notice["code"]
    return notice["code"], notice["reconnect"]


class TestList:
    async def test_a_process_lists_its_own_sockets_at_once(self) -> None:
        async with RouteClient(Chat, as_user=ALICE) as client, RouteClient(Chat):
            await client.call("SUBSCRIBE", {"topic": "news"})
            await client.send("slow", id=1)
            await client.send("echo", id=2)
            await client.ping()
            rows = {row["user"]: row for row in await acensus(timeout=60)}
        assert list(rows[7]) == KEYS
        assert 0 <= rows[7].pop("age") < 600
        assert rows[7] == {
            "process": shutdown.process_name(),
            "consumer": "Chat",
            "user": 7,
            "groups": 2,
            "queued": 1,
            "bytes": 0,
        }
        assert (rows[None]["groups"], rows[None]["queued"]) == (1, 0)

    def test_without_sockets_there_are_none(self) -> None:
        assert census() == []

    async def test_other_processes_answer_through_the_layer(self, from_outside: None) -> None:
        async with RouteClient(Chat, as_user=ALICE):
            await present()
            [row] = await acensus(TIMEOUT)
        assert list(row) == KEYS
        assert (row["consumer"], row["user"], row["groups"]) == ("Chat", 7, 1)

    async def test_a_process_does_not_answer_itself_twice(self, crossing: None) -> None:
        async with RouteClient(Chat):
            await present()
            assert len(await acensus(TIMEOUT)) == 1

    async def test_a_process_lists_a_thousand(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "MAX_SOCKETS", 2)
        async with RouteClient(Chat), RouteClient(Chat), RouteClient(Chat):
            [answer] = await module.ask(0, "list")
        assert (answer.number, len(answer.sockets)) == (3, 2)

    async def test_nothing_of_the_client_is_in_it(self, from_outside: None) -> None:
        secret = "token-5f3a"
        headers = {"Authorization": f"Bearer {secret}", "Cookie": f"sessionid={secret}"}
        sent: list[Any] = []
        layer: Any = get_channel_layer()
        real = layer.send

        async def send(channel: str, message: Any) -> None:
            sent.append(message)
            await real(channel, message)

        layer.send = send
        async with RouteClient(Chat, f"/ws/?token={secret}", headers=headers) as client:
            await client.call("echo", secret)
            await present()
            rows = await acensus(TIMEOUT)
        assert rows
        assert sent
        assert secret not in repr([rows, sent])

    async def test_a_socket_that_has_not_opened_is_not_listed(self) -> None:
        class Slow(Chat):
            async def connect(self) -> None:
                waits.set()
                await goes_on.wait()
                await self.accept()

        waits, goes_on = asyncio.Event(), asyncio.Event()
        client = RouteClient(Slow)
        connecting = asyncio.create_task(client.connect())
        await waits.wait()
        assert await acensus(0) == []
        goes_on.set()
        await connecting
        assert len(await acensus(0)) == 1
        await client.disconnect()


class TestPresence:
    @pytest.mark.parametrize("value", [None, False], ids=["not-installed", "off"])
    async def test_without_it_the_layer_is_not_asked(self, value: bool | None) -> None:
        class Plain(RouteMixin, AsyncJsonWebsocketConsumer):
            @route("echo")
            async def echo(self, request: Request) -> Any:
                return request.payload

        with override_settings(CHANNEL_LAYERS={"default": CROSSING}, ROUTESOCK={"CENSUS": value}):
            async with RouteClient(Plain) as client:
                await client.call("echo")
                assert not [*hub._hubs_of(get_channel_layer())]

    async def test_it_ends_with_the_last_socket(self, crossing: None) -> None:
        async with RouteClient(Chat):
            async with RouteClient(Chat):
                await present()
            await present()
        await until(lambda: not [*hub._hubs_of(get_channel_layer())])

    async def test_a_layer_that_fails_is_joined_later(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Its hub ends with each try that fails, since nothing else is in it."""

        class Lone(RouteMixin, AsyncJsonWebsocketConsumer):
            @route("echo")
            async def echo(self, request: Request) -> Any:
                return request.payload

        monkeypatch.setattr(module, "FIRST_RETRY", 0.01)
        flaky = {"default": {"BACKEND": "tests.layers.flaky.FlakyLayer"}}
        with override_settings(CHANNEL_LAYERS=flaky, ROUTESOCK={"CENSUS": True}):
            layer = channel_layers["default"]
            assert isinstance(layer, FlakyLayer)
            layer.broken.add(module.GROUP)
            async with RouteClient(Lone) as client:
                await until(lambda: layer.calls.count(("group_add", module.GROUP)) > 1)
                assert (await client.call("echo", 1)).payload == 1
                layer.broken.clear()
                await present()

    def test_a_loop_that_was_thrown_away_is_left_alone(self, crossing: None) -> None:
        leave: list[Any] = []

        async def enter() -> None:
            leave.append(module.be_present(get_channel_layer()))

        asyncio.run(enter())
        leave[0]()


class TestQuestions:
    @pytest.mark.parametrize(
        "message",
        [{}, {"question": "x"}, {"question": None}, {"question": signing.dumps({"from": None}, salt="other")}],
        ids=["none", "malformed", "null", "other-salt"],
    )
    async def test_what_is_not_signed_is_ignored(
        self, from_outside: None, message: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        layer: Any = get_channel_layer()
        async with RouteClient(Chat) as client:
            await present()
            await layer.group_send(module.GROUP, {"type": module.QUESTION, **message})
            await until(lambda: "signature is not valid" in caplog.text)
            assert (await client.call("echo", 1)).payload == 1

    async def test_so_many_are_answered_at_a_time(
        self, from_outside: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setattr(module, "MAX_ANSWERING", 0)
        async with RouteClient(Chat):
            await present()
            assert await acensus(TIMEOUT) == []
        assert "was ignored, since 0 are being answered" in caplog.text

    @pytest.mark.parametrize(
        "message",
        [
            {},
            {"type": module.ANSWER, "id": "other"},
            {"type": module.ANSWER, "id": 7},
            {"type": module.ANSWER, "id": "right", "sockets": 7},
            {"type": module.ANSWER, "id": "right", "sockets": [], "instance": "a", "process": "p", "number": "x"},
        ],
        ids=["no-type", "other-id", "id-of-another-type", "no-list", "no-number"],
    )
    def test_answers_that_cannot_be_read_are_ignored(self, message: Any) -> None:
        answers: dict[str, module.Answer] = {}
        module._add_answer(answers, "right", message)
        assert answers == {}

    def test_rows_of_another_shape_are_left_out(self) -> None:
        answers: dict[str, module.Answer] = {}
        row = ["Chat", None, 1.0, 0, 0, 0]
        message = {"type": module.ANSWER, "id": "right", "instance": "a", "process": "p", "number": 2}
        module._add_answer(answers, "right", {**message, "sockets": [row, row[:3]]})
        module._add_answer(answers, "right", {**message, "sockets": []})
        assert [*answers.values()] == [module.Answer("p", 2, [row])]

    async def test_a_layer_that_gives_up_waiting_is_asked_again(
        self, from_outside: None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """redis-py raises where nothing comes for a while."""
        real = module.ChannelReader.next
        failed: list[bool] = []

        async def next(self: Any, receive: Any) -> Any:
            if not failed:
                failed.append(True)
                return None, TimeoutError()
            return await real(self, receive)

        async with RouteClient(Chat):
            await present()
            monkeypatch.setattr(module.ChannelReader, "next", next)
            assert len(await acensus(TIMEOUT)) == 1
        assert failed

    async def test_what_the_layer_raises_is_raised(self, crossing: None, monkeypatch: pytest.MonkeyPatch) -> None:
        async def next(self: Any, receive: Any) -> Any:
            return None, ConnectionError("down")

        monkeypatch.setattr(module.ChannelReader, "next", next)
        with pytest.raises(ConnectionError, match="down"):
            await acensus(TIMEOUT)


class TestClose:
    async def test_the_sockets_of_a_user_are_closed(self, from_outside: None, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.INFO, "routesock.socket")
        async with RouteClient(Chat, as_user=ALICE) as alice, RouteClient(Chat) as anonymous:
            await present()
            [answer] = await module.close_sockets(TIMEOUT, ENDING, user="7")
            assert answer.number == 1
            assert await ending_of(alice) == (4401, False)
            assert (await anonymous.call("echo", 1)).payload == 1
        assert [record.getMessage() for record in caplog.records].count(
            "A socket is closed with 4401: x (Chat, user 7, 127.0.0.1)"
        ) == 1

    async def test_those_of_an_address_are_closed(self, crossing: None) -> None:
        async with RouteClient(Chat, scope={"client": ["203.0.113.9", 1]}) as one, RouteClient(Chat) as other:
            [answer] = await module.close_sockets(0, ENDING._replace(reconnect=True), address="203.0.113.9")
            assert answer.number == 1
            assert await ending_of(one) == (4401, True)
            assert (await other.call("echo", 1)).payload == 1

    async def test_anonymous_sockets_are_no_users(self) -> None:
        async with RouteClient(Chat) as client:
            assert (await module.close_sockets(0, ENDING, user="None"))[0].number == 0
            assert (await client.call("echo", 1)).payload == 1


class TestDrain:
    @pytest.fixture(autouse=True)
    def drained_no_longer(self) -> Iterator[None]:
        yield
        shutdown._main.draining = shutdown._elsewhere.draining = False

    async def test_sockets_are_closed_and_no_others_taken(
        self, from_outside: None, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO, "routesock.socket")
        async with RouteClient(Chat) as client:
            await present()
            assert await module.drain(TIMEOUT, "elsewhere:1") == []
            [answer] = await module.drain(TIMEOUT, shutdown.process_name())
            assert answer.number == 1
            assert await ending_of(client) == (1012, True)
            assert shutdown.is_draining()
            async with RouteClient(Chat) as late:
                assert (await late.expect_close()).code == 1012
        assert "An operator drains the process: closing 1 socket" in caplog.text

    async def test_sigterm_still_ends_the_server(self) -> None:
        """An operator drains the process, and then the process manager stops it."""
        ended: list[int] = []
        sockets = shutdown.Sockets()
        sockets.begin_drain()
        handler = shutdown.DrainingHandler(
            lambda signum, frame: ended.append(signum), asyncio.get_running_loop(), sockets
        )
        handler(15, None)
        await until(lambda: ended == [15])


class TestCommands:
    async def run(self, command: BaseCommand, *words: str) -> tuple[str, str]:
        out, err = StringIO(), StringIO()
        await sync_to_async(call_command)(command, *words, "--timeout", str(TIMEOUT), stdout=out, stderr=err)
        return out.getvalue(), err.getvalue()

    @pytest.mark.parametrize("module", [routesock_close, routesock_drain, routesock_sockets], ids=lambda m: m.__name__)
    def test_they_work_while_a_system_check_fails(self, module: Any) -> None:
        assert module.Command.requires_system_checks == []

    async def test_sockets_are_listed(self, from_outside: None) -> None:
        async with RouteClient(Chat, as_user=ALICE):
            await present()
            table, _ = await self.run(routesock_sockets.Command())
            text, _ = await self.run(routesock_sockets.Command(), "--format", "json")
        head, line = [line.split() for line in table.splitlines()]
        assert head == [name.upper() for name in KEYS]
        assert line[:3] == [shutdown.process_name(), "Chat", "7"]
        assert [list(row) for row in json.loads(text)] == [KEYS]

    async def test_what_is_left_out_is_said(self, from_outside: None, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "MAX_SOCKETS", 1)
        async with RouteClient(Chat), RouteClient(Chat):
            await present()
            _, errors = await self.run(routesock_sockets.Command())
        assert "has 2 sockets; 1 are listed" in errors

    async def test_sockets_are_closed(self, from_outside: None) -> None:
        async with RouteClient(Chat, as_user=ALICE) as client:
            await present()
            out, _ = await self.run(routesock_close.Command(), "--user", "7")
            assert out == "Closed 1 socket in 1 process.\n"
            assert await ending_of(client) == (4401, False)

    async def test_the_code_is_chosen(self, from_outside: None) -> None:
        async with RouteClient(Chat, as_user=ALICE) as client:
            await present()
            await self.run(routesock_close.Command(), "--user", "7", "--code", "4503", "--reconnect")
            assert await ending_of(client) == (4503, True)

    async def test_a_process_is_drained(self, from_outside: None) -> None:
        async with RouteClient(Chat) as client:
            await present()
            out, _ = await self.run(routesock_drain.Command(), "--process", shutdown.process_name())
            assert out == "Draining 1 socket in 1 process.\n"
            assert (await client.expect_close()).code == 1012
        shutdown._main.draining = shutdown._elsewhere.draining = False

    @pytest.mark.parametrize(
        ("command", "words", "says"),
        [
            (routesock_close.Command, ["--user", "7", "--code", "1006"], "cannot be closed with 1006"),
            (routesock_close.Command, [], "one of the arguments --user --address is required"),
            (routesock_drain.Command, ["--process", "nowhere:1"], "No process 'nowhere:1' has answered"),
        ],
    )
    def test_mistakes_are_errors(self, crossing: None, command: type[BaseCommand], words: list[str], says: str) -> None:
        with pytest.raises(CommandError, match=says):
            call_command(command(), *words, "--timeout", "0.01")

    def test_a_layer_that_reaches_nobody_is_an_error(self) -> None:
        with pytest.raises(CommandError, match="No channel layer reaches other processes"):
            call_command(routesock_sockets.Command())

    def test_a_layer_that_fails_is_an_error(self, crossing: None, monkeypatch: pytest.MonkeyPatch) -> None:
        async def fail(self: Any, group: str, message: Any) -> None:
            raise ConnectionError("down")

        monkeypatch.setattr(Crossing, "group_send", fail)
        with pytest.raises(CommandError, match="The processes were not asked: ConnectionError: down"):
            call_command(routesock_sockets.Command(), "--timeout", "0.01")


def test_other_names_of_the_package_do_not_exist() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        routesock.nothing  # noqa: B018


def test_a_forked_process_is_another_one() -> None:
    before = module._instance
    module._forget_all()
    assert module._instance != before


@pytest.fixture(scope="module")
def pair() -> Iterator[tuple[RedisServer, Server, Server]]:
    """Two processes of one application, and the Redis between them."""
    env = {"CHANNEL_LAYER": "channels_redis.core.RedisChannelLayer", "ROUTESOCK": '{"CENSUS": true}'}
    application = "tests.layers.asgi:application"
    with (
        run_redis_server() as redis,
        run_server("uvicorn", application, **env, REDIS_URL=redis.url) as first,
        run_server("uvicorn", application, **env, REDIS_URL=redis.url) as second,
    ):
        yield redis, first, second


@pytest.mark.servers
async def test_all_processes_answer(pair: tuple[RedisServer, Server, Server]) -> None:
    redis, first, second = pair
    layer = {"BACKEND": "channels_redis.core.RedisChannelLayer", "CONFIG": {"hosts": [redis.url]}}
    with override_settings(CHANNEL_LAYERS={"default": layer}):
        async with (
            connect_to(first, "/ws/") as one,
            connect_to(first, "/ws/") as two,
            connect_to(second, "/ws/") as three,
        ):
            rows: list[Any] = []
            while len(rows) < 3:  # until both have joined, and for as long as a busy machine takes to answer
                rows = await acensus(1)
            processes = {row["process"] for row in rows}
            assert sorted(sum(row["process"] == process for row in rows) for process in processes) == [1, 2]
            await module.close_sockets(1, ENDING, address="127.0.0.1")
            for socket in (one, two, three):
                await socket.wait_closed()
                assert socket.close_code == 4401
