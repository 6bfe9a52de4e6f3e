"""The settings: defaults, when they are read, and what their values may be."""

from __future__ import annotations

import json
import math
from decimal import Decimal
from http import HTTPStatus
from typing import Any, Final

import marshmallow
import pytest
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings
from django.utils.translation import gettext_lazy

from routesock import Request, RouteMixin, conf, route
from routesock.testing import RouteClient

DEFAULTS: Final[dict[str, Any]] = {
    "MAX_FRAME": 65_536,
    "MAX_REPLY": 1_000_000,
    "MAX_DEPTH": 64,
    "MAX_QUEUED": 64,
    "MAX_QUEUED_BYTES": 524_288,
    "CONCURRENCY": 15,
    "MAX_SUBSCRIPTIONS": 100,
    "MAX_ASKS": 16,
    "MAX_OUTGOING": 256,
    "MAX_OUTGOING_BYTES": 4_000_000,
    "OVERFLOW": "close",
    "VALIDATION_STATUS": 422,
    "VALIDATION_ERRORS": "flat",
    "TIMEOUT": 30.0,
    "DISCONNECT_GRACE": 5.0,
    "DB_THREADS": 8,
    "THROTTLE_CACHE": "default",
    "THROTTLE_TIMEOUT": 0.25,
    "THROTTLE_FAIL": "open",
    "THROTTLE_HEADERS": False,
    "STORE": None,
    "STORE_TIMEOUT": 0.25,
    "IDEMPOTENCY_FAIL": "closed",
    "IDEMPOTENCY_MAX_KEYS": 10_000,
    "IDEMPOTENCY_MAX_BYTES": 32_000_000,
    "HISTORY": {},
    "NUM_PROXIES": 0,
    "DRAIN_ON_SIGTERM": True,
    "IDLE_TIMEOUT": None,
    "ANONYMOUS_TIMEOUT": None,
    "END_WITH_SESSION": True,
    "MAX_SOCKETS_PER_USER": None,
    "MAX_SOCKETS_PER_ADDRESS": None,
    "MIDDLEWARE": (),
    "PERMISSIONS": (),
    "LOG_EXCLUDE": (),
    "GUARD_ATTRIBUTES": (),
    "DOCS": {},
    "DOCS_ACCESS": "staff",
    "PLAYGROUND": None,
    "CHECK_REPLIES": None,
    "CENSUS": None,
}

COUNTS: Final = (
    "MAX_FRAME", "MAX_REPLY", "MAX_DEPTH", "MAX_QUEUED", "MAX_QUEUED_BYTES", "CONCURRENCY", "MAX_SUBSCRIPTIONS",
    "MAX_ASKS", "MAX_OUTGOING", "MAX_OUTGOING_BYTES",
    "DB_THREADS", "IDEMPOTENCY_MAX_KEYS", "IDEMPOTENCY_MAX_BYTES",
)  # fmt: skip
NO_COUNTS: Final = (0, -1, 1.0, "1", None, True, math.inf)
CAPS: Final = ("MAX_SOCKETS_PER_USER", "MAX_SOCKETS_PER_ADDRESS")
TIMEOUTS: Final = ("TIMEOUT", "IDLE_TIMEOUT", "ANONYMOUS_TIMEOUT")

