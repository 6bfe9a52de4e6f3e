"""The document of the zoo and of the example project: what is in it, and that it is the same each time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pydantic
import pytest
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from channels.routing import URLRouter
from django.test import override_settings
from django.urls import path

from routesock import Keys, Request, RouteMixin, RouteSetupError, route
from routesock._asyncapi import document as module
from routesock._asyncapi.document import as_json, build, project_document
from routesock._asyncapi.inexact import inexact_parts
from routesock.schemas import Described, SchemaAdapter
from routesock.schemas.base import Mode
from tests.asyncapi import zoo

ROOT = Path(__file__).resolve().parents[2]

DOCUMENT = build(zoo.application)

paths: Any = path


def run_example(*words: str) -> subprocess.CompletedProcess[str]:
    """The result of ``manage.py routesock_asyncapi`` in the example project, as a user runs it."""
    return subprocess.run(
        [sys.executable, "manage.py", "routesock_asyncapi", *words],
        cwd=ROOT / "example_project",
        env={"PATH": "/usr/bin", "PYTHONPATH": str(ROOT), "PYTHONUTF8": "1"},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_the_committed_document_of_the_example_is_what_its_code_says() -> None:
    done = run_example("--check", "asyncapi.json")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_two_processes_with_different_hash_seeds_write_the_same_bytes() -> None:
    code = (
        "import django; django.setup(); from tests.asyncapi import zoo; "
        "from routesock._asyncapi.document import as_json, build; print(as_json(build(zoo.application)), end='')"
    )
    outputs = [
        subprocess.run(
            [sys.executable, "-c", code],
            cwd=ROOT,
            env={
                "PYTHONHASHSEED": seed,
                "DJANGO_SETTINGS_MODULE": "tests.settings",
                "PYTHONUTF8": "1",
                "PATH": os.environ["PATH"],
            },
            capture_output=True,
            check=True,
            timeout=60,
        ).stdout
        for seed in ("1", "2")
    ]
    assert outputs[0] == outputs[1]
    assert outputs[0].decode() == as_json(DOCUMENT) == as_json(build(zoo.application))


def test_importing_routesock_imports_no_documents() -> None:
    code = (
        "import sys, django; django.setup(); import routesock, routesock.testing, routesock.apps; "
        "assert not [m for m in sys.modules if m.startswith('routesock._asyncapi')]"
    )
    subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={"DJANGO_SETTINGS_MODULE": "tests.settings", "PATH": os.environ["PATH"]},
        check=True,
        timeout=60,
    )


def test_addresses_and_parameters() -> None:
    addresses = {key: channel["address"] for key, channel in DOCUMENT["channels"].items()}
    assert addresses["nested.pk.name"] == "/nested/{pk}/{name}/"
    assert addresses["camel.room"] == "/camel/{room}/"
    assert addresses["own.rest"] == "/own/{rest}"
    assert DOCUMENT["channels"]["camel.room"]["parameters"] == {"room": {"x-routesock-pattern": r"\w+"}}
    assert DOCUMENT["channels"]["nested.pk.name"]["parameters"]["pk"]["x-routesock-converter"] == "int"
    (key,) = [key for key, address in addresses.items() if address is None]
    assert DOCUMENT["channels"][key]["x-routesock-pattern"] == r"^no-ids/(\d+)/?$"


def test_what_has_no_routes_is_listed() -> None:
    assert DOCUMENT["x-routesock-undocumented"] == [
        {"address": "/partial/", "title": "partial"},
        {"address": "/plain/", "title": "Plain"},
    ]


def test_code_for_foreign_frames_is_marked() -> None:
    assert [key for key, channel in DOCUMENT["channels"].items() if "x-routesock-foreign" in channel] == ["handshake"]


def test_a_dialect_that_is_not_known_has_payloads_only() -> None:
    channel = DOCUMENT["channels"]["own.rest"]
    assert channel["x-routesock-dialect"] == "custom"
    assert channel["messages"]["tree.request"]["payload"] == {"$ref": "#/components/schemas/Tree"}


def test_texts_are_data() -> None:
    channel = DOCUMENT["channels"]["flat"]
    text = json.dumps(DOCUMENT)
    assert channel["messages"]["tree.push"]["name"] == "tree"
    assert DOCUMENT["operations"]["flat.secret"]["summary"] == zoo.SCRIPT
    assert zoo.SCRIPT in text
    assert all("<" not in key for key in (*channel["messages"], *DOCUMENT["operations"], *DOCUMENT["channels"]))


def test_names_with_any_characters_stand_in_name_and_const() -> None:
    messages = DOCUMENT["channels"]["nested.pk.name"]["messages"]
    odd = [message for message in messages.values() if message["name"].startswith("Żółw")]
    assert {message["name"] for message in odd} == {"Żółw & <script>", "Żółw_& <script>"}
    assert all(message["payload"]["properties"]["route"] == {"const": message["name"]} for message in odd)
    assert len({key for key in messages if "script_-" in key and key.startswith("_w_")}) == 6


def test_a_schema_has_one_component_where_both_ways_agree() -> None:
    names = set(DOCUMENT["components"]["schemas"])
    assert {"Tree", "ItemInput", "ItemOutput", "OtherSchema", "OtherSerializer", "Tree-only_name", "Moved"} <= names
    tree = DOCUMENT["components"]["schemas"]["Tree"]
    assert tree["properties"]["children"]["items"] == {"$ref": "#/components/schemas/Tree"}


def security(name: str) -> list[str]:
    return [part["$ref"].rpartition("/")[2] for part in DOCUMENT["operations"][name].get("security", ())]


def test_security_follows_from_the_middleware() -> None:
    schemes = DOCUMENT["components"]["securitySchemes"]
    assert security("nested.pk.name.secret") == ["sessionCookie"]
    assert security("nested.pk.name.echo") == []  # everyone may call it
    assert security("token.secret") == ["header-bearer", "subprotocol-token", "query-token"]
    assert security("handshake.open") == []  # public=True
    assert schemes["sessionCookie"]["name"] == "sessionid"
    assert schemes["header-bearer"]["scheme"] == "bearer"
    assert schemes["handshake"]["x-routesock-handshake"] == {"mode": "required", "timeout": 20.0, "attempts": 2}
    assert DOCUMENT["channels"]["token"]["bindings"]["ws"]["query"]["properties"] == {"token": {"type": "string"}}


def test_frames_of_the_protocol() -> None:
    operations = {key.removeprefix("handshake.") for key in DOCUMENT["operations"] if key.startswith("handshake.")}
    assert operations == {"open", "AUTH", "HELLO.push", "CANCEL", "PING", "CLOSE.push", "error"}
    nested = {key.removeprefix("nested.pk.name.") for key in DOCUMENT["operations"] if key.startswith("nested.")}
    assert {"HELLO.push", "PING.push", "UNSUBSCRIBE.push"} <= nested
    assert "AUTH" not in nested


def test_a_public_document_says_nothing_about_permissions() -> None:
    secret = DOCUMENT["operations"]["flat.secret"]
    assert secret["x-routesock-permissions"] == ["IsAuthenticated"]
    assert secret["x-routesock-throttles"]
    with override_settings(ROUTESOCK={"DOCS_ACCESS": "public"}):
        text = as_json(build(zoo.application))
    assert "IsAuthenticated" not in text
    assert "100/min" not in text
    assert "x-routesock-throttles" not in text


def test_topics_exclude_the_names_of_more_specific_ones() -> None:
    messages = DOCUMENT["channels"]["nested.pk.name"]["messages"]
    (room,) = [
        message["payload"]["properties"]["payload"]["properties"]["topic"]
        for key, message in messages.items()
        if key.startswith("SUBSCRIBE.room._room_id_") and key.endswith(".request")
    ]
    assert room["not"] == {"pattern": r"^room\.vip$"}
    assert room["pattern"].startswith(r"^room\.[0-9a-f")


def test_settings_of_documents() -> None:
    docs = {
        "title": "Zoo",
        "version": "2.1",
        "description": "All of it.",
        "terms": "https://example.com/terms",
        "contact": {"name": "Us"},
        "license": {"name": "MIT"},
        "servers": {"live": "wss://example.com/api/"},
    }
    with override_settings(ROUTESOCK={"DOCS": docs}, ASGI_APPLICATION=f"{zoo.__name__}.application"):
        found = project_document(servers=["ws://other"])
    assert found["info"] == {
        "title": "Zoo",
        "version": "2.1",
        "description": "All of it.",
        "termsOfService": "https://example.com/terms",
        "contact": {"name": "Us"},
        "license": {"name": "MIT"},
    }
    assert found["servers"] == {"live": {"host": "example.com", "protocol": "wss", "pathname": "/api"}}


def test_a_document_is_built_once_and_again_when_settings_change(monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[Any] = []
    monkeypatch.setattr(module, "build", lambda *args, **options: built.append(options) or {"number": len(built)})
    with override_settings(ASGI_APPLICATION=f"{zoo.__name__}.application"):
        assert [project_document()["number"] for _ in range(3)] == [1, 1, 1]
        assert project_document(servers=["ws://other"])["number"] == 2
        with override_settings(ROUTESOCK={"TIMEOUT": 1}):
            assert project_document()["number"] == 3
        with override_settings(DEBUG=True):
            assert [project_document()["number"] for _ in range(2)] == [4, 5]
        assert project_document()["number"] == 6
    module.clear_cache()


def consumer(**members: Any) -> Any:
    return type(
        "One", (RouteMixin, AsyncJsonWebsocketConsumer), {"__module__": __name__, "route_pushes": [], **members}
    )


def test_an_example_that_its_schema_refuses_is_an_error() -> None:
    @route("save", schema=zoo.TreeSchema, examples=[{"name": 5}])
    async def save(self: Any, request: Request) -> None: ...

    application = URLRouter([paths("x/", consumer(save=save).as_asgi())])
    with pytest.raises(RouteSetupError, match=r"save\.request/examples/0: /payload/name: is not of the type string"):
        build(application)


def test_replies_without_a_status_are_told_apart_by_their_payload() -> None:
    @route("any")
    async def any_of(self: Any, request: Request) -> Any: ...

    application = URLRouter([paths("x/", consumer(any_of=any_of, route_dialect=Keys(status=None)).as_asgi())])
    assert build(application)["channels"]["x"]["messages"]["any.reply"]["payload"]["not"]


def test_errors_that_the_project_encodes_are_anything_but_successes() -> None:
    @route("any")
    async def any_of(self: Any, request: Request) -> Any: ...

    dialect = Keys(error=lambda problem, request: {"oops": problem.detail})
    application = URLRouter([paths("x/", consumer(any_of=any_of, route_dialect=dialect).as_asgi())])
    payload = build(application)["channels"]["x"]["messages"]["any.error"]["payload"]
    assert payload["not"]["properties"] == {"status": {"type": "integer", "maximum": 399}}


def test_one_path_alone() -> None:
    assert [*build(zoo.application, path="/nested/5/a/")["channels"]] == ["nested.pk.name"]
    assert [*build(zoo.application, path="/nested/{pk}/{name}/")["channels"]] == ["nested.pk.name"]
    assert build(zoo.application, path="/none/")["channels"] == {}


def test_the_same_path_twice_is_served_by_the_first() -> None:
    application = URLRouter([paths("x/", zoo.Flat.as_asgi()), paths("x/", zoo.Nested.as_asgi())])
    assert [channel["title"] for channel in build(application)["channels"].values()] == ["Flat"]


def test_a_default_that_its_own_schema_refuses_is_left_out() -> None:
    class Lenient(pydantic.BaseModel):
        text: str = None  # type: ignore[assignment]
        number: int = 5

    @route("save", schema=Lenient)
    async def save(self: Any, request: Request) -> None: ...

    document = build(URLRouter([paths("x/", consumer(save=save).as_asgi())]))
    properties = document["components"]["schemas"]["Lenient"]["properties"]
    assert "default" not in properties["text"]
    assert properties["number"]["default"] == 5


class Counted(SchemaAdapter):
    """Counts how often it is asked for its schema."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def load(self, payload: Any) -> Any:
        return payload

    def dump(self, value: Any) -> Any:
        return value

    def json_schema(self, mode: Mode) -> Described:
        self.asked.append(mode)
        return Described({"type": "string"})


