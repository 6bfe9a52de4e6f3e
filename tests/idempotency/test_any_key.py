"""Whatever stands in the place of a key: one clear reply, and no second run of a request with the same key."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import pytest
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from django.contrib.auth.models import User
from django.test import override_settings
from hypothesis import example, given, settings
from hypothesis import strategies as st

from routesock import Request, RouteMixin, route
from routesock._store.idempotency import RECORD_SIZE, MemoryKeys, get_keys
from routesock.testing import RouteClient, forget_stores
from tests.hostile import frames_before, json_values, no_faults, strict_value  # noqa: F401  (a fixture)
from tests.throttling.redis_server import RedisServer, cache_at

MAX_KEYS: Final = 4

ALICE: Final = User(pk=1)

LAST: Final = {"route": "last", "uuid": "the last"}


class Shop(RouteMixin, AsyncJsonWebsocketConsumer):
    """Its handlers count how often they ran."""

    runs = 0

    @route("pay", idempotent=True)
    async def pay(self, request: Request) -> int:
        type(self).runs += 1
        return type(self).runs

    @route("refund", idempotent=True)
    async def refund(self, request: Request) -> int:
        return await self.pay(request)

    @route("last")
    async def last(self, request: Request) -> None: ...


class Branch(Shop):
    """Another class, with the same routes."""


@dataclass(frozen=True)
class Member:
    pk: Any
    is_authenticated: bool = True


@dataclass(frozen=True)
class Session:
    session_key: Any


@dataclass(frozen=True)
class Client:
    """A class, and a user or a session."""

    consumer: type[Shop] = Shop
    user: Any = ALICE
    session: Any = None

    async def frames(self, texts: Sequence[str | bytes]) -> list[Any]:
        """What comes back for each frame."""
        scope = {} if self.session is None else {"session": self.session}
        async with RouteClient(self.consumer, as_user=self.user, scope=scope, timeout=20) as client:
            return [await frames_before(client, text, LAST, is_last) for text in texts]


def is_last(frame: Any) -> bool:
    return bool(frame.get("uuid") == LAST["uuid"])


def is_key(value: Any) -> bool:
    return isinstance(value, str) and 1 <= len(value) <= 255 and all(" " <= char <= "~" for char in value)


def identity(value: Any) -> Any:
    """Equal for JSON values that are the same, and only for these: ``1``, ``1.0`` and ``true`` are equal in Python."""
    if isinstance(value, dict):
        return {name: identity(member) for name, member in value.items()}
    return [identity(item) for item in value] if isinstance(value, list) else (type(value), repr(value))


@dataclass
class Model:
    """What the keys of the documentation do, in a few lines. ``kept`` has what was asked for under each key."""

    max_keys: int
    runs: int = 0
    kept: dict[Any, tuple[Any, int]] = field(default_factory=dict)

    def answer(self, frame: Mapping[str, Any], owner: Any = None) -> Any:
        """The run whose reply this is, or the code of the error."""
        headers = frame.get("headers") or {}
        given = [value for name, value in headers.items() if name.isascii() and name.lower() == "idempotency-key"]
        if given == [] or given == [None]:
            return self.run()
        if len(given) > 1 or not is_key(given[0]):
            return "idempotency_key_invalid"
        key, asked = (owner, given[0]), identity([frame["route"], frame.get("payload")])
        if key not in self.kept:
            if len(self.kept) >= self.max_keys:
                return "unavailable"
            self.kept[key] = asked, self.run()
        first, run = self.kept[key]
        return run if first == asked else "idempotency_mismatch"

    def run(self) -> int:
        self.runs += 1
        return self.runs


STATUSES: Final = {"idempotency_key_invalid": 400, "idempotency_mismatch": 422, "unavailable": 503, "parse_error": 400}


def check(frame: Any, expected: Any) -> None:
    """``frame`` is the reply to a request, with the run or the code that is expected."""
    if isinstance(expected, int):
        assert (frame["status"], frame["payload"]) == (200, expected)
    else:
        assert (frame["payload"]["code"], frame["status"]) == (expected, STATUSES[expected])


def frame_with(headers: Any, payload: Any = None, name: str = "pay") -> dict[str, Any]:
    return {"route": name, "uuid": 1, "payload": payload, "headers": headers}


LOOKALIKES: Final = (
    "k", "K", "\u212a", "\uff4b", "k\u0301", "\u043a", "k\u200b", "k ", " k", "k\t", "k\0", "k\ud83d", "\ud83d\ude00",
    "\U0001f600", "k,k", "k:k", "k|k", 'k","k', "k\\", "user", '["k"]', "k" * 255, "k" * 256, "null", "", "\x7f",
)  # fmt: skip
"""Keys that a careless comparison, or a careless way to join them with the owner, would take for one another."""

NAMES: Final = ("Idempotency-Key", "idempotency-key", "IDEMPOTENCY-KEY", "Idempotency-\u212aey", "Idempotency_Key")

keys = st.sampled_from(LOOKALIKES) | st.text(st.characters(codec="ascii"), max_size=8) | st.text() | json_values

payloads = st.sampled_from((None, 1, 1.0, True, "1", [1], {"a": 1}, {"a": 1.0})) | json_values

headers = st.dictionaries(st.sampled_from(NAMES), keys, max_size=2) | keys.map(lambda key: {"Idempotency-Key": key})

requests = st.builds(frame_with, headers, payloads, st.sampled_from(("pay", "refund")))


def has_surrogates(value: Any) -> bool:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return True
    return False


def serve(frames: Sequence[Any], max_keys: int = MAX_KEYS) -> None:
    """Send ``frames`` and check the reply to each, the runs, and what is kept."""
    Shop.runs = 0
    model = Model(max_keys)
    texts = [json.dumps(frame) for frame in frames]
    for text, (reply,) in zip(texts, asyncio.run(Client().frames(texts)), strict=True):
        frame = strict_value(text)
        check(reply, "parse_error" if frame is None or has_surrogates(frame) else model.answer(frame))
    assert Shop.runs == model.runs


async def memory_size() -> tuple[int, int]:
    """The keys in memory and their bytes."""
    found = await get_keys()
    assert isinstance(found, MemoryKeys)
    return len(found._records), found._bytes


@given(frames=st.lists(requests, max_size=8))
@example(frames=[frame_with({"Idempotency-Key": key}) for key in ("k", "K", "k ", " k", "k")])
@example(frames=[frame_with({"Idempotency-Key": "k"}, payload) for payload in (1, 1.0, True, "1", [1], 1)])
@example(frames=2 * [frame_with({"idempotency-key": None, "Idempotency-Key": "k"})])
@example(frames=2 * [frame_with({"Idempotency-\u212aey": "k"})])
def test_any_value_in_the_header(frames: list[Any]) -> None:
    forget_stores()
    with override_settings(ROUTESOCK={"IDEMPOTENCY_MAX_KEYS": MAX_KEYS}):
        serve(frames)
        count, size = asyncio.run(memory_size())
    assert count <= MAX_KEYS
    assert size <= count * (RECORD_SIZE + 100)


@given(keys=st.lists(st.text(), min_size=1, max_size=4))
@example(keys=['k","headers":{"x":"', "k\\", "\\u006b", "k", "\\u00e9", "k\x00"])
def test_any_text_in_the_place_of_the_key(keys: list[str]) -> None:
    """It is not escaped, so it may end the string and go on with members of its own."""
    forget_stores()
    head, tail = json.dumps(frame_with({"Idempotency-Key": "?"})).split("?")
    Shop.runs = 0
    model = Model(max_keys=10)
    texts = [head + key + tail for key in keys for _ in range(2)]
    for text, found in zip(texts, asyncio.run(Client().frames(texts)), strict=True):
        (reply,) = found
        value = strict_value(text)
        if isinstance(value, dict) and value["route"] == "pay" and not has_surrogates(value):
            check(reply, model.answer(value))
        else:
            assert reply["status"] in (400, 404)
    assert Shop.runs == model.runs


@given(keys=st.lists(st.binary(max_size=12), min_size=1, max_size=4))
def test_any_bytes_in_the_place_of_the_key(keys: list[bytes]) -> None:
    """A binary message is no frame of the default dialect, whatever is in it."""
    head, tail = json.dumps(frame_with({"Idempotency-Key": "?"})).encode().split(b"?")
    Shop.runs = 0
    for found in asyncio.run(Client().frames([head + key + tail for key in keys])):
        assert [frame["status"] for frame in found] == [400]
    assert Shop.runs == 0


owners = st.sampled_from(('1","k', "1", "[1]", "user", "session", "\ud83d\ude00", "\U0001f600", "1\0")) | st.text(
    st.characters(exclude_categories=()), min_size=1
)

clients = st.builds(
    Client,
    consumer=st.sampled_from((Shop, Branch)),
    user=owners.map(Member) | owners.map(lambda pk: User(pk=pk)),
) | st.builds(Client, consumer=st.sampled_from((Shop, Branch)), user=st.none(), session=owners.map(Session))


@given(clients=st.lists(clients, min_size=1, max_size=4), keys=st.lists(st.sampled_from(LOOKALIKES), max_size=2))
@example(clients=[Client(user=User(pk="\ud83d\ude00")), Client(user=User(pk="\U0001f600"))], keys=["k"])
@example(clients=[Client(user=User(pk="1")), Client(user=Member("1"))], keys=["k"])
@example(clients=[Client(user=User(pk='1", "k')), Client(user=User(pk="1"))], keys=['k", "k', "k"])
def test_owners_never_share_a_key(clients: list[Client], keys: list[str]) -> None:
    forget_stores()
    Shop.runs = Branch.runs = 0
    model = Model(max_keys=100)
    frames = [frame_with({"Idempotency-Key": key}) for key in keys if not has_surrogates(key)]
    for client in clients:
        who = client.user or client.session
        owner = client.consumer, type(who), getattr(who, "pk", None) or who.session_key
        client.consumer.runs = model.runs
        replies = asyncio.run(client.frames([json.dumps(frame) for frame in frames]))
        for frame, (reply,) in zip(frames, replies, strict=True):
            check(reply, model.answer(frame, owner))


@pytest.mark.servers
@given(frames=st.lists(requests, min_size=2, max_size=6))
@example(frames=[frame_with({"Idempotency-Key": key}) for key in ("k", "K", "k ", "{k}:*", 'k","k', "k")])
@settings(max_examples=max(1, settings().max_examples // 5))
def test_any_value_in_the_header_with_redis(session_redis: RedisServer, frames: list[Any]) -> None:
    session_redis.execute("FLUSHALL")
    with override_settings(CACHES=cache_at(session_redis.url), ROUTESOCK={"STORE_TIMEOUT": 20}):
        serve(frames, max_keys=len(frames))
    names = session_redis.key_names()
    assert all(name.startswith("shop:1:routesock:i:{") and len(name) < 80 for name in names)