ACCEPTED: Final[dict[str, tuple[Any, ...]]] = {
    **dict.fromkeys(COUNTS, (1, 10**9)),
    "OVERFLOW": ("close", "drop"),
    "VALIDATION_STATUS": (400, 422, 499, HTTPStatus.BAD_REQUEST),
    "VALIDATION_ERRORS": ("flat", "native"),
    **dict.fromkeys(CAPS, (None, 1, 10**6)),
    **dict.fromkeys(TIMEOUTS, (None, 1, 0.5, 3600.0)),
    "DISCONNECT_GRACE": (0, 0.0, 1, 0.5),
    "THROTTLE_CACHE": ("default", "redis"),
    "THROTTLE_TIMEOUT": (0.25, 1, 60.0),
    "THROTTLE_FAIL": ("open", "closed"),
    "THROTTLE_HEADERS": (False, True),
    "STORE": (None, "default", "redis"),
    "STORE_TIMEOUT": (0.25, 1, 60.0),
    "IDEMPOTENCY_FAIL": ("open", "closed"),
    "HISTORY": ({}, {"a.{b}": {"size": 1, "ttl": 0.5}}, {"a": {"size": 1000, "ttl": 86_400}}),
    "NUM_PROXIES": (0, 1, 3),
    "DRAIN_ON_SIGTERM": (True, False),
    "END_WITH_SESSION": (True, False),
    "MIDDLEWARE": ([], (), ["shop.middleware.timing"], ("a.b", "c.d")),
    "PERMISSIONS": ([], (), ["routesock.permissions.IsAuthenticated"], ("chat.add_message", "a.b.c")),
    "LOG_EXCLUDE": ([], (), ["PING", "typing"], ("chat.typing",)),
    "GUARD_ATTRIBUTES": ([], (), ["access_rules"], ("access_rules", "roles")),
    "DOCS": (
        {},
        {"title": "Chat", "version": "2.1"},
        {"title": gettext_lazy("Chat"), "description": "", "terms": None, "contact": None, "license": None},
        {"servers": ["wss://chat.example.com", "ws://localhost:8000/base"], "terms": "https://example.com/terms"},
        {"servers": {"production": "wss://chat.example.com"}, "contact": {"name": "Ada", "email": "a@example.com"}},
        {"servers": (), "contact": {}, "license": {"name": "MIT", "url": "https://example.com/mit"}},
        {"license": {"name": "MIT"}},
    ),
    "DOCS_ACCESS": ("staff", "debug", "public", "shop.access.may_read"),
    **dict.fromkeys(("PLAYGROUND", "CHECK_REPLIES", "CENSUS"), (None, True, False)),
}

REFUSED: Final[dict[str, tuple[Any, ...]]] = {
    **dict.fromkeys(COUNTS, NO_COUNTS),
    "OVERFLOW": ("", "Close", "drop_oldest", None, True, [], {}),
    "VALIDATION_STATUS": (399, 500, 200, "422", 422.0, None, True, HTTPStatus.OK),
    "VALIDATION_ERRORS": ("", "Flat", "nested", None, True, []),
    **dict.fromkeys(CAPS, (0, -1, 1.0, "1", True, math.inf)),
    **dict.fromkeys(TIMEOUTS, (0, -1, "30", True, False, math.nan, Decimal(3))),
    "DISCONNECT_GRACE": (-1, None, "5", True, math.nan),
    "THROTTLE_CACHE": ("", None, 5, ["default"]),
    "THROTTLE_TIMEOUT": (0, -1, None, "0.25", True, math.nan),
    "STORE": ("", 5, True, ["default"]),
    "STORE_TIMEOUT": (0, -1, None, "0.25", True, math.nan),
    "IDEMPOTENCY_FAIL": ("", "Open", "close", None, True, []),
    "HISTORY": (
        None, [], "a", {"a": None}, {"a": {}}, {"a": {"size": 1}}, {"a": {"size": 0, "ttl": 1}},
        {5: {"size": 1, "ttl": 1}},
        {"a": {"size": 1001, "ttl": 1}}, {"a": {"size": 1, "ttl": 86_401}}, {"a": {"size": 1, "ttl": 1, "epoch": 1}},
    ),
    "THROTTLE_FAIL": ("", "Open", "close", None, True, []),
    "THROTTLE_HEADERS": (0, 1, None, "False"),
    "NUM_PROXIES": (-1, None, "1", True, 1.0),
    "DRAIN_ON_SIGTERM": (0, 1, None, "False", "no"),
    "END_WITH_SESSION": (0, 1, None, "False", "no"),
    "MIDDLEWARE": ("shop.middleware.timing", [print], {"a.b"}, {"a.b": 1}, None, [None]),
    "PERMISSIONS": ("chat.add_message", [print], {"a.b"}, {"a.b": 1}, None, [None]),
    "LOG_EXCLUDE": ("typing", [print], {"typing"}, {"typing": 1}, None, [None], ["typing", 5]),
    "GUARD_ATTRIBUTES": ("access_rules", [print], {"access_rules"}, {"access_rules": 1}, None, [None]),
    "DOCS": (
        None, [], "Chat", {"titel": "Chat"}, {"title": ""}, {"title": None}, {"version": 2}, {"description": None},
        {"servers": "wss://chat.example.com"}, {"servers": ["https://chat.example.com"]}, {"servers": ["chat.example"]},
        {"servers": ["wss://"]}, {"servers": ["wss://[::1"]}, {"servers": [None]}, {"servers": {"": "wss://a.b"}},
        {"servers": {"a": "a.b"}}, {"servers": None}, {"terms": "/terms"}, {"terms": 5}, {"contact": "Ada"},
        {"contact": {"phone": "1"}}, {"contact": {"name": None}}, {"license": "MIT"}, {"license": {}},
        {"license": {"url": "https://example.com"}}, {"license": {"name": "MIT", "email": "a@example.com"}}, {5: 5},
    ),
    "DOCS_ACCESS": ("", "Staff", "everyone", None, True, print, ["staff"]),
    **dict.fromkeys(("PLAYGROUND", "CHECK_REPLIES", "CENSUS"), (0, 1, "True", "debug", [])),
}  # fmt: skip


