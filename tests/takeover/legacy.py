"""A consumer as teams have them: one long ``receive_json``. Nothing of it knows of routesock."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextvars import ContextVar
from typing import Any

from asgiref.sync import async_to_sync
from channels.generic.websocket import AsyncJsonWebsocketConsumer, JsonWebsocketConsumer

visitor: ContextVar[str] = ContextVar("visitor", default="nobody")

ACTIONS = (
    "add",
    "binary",
    "bye",
    "count",
    "depth",
    "divide",
    "echo",
    "error",
    "forget",
    "greet",
    "header",
    "join",
    "keys",
    "leave",
    "many",
    "nan",
    "note",
    "protocol",
    "quiet",
    "raw",
    "recall",
    "remember",
    "self",
    "shout",
    "slow",
    "upper",
    "visitor",
    "where",
    "whoami",
    "farewell",
)
"""What ``receive_json`` has a branch for."""

CLOSING = frozenset(("bye", "farewell"))


class Branches:
    """The logic of both consumers; ``say`` and the like are theirs."""

    channel_name: str
    scope: dict[str, Any]
    say: Any
    send_raw: Any
    hang_up: Any
    pause: Any
    layer_call: Any

    def __init__(self, *args: Any, greeting: str = "Hello", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.greeting = greeting
        self.notes: dict[str, Any] = {}
        self.counted = 0

    async def branches(self, content: Any) -> None:
        if isinstance(content, list):
            await self.say({"batch": len(content)})
            return
        if not isinstance(content, dict):
            await self.say({"error": "not an object", "got": type(content).__name__})
            return
        action = content.get("action")
        head = {"action": action, "request_id": content.get("request_id")}
        if action == "echo":
            await self.say({**head, "data": content.get("data")})
        elif action == "add":
            try:
                await self.say({**head, "sum": content["a"] + content["b"]})
            except (KeyError, TypeError) as exc:
                await self.say({**head, "error": type(exc).__name__})
        elif action == "divide":
            if content.get("b"):
                await self.say({**head, "quotient": 1 / 3 * 3 if content.get("a") is None else 1})
            else:
                await self.say({**head, "error": "division by zero"})
        elif action == "join":
            await self.layer_call("group_add", "lobby", self.channel_name)
            await self.say({**head, "joined": True})
        elif action == "leave":
            await self.layer_call("group_discard", "lobby", self.channel_name)
            await self.say({**head, "joined": False})
        elif action == "shout":
            await self.layer_call("group_send", "lobby", {"type": "lobby.shout", "text": str(content.get("text"))})
        elif action == "self":
            await self.layer_call("send", self.channel_name, {"type": "self.note", "text": str(content.get("text"))})
            await self.say({**head, "sent": True})
        elif action == "binary":
            await self.send_raw(bytes_data=str(content.get("text")).encode("utf-8", "surrogatepass"))
        elif action == "raw":
            await self.send_raw(text_data="not JSON: " + str(content.get("text")))
        elif action == "remember":
            self.notes[str(content.get("key"))] = content.get("data")
            await self.say({**head, "notes": len(self.notes)})
        elif action == "recall":
            await self.say({**head, "data": self.notes.get(str(content.get("key")))})
        elif action == "forget":
            self.notes.clear()
            await self.say({**head, "notes": 0})
        elif action == "note":
            self.notes["note"] = content.get("text")
        elif action == "count":
            self.counted += 1
            await self.say({**head, "count": self.counted})
        elif action == "whoami":
            user = self.scope.get("user")
            await self.say({**head, "user": str(user), "pk": getattr(user, "pk", None)})
        elif action == "where":
            await self.say({**head, "path": self.scope["path"], "kwargs": self.scope["url_route"]["kwargs"]})
        elif action == "greet":
            await self.say({**head, "greeting": f"{self.greeting}, {content.get('name')}"})
        elif action == "protocol":
            await self.say({**head, "offered": self.scope["subprotocols"]})
        elif action == "header":
            await self.say({**head, "names": sorted(name.decode() for name, _ in self.scope["headers"])})
        elif action == "visitor":
            await self.say({**head, "visitor": visitor.get()})
        elif action == "nan":
            await self.say({**head, "numbers": [float("nan"), float("inf"), content.get("data")]})
        elif action == "many":
            for number in range(3):
                await self.say({**head, "number": number})
                await self.pause()
        elif action == "slow":
            for _ in range(5):
                await self.pause()
            await self.say({**head, "slow": True})
        elif action == "quiet":
            pass
        elif action == "upper":
            await self.say({**head, "text": str(content.get("text")).upper()})
        elif action == "keys":
            await self.say({**head, "keys": sorted(content)})
        elif action == "depth":
            depth, value = 0, content.get("data")
            while isinstance(value, list):
                depth, value = depth + 1, value[0] if value else None
            await self.say({**head, "depth": depth})
        elif action == "error":
            await self.say({**head, "error": {"code": 17, "text": content.get("text")}})
        elif action == "farewell":
            await self.say({**head, "farewell": True}, 4001)
        elif action == "bye":
            await self.hang_up(4000)
        elif action == "raise":
            raise KeyError(content["text"])
        else:
            await self.say({**head, "error": "unknown action"})


class AsyncLegacy(Branches, AsyncJsonWebsocketConsumer):
    groups = ["everyone"]

    async def connect(self) -> None:
        visitor.set("ada")
        offered = self.scope["subprotocols"]
        await self.accept(subprotocol=offered[-1] if offered else None, headers=[(b"x-legacy", b"1")])
        await self.send_json({"welcome": self.greeting})

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        await self.branches(content)

    async def disconnect(self, code: int) -> None:
        await self.channel_layer.group_discard("lobby", self.channel_name)

    async def lobby_shout(self, event: Any) -> None:
        await self.send_json({"shout": event["text"]})

    async def self_note(self, event: Any) -> None:
        await self.send_json({"note": event["text"], "counted": self.counted})

    async def say(self, content: Any, close: Any = False) -> None:
        await self.send_json(content, close=close)

    async def send_raw(self, **data: Any) -> None:
        await self.send(**data)

    async def hang_up(self, code: int) -> None:
        await self.close(code, reason="Bye")

    async def pause(self) -> None:
        await asyncio.sleep(0)

    async def layer_call(self, name: str, *args: Any) -> None:
        await getattr(self.channel_layer, name)(*args)


def ran(coroutine: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine that never waits."""
    try:
        coroutine.send(None)
    except StopIteration:
        return
    raise AssertionError("It waited.")


class SyncLegacy(Branches, JsonWebsocketConsumer):
    groups = ["everyone"]

    def connect(self) -> None:
        visitor.set("ada")
        offered = self.scope["subprotocols"]
        self.accept(subprotocol=offered[-1] if offered else None, headers=[(b"x-legacy", b"1")])
        self.send_json({"welcome": self.greeting})

    def receive_json(self, content: Any, **kwargs: Any) -> None:
        ran(self.branches(content))

    def disconnect(self, code: int) -> None:
        async_to_sync(self.channel_layer.group_discard)("lobby", self.channel_name)

    def lobby_shout(self, event: Any) -> None:
        self.send_json({"shout": event["text"]})

    def self_note(self, event: Any) -> None:
        self.send_json({"note": event["text"], "counted": self.counted})

    async def say(self, content: Any, close: Any = False) -> None:
        self.send_json(content, close=close)

    async def send_raw(self, **data: Any) -> None:
        self.send(**data)

    async def hang_up(self, code: int) -> None:
        self.close(code, reason="Bye")

    async def pause(self) -> None:
        pass

    async def layer_call(self, name: str, *args: Any) -> None:
        async_to_sync(getattr(self.channel_layer, name))(*args)
