"""One consumer in three flavours: async, sync, and async with sync handlers. What it does is asked for by the test.

A test talks to a consumer through the scope: ``gate`` opens what waits, ``log`` takes what happened, ``consumers`` the
instances.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

from asgiref.sync import async_to_sync
from channels.generic.websocket import AsyncJsonWebsocketConsumer, JsonWebsocketConsumer

from routesock import RouteMixin, route

from .driver import LIMIT, Socket


class Gate:
    """What handlers wait for, on the loop or in a thread."""

    def __init__(self) -> None:
        self.waiting = 0
        """How many wait, or have given up waiting without the gate's opening."""
        self.passed = 0
        self._on_loop = asyncio.Event()
        self._in_thread = threading.Event()

    def open(self) -> None:
        self._on_loop.set()
        self._in_thread.set()

    async def wait(self) -> None:
        self.waiting += 1
        await self._on_loop.wait()
        self.passed += 1

    def wait_in_thread(self) -> None:
        self.waiting += 1
        assert self._in_thread.wait(2 * LIMIT)
        self.passed += 1


class Broken(Exception):
    """An exception that cannot even be described."""

    def __str__(self) -> str:
        raise RuntimeError("No words.")

    __repr__ = __str__


class Unusual(BaseException):
    """Not an ``Exception``, and not one that Python knows."""


class OnLoop(RouteMixin, AsyncJsonWebsocketConsumer):
    """Everything async."""

    async def connect(self) -> None:
        self.scope.get("consumers", []).append(self)
        await self.accept()

    async def disconnect(self, code: int) -> None:
        self.scope["log"].append(("disconnect", code))

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        self.scope["log"].append(("foreign", content))
        if "raise" in content:
            raise self.scope[content["raise"]]
        if "wait" in content:
            await self.scope["gate"].wait()
        if "close" in content:
            await self.close(content["close"])
        await self.send_json(content)

    async def note(self, event: Any) -> None:
        self.scope["log"].append(("event", event["note"]))
        if "raise" in event:
            raise self.scope[event["raise"]]
        await self.send_json({"note": event["note"]})

    @route("quick")
    async def quick(self, request: Any) -> Any:
        self.scope["log"].append(("quick", request.id))
        return request.payload

    @route("yield")
    async def yielding(self, request: Any) -> Any:
        await asyncio.sleep(0)
        return request.payload

    @route("slow")
    async def slow(self, request: Any) -> Any:
        self.scope["log"].append(("slow", request.id))
        await self.scope["gate"].wait()
        self.scope["log"].append(("slow ended", request.id))
        return "late"

    @route("limited", timeout=0.05)
    async def limited(self, request: Any) -> Any:
        return await self.slow(request)

    @route("call")
    async def call(self, request: Any) -> Any:
        """Call what the test left in the scope."""
        self.scope["log"].append(("call", request.id))
        result = self.scope[request.payload](self)
        return await result if asyncio.iscoroutine(result) else result

    @route("call.later")
    async def call_later(self, request: Any) -> Any:
        await asyncio.sleep(0)
        return await self.call(request)

    @route("close")
    async def hang_up(self, request: Any) -> Any:
        await self.close(4000)
        return "too late"


class InThread(RouteMixin, JsonWebsocketConsumer):
    """Everything sync."""

    def connect(self) -> None:
        self.scope.get("consumers", []).append(self)
        self.accept()

    def disconnect(self, code: int) -> None:
        self.scope["log"].append(("disconnect", code))

    def receive_json(self, content: Any, **kwargs: Any) -> None:
        self.scope["log"].append(("foreign", content))
        if "raise" in content:
            raise self.scope[content["raise"]]
        if "wait" in content:
            self.scope["gate"].wait_in_thread()
        if "close" in content:
            self.close(content["close"])
        self.send_json(content)

    def note(self, event: Any) -> None:
        self.scope["log"].append(("event", event["note"]))
        if "raise" in event:
            raise self.scope[event["raise"]]
        self.send_json({"note": event["note"]})

    @route("quick")
    def quick(self, request: Any) -> Any:
        self.scope["log"].append(("quick", request.id))
        return request.payload

    @route("slow")
    def slow(self, request: Any) -> Any:
        self.scope["log"].append(("slow", request.id))
        self.scope["gate"].wait_in_thread()
        self.scope["log"].append(("slow ended", request.id))
        return "late"

    @route("limited", timeout=0.05)
    def limited(self, request: Any) -> Any:
        return self.slow(request)

    @route("call")
    def call(self, request: Any) -> Any:
        self.scope["log"].append(("call", request.id))
        return self.scope[request.payload](self)

    @route("call.later")
    def call_later(self, request: Any) -> Any:
        async_to_sync(asyncio.sleep)(0)
        return self.call(request)

    @route("close")
    def hang_up(self, request: Any) -> Any:
        self.close(4000)
        return "too late"


class Mixed(OnLoop):
    """An async consumer whose handlers are sync; undecorated overrides keep their routes."""

    def quick(self, request: Any) -> Any:  # type: ignore[override]
        self.scope["log"].append(("quick", request.id))
        return request.payload

    def slow(self, request: Any) -> Any:  # type: ignore[override]
        self.scope["log"].append(("slow", request.id))
        self.scope["gate"].wait_in_thread()
        self.scope["log"].append(("slow ended", request.id))
        return "late"

    def limited(self, request: Any) -> Any:  # type: ignore[override]
        return self.slow(request)

    def call(self, request: Any) -> Any:  # type: ignore[override]
        self.scope["log"].append(("call", request.id))
        return self.scope[request.payload](self)

    def call_later(self, request: Any) -> Any:  # type: ignore[override]
        async_to_sync(asyncio.sleep)(0)
        return self.call(request)

    @route("on.loop")
    async def on_loop(self, request: Any) -> Any:
        return request.payload


FLAVOURS = [OnLoop, InThread, Mixed]


def connected(consumer: type, gate: Gate, **scope: Any) -> Socket:
    """A socket whose consumer finds ``gate``, an empty ``log`` and whatever else the test hands over."""
    return Socket(consumer.as_asgi(), **{"gate": gate, "log": [], "consumers": [], **scope})  # type: ignore[attr-defined]


def raising(exc: BaseException | type[BaseException]) -> Callable[[Any], Any]:
    def call(consumer: Any) -> Any:
        raise exc

    return call


def returning(value: Any) -> Callable[[Any], Any]:
    return lambda consumer: value
