"""Drives consumers in process, and finds the messages of a document that a frame fits."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from routesock._asyncapi.validation import fits, resolve
from routesock.testing.application import Application, run_until_idle, websocket_scope

Document = Mapping[str, Any]


async def exchange(application: Any, path: str, texts: Sequence[str], **scope: Any) -> list[Any]:
    """The frames that the server sends at ``path`` while a client sends ``texts``, one after the other."""
    received: list[str] = []
    running = Application(application, {**websocket_scope(path, (), ()), **scope}, received.append)
    await running.connect(5)
    try:
        for text in texts:
            running.feed({"type": "websocket.receive", "text": text})
            for _ in range(10):
                await run_until_idle()
    finally:
        await running.disconnect(1000, 5)
    return [json.loads(text) for text in received]


def channel_at(document: Document, address: str) -> str:
    return next(key for key, channel in document["channels"].items() if channel["address"] == address)


def sent_messages(document: Document, channel: str) -> dict[str, list[str]]:
    """The messages that the server sends, by the operation that they belong to."""
    found: dict[str, list[str]] = {}
    for key, operation in document["operations"].items():
        if operation["channel"]["$ref"] != f"#/channels/{channel}":
            continue
        messages = (
            operation["messages"]
            if operation["action"] == "send"
            else operation["reply"]["messages"]
            if "reply" in operation
            else []
        )
        found[key] = [message["$ref"] for message in messages]
    return found


def fitting(frame: Any, document: Document, channel: str) -> dict[str, list[str]]:
    """The messages of the server that ``frame`` fits, by operation; operations without any are left out."""
    found = {
        operation: [ref for ref in references if fits(frame, resolve(ref, document)["payload"], document)]
        for operation, references in sent_messages(document, channel).items()
    }
    return {operation: references for operation, references in found.items() if references}


def accepted(frame: Any, document: Document, channel: str) -> list[str]:
    """The requests that ``frame`` fits."""
    return [
        key
        for key, operation in document["operations"].items()
        if operation["channel"]["$ref"] == f"#/channels/{channel}" and operation["action"] == "receive"
        for message in operation["messages"]
        if fits(frame, resolve(message["$ref"], document)["payload"], document)
    ]
