"""What the takeover command finds in the ways in which consumers read frames, one way at a time."""

from __future__ import annotations

import enum
import json
from typing import Any

import pytest
from channels.generic.websocket import AsyncJsonWebsocketConsumer, AsyncWebsocketConsumer

from routesock.management._takeover.facts import Facts
from routesock.management._takeover.frames import read_frames
from routesock.management._takeover.source import Source

JOIN = "join"


class Kinds(enum.Enum):
    JOIN = "join"
    LEAVE = "leave"


class Base(AsyncJsonWebsocketConsumer):
    ACTIONS = ("join", "leave")
    SETS = frozenset({"join", "leave"})


class Compared(Base):
    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        action = content["action"]
        if action == JOIN or self.KIND != content["kind"]:  # noqa: SIM300
            return
        if "leave" == action or action is None or action == True:  # noqa: E712, SIM300
            return

    KIND = "chat"


class ComparedToEnum(Base):
    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        if content["action"] == Kinds.JOIN.value or content["action"] == Kinds.LEAVE:
            return
        if Kinds(content["kind"]) is Kinds.JOIN:
            return


class ComparedToVariables(Base):
    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        wanted: Any = self.groups
        if content["action"] == wanted or content["other"] in wanted:
            return


class Contained(Base):
    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        if "message" in content and content["action"] in ("join", "leave"):
            return
        if content["a"] in self.ACTIONS or content["b"] in self.SETS or content["c"] in {"x": 1, "y": 2}:
            return
        table = {"one": 1, "two": 2}
        if content["d"] not in table or content["e"] in (1.5, None):
            return


class Matched(Base):
    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        match content:
            case {"action": "join" | "leave" as action, "room": room}:
                await self.send_json({"action": action, "room": room})
            case {"action": "ping"} if content["at"] == 1:
                return
            case {"data": {"kind": Kinds.LEAVE}}:
                return
            case _:
                return


class MatchedByPosition(Base):
    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        match content:
            case ["join", room]:
                await self.send_json({"room": room})
            case ["leave", _]:
                return


class Unpacked(Base):
    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        action, room = content
        one, two = content["data"], 5
        if action == "join" and one == "x":
            await self.send_json({"room": room, "two": two})


class Batched(Base):
    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        for each in content:
            if each["action"] == "join":
                return


class BatchedAsync(Base):
    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        async for each in content:
            if each["action"] == "join":
                return


class Defaults(Base):
    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        action = content.get("action", "join")
        kind = content.pop("kind", None)
        if action.lower() == "join" or kind == "x" or content.setdefault("a", "b") == "c":
            return


class Prefixes(Base):
    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        if content["action"].startswith("room."):
            await getattr(self, f"on_{content['action']}")(content)
        await getattr(self, "do_" + content["kind"])()


class Aliases(Base):
    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        frame = dict(content)
        data: Any = frame["data"]
        if (kind := data["kind"]) == "a" or (data or {})["other"] == "b":
            return
        part = data["x"] if kind else data["y"]
        if part == "z":
            return
        kind = str(self.groups)
        if kind == "not of the frame":
            return


class Echoes(Base):
    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        status = 404
        await self.send_json({"request_id": content["id"], "status": 200, **content})
        await self.send_json({"id": content["id"], "status_code": status, "jsonrpc": "2.0", 5: 1, "status": 20})


class Text(AsyncWebsocketConsumer):
    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        if text_data == "ping" or text_data.startswith("#"):  # type: ignore[union-attr]
            return
        frame = json.loads(bytes_data or b"")
        if frame["action"] == "join":
            return


class Decoded(AsyncWebsocketConsumer):
    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        assert bytes_data is not None
        frame = json.loads(bytes_data.decode())
        if frame["action"] == "join":
            return


class HandedOn(Base):
    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        await super().receive_json(content)
        json.dumps(content)
        handle(content)
        await self.helper.handle(content)
        await self.own(content)
        len(content)

    async def own(self, frame: Any) -> None:
        if frame["action"] == "join":
            await self.own(frame)

    helper: Any = None


def handle(frame: Any) -> None: ...


class SpreadOut(Base):
    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        await self.act(**content)

    async def act(self, action: Any, **rest: Any) -> None:
        if action == "join" or rest["room"] == "lobby":
            return


