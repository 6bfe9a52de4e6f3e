"""Consumers after patterns of public projects, each once as it was and once taken over, with what a client sends."""

from __future__ import annotations

import json
import struct
import threading
from collections.abc import Mapping
from typing import Any, NamedTuple

from asgiref.sync import async_to_sync
from channels.exceptions import StopConsumer
from channels.generic.websocket import (
    AsyncJsonWebsocketConsumer,
    AsyncWebsocketConsumer,
    JsonWebsocketConsumer,
    WebsocketConsumer,
)

from routesock import NO_REPLY, Keys, Request, RouteMixin, route
from routesock.dialects import Dialect, Frame, Problem

LINES = 20
"""How many frames a thread sends."""


class Pattern(NamedTuple):
    """A consumer as it was, its successor, and texts or bytes that a client sends."""

    before: type
    after: type
    frames: tuple[Any, ...]
    fatal: tuple[Any, ...] = ()
    """Frames that end the socket of the consumer as it was."""


def compact(*values: Any) -> tuple[str, ...]:
    return tuple(map(json.dumps, values))


# A thread of its own sends: a web terminal, a device bridge


class Terminal(WebsocketConsumer):
    """The frames are bare text; a thread sends what the program prints."""

    def receive(self, text_data: Any = None, bytes_data: Any = None) -> None:
        if text_data.startswith("run "):
            threading.Thread(target=self.run, args=[text_data[4:]]).start()
        else:
            self.send(text_data=f"unknown command {text_data!r}")

    def run(self, argument: str) -> None:
        for number in range(LINES):
            self.send(text_data=f"{argument} {number}")


class Words(Keys):
    """The first word is the route."""

    def decode(self, message: Mapping[str, Any]) -> Frame | None:
        name, _, argument = message["text"].partition(" ")
        return Frame(name, payload=argument) if name == "run" else None


class RoutedTerminal(RouteMixin, Terminal):
    route_dialect = Words()

    @route("run", reply=None)
    def start(self, request: Request) -> None:
        threading.Thread(target=self.run, args=[request.payload]).start()

    def receive(self, text_data: Any = None, bytes_data: Any = None) -> None:
        self.send(text_data=f"unknown command {text_data!r}")


class AsyncTerminal(AsyncJsonWebsocketConsumer):
    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        if content.get("op") == "run":
            threading.Thread(target=self.run, args=[content["argument"]]).start()

    def run(self, argument: str) -> None:
        for number in range(LINES):
            async_to_sync(self.send_json)({"op": "line", "text": f"{argument} {number}"})


class RoutedAsyncTerminal(RouteMixin, AsyncTerminal):
    route_dialect = Keys(route="op", id=None, payload=None, status=None)

    @route("run", reply=None)
    async def start(self, request: Request) -> None:
        threading.Thread(target=self.run, args=[request.payload["argument"]]).start()


# Its own websocket_receive: socket.io


class SocketIo(AsyncWebsocketConsumer):
    """Unpacks ``42[name, argument]`` itself, and never calls ``super()``."""

    async def websocket_receive(self, message: Any) -> None:
        text = message.get("text") or ""
        if text == "2":
            await self.send(text_data="3")
        elif text.startswith("42"):
            name, argument = json.loads(text[2:])
            if name == "double":
                await self.emit("doubled", argument * 2)
            elif name == "silent":
                return
            else:
                await self.emit("error", f"unknown {name}")

    async def emit(self, name: str, argument: Any) -> None:
        await self.send(text_data="42" + json.dumps([name, argument]))


class SocketIoFrames(Dialect):
    def decode(self, message: Mapping[str, Any]) -> Frame | None:
        text = message["text"]
        if text == "2":
            return Frame("PING")
        if not text.startswith("42"):
            return None
        name, argument = json.loads(text[2:])
        return Frame(name, payload=argument, value=[name, argument])

    def read(self, value: Any) -> Frame:
        raise NotImplementedError

    answers_without_id = True

    def reply(self, request: Request, status: int, payload: Any, headers: Mapping[str, Any]) -> Any:
        return [f"{request.route}d", payload]

    def error(self, problem: Problem, request: Request) -> Any:
        return ["error", f"unknown {request.route}"] if request.route else None

    def push(self, route: str, payload: Any, headers: Mapping[str, Any] = {}) -> Any:
        return [route, payload]

    def pong(self, request: Request) -> Any:
        return "3"

    def encode(self, frame: Any) -> str:
        return frame if isinstance(frame, str) else "42" + json.dumps(frame)


class RoutedSocketIo(RouteMixin, AsyncWebsocketConsumer):
    route_dialect = SocketIoFrames()

    @route("double")
    async def double(self, request: Request) -> Any:
        return request.payload * 2

    @route("silent", reply=None)
    async def silent(self, request: Request) -> None:
        return


# Its dispatch is the error boundary