def test_a_schema_is_asked_once_for_each_way_however_many_routes_and_paths_have_it() -> None:
    shared = Counted()

    def handler(number: int) -> Any:
        async def handle(self: Any, request: Request) -> Any: ...

        return route(f"route.{number}", schema=shared, dehydrate=shared)(handle)

    cls = consumer(**{f"handler_{number}": handler(number) for number in range(50)})
    document = build(URLRouter([paths("a/", cls.as_asgi()), paths("b/", cls.as_asgi())]))
    assert sorted(shared.asked) == ["dump", "load"]
    assert len(document["operations"]) == 2 * (50 + 4)


def test_an_adapter_that_says_nothing_is_inexact() -> None:
    @route("save", schema=NotDescribed())
    async def save(self: Any, request: Request) -> Any: ...

    document = build(URLRouter([paths("x/", consumer(save=save).as_asgi())]))
    payload = document["channels"]["x"]["messages"]["save.request"]["x-routesock-payload"]
    assert payload == {"x-routesock-inexact": ["NotDescribed"]}
    assert [str(part) for part in inexact_parts(document)] == ["/x/ save request /: NotDescribed"]


class NotDescribed(SchemaAdapter):
    """Of another library, without a description."""

    def load(self, payload: Any) -> Any:
        return payload

    def dump(self, value: Any) -> Any:
        return value
