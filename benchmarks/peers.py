"""Runs the rows of the comparison (docs/explanation/comparison.rst) that can be run: one library, one small consumer.

In a virtual environment of each library, from the top of the repository::

    python -m venv /tmp/peer && /tmp/peer/bin/pip install 'channels[daphne]==4.3.2' 'chanx[channels]==2.13.0'
    /tmp/peer/bin/python -m benchmarks.peers chanx

The names are ``routesock``, ``wsx``, ``observable_socket``, ``djwebsockets``, ``chanx``, ``django_sockets`` and
``dcrf``. Each consumer has a way to echo, to fail and to be slow, written as the documentation of the library shows.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

PATIENCE = 1.0  # seconds for a reply that may never come


class Peer(NamedTuple):
    """A library with its consumer, and the frames that call it."""

    application: Any
    frame: Callable[[str, Any, Any], dict[str, Any]]
    """Makes the frame that calls an action with an id and an argument."""
    ping: dict[str, Any] | None = None


class Socket:
    """One socket of an ASGI application, without a server."""

    def __init__(self, application: Any) -> None:
        self.incoming: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.outgoing: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        scope = {"type": "websocket", "path": "/", "raw_path": b"/", "headers": [], "query_string": b"",
                 "subprotocols": [], "client": ["127.0.0.1", 1], "server": ["127.0.0.1", 2],
                 "url_route": {"args": (), "kwargs": {}}}  # fmt: skip
        if "django.contrib.auth" in sys.modules:
            from django.contrib.auth.models import AnonymousUser

            scope["user"] = AnonymousUser()
        self.task = asyncio.ensure_future(application(scope, self.incoming.get, self.outgoing.put))
        self.incoming.put_nowait({"type": "websocket.connect"})

    async def opened(self) -> bool:
        try:
            while (await asyncio.wait_for(self.outgoing.get(), PATIENCE))["type"] != "websocket.accept":
                pass
        except TimeoutError:
            return False
        # Some send a frame of their own first, such as that of an authentication.
        await asyncio.sleep(0.2)
        while not self.outgoing.empty():
            self.outgoing.get_nowait()
        return True

    def send(self, text: str) -> None:
        self.incoming.put_nowait({"type": "websocket.receive", "text": text})

    async def receive(self) -> Any:
        """The next frame; ``None`` if none comes, "closed" if the application has ended or has closed the socket."""
        getting = asyncio.ensure_future(self.outgoing.get())
        await asyncio.wait([getting, self.task], timeout=PATIENCE, return_when=asyncio.FIRST_COMPLETED)
        if not getting.done():
            getting.cancel()
            return "closed" if self.task.done() else None
        message = getting.result()
        return json.loads(message.get("text") or message["bytes"]) if message["type"] == "websocket.send" else "closed"

    async def end(self) -> None:
        self.incoming.put_nowait({"type": "websocket.disconnect", "code": 1000})
        done, _ = await asyncio.wait([self.task], timeout=PATIENCE)
        if not done:
            self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


class Tracebacks(logging.Handler):
    """Counts the records that have a traceback."""

    count = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.count += bool(record.exc_info)


async def rows(peer: Peer) -> dict[str, str]:
    found: dict[str, str] = {}
    tracebacks = Tracebacks()
    logging.getLogger().handlers = [tracebacks]

    async def asked(*frames: str, replies: int = 1) -> list[Any]:
        socket = Socket(peer.application)
        if not await socket.opened():
            return ["not accepted"]
        for frame in frames:
            socket.send(frame)
        read = [await socket.receive() for _ in range(replies)]
        await socket.end()
        return read

    def call(action: str, id: Any, argument: Any = "Hello") -> str:
        return json.dumps(peer.frame(action, id, argument))

    [reply] = await asked(call("echo", "a-1"))
    found["An echo"] = json.dumps(reply)
    [reply] = await asked(call("echo", "a-2", 5))
    found["An argument of a wrong type"] = json.dumps(reply)
    found["Malformed JSON, then an echo"] = json.dumps(await asked("{", call("echo", "a-3"), replies=2))
    tracebacks.count = 0
    read = await asked(call("fail", "a-4"), call("echo", "a-5"), replies=2)
    found["A handler that raises, then an echo"] = f"{json.dumps(read)}; tracebacks logged: {tracebacks.count}"
    slow_first = await asked(call("slow", "a-6", "slow"), call("echo", "a-7"), replies=2)
    found["A slow request, then a quick one"] = json.dumps(slow_first)
    found["A sync handler"] = json.dumps((await asked(call("sync", "a-8")))[0])
    found["A PING"] = json.dumps((await asked(json.dumps(peer.ping)))[0]) if peer.ping else "none documented"
    return found


def system_checks(package: str) -> str:
    from django.core.checks.registry import registry

    names = [check.__module__ for check in registry.registered_checks if check.__module__.split(".")[0] == package]
    return f"{len(names)}"


def setup(*apps: str) -> None:
    import django
    from django.conf import settings

    settings.configure(
        INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth", *apps],
        CHANNEL_LAYERS={"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}},
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
        CHANX={"SEND_AUTHENTICATION_MESSAGE": False},
        USE_TZ=True,
    )
    django.setup()
    import django.contrib.auth.models


def routesock() -> Peer:
    setup("routesock")
    from channels.generic.websocket import AsyncJsonWebsocketConsumer

    from routesock import RouteMixin, route

    def text(payload: Any) -> str:
        if not isinstance(payload, str):
            raise ValueError("Not a text.")
        return payload

    class Consumer(RouteMixin, AsyncJsonWebsocketConsumer):
        @route("echo", schema=text)
        async def echo(self, request: Any) -> Any:
            return request.payload

        @route("fail")
        async def fail(self, request: Any) -> Any:
            raise RuntimeError("a mistake")

        @route("slow")
        async def slow(self, request: Any) -> Any:
            await asyncio.sleep(0.3)
            return "slow"

        @route("sync")
        def sync(self, request: Any) -> Any:
            return "sync"

    ping = {"route": "PING", "uuid": 1}
    return Peer(Consumer.as_asgi(), lambda action, id, text: {"route": action, "uuid": id, "payload": text}, ping)


def observable_socket() -> Peer:
    setup()
    from django_observable_socket import AsyncSocketRouterConsumer  # type: ignore[import-not-found]

    class Consumer(AsyncSocketRouterConsumer):  # type: ignore[misc]
        _routes = [
            {"route": "echo", "check_data": lambda arg: isinstance(arg.payload, str)},
            {"route": "fail"}, {"route": "slow"}, {"route": "sync"},
        ]  # fmt: skip

        async def on_echo(self, arg: Any) -> Any:
            return {"payload": arg.payload, "status": 200}

        async def on_fail(self, arg: Any) -> Any:
            raise RuntimeError("a mistake")

        async def on_slow(self, arg: Any) -> Any:
            await asyncio.sleep(0.3)
            return {"payload": "slow", "status": 200}

        def on_sync(self, arg: Any) -> Any:
            return {"payload": "sync", "status": 200}

    ping = {"route": "PING", "uuid": 1}
    return Peer(Consumer.as_asgi(), lambda action, id, text: {"route": action, "uuid": id, "payload": text}, ping)


def chanx() -> Peer:
    setup()
    import typing

    from chanx.channels.websocket import AsyncJsonWebsocketConsumer  # type: ignore[import-not-found]
    from chanx.core.decorators import channel, ws_handler  # type: ignore[import-not-found]
    from chanx.messages.base import BaseMessage  # type: ignore[import-not-found]

    def message(action: str) -> Any:
        namespace = {"__annotations__": {"action": typing.Literal[action], "payload": str}, "action": action,
                     "__module__": __name__}  # fmt: skip
        return type(action.title(), (BaseMessage,), namespace)

    Echo, Fail, Slow, Sync, Said = (message(name) for name in ("echo", "fail", "slow", "sync", "said"))

    async def echo(self: Any, message: Any) -> Any:
        return Said(payload=message.payload)

    async def fail(self: Any, message: Any) -> Any:
        raise RuntimeError("a mistake")

    async def slow(self: Any, message: Any) -> Any:
        await asyncio.sleep(0.3)
        return Said(payload="slow")

    def sync(self: Any, message: Any) -> Any:
        return Said(payload="sync")

    # The decorator reads annotations, which `from __future__ import annotations` has made texts in this module.
    handlers = {}
    for kind, handler in ((Echo, echo), (Fail, fail), (Slow, slow), (Sync, sync)):
        handler.__annotations__ = {"message": kind, "return": Said}
        handlers[handler.__name__] = ws_handler(handler)
    Consumer = channel(name="peer")(
        type("Consumer", (AsyncJsonWebsocketConsumer,), {**handlers, "__module__": __name__})
    )
    return Peer(
        Consumer.as_asgi(), lambda action, id, text: {"action": action, "ref": id, "payload": text}, {"action": "ping"}
    )


def django_sockets() -> Peer:
    setup()
    from django_sockets.sockets import BaseSocketServer  # type: ignore[import-not-found]

    class Server(BaseSocketServer):  # type: ignore[misc]
        async def connect(self) -> None:
            pass

        async def receive(self, data: Any) -> None:
            if data["action"] == "fail":
                raise RuntimeError("a mistake")
            if data["action"] == "slow":
                await asyncio.sleep(0.3)
            await self.async_send({"said": data["text"]})

        async def disconnect(self, code: int = 1000) -> None:
            pass

    return Peer(Server.as_asgi, lambda action, id, text: {"action": action, "id": id, "text": text}, {"action": "ping"})


def dcrf() -> Peer:
    setup("rest_framework")
    from djangochannelsrestframework.consumers import AsyncAPIConsumer  # type: ignore[import-not-found]
    from djangochannelsrestframework.decorators import action  # type: ignore[import-not-found]

    class Consumer(AsyncAPIConsumer):  # type: ignore[misc]
        @action()
        async def echo(self, text: str, **kwargs: Any) -> Any:
            return {"text": text}, 200

        @action()
        async def fail(self, **kwargs: Any) -> Any:
            raise RuntimeError("a mistake")

        @action()
        async def slow(self, **kwargs: Any) -> Any:
            await asyncio.sleep(0.3)
            return "slow", 200

        @action()
        def sync(self, **kwargs: Any) -> Any:
            return "sync", 200

    return Peer(
        Consumer.as_asgi(),
        lambda action, id, text: {"action": action, "request_id": id, "text": text},
        {"action": "ping"},
    )


def wsx() -> Peer:
    setup()
    import wsx  # type: ignore[import-not-found]

    raise NotImplementedError(f"{wsx} can be imported: it needs a consumer here.")


def djwebsockets() -> Peer:
    setup()
    import djwebsockets.server  # type: ignore[import-not-found]

    raise NotImplementedError(f"{djwebsockets} can be imported: it needs a consumer here.")


PEERS: dict[str, tuple[Callable[[], Peer], str]] = {
    "routesock": (routesock, "routesock"),
    "wsx": (wsx, "wsx"),
    "observable_socket": (observable_socket, "django_observable_socket"),
    "djwebsockets": (djwebsockets, "djwebsockets"),
    "chanx": (chanx, "chanx"),
    "django_sockets": (django_sockets, "django_sockets"),
    "dcrf": (dcrf, "djangochannelsrestframework"),
}


def main(name: str) -> None:
    make, package = PEERS[name]
    try:
        peer = make()
    except (ImportError, SyntaxError) as error:
        print(f"{name} cannot be imported: {type(error).__name__}: {error}")
        return
    for row, found in asyncio.run(rows(peer)).items():
        print(f"{row}: {found}")
    print(f"System checks: {system_checks(package)}")


if __name__ == "__main__":
    main(*sys.argv[1:])
