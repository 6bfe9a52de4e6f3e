"""What is declared for documents, what is refused, and what the defaults are."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from http import HTTPStatus
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from django.test import override_settings
from django.utils.functional import SimpleLazyObject
from django.utils.translation import gettext_lazy, override

from routesock import Push, Request, RouteMixin, RouteSetupError, route, run_in_thread, topic
from routesock._routing.arguments import NO_ERRORS
from routesock._routing.documentation import pushes_of, texts_of
from routesock._routing.route import Route
from routesock._routing.topic import Topic
from routesock.schemas import SchemaAdapter
from routesock.testing import RouteClient
from tests.schemas.samples import SAMPLES, NoteModel, NoteSchema, Sample


class Plain(RouteMixin, AsyncJsonWebsocketConsumer):
    """A consumer to derive from."""


def handler(self: Any, request: Request) -> Any:
    return "sent"


def declared(decorator: Any, *, attr: str = "handler", **options: Any) -> Any:
    """The route or the topic that ``decorator`` with ``options`` declares."""
    name = "room.{id}" if decorator is topic else "send"
    cls: Any = type("Chat", (Plain,), {attr: decorator(name, **options)(lambda self, request: None)})
    return cls._routesock.topics[0] if decorator is topic else cls._routesock.plans[name].route


def options_of(decorator: Any, **options: Any) -> Route:
    found = declared(decorator, **options)
    route_: Route = found.route if isinstance(found, Topic) else found
    return route_


def refusal(make: Callable[..., object], *args: Any, **kwargs: Any) -> str:
    with pytest.raises(RouteSetupError) as caught:
        make(*args, **kwargs)
    return str(caught.value)


both = pytest.mark.parametrize("decorator", [route, topic])


class TestReply:
    @both
    def test_without_it_nothing_is_described(self, decorator: Any) -> None:
        assert (options_of(decorator).reply, options_of(decorator).replies) == (None, True)

    @both
    @pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.name)
    def test_it_is_the_schema_of_a_library(self, decorator: Any, sample: Sample) -> None:
        if sample.name == "plain function":
            assert "reply= must be a schema" in refusal(decorator, "send", reply=sample.schema)
        else:
            assert isinstance(options_of(decorator, reply=sample.schema).reply, SchemaAdapter)

    @both
    def test_it_may_be_marked_for_the_thread(self, decorator: Any) -> None:
        adapter = run_in_thread(NoteSchema)
        assert options_of(decorator, reply=adapter).reply is adapter

    @both
    @pytest.mark.parametrize("reply", ["NoteSchema", 5, {"text": str}, print, object, [NoteSchema]], ids=repr)
    def test_anything_else_is_refused_with_what_to_write(self, decorator: Any, reply: Any) -> None:
        message = refusal(decorator, "send", reply=reply)
        assert message.startswith("reply= must be a schema of what the handler returns")
        assert "is dehydrate=" in message

    @both
    def test_it_stands_beside_a_function_as_dehydrate(self, decorator: Any) -> None:
        assert options_of(decorator, reply=NoteSchema, dehydrate=str).reply is not None

    @both
    def test_a_schema_as_dehydrate_describes_the_reply_already(self, decorator: Any) -> None:
        message = refusal(decorator, "send", reply=NoteModel, dehydrate=NoteSchema)
        assert message == "dehydrate= is a schema, which describes the reply already. Remove reply=."

    def test_none_means_no_reply_as_before(self) -> None:
        found = options_of(route, reply=None, errors={409: "Twice."})
        assert (found.reply, found.replies, dict(found.errors)) == (None, False, {409: "Twice."})

    def test_a_topic_is_always_answered(self) -> None:
        assert "got None" in refusal(topic, "room", reply=None)

    async def test_it_changes_no_payload(self) -> None:
        """Only documents, and checks that are switched on, read it."""

        class Chat(Plain):
            @route("send", reply=NoteSchema, status=201)
            async def send_it(self, request: Request) -> Any:
                return {"other": 1}

            @route("list", reply=NoteSchema)
            async def listed(self, request: Request) -> Any:
                yield {"other": 2}

        async with RouteClient(Chat) as client:
            reply = await client.call("send")
            assert (reply.status, reply.payload) == (201, {"other": 1})
            assert [item.payload async for item in client.stream("list")] == [{"other": 2}, None]


class TestErrors:
    @both
    def test_they_are_kept_by_status(self, decorator: Any) -> None:
        errors = options_of(decorator, errors={HTTPStatus.GONE: NoteSchema, 409: "Join first."}).errors
        assert list(errors) == [409, 410]
        assert type(list(errors)[1]) is int
        assert errors[409] == "Join first."
        assert isinstance(errors[410], SchemaAdapter)

    @both
    def test_without_them_all_routes_share_one_empty_mapping(self, decorator: Any) -> None:
        assert options_of(decorator).errors is options_of(decorator, errors={}).errors is NO_ERRORS

    @both
    @pytest.mark.parametrize("errors", [[409], "409", None, {409}, 409], ids=repr)
    def test_they_are_a_dict(self, decorator: Any, errors: Any) -> None:
        assert "errors= must be a dict from a status to a text or a schema, such as" in refusal(
            decorator, "send", errors=errors
        )

    @both
    @pytest.mark.parametrize("status", [399, 600, 200, "409", 409.0, True, None], ids=repr)
    def test_a_status_is_that_of_an_error(self, decorator: Any, status: Any) -> None:
        message = refusal(decorator, "send", errors={status: "No."})
        assert message.startswith("A status in errors= must be an integer from 400 to 599, such as")

    @both
    @pytest.mark.parametrize("value", ["", None, 5, print, {"detail": "No."}, object], ids=repr)
    def test_a_value_is_a_text_or_a_schema(self, decorator: Any, value: Any) -> None:
        message = refusal(decorator, "send", errors={409: value})
        assert message.startswith("errors= must have a text that says when 409 is sent, such as")

    def test_what_the_caller_changes_later_is_not_seen(self) -> None:
        errors: dict[int, Any] = {409: "Join first."}
        kept = options_of(route, errors=errors).errors
        errors[410] = "Gone."
        assert dict(kept) == {409: "Join first."}
        assert isinstance(kept, Mapping)


class TestExamples:
    def test_those_of_a_route_are_payloads(self) -> None:
        payloads: list[Any] = [{"text": "Żółw"}, [1, 2.5], "x", None]
        kept = options_of(route, examples=payloads).examples
        payloads[0]["text"] = "changed later"
        assert kept == ({"text": "Żółw"}, [1, 2.5], "x", None)

    @pytest.mark.parametrize("examples", [{"text": "Hello"}, "Hello", None, 5, {1}], ids=repr)
    def test_they_are_a_list(self, examples: Any) -> None:
        assert "examples= must be a list of payloads of requests, such as" in refusal(route, "send", examples=examples)

    @pytest.mark.parametrize("payload", [object, {1}, float("nan"), {"a": b""}, "\ud800", {(1,): 2}], ids=ascii)
    def test_what_no_client_can_send_is_refused(self, payload: Any) -> None:
        message = refusal(route, "send", examples=[payload])
        assert message.startswith("examples= must have payloads as a client sends them, in plain JSON; got ")

    def test_what_contains_itself_is_refused(self) -> None:
        payload: list[Any] = []
        payload.append(payload)
        assert "in plain JSON" in refusal(route, "send", examples=[payload])

    def test_those_of_a_topic_are_names(self) -> None:
        assert options_of(topic, examples=["room.5", "room.a b"]).examples == ("room.5", "room.a b")

    @pytest.mark.parametrize("name", ["room", "room.", "room.5.6", "hall.5", 5, None, "room." + "x" * 124], ids=repr)
    def test_a_name_has_to_match_the_pattern(self, name: Any) -> None:
        message = refusal(topic, "room.{id}", examples=[name])
        assert message.startswith("examples= must have names that 'room.{id}' matches, with at most 128 characters")

    @pytest.mark.parametrize("examples", ["room.5", None, {"topic": "room.5"}], ids=repr)
    def test_names_are_a_list(self, examples: Any) -> None:
        assert "examples= must be a list of names of topics" in refusal(topic, "room.{id}", examples=examples)


class TestTexts:
    @both
    def test_a_topic_has_the_options_of_a_route(self, decorator: Any) -> None:
        options = {"summary": "One.", "description": "More.", "tags": ("a", "b"), "deprecated": True}
        kept = options_of(decorator, **options)
        assert {option: getattr(kept, option) for option in options} == options
        assert options_of(decorator, tags="one").tags == ("one",)

    @pytest.mark.parametrize("declare", [route, topic, Push])
    @pytest.mark.parametrize(
        ("option", "value", "says"),
        [
            ("summary", None, "summary= must be a string"),
            ("summary", 5, "summary= must be a string"),
            ("description", ["More."], "description= must be a string"),
            ("tags", 5, "tags= must be a list of names"),
            ("tags", [5], "tags= must be a list of names"),
            ("tags", [""], "tags= must be a list of names"),
            ("deprecated", "yes", "deprecated= must be True or False"),
        ],
    )
    def test_wrong_values_are_refused(self, declare: Any, option: str, value: Any, says: str) -> None:
        assert says in refusal(declare, "send", **{option: value})

    def test_the_summary_of_a_class_is_a_string(self) -> None:
        assert refusal(type, "Chat", (Plain,), {"route_summary": 5}) == ("Chat.route_summary must be a string; got 5.")

    def test_the_defaults_are_the_docstring(self) -> None:
        """The first sentence, over several lines or not, and the rest."""

        class Chat(Plain):
            """Rooms.

            In each one may talk.
            """

            @route("one")
            def one(self, request: Request) -> None:
                """Sends."""

            @route("more")
            def more(self, request: Request) -> None:
                """Sends a message
                to a room.
                And more.

                    Indented.

                Last.
                """

            @route("open")
            def open_(self, request: Request) -> None:
                """Sends a message
                to a room

                More"""

            @route("none")
            def none(self, request: Request) -> None: ...

            @topic("room.{id}")
            def room(self, request: Request) -> None:
                """A room."""

        def texts(name: str) -> tuple[str, str]:
            return tuple(texts_of(Chat, Chat._routesock.plans[name].route))  # type: ignore[return-value]

        assert texts_of(Chat) == ("Rooms.", "In each one may talk.")
        assert texts("one") == ("Sends.", "")
        assert texts("more") == ("Sends a message to a room.", "And more.\n\n    Indented.\n\nLast.")
        assert texts("open") == ("Sends a message to a room", "More")
        assert texts("none") == ("", "")
        assert texts_of(Chat, Chat._routesock.topics[0]) == ("A room.", "")

    def test_what_is_declared_comes_first(self) -> None:
        class Chat(Plain):
            """Doc of the class.

            Rest of the class.
            """

            route_summary = "Declared."

            @route("both", summary="Summary.", description="Description.")
            @route("summary", summary="Summary.")
            def handle(self, request: Request) -> None:
                """Doc.

                Rest.
                """

        class Derived(Chat):
            pass

        class Described(Chat):
            """Its own."""

        plans = Chat._routesock.plans
        assert texts_of(Chat) == ("Declared.", "Rest of the class.")
        assert texts_of(Derived) == ("Declared.", "")
        assert texts_of(Described) == ("Its own.", "")
        assert texts_of(Chat, plans["both"].route) == ("Summary.", "Description.")
        assert texts_of(Chat, plans["summary"].route) == ("Summary.", "Rest.")

    def test_an_override_without_a_docstring_keeps_that_of_its_base(self) -> None:
        class Base(Plain):
            @route("send")
            def handle(self, request: Request) -> None:
                """Sends."""

            @route("static")
            @staticmethod
            def static(request: Request) -> None:
                """Is static."""

        class Derived(Base):
            def handle(self, request: Request) -> None: ...

        plans = Derived._routesock.plans
        assert texts_of(Derived, plans["send"].route) == ("Sends.", "")
        assert texts_of(Derived, plans["static"].route) == ("Is static.", "")
        assert texts_of(Derived) == ("", "")

    def test_a_lazy_text_is_evaluated_by_its_reader(self) -> None:
        """Under the language that is active then."""

        class Chat(Plain):
            route_summary = gettext_lazy("Yes")

            @route("send", summary=gettext_lazy("No"), errors={409: gettext_lazy("No")})
            def handle(self, request: Request) -> None: ...

        with override("de"):
            assert texts_of(Chat).summary == "Ja"
            assert texts_of(Chat, Chat._routesock.plans["send"].route).summary == "Nein"


class TestPushes:
    """The pushes that documents of a class have."""

    def test_those_of_topics_belong_to_the_class(self) -> None:
        said, news, left = Push("said"), Push("news"), Push("left")

        class Chat(Plain):
            route_pushes = [news]

            @topic("room.{id}", pushes=[said, left])
            def room(self, request: Request) -> None: ...

        assert Chat._routesock.topics[0].pushes == (said, left)
        assert list(pushes_of(Chat, RouteMixin).items()) == [("left", left), ("news", news), ("said", said)]

    @pytest.mark.parametrize("pushes", ["said", [5], Push("said"), ["said"]], ids=repr)
    def test_those_of_topics_are_a_list(self, pushes: Any) -> None:
        assert "pushes= must be a list of pushes, such as" in refusal(topic, "room", pushes=pushes)

    def test_one_name_has_one_declaration(self) -> None:
        class Chat(Plain):
            route_pushes = [Push("said")]

            @topic("room", pushes=[Push("said", schema=NoteSchema)])
            def room(self, request: Request) -> None: ...

        assert "Chat.room declares the push 'said' with Push('said', schema=NoteSchema)" in refusal(
            pushes_of, Chat, RouteMixin
        )
        assert "pushes= declares 'said' in two ways" in refusal(
            topic, "room", pushes=[Push("said"), Push("said", schema=NoteSchema)]
        )

    def test_a_class_that_lists_none_has_none(self) -> None:
        """Nor has a class whose base says so."""
        base: Any = type("Base", (Plain,), {"route_pushes": [], "__module__": "shop_of_pushes.consumers"})
        assert pushes_of(base, RouteMixin) == {}
        assert pushes_of(type("Derived", (base,), {}), RouteMixin) == {}


SHOP = {
    "__init__": "",
    "consumers": """
        from channels.generic.websocket import AsyncJsonWebsocketConsumer
        from routesock import RouteMixin, Push
        from other_shop import notices

        class Shop(RouteMixin, AsyncJsonWebsocketConsumer):
            route_pushes_of_mine = staticmethod(lambda: [])

        class Own(Shop):
            route_pushes = [Push("own")]
    """,
    "pushes": 'from routesock import Push\npaid = Push("order.paid")',
    "tasks": """
        from routesock import Push
        MANY = [Push("a"), Push("b")]
        BY_NAME = {"c": Push("c")}
        class Names:
            d = Push("d")
    """,
    "never_imported": 'from routesock import Push\nhidden = Push("hidden")',
    "tests/__init__": "",
    "tests/test_shop": 'from routesock import Push\ntested = Push("tested")',
}


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The app ``shop_of_pushes``, and a package that is no app."""
    for name, source in SHOP.items():
        path = tmp_path / "shop_of_pushes" / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(source))
    (tmp_path / "other_shop").mkdir()
    (tmp_path / "other_shop" / "__init__.py").write_text("")
    (tmp_path / "other_shop" / "notices.py").write_text('from routesock import Push\nnotice = Push("notice")')
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in [*sys.modules]:
        if name.partition(".")[0] in ("shop_of_pushes", "other_shop"):
            del sys.modules[name]