class Boundary(AsyncJsonWebsocketConsumer):
    async def dispatch(self, message: Any) -> None:
        try:
            await super().dispatch(message)
        except StopConsumer:
            raise
        except Exception as exc:
            await self.send_json({"type": "error", "kind": type(exc).__name__})

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        if content["type"] == "divide":
            await self.send_json({"type": "divide", "result": content["a"] / content["b"]})
        elif content["type"] == "fail":
            raise RuntimeError("broken")


class RoutedBoundary(RouteMixin, Boundary):
    route_dialect = Keys(route="type", id=None, payload=None, status=None)

    @route("divide")
    async def divide(self, request: Request) -> Any:
        try:
            return {"result": request.payload["a"] / request.payload["b"]}
        except Exception as exc:
            await self.send_json({"type": "error", "kind": type(exc).__name__})
            return NO_REPLY


# Arrays: Phoenix


class Phoenix(AsyncJsonWebsocketConsumer):
    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        join_ref, ref, topic, event, payload = content
        if event == "heartbeat":
            response, status = {}, "ok"
        elif event == "shout":
            response, status = {"said": payload["body"]}, "ok"
        else:
            response, status = {"reason": "unmatched topic"}, "error"
        await self.send_json([join_ref, ref, topic, "phx_reply", {"status": status, "response": response}])


class PhoenixFrames(Keys):
    def read(self, value: Any) -> Frame:
        _, ref, _, event, payload = value
        return Frame(event, ref, payload, value=value)

    def reply(self, request: Request, status: int, payload: Any, headers: Mapping[str, Any]) -> Any:
        return self.answer(request, "ok", payload)

    def error(self, problem: Problem, request: Request) -> Any:
        return self.answer(request, "error", {"reason": "unmatched topic"})

    def answer(self, request: Request, status: str, response: Any) -> Any:
        join_ref, ref, topic, *_ = request.frame or [None] * 3
        return [join_ref, ref, topic, "phx_reply", {"status": status, "response": response}]


class RoutedPhoenix(RouteMixin, AsyncJsonWebsocketConsumer):
    route_dialect = PhoenixFrames()

    @route("heartbeat")
    async def heartbeat(self, request: Request) -> Any:
        return {}

    @route("shout")
    async def shout(self, request: Request) -> Any:
        return {"said": request.payload["body"]}


# Binary frames: a game with op codes


class Game(AsyncWebsocketConsumer):
    async def receive(self, text_data: Any = None, bytes_data: Any = None) -> None:
        if text_data is not None:
            await self.send(text_data="binary, please")
            return
        code, x, y = struct.unpack("!Bhh", bytes_data)
        if code == 1:
            await self.send(bytes_data=struct.pack("!Bi", 1, x + y))


class OpCodes(Keys):
    def decode(self, message: Mapping[str, Any]) -> Frame | None:
        if message.get("bytes") is None:
            return None
        code, x, y = struct.unpack("!Bhh", message["bytes"])
        return Frame({1: "move"}.get(code), payload=(x, y))

    def encode(self, frame: Any) -> bytes:
        return struct.pack("!Bi", 1, frame["payload"])


class RoutedGame(RouteMixin, AsyncWebsocketConsumer):
    route_dialect = OpCodes(id=None)

    @route("move")
    async def move(self, request: Request) -> int:
        x, y = request.payload
        return int(x + y)

    async def receive(self, text_data: Any = None, bytes_data: Any = None) -> None:
        if text_data is not None:
            await self.send(text_data="binary, please")


# No ids, errors of its own shape


class NoIds(JsonWebsocketConsumer):
    def receive_json(self, content: Any, **kwargs: Any) -> None:
        kind = content.get("msg_type")
        if kind == "add":
            try:
                self.send_json({"msg_type": "add", "data": content["data"]["a"] + content["data"]["b"]})
            except KeyError as exc:
                self.send_json({"msg_type": 7, "error": [400, f"missing {exc.args[0]}"], "nonce": content.get("nonce")})
        else:
            self.send_json({"msg_type": 7, "error": [404, "unknown"], "nonce": content.get("nonce")})


def old_error(problem: Problem, request: Request) -> Any:
    text = "unknown" if problem.status == 404 else problem.detail
    return {"msg_type": 7, "error": [problem.status, text], "nonce": request.frame.get("nonce")}


class RoutedNoIds(RouteMixin, JsonWebsocketConsumer):
    route_dialect = Keys(route="msg_type", id=None, payload="data", status=None, headers=None, error=old_error)

    @route("add")
    def add(self, request: Request) -> Any:
        from routesock.exceptions import BadRequest

        for name in ("a", "b"):
            if name not in request.payload:
                raise BadRequest(f"missing {name}")
        return request.payload["a"] + request.payload["b"]


# The presence of a key


class ByKey(AsyncJsonWebsocketConsumer):
    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        if "say" in content:
            await self.send_json({"said": content["say"]})
        elif "join" in content:
            await self.send_json({"joined": content["join"]})