def cases(table: dict[str, tuple[Any, ...]]) -> list[tuple[str, Any]]:
    return [(key, value) for key, values in table.items() for value in values]


class Numbers(marshmallow.Schema):
    number = marshmallow.fields.Integer(required=True)


class Echo(RouteMixin, AsyncJsonWebsocketConsumer):
    @route("echo", schema=Numbers)
    async def echo(self, request: Request) -> Any:
        return request.payload


async def marking(request: Request, call_next: Any) -> Any:
    reply = await call_next(request)
    reply.payload["marked"] = True
    return reply


async def status(payload: Any) -> Any:
    async with RouteClient(Echo) as client:
        return (await client.call("echo", payload)).status


class TestValues:
    def test_tables_of_this_module_are_complete(self) -> None:
        """Every key has a default, values that are accepted, and values that are refused."""
        assert list(DEFAULTS) == list(conf.SETTINGS)
        assert set(ACCEPTED) == set(REFUSED) == set(conf.SETTINGS)

    @pytest.mark.parametrize("key", DEFAULTS)
    def test_default(self, key: str) -> None:
        """A change of a default is a change of behaviour."""
        assert conf.get(key) == DEFAULTS[key]
        assert type(conf.get(key)) is type(DEFAULTS[key])

    @pytest.mark.parametrize(("key", "value"), cases(ACCEPTED), ids=repr)
    def test_value_is_accepted(self, key: str, value: Any) -> None:
        """What makes sense for a setting passes its check."""
        assert conf.SETTINGS[key].accepts(value) is True

    @pytest.mark.parametrize(("key", "value"), cases(REFUSED), ids=repr)
    def test_value_is_refused(self, key: str, value: Any) -> None:
        """What would fail or surprise later does not pass."""
        assert conf.SETTINGS[key].accepts(value) is False

    @pytest.mark.parametrize("key", DEFAULTS)
    def test_expectation_is_said_in_words(self, key: str) -> None:
        """The system check writes it behind "Write"."""
        assert conf.SETTINGS[key].expected
        assert not conf.SETTINGS[key].expected.endswith(".")

    @pytest.mark.parametrize("key", DEFAULTS)
    def test_default_is_accepted(self, key: str) -> None:
        """What routesock takes itself passes its check."""
        assert conf.SETTINGS[key].accepts(conf.SETTINGS[key].default)


