"""Which groups have a history, and what a process remembers of those that it has read."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings

from routesock import abroadcast
from routesock._groups import history
from routesock._groups.envelopes import Broadcast
from routesock._groups.history import Policy, broadcasts_of, policy_of
from routesock._routing.topic import Pattern
from routesock._store.histories import Entry, MemoryHistories, Position, Read
from routesock._store.opening import StoreError
from routesock.dialects import Keys
from routesock.exceptions import Unavailable
from routesock.history import ahistory, aposition

LOCAL = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache", "LOCATION": "history"}}
FRAME = '["said", 1, {}]'


class TestPolicies:
    @pytest.mark.parametrize(
        ("name", "expected"),
        [("room.5", Policy(10, 60)), ("room.vip", Policy(20, 60)), ("room", None), ("room.5.6", None), ("", None)],
    )
    def test_pattern_that_matches(self, name: str, expected: Policy | None) -> None:
        """The one that says most about the name."""
        setting = {"room.{id}": {"size": 10, "ttl": 60}, "room.vip": {"size": 20, "ttl": 60}}
        with override_settings(ROUTESOCK={"HISTORY": setting}):
            assert policy_of(name) == expected

    def test_without_the_setting(self) -> None:
        assert policy_of("room.5") is None

    def test_setting_that_changes(self) -> None:
        """What was found for a name holds as long as the setting is the same."""
        setting = {"room.{id}": {"size": 10, "ttl": 60}}
        with override_settings(ROUTESOCK={"HISTORY": setting}):
            assert [policy_of("room.5") for _ in range(2)] == [Policy(10, 60)] * 2
            with override_settings(ROUTESOCK={"HISTORY": {"room.{id}": {"size": 20, "ttl": 60}}}):
                assert policy_of("room.5") == Policy(20, 60)
            with override_settings(ROUTESOCK={}):
                assert policy_of("room.5") is None
            assert policy_of("room.5") == Policy(10, 60)
            setting["room.vip"] = {"size": 30, "ttl": 60}
            assert policy_of("room.vip") == Policy(30, 60)

    @pytest.mark.parametrize("value", [None, [], {"room.{id}": {"size": 0, "ttl": 60}}])
    async def test_value_that_is_not_valid(self, value: Any) -> None:
        """No broadcast goes out until it is mended, whatever its group."""
        with override_settings(ROUTESOCK={"HISTORY": value}):
            for _ in range(2):
                with pytest.raises(ImproperlyConfigured, match="HISTORY"):
                    await abroadcast("plain", "said", 1)

    def test_names_that_are_remembered(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A name is compared with the patterns once. Few and short ones are kept."""
        compared: list[str] = []

        def match(pattern: Any, parts: list[str]) -> None:
            compared.append(".".join(parts))

        monkeypatch.setattr(Pattern, "match", match)
        monkeypatch.setattr(history, "MAX_NAMES", 2)
        with override_settings(ROUTESOCK={"HISTORY": {"room.{id}": {"size": 11, "ttl": 60}}}):
            for name in ("a", "b", "a", "b", "c", "c", "a"):
                assert policy_of(name) is None
            assert compared == ["a", "b", "c", "a"]
            for _ in range(2):
                policy_of("x" * (history.MAX_NAME_CHARS + 1))
            assert len(compared) == 6

    def test_no_pattern(self) -> None:
        with (
            override_settings(ROUTESOCK={"HISTORY": {"room.{": {"size": 10, "ttl": 60}}}),
            pytest.raises(ImproperlyConfigured, match="HISTORY"),
        ):
            policy_of("room.5")


def read_of(*entries: Entry, epoch: str = "e") -> Read:
    return Read(Position(epoch, entries[-1].offset), entries)


def found(read: Read) -> list[Broadcast]:
    broadcasts = broadcasts_of("group", read)
    assert broadcasts is not None
    return broadcasts


class TestRecentPushes:
    @pytest.fixture(autouse=True)
    def recent(self, monkeypatch: pytest.MonkeyPatch) -> Any:
        recent = history._Recent()
        monkeypatch.setattr(history, "_recent", recent)
        return recent

    def test_push_is_encoded_once_for_all_that_come_back(self) -> None:
        class Counting(Keys):
            encoded = 0

            def encode(self, value: Any) -> str:
                self.encoded += 1
                return json.dumps(value)

        dialect = Counting()
        for _ in range(3):
            [broadcast] = found(read_of(Entry(7, FRAME, None)))
            data = broadcast.data(dialect, "room.5", positioned=True)
            assert json.loads(data or "")["headers"] == {"Topic": "room.5", "Position": "e:7"}
        assert dialect.encoded == 1

    @pytest.mark.parametrize(
        "other",
        [
            read_of(Entry(8, FRAME, None)),
            read_of(Entry(7, FRAME, None), epoch="f"),
            read_of(Entry(7, '["said", 2, {}]', None)),
            read_of(Entry(7, FRAME, "socket")),
        ],
        ids=["offset", "epoch", "data", "excluded"],
    )
    def test_another_push(self, other: Read) -> None:
        """It is known by all that it has."""
        [first] = found(read_of(Entry(7, FRAME, None)))
        [second] = found(other)
        [entry] = other.entries or ()
        assert second is not first
        assert (second.position, second.excluded) == (Position(other.top.epoch, entry.offset), entry.excluded)
        assert second.is_of(entry.data)

    def test_number_and_bytes_are_bounded(self, recent: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(history, "MAX_RECENT", 3)
        for offset in range(1, 5):
            found(read_of(Entry(offset, FRAME, None)))
        assert len(recent._pushes) == 1
        monkeypatch.setattr(history, "MAX_RECENT_BYTES", 2 * len(FRAME))
        for offset in (5, 6):
            found(read_of(Entry(offset, FRAME, None)))
        assert (len(recent._pushes), recent._bytes) == (1, len(FRAME))

    def test_nothing_is_a_part_of_what_was_asked_for(self) -> None:
        top = Position("e", 2)
        assert broadcasts_of("group", Read(top, None)) is None
        assert broadcasts_of("group", Read(top, ())) == []
        assert broadcasts_of("group", Read(top, (Entry(1, FRAME, None), Entry(2, "no JSON", None)))) is None


async def test_store_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """The functions raise what a view can catch."""

    async def fail(*args: Any) -> Any:
        raise StoreError("down")

    monkeypatch.setattr(MemoryHistories, "read", fail)
    monkeypatch.setattr(MemoryHistories, "latest", fail)
    with override_settings(CACHES=LOCAL, ROUTESOCK={"HISTORY": {"room.{id}": {"size": 10, "ttl": 60}}}):
        with pytest.raises(Unavailable):
            await aposition("room.5")
        with pytest.raises(Unavailable):
            await ahistory("room.5", "a:1")
