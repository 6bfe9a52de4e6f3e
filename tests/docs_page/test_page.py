"""The page of the documents in Chromium, on a site with the consumer of the example and some of the zoo."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from urllib.parse import urlsplit

import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, Locator, Page, Route, expect

from tests.asyncapi.zoo import SCRIPT
from tests.servers import ROOT, Server

pytestmark = [pytest.mark.browser, pytest.mark.servers, pytest.mark.asyncio(loop_scope="package")]

AXE = ROOT / "clients" / "typescript" / "node_modules" / "axe-core" / "axe.min.js"

WATCH = """
    globalThis.violations = [];
    addEventListener("securitypolicyviolation", (event) => {
        violations.push(`${event.violatedDirective} ${event.blockedURI}`);
    });
"""


class Watched:
    """A page, and what it has done that it must not do."""

    def __init__(self, page: Page, origin: str) -> None:
        self.page = page
        self.sockets: list[str] = []
        self.problems: list[str] = []
        self._host = urlsplit(origin).netloc
        page.on("pageerror", lambda error: self.problems.append(f"error: {error}"))
        page.on("dialog", lambda dialog: self.problems.append(f"dialog: {dialog.message}"))
        page.on("request", lambda request: self._visit(request.url))
        page.on("websocket", lambda socket: (self.sockets.append(socket.url), self._visit(socket.url)))

    def _visit(self, url: str) -> None:
        if urlsplit(url).netloc != self._host and not url.startswith("data:"):
            self.problems.append(f"foreign: {url}")

    async def check(self) -> None:
        assert self.problems == []
        assert await self.page.evaluate("globalThis.violations ?? []") == []


@pytest_asyncio.fixture(scope="module", loop_scope="package")
async def contexts(site: Server, chromium: Browser, session_of: Any) -> AsyncIterator[Callable[..., Any]]:
    """Makes windows of a member of the staff, one for each set of options."""
    found: dict[str, BrowserContext] = {}

    async def context_with(**options: Any) -> BrowserContext:
        key = repr(options)
        if key not in found:
            found[key] = await chromium.new_context(
                base_url=site.base_url, **{"viewport": {"width": 1440, "height": 900}, **options}
            )
            name, value = session_of(site, "alice").split("=")
            await found[key].add_cookies([{"name": name, "value": value, "url": site.base_url}])
            await found[key].add_init_script(WATCH)
        return found[key]

    yield context_with
    for context in found.values():
        await context.close()


@pytest_asyncio.fixture(loop_scope="package")
async def watched(site: Server, contexts: Any) -> AsyncIterator[Callable[..., Awaitable[Watched]]]:
    """Opens the page; fails the test if it breaks its policy or asks another host."""
    pages: list[Watched] = []

    async def open_page(at: str = "", *, off: bool = False, **options: Any) -> Watched:
        page = await (await contexts(**options)).new_page()
        found = Watched(page, site.base_url)
        pages.append(found)
        if off:
            await page.route("**/ws-docs/", without_playground)
        await page.goto(f"/ws-docs/#{at}", wait_until="commit")
        await page.bring_to_front()  # one that was closed a moment ago may still have the focus
        if options.get("java_script_enabled", True):
            await page.wait_for_selector("[data-ready]", state="attached")  # expect() would look less often
        return found

    yield open_page
    for found in pages:
        await found.check()
        await found.page.close()


async def without_playground(route: Route) -> None:
    """What the server sends where PLAYGROUND is off."""
    response = await route.fetch()
    text = await response.text()
    assert " data-playground" in text
    await route.fulfill(response=response, body=text.replace(" data-playground", ""))


async def go(page: Page, key: str) -> None:
    await page.evaluate("key => { location.hash = key }", key)
    await page.wait_for_selector(f'nav a[href="#{key}"][aria-current="page"]', state="attached")


def send_button(page: Page) -> Locator:
    return page.get_by_role("button", name="Send", exact=False).first


def editor(page: Page) -> Locator:
    return page.get_by_label("Payload as JSON")


async def send(page: Page, payload: str | None = None) -> Locator:
    """Sends a request, and returns the status of its reply."""
    if payload is not None:
        await editor(page).fill(payload)
    await send_button(page).click()
    return page.locator(".outcome .status")


async def document_of(page: Page) -> Any:
    return await page.evaluate("fetch('asyncapi.json').then((response) => response.json())")


NESTED = "ws.zoo.nested.pk.name"


def key_of(document: Any, channel: str, name: str, kind: str = "route") -> str:
    return next(
        key
        for key, operation in document["operations"].items()
        if operation["channel"]["$ref"].endswith(f"/{channel}")
        and operation["x-routesock-name"] == name
        and operation["x-routesock-kind"] == kind
    )


# Policy and accessibility


PHONE: Any = {"width": 390, "height": 844}


async def violations_at(page: Page, place: str) -> Any:
    await page.evaluate("key => { location.hash = key }", place)
    await page.wait_for_selector("h1")
    found = await page.evaluate("axe.run({resultTypes: ['violations']}).then(({violations}) => violations)")
    return [(place, each["id"], [node["html"] for node in each["nodes"]]) for each in found]


@pytest.mark.node
async def test_axe_finds_nothing(watched: Any) -> None:
    page = (await watched("ws.chat.room.join")).page
    document = await document_of(page)
    await page.evaluate(AXE.read_text())
    await expect(await send(page, '{"room": "<no>"}')).to_have_text("422")
    for details in await page.locator("main details, aside details").all():
        await details.evaluate("element => { element.open = true }")
    tree = key_of(document, NESTED, "tree")
    places = [
        "ws.chat.room.join",
        "",
        "ws.chat",
        "ws.chat.message.push",
        "ws.chat.PING",
        tree,
        key_of(document, NESTED, "stream"),
        key_of(document, NESTED, "moved"),
        key_of(document, NESTED, "room.{room_id}", "subscribe"),
        key_of(document, "ws.zoo.token", "secret"),
        key_of(document, "ws.zoo.json-rpc", "tree"),
    ]
    for place in places:
        assert await violations_at(page, place) == []
    await page.emulate_media(color_scheme="dark")
    for place in ("ws.chat.room.join", "", key_of(document, NESTED, "moved")):
        assert await violations_at(page, place) == []
    await page.set_viewport_size(PHONE)
    for place in (tree, "ws.chat.room.join"):
        assert await violations_at(page, place) == []
    await page.emulate_media(color_scheme="light")
    assert await violations_at(page, "ws.chat.room.join") == []


# Requests


async def test_each_example_of_the_example_gets_its_documented_status(watched: Any) -> None:
    page = (await watched("ws.chat.room.join")).page
    document = await document_of(page)
    await expect(await send(page)).to_have_text("200")
    sent = 0
    for key, operation in document["operations"].items():
        if operation["x-routesock-kind"] != "route" or not key.startswith("ws.chat."):
            continue
        messages = document["channels"]["ws.chat"]["messages"]
        request = messages[operation["messages"][0]["$ref"].rpartition("/")[2]]
        reply = next(
            messages[each["$ref"].rpartition("/")[2]]
            for each in operation["reply"]["messages"]
            if each["$ref"].endswith(".reply")
        )
        status = reply["payload"]["properties"]["status"]
        if "examples" not in request and key != "ws.chat.message.list":
            continue
        await go(page, key)
        shown = await send(page)
        assert int(await shown.text_content() or 0) in status.get("enum", [status.get("const")]), key
        sent += 1
    assert sent >= 3


async def test_a_reply_shows_its_time_and_payload(watched: Any) -> None:
    page = (await watched("ws.chat.room.join")).page
    await expect(await send(page, '{"room": "timed"}')).to_have_text("200")
    await expect(page.locator(".outcome")).to_contain_text(" ms")
    await expect(page.get_by_label("Reply", exact=True)).to_contain_text('"timed"')
    await expect(page.locator(".frame.sent")).to_have_count(1)
    await page.locator(".frame.sent summary").click()
    await expect(page.get_by_label("Frame", exact=True)).to_contain_text('"action": "room.join"')


async def test_mistakes_appear_below_the_button_and_do_not_move_it(watched: Any) -> None:
    """A click misses a button that moves between the press and the release."""
    page = (await watched("ws.chat.message.send")).page
    await editor(page).fill('{"text": "Hello"}')
    await expect(page.locator(".faults li")).to_have_count(0)
    before = await send_button(page).bounding_box()
    await editor(page).fill('{"text": 5}')
    await expect(page.locator(".faults li").first).to_be_visible()
    assert await send_button(page).bounding_box() == before


async def test_errors_are_shown_at_their_fields_while_typing_and_after_sending(watched: Any) -> None:
    page = (await watched("ws.chat.message.send")).page
    faults = page.locator(".faults li")
    await editor(page).fill('{\n  "text": 5\n}')
    await expect(faults).to_have_text(["textExpected string."])
    await expect(page.locator(".gutter .bad")).to_have_text("2")
    await editor(page).fill('{\n  "text": }')
    await expect(faults).to_have_text(["Line 2A value is expected here."])
    await editor(page).fill("{}")
    await expect(faults).to_contain_text(["text is missing."])
    # The schema accepts what the server strips.
    await expect(await send(page, '{\n\n  "text": "  "\n}')).to_have_text("422")
    await expect(faults).to_contain_text(["Server: "])
    await expect(page.locator(".gutter .bad")).to_have_text("3")
    await page.locator(".fault").click()
    assert await page.evaluate("getSelection().toString()") == '"text": "  "'


async def test_a_text_that_is_no_json_is_not_sent(watched: Any) -> None:
    found = await watched("ws.chat.message.send")
    await send(found.page, "{")
    await expect(editor(found.page)).to_be_focused()
    assert found.sockets == []


async def test_a_stream_shows_its_items_until_it_is_cancelled(watched: Any) -> None:
    page = (await watched("ws.count.count")).page
    await send(page)
    await expect(page.locator(".items li")).to_have_count(3)
    await expect(page.locator(".outcome")).to_contain_text("running")
    await page.get_by_role("button", name="Cancel").click()
    await expect(page.locator(".outcome .status")).to_have_text("cancelled")
    await expect(page.locator(".frame.sent")).to_contain_text(["CANCEL", "count"])
    await go(page, "ws.count.leave")
    await send(page)
    await expect(page.get_by_text("The connection was lost before the reply came.")).to_be_visible()
    await expect(page.get_by_text("The last connection has ended: 4403")).to_be_visible()
    await expect(page.locator(".frame.info").first).to_contain_text("Closed with 4403")


async def test_a_topic_is_subscribed_to_and_left(watched: Any) -> None:
    page = (await watched()).page
    await go(page, key_of(await document_of(page), NESTED, "room.vip", "subscribe"))
    await page.get_by_role("button", name="SUBSCRIBE", exact=True).click()
    subscription = page.get_by_role("region", name="room.vip")
    await expect(subscription).to_contain_text("subscribed")
    await expect(subscription.locator("li")).to_contain_text(["anything", "snapshot"])
    await subscription.get_by_role("button", name="UNSUBSCRIBE").click()
    await expect(subscription).to_contain_text("unsubscribed")
    await expect(page.locator(".frame.sent").first).to_contain_text("UNSUBSCRIBE")
    assert "/ws/zoo/nested/1/a-name/" in await page.locator(".url").inner_text()


async def test_a_push_is_listed(watched: Any) -> None:
    page = (await watched()).page
    document = await document_of(page)
    await go(page, key_of(document, NESTED, "tree", "push"))
    await page.get_by_role("button", name="Connect").click()
    await expect(page.get_by_role("status").filter(has_text="Connected")).to_be_visible()
    await go(page, key_of(document, NESTED, "push"))
    await expect(await send(page, "")).to_have_text("204")
    await go(page, key_of(document, NESTED, "tree", "push"))
    await expect(page.locator("aside .items li")).to_contain_text(['"children"'])


async def test_a_token_is_sent_and_not_shown(watched: Any) -> None:
    page = (await watched()).page
    await go(page, key_of(await document_of(page), "ws.zoo.token", "secret"))
    await page.get_by_label("Token").fill("good")
    await page.get_by_label("Sent").select_option("in an AUTH frame")
    await expect(await send(page)).to_have_text("200")
    await page.locator(".frame.sent").filter(has_text="AUTH").locator("summary").click()
    frame = page.get_by_label("Frame", exact=True)
    await expect(frame).to_contain_text('"token": "…"')
    assert "good" not in await page.locator(".frames").inner_text()
    assert await page.evaluate("[...Object.values(localStorage), ...Object.values(sessionStorage)]") == []


async def test_the_log_filters_pauses_and_pings(watched: Any) -> None:
    page = (await watched("ws.chat.room.join")).page
    await expect(await send(page)).to_have_text("200")
    await page.get_by_role("button", name="PING").click()
    await expect(page.locator(".frame")).to_contain_text(["PONG", "PING", "room.join", "room.join", "Connected"])
    await page.get_by_label("Filter frames").fill("sent pong")
    await expect(page.locator(".frame")).to_have_count(0)
    await page.get_by_label("Filter frames").fill("pong")
    await expect(page.locator(".frame")).to_have_count(1)
    await page.get_by_label("Filter frames").fill("")
    await page.get_by_role("button", name="Pause").click()
    await page.get_by_role("button", name="PING").click()
    await expect(page.locator(".log .count")).to_have_text("2 new, paused")
    await expect(page.locator(".frame")).to_have_count(5)
    await page.get_by_role("button", name="Pause").click()
    await expect(page.locator(".frame")).to_have_count(7)


async def test_a_raw_frame_is_sent_as_it_is(watched: Any) -> None:
    page = (await watched("ws.chat.room.join")).page
    await expect(await send(page)).to_have_text("200")
    await page.get_by_text("Raw frame").click()
    await page.get_by_label("Raw frame").fill("no JSON")
    await page.get_by_role("button", name="Send as it is").click()
    await expect(page.locator(".frame.received").first).to_contain_text("400")


async def test_a_request_can_be_copied_as_code(watched: Any) -> None:
    page = (await watched("ws.chat.message.send")).page
    await page.get_by_text("Copy as code").click()
    for language, line in [
        ("TypeScript", 'await socket.call("message.send", {'),
        ("Python", 'await ws.call("message.send", {"text": "Hello"})'),
        ("RouteClient", "assert reply.status == 201"),
        ("websocat", """echo '{"action":"message.send","request_id":1,"text":"Hello"}' |"""),
    ]:
        await page.get_by_role("button", name=language, exact=True).click()
        await expect(page.get_by_role("group", name=language, exact=True)).to_contain_text(line)
    await expect(page.get_by_role("group", name="websocat", exact=True)).to_contain_text("Cookie: sessionid=…")


# Texts, and the absence of things


async def test_scripts_in_texts_stay_text(watched: Any) -> None:
    found = await watched()
    page = found.page
    document = await document_of(page)
    texts = [
        ("", "<script>alert('title')</script>"),
        ("ws.zoo.token", f"Everything {SCRIPT}."),
        ("ws.zoo.token", f"And more of it: {SCRIPT}"),
    ]
    texts += [
        (key_of(document, NESTED, name), text)
        for name, text in [
            ("secret", SCRIPT),  # its summary; the description follows
            ("moved", SCRIPT),  # the text of an error
            ("done", f"Do it {SCRIPT}."),  # a docstring
            ("item", SCRIPT),  # a default
            ("Żółw & <script>", "Żółw & <script>"),
            ("Żółw & <script>", json.dumps(SCRIPT)),  # an example
        ]
    ]
    texts += [
        (key_of(document, NESTED, "tree", "push"), SCRIPT),
        (key_of(document, NESTED, SCRIPT, "push"), SCRIPT),
        (key_of(document, NESTED, "a/b.{kind}-x.{rest}", "subscribe"), SCRIPT),
    ]
    assert len(texts) == 12
    for key, text in texts:
        await page.evaluate("key => { location.hash = key }", key)
        await expect(page.locator("main").get_by_text(text).first).to_be_visible()
        assert await page.locator("script").count() == 1
    push = key_of(document, NESTED, "tree", "push")
    await go(page, push)
    await expect(page.locator("main")).to_contain_text(SCRIPT)
    await expect(page.locator("main .tag").filter(has_text=SCRIPT)).to_be_visible()
    # A reply of the server is text, too.
    await go(page, key_of(document, NESTED, "Żółw & <script>"))
    await expect(await send(page)).to_have_text("200")
    await expect(page.get_by_label("Reply", exact=True)).to_contain_text(SCRIPT)


async def test_without_the_playground_no_socket_is_opened(watched: Any) -> None:
    found = await watched("ws.chat.message.send", off=True)
    page = found.page
    await expect(page.get_by_role("heading", name="message.send")).to_be_visible()
    await expect(page.get_by_role("complementary")).to_have_count(0)
    await expect(page.get_by_role("button", name="Connect")).to_have_count(0)
    await page.keyboard.press("Control+Enter")
    for key in ("ws.chat", "ws.count.count", ""):
        await page.evaluate("key => { location.hash = key }", key)
        await expect(page.locator("h1")).to_be_visible()
    assert found.sockets == []


async def test_the_page_without_javascript_is_a_list(watched: Any) -> None:
    page = (await watched(java_script_enabled=False)).page
    await expect(page.get_by_role("heading", name="message.send")).to_be_visible()
    await expect(page.get_by_text("Send a message to everyone in the room.")).to_be_visible()
    assert await page.get_by_role("heading", level=3).count() > 50


async def test_the_page_says_so_if_the_document_cannot_be_read(watched: Any, site: Server) -> None:
    page = (await watched()).page
    await page.route("**/asyncapi.json", lambda route: route.fulfill(status=500, body="broken"))
    await page.reload()
    await expect(page.get_by_role("alert")).to_contain_text("The server answered 500.")
    await expect(page.get_by_role("heading", name="message.send")).to_be_visible()


# Finding one's way


async def test_the_keyboard_alone_suffices(watched: Any) -> None:
    page = (await watched()).page
    await page.keyboard.press("/")
    await page.keyboard.type("message send")
    await page.keyboard.press("Enter")
    await expect(page.locator("h1")).to_be_focused()
    await expect(page.locator("h1")).to_contain_text("message.send")
    assert page.url.endswith("#ws.chat.message.send")
    assert await page.title() == "message.send · Test site"
    await page.keyboard.press("/")
    await page.keyboard.press("Escape")
    await page.keyboard.type("room.join")
    await page.keyboard.press("ArrowDown")
    await page.keyboard.press("Enter")
    await expect(page.locator("h1")).to_contain_text("room.join")
    for _ in range(40):
        await page.keyboard.press("Tab")
        if await page.evaluate("document.activeElement?.ariaLabel") == "Payload as JSON":
            break
    await page.keyboard.press("Control+A")
    await page.keyboard.type('{"room": "typed"}')
    await page.keyboard.press("Control+Enter")
    await expect(page.locator(".outcome .status")).to_have_text("200")
    await expect(page.get_by_label("Reply", exact=True)).to_contain_text('"typed"')


async def with_many_routes(route: Route) -> None:
    """The document with 200 more routes."""
    response = await route.fetch()
    document = await response.json()
    operation = document["operations"]["ws.count.leave"]
    for number in range(200):
        document["operations"][f"ws.count.many.{number}"] = operation | {
            "x-routesock-name": f"many.{number}",
            "tags": [{"name": f"tag-{number % 9}"}],
        }
    await route.fulfill(response=response, json=document)


async def test_many_routes_cost_as_much_as_one(watched: Any) -> None:
    """Counted in elements, since the clock depends on the machine."""
    page = (await watched()).page
    await page.route("**/asyncapi.json", with_many_routes)
    await page.reload()
    await expect(page.locator('nav a[href^="#ws.count.many."]')).to_have_count(200)
    await page.evaluate("""() => {
        globalThis.added = 0;
        const count = (node) => 1 + (node.querySelectorAll?.("*").length ?? 0);
        new MutationObserver((records) => {
            for (const { addedNodes } of records) for (const node of addedNodes) added += count(node);
        }).observe(document.body, { childList: true, subtree: true });
    }""")
    await go(page, "ws.count.many.8")
    assert 0 < await page.evaluate("added") < 300
    await page.evaluate("added = 0")
    shown = page.locator("nav li:visible")
    for words, expected in [
        ("many.12", 11),
        ("many.199", 1),
        ("tag-3", 22),
        ("everyone in the room", 1),
        ("no such", 0),
    ]:
        await page.get_by_role("searchbox", name="Search").fill(words)
        await expect(shown).to_have_count(expected)
    await expect(page.get_by_text("Nothing found.")).to_be_visible()
    assert await page.evaluate("added") == 0


async def test_the_menu_of_a_phone_opens_and_closes(watched: Any) -> None:
    page = (await watched("ws.chat.message.send", viewport=PHONE)).page
    link = page.get_by_role("navigation").get_by_role("link", name="room.join")
    await expect(link).to_be_hidden()
    await page.get_by_role("button", name="Menu").click()
    await link.click()
    await expect(page.locator("h1")).to_contain_text("room.join")
    await expect(link).to_be_hidden()
    assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    await page.get_by_role("button", name="Try it").click()
    await expect(send_button(page)).to_be_in_viewport()