class TestReading:
    @pytest.mark.parametrize("key", DEFAULTS)
    def test_value_is_read_now(self, key: str) -> None:
        """``override_settings`` takes effect at the next read, and ends."""
        value = ACCEPTED[key][1]
        with override_settings(ROUTESOCK={key: value}):
            assert conf.get(key) == value
        assert conf.get(key) == DEFAULTS[key]

    def test_change_in_the_dict_is_seen(self) -> None:
        """Nothing is copied."""
        own: dict[str, Any] = {}
        with override_settings(ROUTESOCK=own):
            own["MAX_DEPTH"] = 3
            assert conf.get("MAX_DEPTH") == 3
            assert conf.project_settings() is own

    def test_other_keys_keep_their_defaults(self) -> None:
        """One key in the dict says nothing about the others."""
        with override_settings(ROUTESOCK={"TIMEOUT": None}):
            assert conf.get("TIMEOUT") is None
            assert conf.get("MAX_FRAME") == DEFAULTS["MAX_FRAME"]

    def test_project_needs_no_dict(self) -> None:
        """Without ``ROUTESOCK``, and without anything in it, there are the defaults."""
        with override_settings(ROUTESOCK={"TIMEOUT": 1}):
            delattr(settings, "ROUTESOCK")
            assert conf.project_settings() == {}
            assert conf.get("TIMEOUT") == DEFAULTS["TIMEOUT"]

    @pytest.mark.parametrize("value", [None, [], "TIMEOUT", 5], ids=repr)
    def test_value_that_is_no_dict_counts_as_none(self, value: Any) -> None:
        """A system check says so; the defaults are safe."""
        with override_settings(ROUTESOCK=value):
            assert conf.project_settings() == {}
            assert conf.get("TIMEOUT") == DEFAULTS["TIMEOUT"]

    def test_docs_have_a_default_for_each_key(self) -> None:
        """What the project sets stands over them, and changes none."""
        with override_settings(ROUTESOCK={"DOCS": {"title": "Chat"}}):
            assert conf.docs() == {
                "title": "Chat",
                "version": "1.0.0",
                "description": "",
                "servers": (),
                "terms": None,
                "contact": None,
                "license": None,
            }
        assert conf.docs()["title"] == "WebSocket API"
        with override_settings(ROUTESOCK={"DOCS": {"titel": "Chat"}}), pytest.raises(ImproperlyConfigured):
            conf.docs()

    @pytest.mark.parametrize("key", conf.DOCS)
    def test_defaults_of_docs_are_accepted(self, key: str) -> None:
        assert conf.DOCS[key].accepts(conf.DOCS[key].default) is True

    def test_unknown_name_is_a_key_error(self) -> None:
        """A typing error in routesock itself is found, even where a project's dict has the same."""
        with override_settings(ROUTESOCK={"MAX_FRAMES": 1}), pytest.raises(KeyError):
            conf.get("MAX_FRAMES")


class TestEffect:
    async def test_next_connection_has_the_new_limits(self) -> None:
        """No restart and no new class is needed."""
        long = {"number": 1, "more": "x" * 100}
        assert await status({"number": 1}) == 200
        with override_settings(ROUTESOCK={"MAX_FRAME": len(json.dumps(long))}):
            assert await status({"number": 1}) == 200
            async with RouteClient(Echo) as client:
                await client.send("echo", long)
                assert (await client.receive())["status"] == 413
        assert await status({"number": 1}) == 200

    async def test_open_connection_keeps_its_limits(self) -> None:
        """A socket's limits are those of its beginning."""
        async with RouteClient(Echo) as client:
            with override_settings(ROUTESOCK={"MAX_FRAME": 1}):
                assert (await client.call("echo", {"number": 1})).status == 200

    async def test_status_of_refusals_is_read_at_each(self) -> None:
        """An open socket answers with the new one."""
        async with RouteClient(Echo) as client:
            assert (await client.call("echo", {})).status == 422
            with override_settings(ROUTESOCK={"VALIDATION_STATUS": HTTPStatus.BAD_REQUEST}):
                assert (await client.call("echo", {})).status == 400

    async def test_middleware_of_the_settings_is_that_of_the_next_connection(self) -> None:
        """It stands around every route of every consumer."""
        with override_settings(ROUTESOCK={"MIDDLEWARE": [f"{__name__}.marking"]}):
            async with RouteClient(Echo) as client:
                assert (await client.call("echo", {"number": 1})).payload == {"number": 1, "marked": True}
        async with RouteClient(Echo) as client:
            assert (await client.call("echo", {"number": 1})).payload == {"number": 1}