def facts_of(cls: type) -> Facts:
    return read_frames(Source(cls))


def keys(found: dict[Any, Any]) -> dict[str, list[Any]]:
    """The names by the dotted path of the part that is compared with them."""
    return {".".join(map(str, path)): [*names] for path, names in found.items()}


@pytest.mark.parametrize(
    ("cls", "names"),
    [
        (Compared, {"action": ["join", "leave"], "kind": ["chat"]}),
        (ComparedToEnum, {"action": ["join", "leave"], "kind": ["join"]}),
        (ComparedToVariables, {}),
        (
            Contained,
            {
                "action": ["join", "leave"], "a": ["join", "leave"], "b": ["join", "leave"], "c": ["x", "y"],
                "d": ["one", "two"],
            },
        ),
        (Matched, {"action": ["join", "leave", "ping"], "at": [1], "data.kind": ["leave"]}),
        (MatchedByPosition, {"0": ["join", "leave"]}),
        (Unpacked, {"0": ["join"], "data": ["x"]}),
        (Batched, {"action": ["join"]}),
        (BatchedAsync, {"action": ["join"]}),
        (Defaults, {"action": ["join"], "kind": ["x"], "a": ["c"]}),
        (Aliases, {"data.kind": ["a"], "data.other": ["b"], "data.x": ["z"]}),
        (Text, {"action": ["join"]}),
        (Decoded, {"action": ["join"]}),
        (HandedOn, {"action": ["join"]}),
        (SpreadOut, {"action": ["join"], "room": ["lobby"]}),
    ],
)  # fmt: skip
def test_names_that_a_part_of_the_frame_is_compared_with(cls: type, names: Any) -> None:
    assert keys(facts_of(cls).names) == names


def test_comparisons_with_values_that_are_not_known() -> None:
    assert [*facts_of(ComparedToVariables).unknown] == [("action",), ("other",)]
    assert [*facts_of(Contained).unknown] == [("e",)]


@pytest.mark.parametrize(
    ("cls", "tested"), [(Contained, ["message"]), (Matched, ["room"]), (MatchedByPosition, []), (Compared, [])]
)
def test_keys_whose_presence_is_tested(cls: type, tested: list[str]) -> None:
    assert [*facts_of(cls).presence] == tested


@pytest.mark.parametrize(
    ("cls", "arrays", "batches"),
    [(MatchedByPosition, 2, 0), (Unpacked, 1, 0), (Batched, 0, 1), (BatchedAsync, 0, 1), (Compared, 0, 0)],
)
def test_frames_that_are_arrays(cls: type, arrays: int, batches: int) -> None:
    """Read by position, or one frame after the other."""
    facts = facts_of(cls)
    assert (len(facts.arrays), len(facts.batches)) == (arrays, batches)


def test_defaults_and_changes() -> None:
    facts = facts_of(Defaults)
    assert [*facts.defaults] == [("action",), ("a",)]
    assert [*facts.changed] == [("action",)]


def test_names_of_methods_and_prefixes() -> None:
    facts = facts_of(Prefixes)
    assert keys(facts.built) == {"action": ["on_"], "kind": ["do_"]}
    assert keys(facts.prefixes) == {"action": ["room."]}


def test_what_replies_repeat() -> None:
    facts = facts_of(Echoes)
    assert [*facts.echoes] == [("request_id", ("id",)), ("id", ("id",))]
    assert [*facts.statuses] == ["status"]
    assert (len(facts.spreads), len(facts.json_rpc)) == (1, 1)


@pytest.mark.parametrize(
    ("cls", "text", "binary"), [(Text, True, True), (Decoded, False, True), (Compared, False, False)]
)
def test_text_and_bytes_before_they_are_decoded(cls: type, text: bool, binary: bool) -> None:
    facts = facts_of(cls)
    assert (bool(facts.text), bool(facts.binary)) == (text, binary)


def test_calls_that_take_a_frame() -> None:
    """Those of the project are followed, those of Channels, json and the builtins say nothing."""
    facts = facts_of(HandedOn)
    assert sorted(facts.handed_on) == ["self.helper.handle"]
    assert [method.name for method in facts.methods] == ["receive_json", "handle", "own"]
