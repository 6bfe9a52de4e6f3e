"""The system checks, each where it fires and where it does not, and the search for an application's endpoints."""

from __future__ import annotations

import asyncio
import functools
import inspect
import os
import subprocess
import sys
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import pytest
from channels.auth import AuthMiddlewareStack
from channels.generic.websocket import AsyncJsonWebsocketConsumer, JsonWebsocketConsumer, WebsocketConsumer
from channels.layers import BaseChannelLayer, InMemoryChannelLayer, channel_layers, get_channel_layer
from channels.routing import ProtocolTypeRouter, URLRouter
from channels.security.websocket import AllowedHostsOriginValidator, OriginValidator
from channels.sessions import SessionMiddlewareStack
from channels_redis.core import RedisChannelLayer
from django.apps import AppConfig
from django.conf import settings
from django.contrib.sessions.middleware import SessionMiddleware
from django.core.checks import CheckMessage, Error, Warning, run_checks
from django.core.management import call_command
from django.core.management.base import SystemCheckError
from django.test import override_settings
from django.urls import path, re_path
from redis.asyncio import Connection
from redis.exceptions import TimeoutError as ConnectionTimeout
from rest_framework import permissions as rest_permissions

from routesock import Request, RouteMixin, route, topic
from routesock._runtime.asgi_tree import Endpoint, endpoints
from routesock.auth import RequestMiddleware
from routesock.checks import TAG, Id, consumers
from routesock.conf import DOCS, SETTINGS
from routesock.permissions import BasePermission, IsAuthenticated
from routesock.testing import RouteClient
from tests.servers import run_redis_server

ROOT: Final = Path(__file__).resolve().parent.parent
MIB: Final = 1024 * 1024


class Chat(RouteMixin, AsyncJsonWebsocketConsumer):
    @route("send")
    async def send_message(self, request: Request) -> None: ...

    @route("count")
    def count(self, request: Request) -> None: ...


class Limited(RouteMixin, AsyncJsonWebsocketConsumer):
    @route("send", throttle="30/min")
    async def send_message(self, request: Request) -> None: ...


class Postbox(RouteMixin, AsyncJsonWebsocketConsumer):
    """One that has a channel layer to itself."""

    channel_layer_alias = "pushes"

    @route("post")
    async def post(self, request: Request) -> None:
        consumer: Any = self
        await consumer.channel_layer.group_send("room", {"type": "told"})


class Ungrouped(BaseChannelLayer):
    extensions = ["flush"]


class Unrouted(AsyncJsonWebsocketConsumer):
    """A consumer that is none of routesock's business."""


class Legacy(RouteMixin, JsonWebsocketConsumer):
    @route("send")
    async def send_message(self, request: Request) -> Any:
        self.send_json({})


class Owned(BasePermission):
    def has_object_permission(self, request: Request, obj: Any) -> bool:
        return False


class Shop(RouteMixin, AsyncJsonWebsocketConsumer):
    route_permissions = [IsAuthenticated, Owned]

    @route("order.list")
    async def list_orders(self, request: Request) -> None: ...

    @route("order.count", permissions=())
    async def count_orders(self, request: Request) -> None: ...

    @route("order.get", hydrate=lambda request: request.payload)
    async def get_order(self, request: Request) -> None: ...


class Half(RouteMixin, AsyncJsonWebsocketConsumer):
    @route("read")
    async def read(self, request: Request) -> None: ...

    @route("write", permissions=[IsAuthenticated])
    async def write(self, request: Request) -> None: ...


class Articles(RouteMixin, AsyncJsonWebsocketConsumer):
    permission_classes = [rest_permissions.IsAdminUser]

    @route("delete")
    async def delete(self, request: Request) -> None: ...


class Payments(RouteMixin, AsyncJsonWebsocketConsumer):
    @route("pay", idempotent=True)
    async def pay(self, request: Request) -> None: ...

    @route("refund", idempotent=True, timeout=5)
    async def refund(self, request: Request) -> None: ...


async def timing(request: Request, call_next: Any) -> Any:
    return await call_next(request)


def sync(request: Request, call_next: Any) -> Any: ...


async def lonely(request: Request) -> Any: ...


def may_read(request: Any) -> bool:
    return False


def may_yield(request: Any) -> Any:
    yield False


class Tracing:
    async def __call__(self, request: Request, call_next: Any) -> Any: ...


tracing = Tracing()


class Daphne(AppConfig):
    """The app ``daphne`` of a version, without Twisted."""

    name = label = "daphne"
    path = ""

    def __init__(self, version: str) -> None:
        module = ModuleType("daphne")
        vars(module)["__version__"] = version
        super().__init__("daphne", module)


path_to: Any = path  # by their types, both take views alone
re_path_to: Any = re_path


def urls(**routes: Any) -> URLRouter:
    return URLRouter([path_to(f"{name}/", app) for name, app in routes.items()])


def installed(*apps: Any) -> dict[str, Any]:
    return {"INSTALLED_APPS": [app for app in settings.INSTALLED_APPS if app != "routesock"] + ["routesock", *apps]}


def here(name: str) -> str:
    return f"{__name__}.{name}"


OF_CLASSES: Final = (
    Id.ASYNC_ON_SYNC,
    Id.OPEN_ROUTES,
    Id.NO_OBJECTS,
    Id.NO_SUCH_LAYER,
    Id.UNREAD_GUARD,
    Id.WITHOUT_MIXIN,
    Id.ENDLESS_CLAIM,
)


def found(**overrides: Any) -> list[CheckMessage]:
    """What the checks say under these settings, but for the consumers that other tests may have left."""
    left_out = OF_CLASSES if "STORE" in str(overrides.get("ROUTESOCK")) else (*OF_CLASSES, Id.NO_STORE)
    with override_settings(**(installed() | overrides)):
        return [message for message in checked() if message.id not in left_out]


def everything() -> list[CheckMessage]:
    return checked(deploy=True)


def checked(*, deploy: bool = False) -> list[CheckMessage]:
    """What the checks say, but for topics of other tests, whose groups have a history in those tests only."""
    return [
        message
        for message in run_checks(tags=[TAG], include_deployment_checks=deploy)
        if message.id != Id.NO_HISTORY or getattr(message.obj, "__module__", __name__) == __name__
    ]


def found_of(cls: type) -> list[CheckMessage]:
    """What the checks say of a consumer class."""
    with override_settings(**installed()):
        return [message for message in run_checks(tags=[TAG]) if message.obj is cls]


def found_of_layers(*, deploy: bool = False, **layers: Any) -> list[CheckMessage]:
    """What the checks say of these channel layers, and of the one that ``Postbox`` has."""
    with override_settings(**installed(), CHANNEL_LAYERS=layers):
        messages = run_checks(tags=[TAG], include_deployment_checks=deploy)
    return [message for message in messages if Postbox.__name__ in message.msg and message.id != Id.NO_APPLICATION]


def only(messages: list[CheckMessage]) -> CheckMessage:
    assert len(messages) == 1, messages
    return messages[0]


