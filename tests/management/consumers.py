"""Consumers as projects have them. The command reads them, and nothing connects to them."""

from __future__ import annotations

import json
import logging
import threading
from enum import Enum
from functools import wraps
from typing import Any

from asgiref.sync import async_to_sync
from channels.consumer import SyncConsumer
from channels.db import database_sync_to_async
from channels.exceptions import StopConsumer
from channels.generic.http import AsyncHttpConsumer
from channels.generic.websocket import (
    AsyncJsonWebsocketConsumer,
    AsyncWebsocketConsumer,
    JsonWebsocketConsumer,
    WebsocketConsumer,
)

from routesock import RouteMixin

from .bases import DispatchingConsumer

logger = logging.getLogger(__name__)


class Tutorial(WebsocketConsumer):
    """The consumer of the tutorial of Channels."""

    def connect(self) -> None:
        self.room_group_name = "chat_lobby"
        async_to_sync(self.channel_layer.group_add)(self.room_group_name, self.channel_name)
        self.accept()

    def receive(self, text_data: Any = None, bytes_data: Any = None) -> None:
        text_data_json = json.loads(text_data)
        message = text_data_json["message"]
        async_to_sync(self.channel_layer.group_send)(self.room_group_name, {"type": "chat.message", "message": message})

    def chat_message(self, event: Any) -> None:
        self.send(text_data=json.dumps({"message": event["message"]}))


class Branches(AsyncJsonWebsocketConsumer):
    """One ``if`` for each action, ids, and a status."""

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        action = content.get("action")
        if action == "PING":
            await self.send_json({"action": "PONG"})
        elif action == "room.join":
            await self.answer(content, 200, room=content["room"])
        elif action in ("room.leave", "room.quit"):
            await self.answer(content, 200)
        elif "room.close" == action:  # noqa: SIM300
            await self.answer(content, 403)
        else:
            await self.answer(content, 404)

    async def answer(self, content: Any, status: int, **fields: Any) -> None:
        head = {"action": content["action"], "request_id": content.get("request_id"), "status": status}
        await self.send_json({**head, **fields})


class Matching(AsyncJsonWebsocketConsumer):
    """``match``, and the payload under a key of its own. No ids."""

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        data = content.get("payload") or {}
        match content["command"]:
            case "play":
                await self.send_json({"command": "playing", "payload": data["track"]})
            case "stop" | "pause":
                await self.send_json({"command": "stopped"})


class MatchingMaps(AsyncJsonWebsocketConsumer):
    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        match content:
            case {"type": "say", "text": text}:
                await self.send_json({"type": "said", "text": text})
            case {"type": "leave"}:
                await self.close()


