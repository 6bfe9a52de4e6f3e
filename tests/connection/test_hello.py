"""The HELLO of ``route_hello``: its members, and that it is the first frame."""

from __future__ import annotations

from typing import Any

import pytest
from channels.generic.websocket import AsyncJsonWebsocketConsumer, JsonWebsocketConsumer

from routesock import Heartbeat, Keys, Request, RouteMixin, RouteSetupError, route
from routesock.auth import HandshakeMiddleware
from routesock.testing import RouteClient
from tests.takeover.driver import Socket, until

INFO = {"protocol": 1, "max_frame": 65_536, "max_queued": 64}


class OnLoop(RouteMixin, AsyncJsonWebsocketConsumer):
    route_hello = True

    async def connect(self) -> None:
        await self.accept()
        await self.send_json({"welcome": 1})

    @route("echo")
    async def echo(self, request: Request) -> Any:
        return request.payload


class InThread(RouteMixin, JsonWebsocketConsumer):
    route_hello = True

    def connect(self) -> None:
        self.accept()
        self.send_json({"welcome": 1})

    @route("echo")
    def echo(self, request: Request) -> Any:
        return request.payload


class OwnOnLoop(OnLoop):
    async def send_json(self, content: Any, close: bool = False) -> None:
        await super().send_json({"sealed": content}, close)


class OwnInThread(InThread):
    def send_json(self, content: Any, close: bool = False) -> None:
        super().send_json({"sealed": content}, close)


HELLO = {"route": "HELLO", "payload": INFO}


@pytest.mark.parametrize("consumer", [OnLoop, InThread])
async def test_it_is_the_first_frame_after_the_accept(consumer: Any) -> None:
    """Also before frames that ``connect()`` sends right after its accept."""
    async with Socket(consumer.as_asgi()) as socket:
        await until(lambda: len(socket.frames) == 2)
        assert [message["type"] for message in socket.sent] == ["websocket.accept"] + ["websocket.send"] * 2
        assert socket.frames == [HELLO, {"welcome": 1}]


async def test_it_goes_through_the_own_methods_of_a_consumer() -> None:
    async with Socket(OwnOnLoop.as_asgi()) as socket:
        await until(lambda: len(socket.frames) == 2)
        assert socket.frames == [{"sealed": HELLO}, {"sealed": {"welcome": 1}}]


async def test_on_a_sync_consumer_they_run_when_connect_has_returned() -> None:
    """``connect()`` is in the thread that they need, and waits for its accept."""
    async with Socket(OwnInThread.as_asgi()) as socket:
        await until(lambda: len(socket.frames) == 2)
        assert socket.frames == [{"sealed": {"welcome": 1}}, {"sealed": HELLO}]


async def test_it_has_the_limits_of_the_class(settings: Any) -> None:
    settings.ROUTESOCK = {"MAX_QUEUED": 8, "MAX_FRAME": 5_000}

    class Small(OnLoop):
        route_max_frame = 100
        route_heartbeat = Heartbeat(20, 5)
        route_dialect = Keys(route="action", camelize=True)

    async with Socket(Small.as_asgi()) as socket:
        await until(lambda: socket.frames)
        assert socket.frames[0]["payload"] == {
            "protocol": 1,
            "heartbeat": {"interval": 20, "timeout": 5},
            "maxFrame": 100,
            "maxQueued": 8,
        }
    async with Socket(OnLoop.as_asgi()) as socket:
        await until(lambda: socket.frames)
        assert socket.frames[0]["payload"] == {"protocol": 1, "max_frame": 5_000, "max_queued": 8}


async def test_without_the_option_there_is_none() -> None:
    class Silent(OnLoop):
        route_hello = False

    async with RouteClient(Silent) as client:
        assert await client.receive() == {"welcome": 1}


async def test_a_dialect_may_send_none() -> None:
    class NoHello(Keys):
        def push(self, route: str, payload: Any, headers: Any = None) -> Any:
            return None if route == "HELLO" else super().push(route, payload, headers or {})

    class Silent(OnLoop):
        route_dialect = NoHello()

    async with RouteClient(Silent) as client:
        assert await client.receive() == {"welcome": 1}


async def test_a_dialect_that_fails_costs_only_the_hello(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Keys):
        def push(self, route: str, payload: Any, headers: Any = None) -> Any:
            raise ZeroDivisionError

    class Silent(OnLoop):
        route_dialect = Broken()

    async with Socket(Silent.as_asgi()) as socket:
        await until(lambda: socket.frames)
        assert socket.frames == [{"welcome": 1}]
    assert "The HELLO failed" in caplog.text


async def who(credentials: Any) -> Any:
    return None


@pytest.mark.parametrize("mode", ["required", "optional"])
async def test_a_handshake_says_it_in_its_own(mode: str) -> None:
    """There is one HELLO, also when the consumer accepts the socket later."""
    app = HandshakeMiddleware(OnLoop.as_asgi(), authenticators=[who], mode=mode)
    async with Socket(app) as socket:
        socket.json({"route": "echo", "uuid": 1, "payload": 5})
        await until(lambda: any(frame.get("uuid") == 1 for frame in socket.frames))
        hellos = [frame["payload"] for frame in socket.frames if frame.get("route") == "HELLO"]
        assert hellos == [{"mode": mode, "attempts": 2, "timeout": 20.0, **INFO}]


@pytest.mark.parametrize("hello", [1, None, "yes"])
def test_anything_else_is_an_error(hello: Any) -> None:
    with pytest.raises(RouteSetupError, match=r"Wrong\.route_hello must be True or False; got "):
        type("Wrong", (OnLoop,), {"route_hello": hello})