@pytest.fixture(autouse=True)
def consumers_of_other_tests_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker of pytest-xdist has some thousand of them, and each check would look at all."""

    def direct_subclasses(cls: type) -> list[type]:
        return [found for found in cls.__subclasses__() if found.__module__ == __name__ or not is_test(found)]

    def is_test(cls: type) -> bool:
        return cls.__module__.partition(".")[0] in ("tests", "chat", "benchmarks")

    monkeypatch.setattr(consumers, "direct_subclasses", direct_subclasses)


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], dict[str, Any]]:
    """Makes an application importable, and returns the settings that name it."""

    def name(application: Any) -> dict[str, Any]:
        monkeypatch.setattr(sys.modules[__name__], "application", application, raising=False)
        return {"ASGI_APPLICATION": here("application")}

    return name


any_origin = AuthMiddlewareStack(Chat.as_asgi())

SESSIONS: Final = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
]


class OwnSessions(SessionMiddleware):
    """A session middleware of a project."""


def as_function(get_response: Any) -> Any:
    """A middleware that is no class."""
    return get_response


NO_REDIS: Final = "redis://127.0.0.1:1"
IN_MEMORY: Final = {"BACKEND": "channels.layers.InMemoryChannelLayer"}


def core(*hosts: Any) -> dict[str, Any]:
    return {"BACKEND": "channels_redis.core.RedisChannelLayer", "CONFIG": {"hosts": list(hosts)}}


WRONG: Final[dict[Id, dict[str, Any]]] = {
    Id.NOT_A_DICT: {"ROUTESOCK": ["TIMEOUT"]},
    Id.UNKNOWN_KEY: {"ROUTESOCK": {"TIME_OUT": 3}},
    Id.WRONG_VALUE: {"ROUTESOCK": {"TIMEOUT": "3"}},
    Id.MIDDLEWARE_NOT_FOUND: {"ROUTESOCK": {"MIDDLEWARE": ["nowhere.timing"]}},
    Id.MIDDLEWARE_NOT_ASYNC: {"ROUTESOCK": {"MIDDLEWARE": [here("sync")]}},
    Id.APPLICATION_NOT_FOUND: {"ASGI_APPLICATION": "nowhere.asgi.application"},
    Id.WITHOUT_AS_ASGI: {"ASGI_APPLICATION": here("Chat")},
    Id.ASYNC_ON_SYNC: {},
    Id.UNBOUNDED_DAPHNE: installed(Daphne("4.2.1")),
    Id.OVER_DAPHNES_LIMIT: installed(Daphne("4.2.2")) | {"ROUTESOCK": {"MAX_REPLY": 2 * MIB}},
    Id.OPEN_ROUTES: {},
    Id.NO_OBJECTS: {},
    Id.NO_PERMISSION: {"ROUTESOCK": {"PERMISSIONS": ["nowhere.at.all"]}},
    Id.NO_SUCH_CACHE: {"ROUTESOCK": {"THROTTLE_CACHE": "nowhere"}},
    Id.NOT_ATOMIC: {"CACHES": {"default": {"BACKEND": "django.core.cache.backends.dummy.DummyCache"}}},
    Id.NO_SUCH_LAYER: {},
    Id.ONE_PROCESS: {},
    Id.NO_GROUPS: {"CHANNEL_LAYERS": {"default": {"BACKEND": here("Ungrouped")}}},
    Id.SHORT_TIMEOUT: {"CHANNEL_LAYERS": {"default": core({"address": NO_REDIS, "socket_timeout": 5})}},
    Id.UNREAD_GUARD: {},
    Id.WITHOUT_MIXIN: {},
    Id.ANY_ORIGIN: {"ASGI_APPLICATION": here("any_origin")},
    Id.NO_ACCESS_FUNCTION: {"ROUTESOCK": {"DOCS_ACCESS": "nowhere.may_read"}},
    Id.PUBLIC_PLAYGROUND: {"ROUTESOCK": {"DOCS_ACCESS": "public", "PLAYGROUND": True}},
    Id.NO_DOCS: {"ROUTESOCK": {"DOCS_ACCESS": "debug"}},
    Id.NO_STORE: {"ROUTESOCK": {"STORE": "nowhere"}},
    Id.LOCAL_STORE: {
        "ROUTESOCK": {"STORE": "default"},
        "CHANNEL_LAYERS": {"default": core({"address": NO_REDIS, "socket_timeout": 60})},
    },
    Id.NO_HISTORY: {"ROUTESOCK": {"HISTORY": {"a..b": {"size": 1, "ttl": 1}}}},
    Id.ENDLESS_CLAIM: {"ROUTESOCK": {"TIMEOUT": None}},
    Id.NO_APPLICATION: {"ASGI_APPLICATION": None},
}


class TestMessages:
    def test_every_id_has_a_case_here(self) -> None:
        """A check without a test is none."""
        assert list(WRONG) == list(Id)

    def test_numbers_count_up(self) -> None:
        """A number is never used for two messages, whatever the letter in front of it."""
        assert [id[-3:] for id in Id] == [f"{number:03}" for number in range(1, len(Id) + 1)]

    @pytest.mark.parametrize("id", Id)
    def test_message_has_its_id_a_level_and_a_hint(self, id: Id) -> None:
        """E is an error, W a warning; each says what to write instead."""
        with override_settings(**(installed() | WRONG[id])):
            message = next(message for message in everything() if message.id == id)
        assert type(message) is (Error if ".E" in id else Warning)
        assert message.hint
        assert str(message.msg).endswith(".")

    @pytest.mark.parametrize("id", Id)
    def test_message_can_be_silenced(self, id: Id) -> None:
        """``SILENCED_SYSTEM_CHECKS`` takes each id."""
        with override_settings(**(installed() | WRONG[id]), SILENCED_SYSTEM_CHECKS=[str(id)]):
            silenced = {message.id for message in everything() if message.is_silenced()}
        assert silenced == {id}

    def test_checks_run_with_djangos_command(self) -> None:
        """``manage.py check`` fails at an error; the tag selects these checks."""
        with (
            override_settings(**installed(), ROUTESOCK=5),
            pytest.raises(SystemCheckError, match=Id.NOT_A_DICT),
        ):
            call_command("check", tags=[TAG])

    def test_checks_are_registered_by_the_app_alone(self) -> None:
        """Importing routesock registers nothing, so that a project chooses."""
        code = (
            "import django; django.setup(); import routesock.checks; from django.core.checks.registry import registry;"
            "assert 'routesock' not in registry.tags_available()"
        )
        run(code, INSTALLED_APPS=[])

    def test_every_check_knows_the_consumers_of_the_application(self, tmp_path: Path) -> None:
        """In whatever order they run: Django keeps them in a set."""
        code = (
            "from routesock import *\n"
            "from channels.generic.websocket import *\n"
            "class Chat(RouteMixin, AsyncJsonWebsocketConsumer):\n"
            "    @route('send', throttle='1/min')\n"
            "    def send_message(self, request): ...\n"
            "application = Chat.as_asgi()\n"
        )
        (tmp_path / "routesock_alone.py").write_text(code)
        for check, id in (("check_throttles", Id.NO_SUCH_CACHE), ("check_layers", Id.NO_SUCH_LAYER)):
            run(
                f"import sys; sys.path.append({str(tmp_path)!r}); import django; django.setup();"
                "from routesock.checks import CHECKS; checks = {check.__name__: check for check in CHECKS};"
                f"assert [str(m.id) for m in checks[{check!r}](None)] == [{str(id)!r}]",
                ASGI_APPLICATION="routesock_alone.application",
                CHANNEL_LAYERS={"other": IN_MEMORY},
                ROUTESOCK={"THROTTLE_CACHE": "nowhere"},
            )

    def test_project_without_faults_has_no_messages(self, serve: Callable[[Any], dict[str, Any]]) -> None:
        """Neither with the defaults nor with settings that are right."""
        assert found() == []
        assert found(**serve(Chat.as_asgi()), ROUTESOCK={"TIMEOUT": None, "MIDDLEWARE": (here("timing"),)}) == []


def run(code: str, **names: Any) -> str:
    """Run ``code`` in a Python of its own, with settings of these names. Returns what it prints."""
    lines = [f"{name} = {value!r}" for name, value in names.items()]
    setup = f"from django.conf import settings; settings.configure({', '.join(lines)}); {code}"
    environment = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", setup], capture_output=True, text=True, cwd=ROOT, env=environment
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


class TestSettings:
    @pytest.mark.parametrize("value", [None, [], "TIMEOUT", 5, {"TIMEOUT"}], ids=repr)
    def test_value_that_is_no_dict_is_an_error(self, value: Any) -> None:
        """``None`` too: it reads like an answer, and is none."""
        message = only(found(ROUTESOCK=value))
        assert message.id == Id.NOT_A_DICT
        assert repr(value) in message.msg

    def test_empty_dict_is_right(self) -> None:
        """So is no dict at all, see above."""
        assert found(ROUTESOCK={}) == []

    @pytest.mark.parametrize(
        ("key", "meant"),
        [("TIMEOUTS", "TIMEOUT"), ("timeout", "TIMEOUT"), ("MAX_FRAMES", "MAX_FRAME"), ("MIDLEWARE", "MIDDLEWARE")],
    )
    def test_misspelled_key_is_an_error_with_the_right_one(self, key: str, meant: str) -> None:
        """Lower case is a misspelling as well."""
        message = only(found(ROUTESOCK={key: 5}))
        assert (message.id, message.hint) == (Id.UNKNOWN_KEY, f"Did you mean {meant!r}?")
        assert repr(key) in message.msg

    @pytest.mark.parametrize("key", ["DEFAULT_PERMISSION_CLASSES", "", 5, None], ids=repr)
    def test_key_that_resembles_none_is_an_error_with_all_keys(self, key: Any) -> None:
        """Whatever stands there, the check itself does not fail."""
        message = only(found(ROUTESOCK={key: 5}))
        assert (message.id, message.hint) == (Id.UNKNOWN_KEY, f"Valid keys are {', '.join(SETTINGS)}.")

    @pytest.mark.parametrize("key", SETTINGS)
    def test_value_of_a_wrong_type_is_an_error(self, key: str) -> None:
        """The message has the key and the value, the hint what is expected."""
        value = object()
        message = only(found(ROUTESOCK={key: value}))
        assert message.id == Id.WRONG_VALUE
        assert message.msg == f"ROUTESOCK[{key!r}] has the invalid value {value!r}."
        assert message.hint == f"Use {SETTINGS[key].expected}."

    @pytest.mark.parametrize("key", SETTINGS)
    def test_default_is_right(self, key: str) -> None:
        """What routesock would take itself passes."""
        assert found(ROUTESOCK={key: SETTINGS[key].default}) == []

    def test_every_fault_is_reported_at_once(self) -> None:
        """One run of the command is enough."""
        ids = [message.id for message in found(ROUTESOCK={"TIMOUT": 1, "MAX_FRAME": 0, "MAX_REPLY": "1"})]
        assert ids == [Id.UNKNOWN_KEY, Id.WRONG_VALUE, Id.WRONG_VALUE]

    def test_status_may_be_an_http_status(self) -> None:
        """``HTTPStatus`` members are integers."""
        assert found(ROUTESOCK={"VALIDATION_STATUS": HTTPStatus.BAD_REQUEST}) == []


class TestDocuments:
    @pytest.mark.parametrize(
        ("key", "meant"), [("titel", "title"), ("Title", "title"), ("server", "servers"), ("licence", "license")]
    )
    def test_misspelled_key_is_an_error_with_the_right_one(self, key: str, meant: str) -> None:
        message = only(found(ROUTESOCK={"DOCS": {key: "Chat"}}))
        assert (message.id, message.hint) == (Id.UNKNOWN_KEY, f"Did you mean {meant!r}?")
        assert message.msg == f"ROUTESOCK['DOCS'][{key!r}] is not a setting of routesock."

    @pytest.mark.parametrize("key", ["DOCS_TITLE_OF_PAGE", "", 5, None], ids=repr)
    def test_key_that_resembles_none_is_an_error_with_all_keys(self, key: Any) -> None:
        message = only(found(ROUTESOCK={"DOCS": {key: 5}}))
        assert (message.id, message.hint) == (Id.UNKNOWN_KEY, f"Valid keys are {', '.join(DOCS)}.")

    @pytest.mark.parametrize("key", DOCS)
    def test_value_of_a_wrong_type_is_an_error(self, key: str) -> None:
        value = object()
        message = only(found(ROUTESOCK={"DOCS": {key: value}}))
        assert message.id == Id.WRONG_VALUE
        assert message.msg == f"ROUTESOCK['DOCS'][{key!r}] has the invalid value {value!r}."
        assert message.hint == f"Use {DOCS[key].expected}."

    @pytest.mark.parametrize("debug", [True, False])
    @pytest.mark.parametrize("access", ["staff", "debug", "public"])
    @pytest.mark.parametrize("playground", [None, True, False])
    def test_warnings_name_what_does_not_fit(self, debug: bool, access: str, playground: bool | None) -> None:
        """With ``PLAYGROUND = None`` there is one under ``DEBUG`` only, which is no public server."""
        expected = {("public", True): [Id.PUBLIC_PLAYGROUND]}.get((access, playground), [])
        if access == "debug" and not debug:
            expected = [Id.NO_DOCS]
        messages = found(DEBUG=debug, ROUTESOCK={"DOCS_ACCESS": access, "PLAYGROUND": playground})
        assert [message.id for message in messages] == expected

    def test_function_of_one_argument_is_right(self) -> None:
        assert found(ROUTESOCK={"DOCS_ACCESS": here("may_read")}) == []

    @pytest.mark.parametrize("path", ["nowhere.may_read", here("nothing"), "django.", ".."])
    def test_path_that_cannot_be_imported_is_an_error(self, path: str) -> None:
        message = only(found(ROUTESOCK={"DOCS_ACCESS": path}))
        assert message.id == Id.NO_ACCESS_FUNCTION
        assert f"{path!r} cannot be imported (" in message.msg

    def test_module_that_fails_is_reported_with_its_error(self, broken: str) -> None:
        message = only(found(ROUTESOCK={"DOCS_ACCESS": f"{broken}.may_read"}))
        assert "ZeroDivisionError: division by zero" in message.msg

    @pytest.mark.parametrize("name", ["lonely", "timing", "sync", "Chat", "MIB", "may_yield"])
    def test_anything_else_at_the_path_is_an_error(self, name: str) -> None:
        """Of an async function and a generator, each result would be true. So would an instance of a class."""
        message = only(found(ROUTESOCK={"DOCS_ACCESS": here(name)}))
        assert message.id == Id.NO_ACCESS_FUNCTION
        assert message.msg.endswith("is not such a function.")
        assert message.hint == "Use the dotted path of a function `def allowed(request)` that returns a bool."

    @pytest.mark.parametrize("value", ["everyone", True, None])
    def test_setting_of_a_wrong_type_is_reported_once(self, value: Any) -> None:
        assert only(found(ROUTESOCK={"DOCS_ACCESS": value})).id == Id.WRONG_VALUE
        messages = found(ROUTESOCK={"DOCS_ACCESS": "public", "PLAYGROUND": "on"})
        assert only(messages).id == Id.WRONG_VALUE


class TestMiddleware:
    @pytest.mark.parametrize("name", ["timing", "tracing"])
    def test_async_callable_of_two_is_right(self, name: str) -> None:
        """A function, or an object with an async ``__call__``."""
        assert found(ROUTESOCK={"MIDDLEWARE": [here(name)]}) == []

    @pytest.mark.parametrize("path", ["nowhere.timing", "timing", "", here("nothing"), "django.nothing.timing"])
    def test_path_that_cannot_be_imported_is_an_error(self, path: str) -> None:
        """It would fail at the first connection."""
        message = only(found(ROUTESOCK={"MIDDLEWARE": [here("timing"), path]}))
        assert message.id == Id.MIDDLEWARE_NOT_FOUND
        assert f"{path!r} cannot be imported" in message.msg

    def test_module_that_fails_is_reported_with_its_error(self, broken: str) -> None:
        """Whatever it raises."""
        message = only(found(ROUTESOCK={"MIDDLEWARE": [f"{broken}.timing"]}))
        assert "ZeroDivisionError: division by zero" in message.msg

    @pytest.mark.parametrize("name", ["sync", "lonely", "Tracing", "MIB"])
    def test_anything_else_at_the_path_is_an_error(self, name: str) -> None:
        """A sync function, one with a wrong signature, a class in place of its instance, a value."""
        message = only(found(ROUTESOCK={"MIDDLEWARE": (here(name),)}))
        assert message.id == Id.MIDDLEWARE_NOT_ASYNC
        assert message.hint == "Define it as `async def middleware(request, call_next)`."

    @pytest.mark.parametrize("value", ["shop.middleware.timing", [timing], None], ids=["string", "function", "none"])
    def test_setting_of_a_wrong_type_is_reported_once(self, value: Any) -> None:
        """As a setting, and not once more as paths."""
        assert only(found(ROUTESOCK={"MIDDLEWARE": value})).id == Id.WRONG_VALUE


@pytest.fixture
def broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a module that raises when it is imported."""
    (tmp_path / "routesock_broken.py").write_text("1 / 0")
    monkeypatch.syspath_prepend(tmp_path)
    return "routesock_broken"


