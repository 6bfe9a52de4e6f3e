"""Names between snake_case and camelCase: what is converted, and that nothing is lost."""

from __future__ import annotations

import copy
import json
import string
from typing import Any

import pytest
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from hypothesis import given
from hypothesis import strategies as st
from marshmallow import Schema, fields
from pydantic import BaseModel

from routesock import Keys, Request, RouteMixin, route, topic
from routesock._wire import camel_case
from routesock._wire.camel_case import to_camel_case, to_camel_case_errors, to_snake_case
from routesock.exceptions import Invalid
from routesock.testing import RouteClient

SNAKE = st.from_regex(r"[a-z][a-z0-9]{0,6}(_[a-z0-9]{1,6}){0,4}", fullmatch=True)
CAMEL = st.from_regex(r"[a-z][a-z0-9]{0,6}([A-Z][a-z0-9]{0,6}){0,4}", fullmatch=True)
KEYS = SNAKE | CAMEL | st.text() | st.text("aA_0", min_size=1)


def values(names: st.SearchStrategy[str]) -> st.SearchStrategy[Any]:
    """JSON values, with strings among them that look like names."""
    return st.recursive(
        st.none() | st.booleans() | st.integers() | names | st.text(),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=4),
        max_leaves=15,
    )


def leaves(value: Any) -> list[Any]:
    """The values in ``value`` that are no lists and dicts, in their order."""
    if isinstance(value, dict):
        return [leaf for item in value.values() for leaf in leaves(item)]
    if isinstance(value, list | tuple):
        return [leaf for item in value for leaf in leaves(item)]
    return [value]


def shape(value: Any) -> Any:
    """``value`` without its names and its leaves."""
    if isinstance(value, dict):
        return ("dict", [shape(item) for item in value.values()])
    return ("list", [shape(item) for item in value]) if isinstance(value, list) else None


@pytest.mark.parametrize(
    ("snake", "camel"),
    [
        ("name", "name"),
        ("first_name", "firstName"),
        ("a_b_c", "aBC"),
        ("user_id_2", "userId_2"),
        ("is_2fa_on", "is_2faOn"),
        ("trailing_", "trailing_"),
        ("two__words", "two__words"),
        ("_private", "_private"),
        ("__init__", "__init__"),
        ("Content-Type", "Content-Type"),
        ("CONSTANT_CASE", "CONSTANT_CASE"),
        ("user@example.com", "user@example.com"),
        ("first name", "first name"),
        ("naïve_name", "naïve_name"),
        ("1st_place", "1st_place"),
        ("first_name\n", "first_name\n"),
        ("", ""),
        ("x" * 65 + "_y", "x" * 65 + "Y"),
    ],
)
def test_names(snake: str, camel: str) -> None:
    assert to_camel_case({snake: 0}) == {camel: 0}
    assert to_snake_case({camel: 0}) == {snake: 0}


@pytest.mark.parametrize(
    ("camel", "snake"), [("userID", "user_i_d"), ("aB", "a_b"), ("PascalCase", "PascalCase"), ("already_snake",) * 2]
)
def test_names_that_clients_write(camel: str, snake: str) -> None:
    assert to_snake_case({camel: 0}) == {snake: 0}
    assert to_camel_case({"already_snake": 0}) == {"alreadySnake": 0}


@given(values(SNAKE))
def test_what_is_sent_comes_back(value: Any) -> None:
    assert to_snake_case(to_camel_case(value)) == value


@given(values(CAMEL))
def test_what_a_client_sends_comes_back(value: Any) -> None:
    assert to_camel_case(to_snake_case(value)) == value


@given(values(KEYS), st.sampled_from([to_camel_case, to_snake_case]))
def test_values_their_order_and_the_argument_stay(value: Any, convert: Any) -> None:
    before = copy.deepcopy(value)
    converted = convert(value)
    assert leaves(converted) == leaves(before)
    assert shape(converted) == shape(before)
    assert value == before
    json.dumps(converted)


@given(st.dictionaries(KEYS, st.integers()), st.sampled_from([to_camel_case, to_snake_case]))
def test_names_that_would_collide_keep_theirs(value: dict[str, int], convert: Any) -> None:
    converted = convert(value)
    assert len(converted) == len(value)
    assert sorted(converted.values()) == sorted(value.values())


def test_a_collision_concerns_one_dict_alone() -> None:
    value = {"a": {"first_name": 1, "firstName": 2}, "last_name": 3}
    assert to_camel_case(value) == {"a": {"first_name": 1, "firstName": 2}, "lastName": 3}
    assert to_snake_case({"firstName": 1, "first_name": {"lastName": 2}}) == {
        "firstName": 1,
        "first_name": {"last_name": 2},
    }


def test_keys_that_are_no_strings_stay() -> None:
    assert to_camel_case({1: 0, None: 0, 2.5: {"a_b": 0}}) == {1: 0, None: 0, 2.5: {"aB": 0}}
    assert to_camel_case(({"a_b": (1, {"c_d": 2})},)) == [{"aB": [1, {"cD": 2}]}]


def test_long_names_are_not_kept() -> None:
    """Or a client could fill the cache with names of 64 KiB."""
    before = camel_case._cached_snake.cache_info().currsize
    for letter in string.ascii_lowercase:
        to_snake_case({letter * 65 + "X": 0})
    assert camel_case._cached_snake.cache_info().currsize == before
    assert camel_case._cached_snake.cache_info().maxsize is not None