class Table(AsyncJsonWebsocketConsumer):
    """A table of handlers, made in ``__init__``."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.handlers = {"subscribe": self.subscribe, "unsubscribe": self.unsubscribe}

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        handler = self.handlers.get(content["event"])
        if handler is not None:
            await handler(content)

    async def subscribe(self, content: Any) -> None:
        await self.send_json({"event": "subscribed", "id": content["id"]})

    async def unsubscribe(self, content: Any) -> None:
        await self.send_json({"event": "unsubscribed", "id": content["id"]})


class InlineTable(AsyncJsonWebsocketConsumer):
    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        await {"up": self.up, "down": self.down}[content["op"]](content)

    async def up(self, content: Any) -> None: ...

    async def down(self, content: Any) -> None: ...


class ByName(AsyncJsonWebsocketConsumer):
    """The name of the method is built."""

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        handler = getattr(self, f"on_{content['type'].replace('.', '_')}", None)
        if handler is None:
            return
        await handler(content)

    async def on_say(self, content: Any) -> None:
        await self.send_json({"type": "said", "text": content["text"]})


class Presence(AsyncJsonWebsocketConsumer):
    """No key has the name of the action."""

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        if "message" in content:
            await self.send_json({"message": content["message"]})
        elif "typing" in content:
            await self.send_json({"typing": True})


class Arrays(AsyncJsonWebsocketConsumer):
    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        event, payload = content
        if event == "join":
            await self.send_json(["joined", payload])
        elif event == "leave":
            await self.send_json(["left", payload])


class OpCodes(AsyncJsonWebsocketConsumer):
    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        if content["msg_type"] == 7:
            await self.send_json({"msg_type": 7, "error": [1, "no"]})


class Binary(AsyncWebsocketConsumer):
    """The first byte says what the rest is."""

    async def receive(self, text_data: Any = None, bytes_data: Any = None) -> None:
        if bytes_data[0] == 1:
            await self.send(bytes_data=bytes_data[1:])


class Prefixed(AsyncWebsocketConsumer):
    """A digit in front of the JSON, as socket.io has it."""

    async def receive(self, text_data: Any = None, bytes_data: Any = None) -> None:
        if text_data == "2":
            await self.send(text_data="3")
        elif text_data.startswith("42"):
            await self.send(text_data=text_data)


class Terminal(WebsocketConsumer):
    """A thread that sends."""

    def connect(self) -> None:
        self.accept()
        self.reader = threading.Thread(target=self.read)
        self.reader.start()

    def read(self) -> None:
        self.send(text_data="$ ")

    def receive(self, text_data: Any = None, bytes_data: Any = None) -> None:
        data = json.loads(text_data)
        if data["action"] == "input":
            self.send(text_data=data["keys"])
        elif data["action"] == "resize":
            self.send(text_data="")


class OwnReceive(AsyncWebsocketConsumer):
    """A ``websocket_receive`` that replaces the one of Channels."""

    async def websocket_receive(self, message: Any) -> None:
        data = json.loads(message["text"])
        if data["type"] == "start":
            await self.send(text_data="started")
        elif data["type"] == "stop":
            await self.send(text_data="stopped")


class Gated(Branches):
    """A gate in front of every frame."""

    async def websocket_receive(self, message: Any) -> None:
        if not self.scope["user"].is_authenticated:
            return
        await super().websocket_receive(message)


class Boundary(AsyncJsonWebsocketConsumer):
    """``dispatch`` answers what the handlers raise."""

    async def dispatch(self, message: Any) -> None:
        try:
            await super().dispatch(message)
        except StopConsumer:
            raise
        except Exception:
            logger.exception("Failed")
            await self.send_json({"action": "error"})

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        if content["action"] == "divide":
            await self.send_json({"action": "divided", "result": 1 / content["by"]})


class Sync(JsonWebsocketConsumer):
    def receive_json(self, content: Any, **kwargs: Any) -> None:
        action = content["action"]
        if action == "list":
            self.send_json({"action": "list", "request_id": content["request_id"], "data": []})
        if action == "get":
            self.send_json({"action": "get", "request_id": content["request_id"], "data": content["data"]["pk"]})


class Rooms(DispatchingConsumer):
    """The base class, in another file, reads the frames."""

    async def handle(self, cmd: Any, data: Any, ref: Any) -> None:
        if cmd == "open":
            await self.send_json({"cmd": "opened", "ref": ref, "data": data["room"]})
        elif cmd == "shut":
            await database_sync_to_async(self.save)(data)
        else:
            await super().handle(cmd, data, ref)

    def save(self, data: Any) -> None: ...


def signed_in(method: Any) -> Any:
    @wraps(method)
    async def checked(self: Any, *args: Any, **kwargs: Any) -> None:
        if self.scope["user"].is_authenticated:
            await method(self, *args, **kwargs)

    return checked


class Guarded(AsyncJsonWebsocketConsumer):
    """Three checks in front of the branches."""

    permission_classes = ["IsMember"]

    @signed_in
    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        if not isinstance(content, dict):
            await self.close()
            return
        await self.count()
        if content["action"] == "a":
            await self.send_json({"action": "a"})
        elif content["action"] == "b":
            await self.send_json({"action": "b"})

    async def count(self) -> None: ...


class Action(Enum):
    SAY = "say"
    LEAVE = "leave"


NAMES = ("one", "two")


class Constants(AsyncWebsocketConsumer):
    """Names that stand elsewhere, a frame that is decoded in a method, and one that goes to a function."""

    other = "three"

    async def receive(self, text_data: Any = None, bytes_data: Any = None) -> None:
        data = self.parse(text_data)
        await follow(self, data)
        record.delay(data)

    def parse(self, text: str) -> Any:
        return json.loads(text)


class record:
    delay: Any = None


async def follow(consumer: Any, data: Any) -> None:
    action = data["action"]
    if action == Action.SAY or action == Action.LEAVE.value:
        await consumer.send(text_data="1")
    elif action in NAMES or action == Constants.other:
        await consumer.send(text_data="2")
    elif action == consumer.scope["path"]:
        await consumer.send(text_data="3")
    elif action == logger.name:
        await consumer.send(text_data="4")


class Loose(AsyncJsonWebsocketConsumer):
    """Names that are compared in ways that a route cannot follow."""

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        for item in content:
            await self.one(item)

    async def one(self, content: Any) -> None:
        action = content.get("action", "say").lower()
        if action == "say":
            await self.send_json({**content, "said": True})
        elif action == "leave":
            await self.close()
        elif content["action"].startswith("room."):
            await self.send_json({"action": "room"})


class Rivals(AsyncJsonWebsocketConsumer):
    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        if content["colour"] == "red" or content["colour"] == "blue":
            await self.send_json({})
        if content["size"] == "small" or content["size"] == "large":
            await self.send_json({})


class OneName(AsyncJsonWebsocketConsumer):
    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        if content["colour"] == "red":
            await self.send_json({})


class Nested(AsyncJsonWebsocketConsumer):
    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        if content["message"]["action"] == "a":
            await self.send_json({})
        elif content["message"]["action"] == "b":
            await self.send_json([])


class Silent(AsyncWebsocketConsumer):
    """Nothing that tells frames apart."""

    async def receive(self, text_data: Any = None, bytes_data: Any = None) -> None:
        await self.send(text_data="ok")


class Rpc(AsyncJsonWebsocketConsumer):
    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        if content["method"] == "add":
            await self.send_json({"jsonrpc": "2.0", "id": content["id"], "result": sum(content["params"])})


class OwnEverything(AsyncJsonWebsocketConsumer):
    """Each method that Channels has, and an attribute that routesock has as well."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        pass

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.socket = None
        self.receive_json = self.quietly

    async def connect(self) -> None:
        self.send = self.accept
        await self.accept()

    async def quietly(self, content: Any, **kwargs: Any) -> None: ...

    async def send_json(self, content: Any, close: bool = False) -> None:
        await super().send_json({"version": 2, **content}, close)

    async def send(self, text_data: Any = None, bytes_data: Any = None, close: bool = False) -> None:
        await super().send(text_data, bytes_data, close)

    @classmethod
    async def encode_json(cls, content: Any) -> str:
        return json.dumps(content, default=str)

    @classmethod
    async def decode_json(cls, text_data: str) -> Any:
        return json.loads(text_data, parse_float=str)


