"""What the servers load: each stack under a path of its own, with the same consumers below."""

from __future__ import annotations

import time
from typing import Any

import django

django.setup()

from channels.auth import AuthMiddlewareStack  # noqa: E402
from channels.security.websocket import OriginValidator  # noqa: E402
from rest_framework.authentication import TokenAuthentication  # noqa: E402
from rest_framework_simplejwt.authentication import JWTAuthentication  # noqa: E402

from routesock.auth import (  # noqa: E402
    Credentials,
    HandshakeMiddleware,
    Identity,
    RequestMiddleware,
    SessionKeyAuthentication,
    TokenMiddleware,
    reject,
)

from .consumers import LONG, Wordy, router  # noqa: E402
from .tokens import Account, Once  # noqa: E402


async def own(credentials: Credentials) -> Any:
    if credentials.token == "expired":
        return Identity(Account(), time.time() - 1)
    return Account() if credentials.token == "carol" else None


ALL: list[Any] = [JWTAuthentication, TokenAuthentication, SessionKeyAuthentication(), own]
DJANGO = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "tests.auth.middleware.Answering",
]


def gate(**options: Any) -> HandshakeMiddleware:
    return HandshakeMiddleware(router, **{"authenticators": ALL, "lock": 0, **options})


class Clock:
    """The clock of the stack ``locking``, which ``later`` puts forward."""

    shift = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.shift


async def an_hour_later(scope: Any, receive: Any, send: Any) -> None:
    clock.shift += 3600
    await receive()
    await send({"type": "websocket.accept"})
    await send({"type": "websocket.close"})


clock = Clock()
stacks: dict[str, Any] = {
    "bare": router,
    "required": gate(),
    "optional": gate(mode="optional"),
    "disabled": gate(mode="disabled"),
    "hurried": gate(timeout=0.5),
    "locking": gate(address_attempts=2, lock=60),
    "later": an_hour_later,
    "session": AuthMiddlewareStack(gate()),
    "once": gate(authenticators=[Once("frame")]),
    "token": TokenMiddleware(OriginValidator(router, ["*"]), ALL, query="token", lock=0),
    "token-http": TokenMiddleware(router, ALL, query="token", lock=0, refuse="http"),
    "token-once": TokenMiddleware(router, [Once("header", "subprotocol", "query")], query="token", lock=0),
    "wordy": HandshakeMiddleware(Wordy.as_asgi(), authenticators=ALL, mode="optional"),
    "wordy-reject": reject(403, LONG),
    "requests": RequestMiddleware(router, DJANGO),
    "requests-http": RequestMiddleware(router, DJANGO, refuse="http"),
}
stacks["locking"]._terms.failures._clock = clock


async def application(scope: Any, receive: Any, send: Any) -> None:
    name = scope["path"].split("/")[1]
    scope["root_path"] = f"/{name}"  # in place: a server's access log is written from its own scope
    await stacks[name](scope, receive, send)