class TestApplication:
    def test_project_without_an_application_is_right(self) -> None:
        """``ASGI_APPLICATION`` is what runserver needs; a server is given the application itself."""
        assert found() == found(ASGI_APPLICATION=None) == []

    @pytest.mark.parametrize("path", ["nowhere.asgi.application", "application", "", 5, here("nothing")])
    def test_application_that_cannot_be_imported_is_an_error(self, path: Any) -> None:
        """The consumers in it are unknown then."""
        message = only(found(ASGI_APPLICATION=path))
        assert message.id == Id.APPLICATION_NOT_FOUND
        assert repr(path) in message.msg

    def test_application_that_fails_is_reported_with_its_error(self, broken: str) -> None:
        """Whatever it raises."""
        assert "ZeroDivisionError: division by zero" in only(found(ASGI_APPLICATION=f"{broken}.application")).msg

    @pytest.mark.parametrize(
        ("names", "says"),
        [
            (["PING"], "RouteSetupError: The route name 'PING' is reserved for the protocol."),
            (["send", "send"], "RouteSetupError: "),
        ],
    )
    def test_wrong_declaration_is_reported_by_the_check(
        self, names: list[str], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A route that cannot work raises in the import, and its message is the check's.

        A class that was begun by then is left to the garbage collector, and by the other checks.
        """
        code = (
            "from routesock import *\n"
            "from channels.generic.websocket import *\n"
            "class Chat(RouteMixin, AsyncJsonWebsocketConsumer):\n"
        )
        for number, name in enumerate(names):
            code += f"    @route({name!r})\n    def method_{number}(self, request): ...\n"
        (tmp_path / "routesock_declared_wrongly.py").write_text(code)
        monkeypatch.syspath_prepend(tmp_path)
        message = only(found(ASGI_APPLICATION="routesock_declared_wrongly.Chat"))
        assert says in message.msg

    WHERE: Final[dict[str, tuple[Callable[[Any], Any], str]]] = {
        "bare": (lambda app: app, ""),
        "protocol": (lambda app: ProtocolTypeRouter({"websocket": app}), ""),
        "path": (lambda app: URLRouter([path_to("ws/<int:room>/", app)]), "ws/<int:room>/"),
        "regex": (lambda app: URLRouter([re_path_to(r"^ws/$", app)]), "^ws/$"),
        "nested": (lambda app: urls(ws=urls(chat=app)), "ws/chat/"),
        "stack": (
            lambda app: ProtocolTypeRouter(
                {"websocket": AllowedHostsOriginValidator(AuthMiddlewareStack(urls(ws=app)))}
            ),
            "ws/",
        ),
    }

    @pytest.mark.parametrize("where", WHERE)
    def test_instance_in_place_of_an_application_is_an_error(
        self, where: str, serve: Callable[[Any], dict[str, Any]]
    ) -> None:
        """One instance for all sockets would send its replies to the wrong client."""
        wrap, shown = self.WHERE[where]
        message = only(found(**serve(wrap(Chat()))))
        assert (message.id, message.obj, message.hint) == (Id.WITHOUT_AS_ASGI, Chat, "Use Chat.as_asgi().")
        assert message.msg.startswith(f"The application for the path {shown!r} is an instance, which all")

    @pytest.mark.parametrize("where", WHERE)
    def test_class_in_place_of_an_application_is_an_error(
        self, where: str, serve: Callable[[Any], dict[str, Any]]
    ) -> None:
        """It fails at the first connection, not before."""
        wrap, shown = self.WHERE[where]
        message = only(found(**serve(wrap(Chat))))
        assert (message.id, message.obj, message.hint) == (Id.WITHOUT_AS_ASGI, Chat, "Use Chat.as_asgi().")
        assert message.msg.startswith(f"The application for the path {shown!r} is a class")

    def test_method_that_was_not_called_is_an_error(self, serve: Callable[[Any], dict[str, Any]]) -> None:
        """``as_asgi`` without its parentheses."""
        message = only(found(**serve(urls(ws=Chat.as_asgi))))
        assert (message.id, message.hint) == (Id.WITHOUT_AS_ASGI, "Use Chat.as_asgi().")

    @pytest.mark.parametrize("where", WHERE)
    def test_as_asgi_is_right(self, where: str, serve: Callable[[Any], dict[str, Any]]) -> None:
        """With the consumer's options too."""
        wrap, _ = self.WHERE[where]
        assert found(**serve(wrap(Chat.as_asgi()))) == []
        assert found(**serve(wrap(Chat.as_asgi(room="general")))) == []

    def test_other_consumers_are_not_checked(self, serve: Callable[[Any], dict[str, Any]]) -> None:
        """What a project does with consumers without routes is its own."""
        for app in (Unrouted, Unrouted(), Unrouted.as_asgi):
            assert found(**serve(app)) == []

    def test_each_endpoint_is_reported(self, serve: Callable[[Any], dict[str, Any]]) -> None:
        """Two wrong paths are two errors."""
        assert len(found(**serve(urls(a=Chat(), b=Chat.as_asgi(), c=Chat)))) == 2


class TestAsyncOnSync:
    def test_async_handler_of_a_sync_consumer_is_a_warning(self) -> None:
        """It runs where the consumer's own methods cannot be called."""
        message = only(found_of(Legacy))
        assert message.id == Id.ASYNC_ON_SYNC
        assert message.msg.startswith("Legacy.send_message is async on a sync consumer")
        assert message.hint == "Use `def send_message`, or derive the class from AsyncJsonWebsocketConsumer."

    @pytest.mark.parametrize(
        ("base", "suggested"),
        [
            (WebsocketConsumer, "AsyncWebsocketConsumer"),
            (JsonWebsocketConsumer, "AsyncJsonWebsocketConsumer"),
            (type("OurWebsocketConsumer", (WebsocketConsumer,), {}), "AsyncWebsocketConsumer"),
            (type("OurJsonConsumer", (JsonWebsocketConsumer,), {}), "AsyncJsonWebsocketConsumer"),
        ],
        ids=["plain", "json", "plain of a project", "json of a project"],
    )
    def test_hint_names_the_async_class_of_the_same_frames(self, base: Any, suggested: str) -> None:
        """With another one, the consumer's own ``receive`` would no longer be called, or no longer get JSON."""

        @route("send")
        async def send_message(self: Any, request: Request) -> None: ...

        consumer = type("Sync", (RouteMixin, base), {"send_message": send_message, "__module__": __name__})
        assert only(found_of(consumer)).hint == f"Use `def send_message`, or derive the class from {suggested}."

    async def test_what_the_warning_says_is_so(self) -> None:
        """The consumer's ``send_json`` raises there, and the client gets a 500."""
        async with RouteClient(Legacy, raise_exceptions=False) as client:
            assert (await client.call("send")).status == 500

    @pytest.mark.parametrize("option", ["hydrate", "dehydrate"])
    def test_async_method_as_a_hook_is_a_warning(self, option: str) -> None:
        """It has the consumer as ``self``, as a handler has."""
        options: Any = {option: "hook"}

        class Sync(RouteMixin, JsonWebsocketConsumer):
            @route("send", **options)
            def send_message(self, request: Request) -> None: ...

            async def hook(self, argument: Any) -> None: ...

        assert only(found_of(Sync)).msg.startswith("Sync.hook is async")

    def test_async_function_as_a_hook_is_right(self) -> None:
        """It gets a request, and may serve consumers of both kinds."""

        async def load(request: Request) -> None: ...

        class Sync(RouteMixin, JsonWebsocketConsumer):
            @route("send", hydrate=load, dehydrate=load)
            def send_message(self, request: Request) -> None: ...

        assert found_of(Sync) == []

    def test_async_consumer_may_have_handlers_of_both_kinds(self) -> None:
        """A sync one runs in the database thread."""
        assert found_of(Chat) == []

    def test_aliases_are_reported_once(self) -> None:
        """Two names of one method are one fault."""

        class Sync(RouteMixin, JsonWebsocketConsumer):
            @route("a")
            @route("b")
            async def send_message(self, request: Request) -> None: ...

        only(found_of(Sync))

    def test_inherited_method_is_reported_for_the_class_that_defines_it(self) -> None:
        """A subclass repeats nothing, and an override is looked at by itself."""

        class Inheriting(Legacy): ...

        class Overriding(Legacy):
            async def send_message(self, request: Request) -> Any: ...

        class Corrected(Legacy):
            def send_message(self, request: Request) -> Any: ...

        assert found_of(Inheriting) == []
        assert only(found_of(Overriding)).id == Id.ASYNC_ON_SYNC
        assert found_of(Corrected) == []

    def test_consumer_below_a_plain_mixin_is_known(self) -> None:
        """So is one that is reached by two ways through its bases."""

        class Ours(RouteMixin):
            @route("send")
            async def send_message(self, request: Request) -> None: ...

        class Other(RouteMixin): ...

        class Sync(Ours, Other, JsonWebsocketConsumer): ...

        only(found_of(Sync))
        assert found_of(Ours) == []

    def test_async_class_method_is_a_warning(self) -> None:
        """Each of them is reported."""

        class Sync(RouteMixin, JsonWebsocketConsumer):
            @route("a")
            @classmethod
            async def one(cls, request: Request) -> None: ...

            @route("b")
            @staticmethod
            async def two(request: Request) -> None: ...

        assert [str(message.msg).split()[0] for message in found_of(Sync)] == ["Sync.one", "Sync.two"]


class TestOpenRoutes:
    def test_route_without_a_word_beside_one_with_a_word_is_a_warning(self) -> None:
        """A developer may believe that the other routes are closed."""
        message = only(found_of(Half))
        assert message.id == Id.OPEN_ROUTES
        assert message.msg == "Half has routes with permissions, but everyone may call 'read'."

    async def test_what_the_warning_says_is_so(self) -> None:
        """Anonymous users may call the route."""
        async with RouteClient(Half) as client:
            assert [(await client.call(name)).status for name in ("read", "write")] == [204, 401]

    def test_open_route_beside_one_that_is_open_on_purpose_is_a_warning(self) -> None:
        """Who writes ``()`` for one takes the others for closed."""

        class Purpose(RouteMixin, AsyncJsonWebsocketConsumer):
            @route("a", permissions=())
            async def a(self, request: Request) -> None: ...

            @route("b")
            async def b(self, request: Request) -> None: ...

            @route("c")
            async def c(self, request: Request) -> None: ...

        message = only(found_of(Purpose))
        assert message.msg.endswith("everyone may call 'b', 'c'.")

    def test_class_without_permissions_is_not_checked(self) -> None:
        """Its ``connect`` may let in whom it likes: a warning that every project silences would be worth nothing."""
        assert found_of(Chat) == []

    @pytest.mark.parametrize("permissions", [(), [IsAuthenticated]])
    def test_class_with_a_word_of_its_own_is_right(self, permissions: Any) -> None:
        """Open on purpose, too."""
        assert found_of(type("Said", (Half,), {"route_permissions": permissions})) == []

    def test_permissions_of_the_settings_are_a_word(self) -> None:
        """They hold for every route that has none."""
        with override_settings(**installed(), ROUTESOCK={"PERMISSIONS": ["routesock.permissions.IsAuthenticated"]}):
            assert not [message for message in run_checks(tags=[TAG]) if message.id == Id.OPEN_ROUTES]

    def test_inherited_route_is_reported_for_the_class_that_defines_it(self) -> None:
        """A subclass reports its own routes only."""

        class Same(Half): ...

        class More(Half):
            @route("search")
            async def search(self, request: Request) -> None: ...

        assert found_of(Same) == []
        assert "'read', 'search'" in only(found_of(More)).msg


class TestNoObjects:
    def test_permission_for_objects_on_a_route_without_is_a_warning(self) -> None:
        """It is never asked there; a route that is open on purpose has none, and one with hydrate an object."""
        message = only(found_of(Shop))
        assert (message.id, message.hint) == (
            Id.NO_OBJECTS,
            "Add hydrate= to these routes, or remove the permissions from them.",
        )
        assert message.msg == (
            "Shop: the object permissions of Owned are never checked. Routes without hydrate=: 'order.list'."
        )

    def test_permission_of_a_route_with_both_kinds_is_reported_too(self) -> None:
        """One that looks at objects alone is refused there."""

        class Both(Owned):
            def has_permission(self, request: Request) -> bool:
                return True

        class Routed(RouteMixin, AsyncJsonWebsocketConsumer):
            @route("a", permissions=[IsAuthenticated | ~Both])
            async def a(self, request: Request) -> None: ...

        assert only(found_of(Routed)).id == Id.NO_OBJECTS

    def test_permissions_of_the_settings_are_looked_at(self) -> None:
        """Each consumer has routes of its own."""
        with override_settings(**installed(), ROUTESOCK={"PERMISSIONS": [here("Owned")]}):
            told = [message.obj for message in run_checks(tags=[TAG]) if message.id == Id.NO_OBJECTS]
        assert Chat in told

    def test_subclass_repeats_nothing(self) -> None:
        """As with every message about a class."""
        assert found_of(type("Same", (Shop,), {})) == []


class Forgetful(AsyncJsonWebsocketConsumer):
    """A consumer whose routes nothing reads."""

    @route("send")
    @route("post")
    async def send_message(self, request: Request) -> None: ...

    @topic("room.{id}")
    async def room(self, request: Request) -> None: ...


class TestWithoutMixin:
    def test_consumer_with_routes_and_without_the_mixin_is_a_warning(self) -> None:
        message = only(found_of(Forgetful))
        assert message.id == Id.WITHOUT_MIXIN
        assert message.msg == (
            "Forgetful has no RouteMixin, so nothing reads @route('send'), @route('post'), @topic('room.{id}')."
        )
        assert message.hint == "Write `class Forgetful(RouteMixin, AsyncJsonWebsocketConsumer)`."

    def test_routes_of_a_plain_mixin_count(self) -> None:
        """A consumer that it is mixed into reads them no more than its own."""
        plain = type("Plain", (), {"read": route("read")(lambda self, request: None)})
        only(found_of(type("Reading", (plain, JsonWebsocketConsumer), {})))

    def test_subclass_repeats_nothing(self) -> None:
        """The class that declares the routes is the one to change."""
        assert found_of(type("Same", (Forgetful,), {})) == []

    def test_base_of_a_class_with_the_mixin_is_right(self, serve: Callable[[Any], dict[str, Any]]) -> None:
        """As long as it is not served itself."""
        base: Any = type("Base", (AsyncJsonWebsocketConsumer,), {"read": route("read")(lambda self, request: None)})
        only(found_of(base))
        routed = type("Routed", (RouteMixin, base), {})
        assert found_of(base) == found_of(routed) == []
        with override_settings(**serve(urls(old=base.as_asgi(), new=routed.as_asgi()))):  # type: ignore[attr-defined]
            assert only(found_of(base)).id == Id.WITHOUT_MIXIN

    def test_consumer_without_routes_is_right(self) -> None:
        """So is one whose routes were removed."""
        assert found_of(Unrouted) == []
        removed = type("Removed", (AsyncJsonWebsocketConsumer,), {"read": None})
        assert found_of(removed) == []


class AllowAny:
    """One that another library has under this name."""


class Api(AsyncJsonWebsocketConsumer):
    """A consumer of a library that checks permissions for its own actions, as djangochannelsrestframework's does."""

    permission_classes: Any = (AllowAny,)

    def get_permissions(self, action: str) -> list[Any]:
        return [permission() for permission in self.permission_classes]


class Authenticating(AsyncJsonWebsocketConsumer):
    """A consumer of a library that authenticates when the socket connects, as chanx' does."""

    authenticator_class: Any = None

    async def websocket_connect(self, message: Any) -> None:
        await self.authenticate()
        await super().websocket_connect(message)

    async def authenticate(self) -> None:
        if self.authenticator_class:
            await self.close()


def guarded(*bases: type, handler: Any = None, **attributes: Any) -> type:
    """A consumer class with one route, ``read``, and these attributes."""
    read = handler or route("read")(lambda self, request: None)
    return type("Guarded", (RouteMixin, *(bases or (AsyncJsonWebsocketConsumer,))), attributes | {"read": read})


class TestUnreadGuards:
    def test_guard_of_another_library_is_a_warning(self) -> None:
        """It says what is not guarded, and what to write instead."""
        message = only(found_of(Articles))
        assert message.id == Id.UNREAD_GUARD
        assert message.msg == ("Articles.permission_classes does not guard routes: nothing checks it before 'delete'.")
        assert message.hint
        assert message.hint.startswith("Set `route_permissions = [...]` on the class, or permissions= on the routes.")

    async def test_what_the_warning_says_is_so(self) -> None:
        """Anonymous users may call the route; what the hint says to write keeps them out."""
        async with RouteClient(Articles) as client:
            assert (await client.call("delete")).status == 204
        as_said = type("AsSaid", (Articles,), {"route_permissions": Articles.permission_classes})
        assert found_of(as_said) == []
        async with RouteClient(as_said) as client:
            assert (await client.call("delete")).status == 401

    @pytest.mark.parametrize(
        ("name", "value", "hint"),
        [
            ("permission_classes_by_action", {"read": [rest_permissions.IsAdminUser]}, "route_permissions = [...]"),
            ("permission_classes", "api.permissions.IsOwner", "route_permissions = [...]"),
            ("permission_required", "news.add_article", 'route_permissions = ["app_label.codename"]'),
            ("throttle_classes", [Owned], "route_throttle"),
            ("throttle_scope", "uploads", "route_throttle"),
            ("authentication_classes", [Owned], "HandshakeMiddleware"),
            ("authenticator_class", Owned, "HandshakeMiddleware"),
        ],
    )
    def test_each_kind_names_its_replacement(self, name: str, value: Any, hint: str) -> None:
        message = only(found_of(guarded(**{name: value})))
        assert message.msg.startswith(f"Guarded.{name} does not guard")
        assert hint in str(message.hint)

    def test_property_may_refuse_something(self) -> None:
        """Its value is not known before there is a consumer."""
        only(found_of(guarded(permission_classes=property(lambda self: []))))

    @pytest.mark.parametrize(
        "value",
        [
            (),
            [],
            None,
            [AllowAny],
            (rest_permissions.AllowAny,),
            [rest_permissions.AllowAny()],
            ["rest_framework.permissions.AllowAny"],
            {"list": [AllowAny], "retrieve": []},
        ],
        ids=["tuple", "list", "none", "own", "rest framework", "instance", "path", "by action"],
    )
    def test_guard_that_permits_everything_is_right(self, value: Any) -> None:
        """Such is the default of djangochannelsrestframework."""
        assert found_of(guarded(permission_classes=value)) == []
        assert found_of(guarded(Api)) == []

    def test_inherited_guard_is_a_warning(self) -> None:
        """From a base in front of the mixin, and from one behind it, whose own actions it guards."""
        options = type("Options", (), {"permission_classes": [rest_permissions.IsAuthenticated]})
        strict = type("Strict", (Api,), {"permission_classes": [rest_permissions.IsAuthenticated]})
        for cls in (guarded(strict), type("Routed", (options, guarded()), {})):
            assert only(found_of(cls)).id == Id.UNREAD_GUARD

    def test_subclass_repeats_nothing(self) -> None:
        """One with a route or a guard of its own is reported for that."""
        assert found_of(type("Same", (Articles,), {})) == []
        more = type("More", (Articles,), {"add": route("add")(lambda self, request: None)})
        assert "'delete', 'add'" in only(found_of(more)).msg
        only(found_of(type("Other", (Articles,), {"permission_classes": [rest_permissions.IsAuthenticated]})))

    @pytest.mark.parametrize("permissions", [(), [IsAuthenticated]])
    def test_routes_with_permissions_are_right(self, permissions: Any) -> None:
        """The guard is there for the consumer's own code then. ``()`` opens a route on purpose."""
        handler = route("read", permissions=permissions)(lambda self, request: None)
        for name in ("permission_classes", "authentication_classes"):
            assert found_of(guarded(handler=handler, **{name: [Owned]})) == []
            assert found_of(guarded(route_permissions=permissions, **{name: [Owned]})) == []

    def test_routes_with_throttles_are_right(self) -> None:
        """Those of the routes, or of the class; permissions throttle nothing."""
        handler = route("read", throttle="5/s")(lambda self, request: None)
        assert found_of(guarded(handler=handler, throttle_classes=[Owned])) == []
        assert found_of(guarded(route_throttle="5/s", throttle_classes=[Owned])) == []
        only(found_of(guarded(route_permissions=[IsAuthenticated], throttle_classes=[Owned])))

    def test_topics_are_routes(self) -> None:
        """Who may subscribe is not guarded either."""
        handler = topic("room.{id}")(lambda self, request: None)
        assert "'SUBSCRIBE room.{id}'" in only(found_of(guarded(handler=handler, permission_classes=[Owned]))).msg

    def test_class_without_routes_is_right(self) -> None:
        """All that it does goes through its own code."""
        assert found_of(guarded(handler=len, permission_classes=[Owned])) == []

    def test_hook_of_a_library_that_is_overridden_is_a_warning(self) -> None:
        """The library's own definition is none, nor is a method of that name which nothing overrides."""
        override = {"get_permissions": lambda self, action: []}
        assert only(found_of(guarded(Api, **override))).msg.startswith("Guarded.get_permissions does not guard")
        assert found_of(guarded(**override)) == []

    def test_guard_that_is_used_when_a_socket_connects_is_right(self) -> None:
        """A client that it refuses calls no route. Without the library's methods, nothing uses it."""
        assert found_of(guarded(Authenticating, authenticator_class=Owned)) == []
        only(found_of(guarded(authenticator_class=Owned)))

    @pytest.mark.parametrize("method", ["connect", "dispatch", "websocket_receive"])
    def test_guard_that_the_class_checks_itself_is_right(self, method: str) -> None:
        """In methods that come before every route; elsewhere it guards what is there."""

        async def checking(self: Any, *args: Any) -> None:
            assert all(permission().has_permission(self, None) for permission in self.permission_classes)

        assert found_of(guarded(permission_classes=[Owned], **{method: checking})) == []
        only(found_of(guarded(permission_classes=[Owned], receive_json=checking)))

    def test_setting_adds_names(self) -> None:
        """The known ones stay."""
        cls = guarded(access_rules=["staff"], throttle_scope="x")
        with override_settings(ROUTESOCK={"GUARD_ATTRIBUTES": ["access_rules"]}):
            messages = found_of(cls)
        assert [str(message.msg).split()[0] for message in messages] == [
            "Guarded.access_rules",
            "Guarded.throttle_scope",
        ]
        assert [str(message.msg).split()[0] for message in found_of(cls)] == ["Guarded.throttle_scope"]

    def test_setting_of_a_wrong_type_is_reported_once(self) -> None:
        """As a setting."""
        assert only(found(ROUTESOCK={"GUARD_ATTRIBUTES": "access_rules"})).id == Id.WRONG_VALUE


class TestPermissions:
    @pytest.mark.parametrize("name", ["routesock.permissions.IsStaff", "auth.add_user", here("Owned")])
    def test_name_of_a_permission_is_right(self, name: str) -> None:
        """A class, or one of Django's."""
        assert found(ROUTESOCK={"PERMISSIONS": [name]}) == []

    @pytest.mark.parametrize("name", ["nowhere.at.all", "IsStaff", "", here("nothing"), here("ROOT"), here("timing")])
    def test_name_of_anything_else_is_an_error(self, name: str) -> None:
        """Reported once, and not for each consumer."""
        message = only(found(ROUTESOCK={"PERMISSIONS": ["auth.add_user", name]}))
        assert message.id == Id.NO_PERMISSION
        assert message.msg.startswith("ROUTESOCK['PERMISSIONS']: ")
        assert message.msg.endswith("Every connection fails.")

    def test_async_method_as_a_permission_of_a_sync_consumer_is_a_warning(self) -> None:
        """It has the consumer as ``self``, as a handler has."""

        class Sync(RouteMixin, JsonWebsocketConsumer):
            @route("send", permissions=[IsAuthenticated | "may_send"])
            def send_message(self, request: Request) -> None: ...

            async def may_send(self, request: Request) -> bool:
                return True

        assert only(found_of(Sync)).msg.startswith("Sync.may_send is async")


def caches(backend: str, location: str = "") -> dict[str, Any]:
    return {"CACHES": {"default": {"BACKEND": backend, "LOCATION": location}}}


class TestThrottles:
    @pytest.mark.parametrize(
        ("backend", "location"),
        [
            ("django.core.cache.backends.locmem.LocMemCache", ""),
            ("django.core.cache.backends.redis.RedisCache", "redis://127.0.0.1:1"),
            ("django_redis.cache.RedisCache", "redis://127.0.0.1:1"),
        ],
    )
    def test_cache_that_can_count_is_right(self, backend: str, location: str) -> None:
        """Whether it is up is not asked: a check must not wait for another machine."""
        assert found(**caches(backend, location)) == []

    @pytest.mark.parametrize("backend", ["db.DatabaseCache", "filebased.FileBasedCache", "dummy.DummyCache"])
    def test_cache_whose_incr_is_not_atomic_is_a_warning(self, backend: str) -> None:
        """With the consumers that are throttled."""

        class NeverThrottled(RouteMixin, AsyncJsonWebsocketConsumer):
            pass

        message = only(found(**caches(f"django.core.cache.backends.{backend}", "nowhere")))
        assert (message.id, type(message)) == (Id.NOT_ATOMIC, Warning)
        assert "Limited" in message.msg
        assert NeverThrottled.__name__ not in message.msg

    def test_cache_that_does_not_exist_is_an_error(self) -> None:
        """Every throttled call would be a 500."""
        message = only(found(ROUTESOCK={"THROTTLE_CACHE": "nowhere"}))
        assert (message.id, type(message)) == (Id.NO_SUCH_CACHE, Error)
        assert "'nowhere'" in message.msg

    def test_cache_that_cannot_be_created_is_reported_with_its_error(self) -> None:
        message = only(found(**caches("nowhere.Cache")))
        assert message.id == Id.NO_SUCH_CACHE
        assert "InvalidCacheBackendError" in message.msg

    def test_value_of_a_wrong_type_is_reported_once(self) -> None:
        assert only(found(ROUTESOCK={"THROTTLE_CACHE": 5})).id == Id.WRONG_VALUE

    def test_project_without_throttles_may_have_any_cache(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Unused configuration causes no warning."""
        monkeypatch.setattr("routesock.checks.deployment.consumers", lambda: {Chat: None})
        assert found(ROUTESOCK={"THROTTLE_CACHE": "nowhere"}) == []


class TestStore:
    def test_cache_that_cannot_keep_data(self) -> None:
        """The message names its class."""
        dummy = caches("django.core.cache.backends.dummy.DummyCache")
        messages = found(**dummy, ROUTESOCK={"STORE": "default"})
        assert "DummyCache" in only([message for message in messages if message.id == Id.NO_STORE]).msg

    def test_store_of_redis_behind_a_layer(self) -> None:
        """Processes share it."""
        settings = caches("django_redis.cache.RedisCache", NO_REDIS) | {"CHANNEL_LAYERS": {"default": core(NO_REDIS)}}
        with override_settings(**(installed() | settings), ROUTESOCK={"STORE": "default"}):
            assert not {Id.NO_STORE, Id.LOCAL_STORE} & {message.id for message in everything()}

    def test_idempotent_routes_use_it(self) -> None:
        """Without a setting, too."""
        with override_settings(**(installed() | caches("nowhere.Cache"))):
            assert Id.NO_STORE in {message.id for message in everything()}

    def test_project_that_does_not_use_the_store(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """It may have any cache."""
        monkeypatch.setattr("routesock.checks.deployment.consumers", lambda: {Chat: None})
        with override_settings(**(installed() | caches("nowhere.Cache"))):
            assert Id.NO_STORE not in {message.id for message in everything()}


class TestDeadlines:
    def test_only_routes_without_their_own_are_named(self) -> None:
        with override_settings(**installed(), ROUTESOCK={"TIMEOUT": None}):
            messages = checked()
        message = only([each for each in messages if (each.id, each.obj) == (Id.ENDLESS_CLAIM, Payments)])
        assert "of Payments: pay. " in message.msg

    def test_default_is_a_deadline(self) -> None:
        assert Id.ENDLESS_CLAIM not in {message.id for message in found_of(Payments)}


class TestLayers:
    def test_layer_that_works_is_right(self) -> None:
        """One in memory is, too: this may be a developer's machine."""
        assert found_of_layers(pushes=core({"address": NO_REDIS, "socket_timeout": 10})) == []
        assert found_of_layers(pushes=IN_MEMORY) == []

    def test_alias_that_is_not_configured_is_an_error(self) -> None:
        """Channels gives such a consumer no layer, without a word."""
        message = only(found_of_layers(events=IN_MEMORY))
        assert (message.id, type(message)) == (Id.NO_SUCH_LAYER, Error)
        assert message.msg.startswith("The channel layer 'pushes' of Postbox is not in CHANNEL_LAYERS")
        assert message.hint == "Set channel_layer_alias to 'events', or to None for no layer, or add 'pushes'."

    async def test_what_the_error_says_is_so(self) -> None:
        """There is no layer."""
        assert get_channel_layer(Postbox.channel_layer_alias) is None
        async with RouteClient(Postbox, raise_exceptions=False) as client:
            assert (await client.call("post")).status == 500

    def test_project_without_layers_is_right(self) -> None:
        """It has chosen to have none; see below for what is deployed."""
        assert found_of_layers() == []

    def test_consumer_without_an_alias_wants_none(self) -> None:
        """Which Channels takes."""

        class Alone(RouteMixin, AsyncJsonWebsocketConsumer):
            channel_layer_alias: Any = None

        assert get_channel_layer(Alone.channel_layer_alias) is None
        with override_settings(**installed(), CHANNEL_LAYERS={"events": IN_MEMORY}):
            messages = [message for message in everything() if message.id != Id.NO_APPLICATION]
        assert not [message for message in messages if "Alone" in message.msg]

    def test_consumer_that_others_derive_from_is_not_reported(self) -> None:
        """Each of those has an alias, its own or this one."""

        class Base(RouteMixin, AsyncJsonWebsocketConsumer):
            channel_layer_alias = "of the base"

        class Derived(Base):
            channel_layer_alias = "derived"

        with override_settings(**installed(), CHANNEL_LAYERS={"derived": IN_MEMORY}):
            assert not [message for message in run_checks(tags=[TAG]) if "'of the base'" in message.msg]
        with override_settings(**installed(), CHANNEL_LAYERS={"of the base": IN_MEMORY}):
            assert [message.id for message in run_checks(tags=[TAG]) if "'derived' of Derived " in message.msg]

    @pytest.mark.parametrize(
        ("config", "says"),
        [
            ({"BACKEND": "nowhere.Layer"}, "InvalidChannelLayerError"),
            ({}, "InvalidChannelLayerError"),
            (IN_MEMORY | {"CONFIG": {"hosts": []}}, "TypeError"),
            ({"BACKEND": core()["BACKEND"], "CONFIG": {"hosts": NO_REDIS}}, "You must pass a list"),
            (5, "AttributeError"),
        ],
    )
    def test_layer_that_cannot_be_created_is_reported_with_its_error(self, config: Any, says: str) -> None:
        """It would fail at the first connection."""
        message = only(found_of_layers(pushes=config, deploy=True))
        assert (message.id, type(message)) == (Id.NO_SUCH_LAYER, Error)
        assert message.msg.startswith("The channel layer 'pushes' of Postbox cannot be created (")
        assert says in message.msg

    def test_layer_that_needs_an_event_loop_is_not_reported(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """There is none here, but there will be."""

        class Looping(InMemoryChannelLayer):
            def __init__(self) -> None:
                super().__init__()
                asyncio.get_running_loop()

        monkeypatch.setattr(sys.modules[__name__], "Looping", Looping, raising=False)
        assert found_of_layers(pushes={"BACKEND": here("Looping")}, deploy=True) == []

    def test_layer_is_not_kept(self) -> None:
        """A process that forks after its checks would share it."""
        with override_settings(**installed(), CHANNEL_LAYERS={"default": IN_MEMORY, "pushes": core(NO_REDIS)}):
            everything()
            assert channel_layers.backends == {}

    @pytest.mark.parametrize("extensions", [["flush"], [], None])
    def test_layer_without_groups_is_a_warning(self, extensions: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        """It may say so, or say nothing."""
        if extensions is None:
            monkeypatch.delattr(Ungrouped, "extensions")
        else:
            monkeypatch.setattr(Ungrouped, "extensions", extensions)
        message = only(found_of_layers(pushes={"BACKEND": here("Ungrouped")}))
        assert (message.id, type(message)) == (Id.NO_GROUPS, Warning)
        assert message.msg.startswith("The channel layer 'pushes' of Postbox has no groups")

    @pytest.mark.parametrize("on_a_loop", [False, True])
    def test_pubsub_layer_has_groups(self, on_a_loop: bool) -> None:
        """Though it says so where an event loop runs alone."""
        pubsub = {"BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer", "CONFIG": {"hosts": [NO_REDIS]}}

        async def check() -> list[CheckMessage]:
            return found_of_layers(pushes=pubsub, deploy=True)

        assert (asyncio.run(check()) if on_a_loop else found_of_layers(pushes=pubsub, deploy=True)) == []


class TestIdleLayers:
    SENTINEL: Final = {"sentinels": [("127.0.0.1", 1)], "master_name": "shop"}

    @pytest.mark.parametrize(
        "host",
        [
            {"address": NO_REDIS, "socket_timeout": 5},
            {"address": f"{NO_REDIS}/0?socket_timeout=4.5"},
            {"host": "127.0.0.1", "port": 1, "socket_timeout": 1},
            {"address": "unix:///nowhere", "socket_timeout": 5},
            SENTINEL | {"socket_timeout": 5},
        ],
    )
    def test_client_that_waits_no_longer_than_the_layer_is_a_warning(self, host: dict[str, Any]) -> None:
        """However the host is written, and though nothing is there: a check must not wait for another machine."""
        message = only(found_of_layers(pushes=core({"address": NO_REDIS, "socket_timeout": 10}, host)))
        assert (message.id, type(message)) == (Id.SHORT_TIMEOUT, Warning)
        assert "'pushes' of Postbox waits 5 s at a time for messages" in message.msg
        assert message.hint == 'Set "hosts": [{"address": ..., "socket_timeout": 10}] in its "CONFIG".'

    def test_host_without_a_limit_does_not_make_up_for_another(self) -> None:
        """The layer waits at each of them."""
        hosts = [{"address": NO_REDIS, "socket_timeout": limit} for limit in (None, 5)]
        assert only(found_of_layers(pushes=core(*hosts))).id == Id.SHORT_TIMEOUT

    @pytest.mark.parametrize("limit", [5.1, 10, None])
    def test_client_that_waits_longer_is_right(self, limit: float | None) -> None:
        """``None`` is no limit."""
        assert found_of_layers(pushes=core({"address": NO_REDIS, "socket_timeout": limit})) == []
        assert found_of_layers(pushes=core(self.SENTINEL | {"socket_timeout": limit})) == []

    @pytest.mark.parametrize("host", [NO_REDIS, ("127.0.0.1", 1), SENTINEL])
    def test_client_without_a_word_has_the_default_of_the_library(self, host: Any) -> None:
        """5 s in redis-py 8, none before that."""
        default = inspect.signature(Connection.__mro__[1]).parameters["socket_timeout"].default
        ids = [message.id for message in found_of_layers(pushes=core(host))]
        assert ids == ([] if default is None else [Id.SHORT_TIMEOUT])

    @pytest.mark.parametrize(
        "host", [{"address": "nonsense"}, {"address": NO_REDIS, "socket_timeout": "5"}, {"address": NO_REDIS, "no": 1}]
    )
    def test_host_that_cannot_work_does_not_break_the_check(self, host: dict[str, Any]) -> None:
        """It fails at the first call of the layer, with an error of the library."""
        assert found_of_layers(pushes=core(host)) == []

    @pytest.mark.servers
    async def test_what_the_warning_says_is_so(self) -> None:
        """The layer fails, and nothing but the time was wrong."""
        with run_redis_server() as server:
            layer = RedisChannelLayer(hosts=[{"address": server.url, "socket_timeout": 0.1}])
            with pytest.raises(ConnectionTimeout):
                await layer.receive(await layer.new_channel())
            await layer.flush()


class TestDeployment:
    def test_layer_of_one_process_is_a_warning(self) -> None:
        """What is sent does not leave it."""
        message = only(found_of_layers(pushes=IN_MEMORY, deploy=True))
        assert (message.id, type(message)) == (Id.ONE_PROCESS, Warning)
        assert message.msg.startswith("The channel layer 'pushes' of Postbox does not reach other processes. ")
        assert message.hint is not None
        assert "channels_redis" in message.hint

    def test_no_layer_at_all_is_one(self) -> None:
        """It is the same to what is pushed."""
        message = only(found_of_layers(deploy=True))
        assert message.id == Id.ONE_PROCESS
        assert message.msg.startswith("There is no channel layer for ")

    def test_layer_that_is_not_used_is_not_checked(self) -> None:
        """Unused configuration causes no warning."""
        with override_settings(**installed(), CHANNEL_LAYERS={"nobody's": IN_MEMORY}):
            assert not [message for message in everything() if message.id == Id.ONE_PROCESS]

    def test_layer_that_reaches_others_is_right(self) -> None:
        assert found_of_layers(pushes=core({"address": NO_REDIS, "socket_timeout": 10}), deploy=True) == []

    def test_missing_layer_is_reported_once(self) -> None:
        """As an error, and not as a layer of one process."""
        assert only(found_of_layers(events=IN_MEMORY, deploy=True)).id == Id.NO_SUCH_LAYER

    def test_it_is_reported_for_deployments_only(self) -> None:
        """In development there is one process."""
        assert not [message for message in found() if message.id == Id.ONE_PROCESS]
        with override_settings(**installed()), pytest.raises(SystemCheckError, match=Id.ONE_PROCESS):
            call_command("check", tags=[TAG], deploy=True, fail_level="WARNING")


class TestUnknownConsumers:
    """Without ``ASGI_APPLICATION`` the checks cannot import the consumers, so they would find nothing."""

    @pytest.fixture
    def project(self, tmp_path: Path) -> Callable[..., list[str]]:
        """Checks a project whose consumer is in ``shop.consumers``, and returns the ids."""
        for name, code in {
            "__init__.py": "",
            "consumers.py": (
                "from channels.generic.websocket import AsyncJsonWebsocketConsumer\n"
                "from routesock import RouteMixin, route\n"
                "class Stock(RouteMixin, AsyncJsonWebsocketConsumer):\n"
                "    @route('stock')\n"
                "    async def stock(self, request): ...\n"
            ),
            "asgi.py": "from shop.consumers import Stock\napplication = Stock.as_asgi()\n",
            "urls.py": "urlpatterns = []\n",
        }.items():
            (tmp_path / "shop").mkdir(exist_ok=True)
            (tmp_path / "shop" / name).write_text(code)

        def check(*, deploy: bool = True, first: str = "pass", **names: Any) -> list[str]:
            code = (
                f"import sys; sys.path.append({str(tmp_path)!r}); import django; django.setup(); {first};"
                "from django.core.checks import run_checks;"
                f"found = run_checks(tags=['routesock'], include_deployment_checks={deploy});"
                "[print(m.id, m.msg, m.hint) for m in found]"
            )
            settings = {"INSTALLED_APPS": ["routesock"], "CHANNEL_LAYERS": {"default": IN_MEMORY}, **names}
            return run(code, **settings).split("\n")[:-1]

        return check

    def test_a_deployment_without_it_is_a_warning(self, project: Callable[..., list[str]]) -> None:
        """The warning of the in-memory layer is missing, since nothing has imported the consumer."""
        [message] = project()
        assert message.startswith(f"{Id.NO_APPLICATION} ASGI_APPLICATION is not set, so the checks find no consumers.")

    def test_with_it_the_consumers_are_checked(self, project: Callable[..., list[str]]) -> None:
        [message] = project(ASGI_APPLICATION="shop.asgi.application")
        assert message.startswith(Id.ONE_PROCESS)

    def test_consumers_that_something_else_imports_are_checked_and_named(
        self, project: Callable[..., list[str]]
    ) -> None:
        """A project that has all of its consumers in this list can silence the warning."""
        [layer, application] = sorted(project(first="import shop.consumers"))
        assert layer.startswith(Id.ONE_PROCESS)
        assert application.startswith(Id.NO_APPLICATION)
        assert "only those that other code has imported: Stock." in application

    @pytest.mark.parametrize(
        ("named", "suggested"),
        [
            ({"WSGI_APPLICATION": "shop.wsgi.application"}, "shop.asgi.application"),
            ({"ROOT_URLCONF": "shop.urls"}, "shop.asgi.application"),
            ({"ROOT_URLCONF": "urls"}, "asgi.application"),
            ({}, "config.asgi.application"),
        ],
        ids=["wsgi", "urls", "top", "neither"],
    )
    def test_the_hint_is_what_to_write(
        self, named: dict[str, str], suggested: str, project: Callable[..., list[str]]
    ) -> None:
        """``startproject`` makes ``asgi.py`` beside ``wsgi.py`` and ``urls.py``."""
        [message] = project(**named)
        assert f'Set ASGI_APPLICATION = "{suggested}"' in message

    def test_it_is_reported_for_deployments_only(self, project: Callable[..., list[str]]) -> None:
        assert project(deploy=False) == []


class TestDaphne:
    @pytest.mark.parametrize("version", ["4.2.1", "4.2", "4.1.2", "3.0.0"])
    def test_version_without_a_limit_is_a_warning(self, version: str) -> None:
        """A frame of any size is in memory before routesock sees it."""
        message = only(found(**installed(Daphne(version))))
        assert (message.id, message.hint) == (Id.UNBOUNDED_DAPHNE, "Install daphne>=4.2.2.")
        assert version in message.msg
        assert "CVE-2026-44545" in message.msg

    @pytest.mark.parametrize("version", ["4.2.2", "4.2.10", "4.3", "5.0.dev1"])
    def test_version_with_a_limit_is_right(self, version: str) -> None:
        """From the one that fixed it."""
        assert found(**installed(Daphne(version))) == []

    def test_daphne_that_is_no_app_is_not_looked_at(self) -> None:
        """It is installed for the tests, which says nothing about the server of a project."""
        assert found() == []

    def test_real_app_has_a_version(self) -> None:
        """The one that is read here; in a process of its own, since it installs a reactor."""
        run(
            "import django; django.setup(); from django.core.checks import run_checks;"
            "assert [m.id for m in run_checks(tags=['routesock'])] == ['routesock.W010']",
            INSTALLED_APPS=["daphne", "routesock"],
            ROUTESOCK={"MAX_FRAME": 2 * MIB},
        )

    @pytest.mark.parametrize("key", ["MAX_FRAME", "MAX_REPLY"])
    def test_limit_above_daphnes_is_a_warning(self, key: str) -> None:
        """Between the two, a frame ends the socket or a reply is lost."""
        message = only(found(**installed(Daphne("4.2.2")), ROUTESOCK={key: MIB + 1}))
        assert message.id == Id.OVER_DAPHNES_LIMIT
        assert message.msg.startswith(f"ROUTESOCK[{key!r}] is {MIB + 1}, but daphne ")
        assert message.msg.endswith(f" of more than {MIB} bytes.")
        assert message.hint is not None
        assert "DAPHNE_WEBSOCKET_MAX_MESSAGE_SIZE" in message.hint
        assert "--websocket-max-message-size" in message.hint

    @pytest.mark.parametrize("key", ["MAX_FRAME", "MAX_REPLY"])
    def test_limit_up_to_daphnes_is_right(self, key: str) -> None:
        """The same number does no harm."""
        assert found(**installed(Daphne("4.2.2")), ROUTESOCK={key: MIB}) == []

    def test_raised_limit_of_daphne_is_taken(self) -> None:
        """Its own settings say where it stops; 0 is no limit."""
        both = {"DAPHNE_WEBSOCKET_MAX_MESSAGE_SIZE": 0, "DAPHNE_WEBSOCKET_MAX_FRAME_SIZE": 4 * MIB}
        ours = {"MAX_FRAME": 3 * MIB, "MAX_REPLY": 9 * MIB}
        assert found(**installed(Daphne("4.2.2")), **both, ROUTESOCK=ours) == []

    def test_lower_of_daphnes_limits_is_taken(self) -> None:
        """A message in one frame, as browsers send it, meets both."""
        raised = {"DAPHNE_WEBSOCKET_MAX_MESSAGE_SIZE": 4 * MIB}
        message = only(found(**installed(Daphne("4.2.2")), **raised, ROUTESOCK={"MAX_FRAME": 3 * MIB}))
        assert message.hint is not None
        assert "DAPHNE_WEBSOCKET_MAX_FRAME_SIZE" in message.hint

    def test_lowered_limit_of_daphne_meets_our_default(self) -> None:
        """The defaults of routesock and daphne may disagree too."""
        message = only(found(**installed(Daphne("4.2.2")), DAPHNE_WEBSOCKET_MAX_MESSAGE_SIZE=500_000))
        assert "ROUTESOCK['MAX_REPLY'] is 1000000" in message.msg

    def test_server_without_limits_is_right(self) -> None:
        """Without a limit of daphne, that of routesock applies."""
        none = {"DAPHNE_WEBSOCKET_MAX_MESSAGE_SIZE": 0, "DAPHNE_WEBSOCKET_MAX_FRAME_SIZE": 0}
        assert found(**installed(Daphne("4.2.2")), **none, ROUTESOCK={"MAX_FRAME": 9 * MIB}) == []

    def test_value_of_a_wrong_type_is_reported_once(self) -> None:
        """As a setting, and not compared with a number."""
        message = only(found(**installed(Daphne("4.2.2")), ROUTESOCK={"MAX_REPLY": "2 MB"}))
        assert message.id == Id.WRONG_VALUE


class Wrapper:
    """Middleware that keeps what it wraps as ``app``."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None: ...


class TestEndpoints:
    def test_application_by_itself_is_the_endpoint(self) -> None:
        """Whatever it is."""
        for application in (Chat.as_asgi(), Chat, Chat(), None, 5):
            assert list(endpoints(application)) == [Endpoint("", application)]

    def test_routers_are_followed_in_order(self) -> None:
        """The path is put together from the routers on the way, which the endpoint knows with their patterns."""
        one, two, http = Chat.as_asgi(), Unrouted.as_asgi(), object()
        inner = urls(one=one, two=two)
        outer = urls(ws=inner)
        wrapper = Wrapper(outer)
        routed: Any = {"http": http, "websocket": wrapper}
        application = ProtocolTypeRouter(routed)
        first, second, third = endpoints(application)
        assert first == Endpoint("", http, (application,), (), "http")
        assert second[:3] == ("ws/one/", one, (application, wrapper, outer, inner))
        assert third[:3] == ("ws/two/", two, (application, wrapper, outer, inner))
        routes: Any = (outer.routes[0], inner.routes[0])
        assert second.patterns == tuple(route.pattern for route in routes)
        assert (second.protocol, third.protocol) == ("websocket", "websocket")

    def test_one_application_on_two_paths_is_two_endpoints(self) -> None:
        """Nothing is left out for having been seen."""
        shared = Wrapper(Chat.as_asgi())
        assert [endpoint.path for endpoint in endpoints(urls(a=shared, b=shared))] == ["a/", "b/"]

    def test_consumer_is_an_end_whatever_it_has(self) -> None:
        """An attribute named ``app`` makes no consumer a middleware."""
        consumer: Any = Chat()
        consumer.app = print
        cls = type("App", (Chat,), {"app": print})
        assert [endpoint.application for endpoint in endpoints(Wrapper(consumer))] == [consumer]
        assert [endpoint.application for endpoint in endpoints(Wrapper(cls))] == [cls]

    def test_attribute_that_cannot_be_called_is_no_application(self) -> None:
        """A name or a version may be kept under it."""
        application = Wrapper("shop")
        assert list(endpoints(application)) == [Endpoint("", application)]

    def test_middleware_function_is_looked_through(self) -> None:
        """What it wraps is in its closure."""

        def wrapped(inner: Any) -> Any:
            async def middleware(scope: Any, receive: Any, send: Any) -> None:
                await inner(scope, receive, send)

            return middleware

        one, two = Chat.as_asgi(), Unrouted.as_asgi()
        outer = wrapped(wrapped(urls(one=one, two=wrapped(two))))
        assert [(endpoint.path, endpoint.application) for endpoint in endpoints(outer)] == [
            ("one/", one),
            ("two/", two),
        ]
        assert next(endpoints(outer)).through[0] is outer

    def test_function_that_may_serve_several_has_them_all(self) -> None:
        one, two = Chat.as_asgi(), Unrouted.as_asgi()

        async def either(scope: Any, receive: Any, send: Any) -> None:
            await (one if scope["path"] == "/" else two)(scope, receive, send)

        assert {endpoint.application for endpoint in endpoints(either)} == {one, two}

    def test_other_functions_are_ends(self) -> None:
        """Nothing in their closures is an application that is known, or they have none that can be read."""
        number = 5

        async def with_number(scope: Any, receive: Any, send: Any) -> None:
            assert number

        async def with_itself(scope: Any, receive: Any, send: Any) -> None:
            await with_itself(scope, receive, send)

        async def with_nothing(scope: Any, receive: Any, send: Any) -> None:
            await later(scope, receive, send)

        for application in (with_number, with_itself, with_nothing, functools.partial(Wrapper, Chat())):
            assert list(endpoints(application)) == [Endpoint("", application)]
        later = Chat.as_asgi()
        assert [endpoint.application for endpoint in endpoints(with_nothing)] == [later]

    def test_application_that_contains_itself_ends(self) -> None:
        """A loop is followed once."""
        application, inner = Wrapper(None), Wrapper(None)
        application.app, inner.app = inner, application
        assert list(endpoints(application)) == [Endpoint("", application, (application, inner))]


class TestOrigins:
    @pytest.mark.parametrize(
        "application",
        [
            AuthMiddlewareStack(Chat.as_asgi()),
            urls(a=AuthMiddlewareStack(urls(b=Chat.as_asgi()))),
            ProtocolTypeRouter({"websocket": SessionMiddlewareStack(Wrapper(Chat.as_asgi()))}),
            urls(a=OriginValidator(Chat.as_asgi(), ["*"]), b=SessionMiddlewareStack(Chat.as_asgi())),
            RequestMiddleware(urls(a=Chat.as_asgi()), SESSIONS),
            RequestMiddleware(Chat.as_asgi(), [here("OwnSessions")]),
        ],
        ids=["stack", "below a router", "sessions alone", "beside", "Django's middleware", "a subclass of it"],
    )
    def test_session_cookies_without_a_validator_are_found(self, application: Any, serve: Any) -> None:
        """Wherever the consumer stands behind the session middleware."""
        message = only(found(**serve(application)))
        assert message.id == Id.ANY_ORIGIN
        assert "sockets of Chat as the user" in message.msg

    @pytest.mark.parametrize(
        "application",
        [
            AllowedHostsOriginValidator(AuthMiddlewareStack(urls(a=Chat.as_asgi()))),
            AuthMiddlewareStack(OriginValidator(Chat.as_asgi(), ["shop.example"])),
            type("OwnOriginCheck", (Wrapper,), {})(AuthMiddlewareStack(Chat.as_asgi())),
            AuthMiddlewareStack(Unrouted.as_asgi()),
            Wrapper(Chat.as_asgi()),
            ProtocolTypeRouter({"http": AuthMiddlewareStack(Chat.as_asgi())}),
            AllowedHostsOriginValidator(RequestMiddleware(Chat.as_asgi(), SESSIONS)),
            RequestMiddleware(Chat.as_asgi(), ["django.middleware.locale.LocaleMiddleware", here("as_function")]),
        ],
        ids=[
            "outside",
            "inside",
            "its own",
            "without routes",
            "without sessions",
            "http",
            "outside Django's middleware",
            "Django's middleware without sessions",
        ],
    )
    def test_others_are_not(self, application: Any, serve: Any) -> None:
        """A validator anywhere around the consumer counts, and so does no session."""
        assert found(**serve(application)) == []

    def test_a_consumer_on_two_paths_is_named_once(self, serve: Any) -> None:
        shared = AuthMiddlewareStack(Chat.as_asgi())
        assert only(found(**serve(urls(a=shared, b=shared)))).msg.count("Chat") == 1