class TestPushesOfAnApp:
    def names(self, cls: type) -> list[str]:
        return list(pushes_of(cls, RouteMixin))

    def test_they_are_those_of_the_modules_that_are_loaded(self, shop: Path) -> None:
        """The module ``pushes`` is loaded for that. Tests do not count, and other modules are not imported."""
        with override_settings(INSTALLED_APPS=["shop_of_pushes"]):
            import shop_of_pushes.consumers as consumers  # type: ignore[import-not-found]

            assert self.names(consumers.Own) == ["own"]
            assert "shop_of_pushes.pushes" not in sys.modules
            assert self.names(consumers.Shop) == ["notice", "order.paid", "own"]

            import shop_of_pushes.tasks
            import shop_of_pushes.tests.test_shop  # noqa: F401

            assert self.names(consumers.Shop) == ["a", "b", "c", "d", "notice", "order.paid", "own"]
            assert "shop_of_pushes.never_imported" not in sys.modules
            assert self.names(consumers.Own) == ["own"]

    def test_without_an_app_they_are_those_of_the_package(self, shop: Path) -> None:
        import shop_of_pushes.consumers as consumers

        assert self.names(consumers.Shop) == ["notice", "own"]

    def test_no_push_of_another_test_is_left(self, shop: Path) -> None:
        """There is no registry: what is unloaded is gone."""
        import shop_of_pushes.consumers as consumers
        import shop_of_pushes.tasks as tasks

        del tasks.MANY, sys.modules["shop_of_pushes.tasks"]
        assert self.names(consumers.Shop) == ["notice", "own"]

    def test_a_name_that_is_declared_in_two_ways_is_refused(self, shop: Path) -> None:
        import shop_of_pushes.consumers as consumers

        consumers.again = Push("own", schema=NoteSchema)
        message = refusal(pushes_of, consumers.Shop, RouteMixin)
        assert "The push 'own' is declared in two ways, in " in message
        assert "List those that Shop sends: route_pushes = [...], or [] for none." in message
        consumers.again = Push("own")  # equal to the other
        assert self.names(consumers.Shop) == ["notice", "own"]

    def test_a_lazy_object_of_a_module_is_not_evaluated(self, shop: Path) -> None:
        import shop_of_pushes.consumers as consumers

        consumers.lazy = SimpleLazyObject(lambda: pytest.fail("was evaluated"))
        assert self.names(consumers.Shop) == ["notice", "own"]


def test_importing_routesock_imports_none_of_it() -> None:
    code = "import sys, routesock; assert 'routesock._routing.documentation' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
