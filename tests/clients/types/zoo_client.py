"""What type checkers have to accept and to refuse with the client of tests/asyncapi/zoo.py. It is never run."""

from __future__ import annotations

from hostile_generated import AskingClient, Confirm, Decision, HostileClient
from zoo_generated import FlatClient, ItemOutput, NestedClient, Tree, ZooClient

from routesock.client import Ask, Items, Push, Reply, Subscription

NAME = "<script>alert('zoo')</script>"


async def accepted(client: ZooClient) -> None:
    tree: Tree = await client.call("tree", {"name": "a", "children": [{"name": "b"}]}, timeout=5, idempotent=True)
    item: ItemOutput = await client.call("item", {"id": 1})
    maybe: ItemOutput | None = await client.call("item.maybe", {"id": item["id"], "title": tree["name"]})
    await client.call("done")
    reply: Reply = await client.request("echo", [maybe])
    sent: bool = client.notify("silent", {"a": reply.status})
    async for row in client.stream("stream"):
        assert row["one"] + 1, sent
    trees: Items[Tree] = client.pushes("tree")
    async for pushed in trees:
        pushed["name"].strip()
    async with client.subscribe("room.vip") as vip:
        assert vip.snapshot
    room: Subscription[object] = client.subscribe(f"room.{item['id']}")
    path: str = NestedClient.path(pk=1, name="a") + FlatClient.path + HostileClient.path(default="a")
    assert room, path


async def refused(client: ZooClient, flat: FlatClient, hostile: HostileClient) -> None:
    await client.call("trees")  # error: there is no such route
    await client.call("tree")  # error: the payload is required
    await client.call("tree", {"children": []})  # error: a member is missing
    await client.call("tree", {"name": "a", "children": [{"name": 1}]})  # error: a member has another type
    await client.call("item", {"id": 1, "titel": "t"})  # error: a member is not known
    await client.call("item", {"id": "1"})  # error: a number as text is a spelling of the server, and no type
    await client.request("trees")  # error: there is no such route
    client.notify("trees")  # error: there is no such route
    await client.call("silent")  # error: there is no reply
    await client.call("stream")  # error: a stream is not called
    client.stream("tree")  # error: a route does not stream
    item: ItemOutput = await client.call("item.maybe", {"id": 1})  # error: the reply may be None
    client.pushes("trees")  # error: there is no such push
    trees: Items[ItemOutput] = client.pushes("tree")  # error: the push has another payload
    client.subscribe(5)  # error: a topic is a text
    await flat.call("echo", 5)  # error: a flat frame takes an object
    await client.call("done", timeout="5")  # error: seconds
    NestedClient.path(pk=1)  # error: a parameter of the path is missing
    NestedClient.path(pk="1", name="a")  # error: a parameter of the path is a number
    await hostile.call("leaked")  # error: nothing in a text becomes a route
    assert item, trees


async def confirm(ask: Ask[Confirm]) -> Decision:
    return {"delete": ask.payload["text"] == "" and ask.timeout is not None}


def anything(ask: Push) -> bool:
    return bool(ask.payload)


def other(ask: Ask[str]) -> Decision:
    return {"delete": True, "reason": ask.payload}


async def asked(client: AskingClient) -> None:
    off = client.answer("confirm", confirm)
    off()
    client.answer("confirm", lambda ask: {"delete": ask.payload["text"] == ""})
    client.answer("ready", anything)
    said: Items[Confirm] = client.pushes("said")
    news: Subscription[Confirm] = client.subscribe("news", since="Zk3fQ1a9:17")
    client.answer("confirmed", confirm)  # error: it asks no such thing
    client.answer("ready", confirm)  # error: the answer is a boolean
    client.answer("confirm", other)  # error: the payload is an object
    client.answer("said", anything)  # error: a push is no ask
    client.pushes("confirm")  # error: an ask is no push
    assert said, news