# Errors


def test_errors_have_the_names_that_the_client_wrote() -> None:
    assert to_camel_case_errors({"first_name": ["first_name is odd."], "item_list": {"0": {"item_id": ["Bad."]}}}) == {
        "firstName": ["first_name is odd."],
        "itemList": {"0": {"itemId": ["Bad."]}},
    }
    assert to_camel_case_errors([{"type": "missing", "loc": ["item_list", 0, "item_id"], "msg": "first_name"}]) == [
        {"type": "missing", "loc": ["itemList", 0, "itemId"], "msg": "first_name"}
    ]
    assert to_camel_case_errors([{}, {"item_id": ["Bad."]}, "first_name"]) == [{}, {"itemId": ["Bad."]}, "first_name"]
    assert to_camel_case_errors("first_name") == "first_name"


# On a socket


class PersonSchema(Schema):
    first_name = fields.Str(required=True)
    home_address = fields.Dict(keys=fields.Str(), values=fields.Str())


class Person(BaseModel):
    first_name: str
    nick_names: list[dict[str, int]] = []


class People(RouteMixin, AsyncJsonWebsocketConsumer):
    route_dialect = Keys(camelize=True)

    @route("marshmallow", schema=PersonSchema)
    async def by_marshmallow(self, request: Request) -> Any:
        return {"is_saved": True, "person": request.payload}

    @route("pydantic", schema=Person)
    async def by_pydantic(self, request: Request) -> Any:
        return request.payload.model_dump()

    @route("echo")
    async def echo(self, request: Request) -> Any:
        return [*request.payload] if isinstance(request.payload, dict) else request.payload

    @route("refuse")
    async def refuse(self, request: Request) -> Any:
        raise Invalid(errors={"first_name": ["Odd."]}, retry_at=request.payload)

    @route("push")
    async def send_push(self, request: Request) -> None:
        await self.socket.push("saved_person", {"first_name": "first_name"})


async def test_payloads_are_converted_both_ways() -> None:
    async with RouteClient(People) as client:
        reply = await client.call("marshmallow", {"firstName": "first_name", "homeAddress": {"zip code": "home_town"}})
        assert reply.payload == {
            "isSaved": True,
            "person": {"firstName": "first_name", "homeAddress": {"zip code": "home_town"}},
        }
        reply = await client.call("pydantic", {"firstName": "Ada", "nickNames": [{"oldOne": 1}]})
        assert reply.payload == {"firstName": "Ada", "nickNames": [{"oldOne": 1}]}
        assert (await client.call("echo", {"firstName": 1, "Content-Type": 2})).payload == [
            "first_name",
            "Content-Type",
        ]
        assert (await client.call("echo", "firstName")).payload == "firstName"
        await client.send("push")
        push = await client.expect_push()
        assert (push.route, push.payload) == ("saved_person", {"firstName": "first_name"})


async def test_an_error_names_the_fields_as_the_client_does() -> None:
    async with RouteClient(People) as client:
        assert (await client.call("marshmallow", {})).payload["errors"].keys() == {"firstName"}
        errors = (await client.call("pydantic", {"nickNames": [{"oldOne": "x"}]})).payload["errors"]
        assert errors.keys() == {"firstName", "nickNames.0.oldOne"}
        payload = (await client.call("refuse", "first_name")).payload
        assert (payload["errors"], payload["retryAt"]) == ({"firstName": ["Odd."]}, "first_name")


async def test_headers_and_the_envelope_are_not_converted() -> None:
    async with RouteClient(People) as client:
        await client.send_json({"route": "echo", "uuid": "snake_case", "payload": None, "headers": {"x_y": "z_z"}})
        assert await client.receive() == {"uuid": "snake_case", "route": "echo", "status": 204, "payload": None}


@pytest.mark.parametrize("name", ["__init__", "__class__", "\x00", "aB" * 5000, "_" * 1000 + "A", "a" + "_b" * 5000])
async def test_hostile_names(name: str) -> None:
    async with RouteClient(People) as client:
        assert (await client.call("echo", {name: 1})).status == 200
        assert (await client.call("echo", [{name: {name: [name]}}])).payload == [
            to_camel_case(to_snake_case({name: {name: [name]}}))
        ]


class Orders(RouteMixin, AsyncJsonWebsocketConsumer):
    @topic("all_orders", permissions=(), recover=True)
    async def all_orders(self, request: Request) -> Any:
        return {"last_order": 1}

    @topic("openOrders", permissions=(), recover=True)
    async def open_orders(self, request: Request) -> Any:
        return {"last_order": 2}


@pytest.mark.parametrize("dialect", [Keys(camelize=True), Keys(payload=None, headers="headers", camelize=True)])
async def test_names_of_topics_stay_as_they_are(dialect: Keys, settings: Any) -> None:
    """RESUME has them as the names of members."""
    history = {"size": 10, "ttl": 60}
    settings.ROUTESOCK = {"HISTORY": {"all_orders": history, "openOrders": history}}
    consumer = type("CamelOrders", (Orders,), {"route_dialect": dialect})
    async with RouteClient(consumer) as client:
        reply = await client.call("RESUME", {"topics": {"all_orders": "x:1", "openOrders": "x:1"}})
        results = {name: (result["status"], result["payload"]) for name, result in reply.payload.items()}
        assert results == {"all_orders": (200, {"lastOrder": 1}), "openOrders": (200, {"lastOrder": 2})}
