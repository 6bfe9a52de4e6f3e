"""The pages about moving from other libraries: the consumers they begin with answer the frames that they show."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser
from django.test import override_settings

from tests.docs_pages import ROOT, Block, Page, blocks_of, receivers_restored
from tests.test_docs import chat  # noqa: F401  (a fixture)

HOWTO = ROOT / "docs" / "howto"

Frame = dict[str, Any]


def unchanged(frame: Frame) -> Frame:
    return frame


def without_the_keys_that_differ(frame: Frame) -> Frame:
    """As django-observable-socket sends it. Its page names the two keys."""
    frame = {"headers": None, **frame}
    if frame["route"] != "PONG":
        del frame["route"]
    return frame


def consumer_of(file: str, name: str) -> Any:
    spec = importlib.util.spec_from_file_location(f"before_{file}", HOWTO / "before" / f"{file}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return getattr(module, name)


def with_a_user(consumer: Any) -> Any:
    """An application as behind AuthMiddlewareStack, without which django-observable-socket fails."""
    application = consumer.as_asgi()

    async def serve(scope: Any, receive: Any, send: Any) -> None:
        await application({**scope, "user": AnonymousUser()}, receive, send)

    return serve


def blocks_up_to_the_same_frames(page: str) -> Iterator[Block]:
    """The blocks above the conversation under the title "The same frames", and that conversation."""
    title = page[: page.index("\nThe same frames\n")].count("\n")
    for block in blocks_of(page):
        yield block
        if block.language == "text" and block.line > title:
            return


@pytest.mark.servers  # with those tests, since the other environments of the matrix have none of these libraries
@pytest.mark.django_db
@pytest.mark.usefixtures("chat")
@pytest.mark.parametrize(
    ("page", "file", "name", "as_sent"),
    [
        ("from-dcrf", "dcrf", "MessageConsumer", unchanged),
        ("from-chanx", "chanx_chat", "ChatConsumer", unchanged),
        ("from-observable-socket", "observable_socket", "ChatConsumer", without_the_keys_that_differ),
    ],
    ids=["dcrf", "chanx", "observable-socket"],
)
@override_settings(CHANX={"SEND_AUTHENTICATION_MESSAGE": False})
def test_the_consumer_before_answers_the_same_frames(
    page: str, file: str, name: str, as_sent: Callable[[Frame], Frame], request: pytest.FixtureRequest
) -> None:
    path = HOWTO / f"{page}.rst"
    shown = Page(path, request)
    *code, conversation = blocks_up_to_the_same_frames(path.read_text(encoding="utf-8"))
    lines = [
        line if line[0] == ">" else f"< {json.dumps(as_sent(json.loads(line[2:])))}"
        for line in conversation.text.replace("\n   ", " ").splitlines()
    ]
    with receivers_restored():
        for block in code:
            shown._run(block)  # among others, the rows of the conversation
        shown.consumer = with_a_user(consumer_of(file, name))
        shown._conversation("\n".join(lines) + "\n")