class Demultiplexer(AsyncJsonWebsocketConsumer):
    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await super().__call__(scope, receive, send)


class Worker(SyncConsumer):
    def job(self, message: Any) -> None: ...


class Events(AsyncHttpConsumer):
    async def handle(self, body: bytes) -> None: ...


class Adopted(RouteMixin, AsyncJsonWebsocketConsumer):
    pass


class Plain:
    pass


class Optioned(AsyncJsonWebsocketConsumer):
    route_limit = 5
    route_timeout = 1.0


def made() -> type[AsyncJsonWebsocketConsumer]:
    class InFunction(AsyncJsonWebsocketConsumer):
        pass

    return InFunction


InFunction = made()
ByType = type("ByType", (AsyncJsonWebsocketConsumer,), {})


class Outer:
    class Inner(AsyncJsonWebsocketConsumer):
        pass


if logging.raiseExceptions:

    class Either(AsyncJsonWebsocketConsumer):
        pass

else:

    class Either(AsyncJsonWebsocketConsumer):  # type: ignore[no-redef]
        connected = False


application = Branches.as_asgi()


class ClassTable(AsyncJsonWebsocketConsumer):
    """A table in the body of the class."""

    async def left(self, content: Any) -> None: ...

    async def right(self, content: Any) -> None: ...

    handlers = {"left": left, "right": right}

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        await self.handlers[content["kind"]](self, content)