class KeyFrames(Keys):
    def read(self, value: Any) -> Frame | None:
        for name in ("say", "join"):
            if name in value:
                return Frame(name, payload=value[name])
        return None

    def reply(self, request: Request, status: int, payload: Any, headers: Mapping[str, Any]) -> Any:
        return {{"say": "said", "join": "joined"}[request.route]: payload}

    def error(self, problem: Problem, request: Request) -> Any:
        return None


class RoutedByKey(RouteMixin, AsyncJsonWebsocketConsumer):
    route_dialect = KeyFrames(id=None)

    @route("say")
    async def say(self, request: Request) -> Any:
        return request.payload

    @route("join")
    async def join(self, request: Request) -> Any:
        return request.payload


# The Channels tutorial


class Tutorial(AsyncWebsocketConsumer):
    async def connect(self) -> None:
        await self.channel_layer.group_add("chat_lobby", self.channel_name)
        await self.accept()

    async def receive(self, text_data: Any = None, bytes_data: Any = None) -> None:
        message = json.loads(text_data)["message"]
        await self.channel_layer.group_send("chat_lobby", {"type": "chat.message", "message": message})

    async def chat_message(self, event: Any) -> None:
        await self.send(text_data=json.dumps({"message": event["message"]}))


class TutorialFrames(Keys):
    def read(self, value: Any) -> Frame:
        return Frame("message", payload=value["message"])


class RoutedTutorial(RouteMixin, AsyncWebsocketConsumer):
    route_dialect = TutorialFrames()

    async def connect(self) -> None:
        await self.channel_layer.group_add("chat_lobby", self.channel_name)
        await self.accept()

    @route("message", reply=None)
    async def message(self, request: Request) -> None:
        await self.channel_layer.group_send("chat_lobby", {"type": "chat.message", "message": request.payload})

    async def chat_message(self, event: Any) -> None:
        await self.send(text_data=json.dumps({"message": event["message"]}))


# The action is in the URL


class InTheUrl(AsyncJsonWebsocketConsumer):
    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        if self.scope["path"] == "/ws/":
            await self.send_json({"double": 2 * content["number"]})


class UrlFrames(Keys):
    def __init__(self, name: str = "") -> None:
        super().__init__(id=None)
        self.name = name

    def for_consumer(self, consumer: Any) -> Dialect:
        return UrlFrames(consumer.scope["path"])

    def read(self, value: Any) -> Frame:
        return Frame(self.name, payload=value["number"])

    def reply(self, request: Request, status: int, payload: Any, headers: Mapping[str, Any]) -> Any:
        return payload


class RoutedInTheUrl(RouteMixin, AsyncJsonWebsocketConsumer):
    route_dialect = UrlFrames()

    @route("/ws/")
    async def double(self, request: Request) -> Any:
        return {"double": 2 * request.payload}


PATTERNS = {
    "thread": Pattern(Terminal, RoutedTerminal, ("run ls", "help", "run ps")),
    "async thread": Pattern(
        AsyncTerminal,
        RoutedAsyncTerminal,
        compact({"op": "run", "argument": "ls"}),
    ),
    "own websocket_receive": Pattern(
        SocketIo, RoutedSocketIo, ("2", '42["double", 4]', '42["silent", 1]', '42["nowhere", 1]', '42["double", "a"]')
    ),
    "dispatch as error boundary": Pattern(
        Boundary,
        RoutedBoundary,
        (
            *compact({"type": "divide", "a": 1, "b": 4}, {"type": "divide", "a": 1, "b": 0}, {"type": "fail"}),
            "no JSON",
            b"\x00",
            "",
            *compact({"type": "divide"}, {"type": "divide", "a": 1, "b": 2}),
        ),
    ),
    "arrays": Pattern(
        Phoenix,
        RoutedPhoenix,
        compact(
            ["1", "2", "room:lobby", "shout", {"body": "hi"}],
            [None, "3", "phoenix", "heartbeat", {}],
            ["1", "4", "room:lobby", "unknown", {}],
        ),
    ),
    "binary frames": Pattern(
        Game, RoutedGame, (b"\x01\x00\x03\x00\x04", "text", b"\x01\xff\xff\x00\x01"), (b"\x01", b"")
    ),
    "no ids": Pattern(
        NoIds,
        RoutedNoIds,
        compact(
            {"msg_type": "add", "data": {"a": 1, "b": 2}},
            {"msg_type": "add", "data": {"a": 1}, "nonce": 5},
            {"msg_type": "nowhere", "nonce": 6},
            {"msg_type": "nowhere"},
        ),
    ),
    "presence of a key": Pattern(
        ByKey, RoutedByKey, compact({"say": "hi"}, {"join": "a"}, {"other": 1}, {"say": [None]})
    ),
    "channels tutorial": Pattern(
        Tutorial, RoutedTutorial, compact({"message": "hi"}, {"message": None}, {"message": ["a"]}), ("[]", "{}", "no")
    ),
    "action in the url": Pattern(InTheUrl, RoutedInTheUrl, compact({"number": 2}, {"number": 3}), ("[]", "{}")),
}