class Packed(AsyncWebsocketConsumer):
    """Binary frames that are decoded with a library."""

    async def receive(self, text_data: Any = None, bytes_data: Any = None) -> None:
        content = json.loads(bytes_data)
        if content["action"] == "a":
            await self.send(bytes_data=b"a")
        elif content["action"] == "b":
            await self.send(bytes_data=b"b")


class SeveralReads(AsyncJsonWebsocketConsumer):
    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        await self.send_json({"sum": content["first"] + content["second"]})


class Untold(AsyncJsonWebsocketConsumer):
    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        await self.send_json(content[0])


class NumberedArrays(AsyncJsonWebsocketConsumer):
    """Arrays that begin with a number, as WAMP has them."""

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        match content:
            case [1, realm, *_]:
                await self.send_json([2, realm])
            case [48, request]:
                await self.send_json([50, request])


class Optional(AsyncJsonWebsocketConsumer):
    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        match content:
            case {"a": a}:
                await self.send_json(a)
            case {"b": b}:
                await self.send_json(b)


class ManyIds(AsyncJsonWebsocketConsumer):
    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        action = content["action"]
        if action == "a" and content["mode"] == "fast":
            await self.send_json({"id": content["id"], "ref": content["ref"], "ack": content["seq"]})
        elif action == "b":
            await self.send_json(content["data"])


class Mixed(AsyncJsonWebsocketConsumer):
    """A key that Keys has for itself."""

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        if content["payload"] == "a":
            await self.send_json(content["x"])
        elif content["payload"] == "b":
            await self.send_json(content["y"])


class Heartbeats(AsyncJsonWebsocketConsumer):
    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        if content["type"] == "ping":
            await self.send_json({"type": "pong"})


class WithSocket(AsyncJsonWebsocketConsumer):
    socket = None


class Empty(AsyncJsonWebsocketConsumer):
    pass


def consumer(cls: type) -> type:
    """A decorator that adds the base class."""
    return type(cls.__name__, (cls, AsyncJsonWebsocketConsumer), {"__module__": cls.__module__})


@consumer
class Decorated:
    pass


class Commands(WebsocketConsumer):
    """A table of functions in the class body, called with the consumer."""

    def fetch(self, data: Any) -> None: ...

    def new(self, data: Any) -> None:
        self.send(text_data=json.dumps({"command": "new", "message": data["message"], "author": data["from"]}))

    commands = {"fetch": fetch, "new": new}

    def receive(self, text_data: Any = None, bytes_data: Any = None) -> None:
        data = json.loads(text_data)
        self.commands[data["command"]](self, data)


class Spread(AsyncWebsocketConsumer):
    """A frame whose members are arguments."""

    async def receive(self, text_data: Any = None, bytes_data: Any = None) -> None:
        try:
            data = json.loads(text_data)
        except ValueError:
            return
        handler = {"join": self.join, "leave": self.leave}.get(data.get("action"), self.unknown)
        await handler(**data)

    async def join(self, room: Any = None, **rest: Any) -> None:
        await self.send(text_data=json.dumps({"joined": room, "request_id": rest["request_id"]}))

    async def leave(self, **rest: Any) -> None: ...

    async def unknown(self, **rest: Any) -> None: ...


class Token(AsyncJsonWebsocketConsumer):
    """A test of a key that is a check."""

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        if "token" not in content:
            await self.close()
            return
        if content["type"] == "a":
            await self.send_json({"type": "a"})
        elif content["type"] == "b":
            await self.send_json({"type": "b"})
