"""The example's page in Chromium: on the consumer before and after routesock, and under each server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.async_api import Browser, expect

from tests.servers import Server, run_example

from .conftest import PASSWORD, OpenPage, announce, announcements, frames, joined, submit

pytestmark = [pytest.mark.browser, pytest.mark.servers, pytest.mark.asyncio(loop_scope="package")]


@pytest.fixture(scope="module", params=["daphne", "uvicorn", "legacy"])
def site(request: pytest.FixtureRequest, demo_database: Callable[[], Path]) -> Iterator[Server]:
    """The example under each server, and with the consumer as it was; each test uses a room of its own."""
    if request.param == "legacy":
        running = run_example("uvicorn", demo_database(), CHAT_CONSUMER="chat.legacy.ChatConsumer")
    else:
        running = run_example(request.param, demo_database())
    with running as server:
        yield server


async def test_the_login_page_names_a_user_who_can_log_in(site: Server, chromium: Browser) -> None:
    context = await chromium.new_context(base_url=site.base_url)
    page = await context.new_page()
    await page.goto("/")
    await expect(page.get_by_text(f"log in as alice or bob, password {PASSWORD}")).to_be_visible()
    await page.get_by_label("Name").fill("alice")
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_role("button", name="Log in").click()
    await expect(page.get_by_role("heading", name="#lobby")).to_be_visible()
    await expect(page.get_by_role("log").get_by_text("Is the deploy done?")).to_be_visible()
    await context.close()


async def test_what_alice_sends_is_seen_by_bob(site: Server, open_page: OpenPage) -> None:
    alice = await joined(await open_page(site, "alice", "talk"))
    bob = await joined(await open_page(site, "bob", "talk"))
    await submit(alice, "Hello, Bob")
    await expect(alice.get_by_text("Last reply: message.send → 201")).to_be_visible()
    for page in (alice, bob):
        await expect(page.get_by_role("log").get_by_role("listitem")).to_have_count(1)
        await expect(page.get_by_role("log").get_by_role("listitem")).to_contain_text("Hello, Bob")


async def test_an_edit_replaces_the_line_in_both_windows(site: Server, open_page: OpenPage) -> None:
    alice = await joined(await open_page(site, "alice", "edit"))
    bob = await joined(await open_page(site, "bob", "edit"))
    await submit(alice, "Helo")
    await alice.get_by_role("button", name="Edit “Helo”").click()
    await submit(alice, "Hello")
    await expect(alice.get_by_text("Last reply: message.edit → 200")).to_be_visible()
    await expect(bob.get_by_role("log").get_by_role("listitem")).to_have_count(1)
    await expect(bob.get_by_role("log").get_by_role("listitem")).to_contain_text("Hello")


async def test_an_empty_message_shows_the_error_at_its_field(site: Server, open_page: OpenPage) -> None:
    alice = await joined(await open_page(site, "alice", "empty"))
    await submit(alice, "  ")
    await expect(alice.get_by_text("Last reply: message.send → 422")).to_be_visible()
    await expect(alice.get_by_role("alert")).to_have_text("Write between 1 and 500 characters.")
    await expect(alice.get_by_label("Message", exact=True)).to_have_attribute("aria-invalid", "true")
    await submit(alice, "Not empty")
    await expect(alice.get_by_role("alert")).to_be_hidden()


async def test_editing_the_message_of_another_is_forbidden(site: Server, open_page: OpenPage) -> None:
    alice = await joined(await open_page(site, "alice", "forbidden"))
    await submit(alice, "Mine")
    bob = await joined(await open_page(site, "bob", "forbidden"))
    await bob.get_by_role("button", name="Edit “Mine”").click()
    await submit(bob, "Ours")
    await expect(bob.get_by_text("message.edit → 403: Only its author may edit a message.")).to_be_visible()
    await expect(alice.get_by_role("log").get_by_role("listitem")).to_contain_text("Mine")


async def test_a_silent_connection_is_kept_alive_by_a_ping(site: Server, open_page: OpenPage) -> None:
    alice = await joined(await open_page(site, "alice", "heartbeat", before=lambda page: page.clock.install()))
    await alice.get_by_text("Frames", exact=True).click()
    await alice.clock.fast_forward(26_000)
    await expect(frames(alice).nth(0)).to_contain_text("PONG")
    await expect(frames(alice).nth(1)).to_contain_text("PING")
    await expect(alice.get_by_text("Connected", exact=True)).to_be_visible()


KEEP_SOCKET = """
const { send } = WebSocket.prototype;
WebSocket.prototype.send = function (data) {
  window.socket = this;
  send.call(this, data);
};
"""


async def test_the_drawer_shows_the_last_frames_without_secrets(site: Server, open_page: OpenPage) -> None:
    alice = await open_page(site, "alice", "frames", before=lambda page: page.add_init_script(KEEP_SOCKET))
    await joined(alice)
    await alice.get_by_text("Frames", exact=True).click()
    await expect(frames(alice).filter(has_text="room.join")).to_have_count(2)
    await alice.evaluate("""() => {
      for (let n = 0; n < 60; n++) socket.send(JSON.stringify({ action: "typing", token: `hush ${n}` }));
      socket.send(JSON.stringify({ action: "typing", text: "x".repeat(1000) }));
    }""")
    await expect(frames(alice)).to_have_count(50)
    last, *others = await frames(alice).all_inner_texts()
    assert "xxx" in last
    assert len(last) < 500
    assert all("•••" in text and "hush" not in text for text in others)


async def test_the_actions_still_in_receive_json_are_answered_by_it(site: Server, open_page: OpenPage) -> None:
    alice = await joined(await open_page(site, "alice", "legacy"))
    bob = await joined(await open_page(site, "bob", "legacy"))
    await expect(alice.locator("#whoami")).to_have_text("alice")
    await bob.get_by_label("Message", exact=True).press_sequentially("H")
    await expect(alice.get_by_text("bob is typing…")).to_be_visible()
    await expect(bob.locator("#typing")).to_be_empty()


@pytest.mark.parametrize("site", ["daphne", "uvicorn"], indirect=True)
async def test_an_announcement_stands_out_in_both_windows_until_it_is_dismissed(
    site: Server, open_page: OpenPage
) -> None:
    alice = await joined(await open_page(site, "alice", "news"))
    bob = await joined(await open_page(site, "bob", "news"))
    await announce(alice, "We close at <b>six</b>")
    for page in (alice, bob):
        await expect(announcements(page)).to_contain_text(["alice We close at <b>six</b>"], use_inner_text=True)
        await expect(page.get_by_role("log").get_by_role("listitem")).to_contain_text("We close at <b>six</b>")
    await bob.get_by_role("button", name="Dismiss “We close at <b>six</b>”").click()
    await expect(announcements(bob)).to_have_count(0)
    await expect(announcements(alice)).to_have_count(1)


async def test_an_announcement_is_a_message_for_whoever_comes_later(site: Server, open_page: OpenPage) -> None:
    alice = await joined(await open_page(site, "alice", "later"))
    await announce(alice, "We close at six")
    bob = await joined(await open_page(site, "bob", "later"))
    await expect(bob.get_by_role("log").get_by_role("listitem")).to_contain_text("We close at six")
    await expect(announcements(bob)).to_have_count(0)


async def test_an_empty_announcement_shows_the_error_of_the_form(site: Server, open_page: OpenPage) -> None:
    alice = await joined(await open_page(site, "alice", "nothing"))
    await alice.get_by_text("Announce something").click()
    await alice.get_by_role("button", name="Announce").click()
    await expect(alice.get_by_text("Last reply: POST /announcements/ → 422")).to_be_visible()
    await expect(alice.get_by_role("alert")).to_have_text("This field is required.")


@pytest.mark.parametrize("kind", ["daphne", "uvicorn"])
async def test_the_page_comes_back_after_a_restart(
    kind: str, demo_database: Callable[[], Path], open_page: OpenPage
) -> None:
    with run_example(kind, demo_database()) as server:
        alice = await joined(await open_page(server, "alice", "restart"))
        await submit(alice, "Before")
        await expect(alice.get_by_text("Last reply: message.send → 201")).to_be_visible()
        server.stop()
        await expect(alice.get_by_text("Connection lost. Reconnecting…")).to_be_visible()
        await expect(alice.get_by_role("button", name="Send")).to_be_disabled()
        await alice.context.set_offline(True)
        await expect(alice.get_by_text("You are offline. Reconnecting when you are back.")).to_be_visible()
        server.start()
        await alice.context.set_offline(False)
        await expect(alice.get_by_text("Connected", exact=True)).to_be_visible()
        await joined(alice)
        await submit(alice, "After")
        await expect(alice.get_by_role("log").get_by_role("listitem")).to_have_count(2)


async def test_what_was_sent_and_not_answered_is_not_sent_again(
    demo_database: Callable[[], Path], open_page: OpenPage
) -> None:
    with run_example("uvicorn", demo_database()) as server:
        alice = await joined(await open_page(server, "alice", "once"))
        sent: list[str] = []
        alice.on("websocket", lambda socket: socket.on("framesent", lambda frame: sent.append(str(frame))))
        server.pause()
        await submit(alice, "Once")
        server.kill()
        await expect(alice.get_by_text("It may have arrived: look before you repeat it.")).to_be_visible()
        await expect(alice.get_by_label("Message", exact=True)).to_have_value("Once")
        server.start()
        await joined(alice)
        assert [frame for frame in sent if "whoami" in frame]
        assert [frame for frame in sent if "Once" in frame] == []
        await expect(alice.get_by_role("log").get_by_role("listitem")).to_have_count(0)


async def test_a_page_whose_login_has_ended_while_the_server_was_down_stops(
    demo_database: Callable[[], Path], open_page: OpenPage
) -> None:
    """The server refuses the handshake, which a browser reports like a server that is down."""
    with run_example("uvicorn", demo_database()) as server:
        alice = await joined(await open_page(server, "alice", "away"))
        await alice.context.clear_cookies()
        server.kill()
        server.start()
        await expect(alice.locator("#connection")).to_have_text("You are no longer signed in.")
        await alice.get_by_role("link", name="Log in again").click()
        await expect(alice.get_by_role("heading", name="Log in")).to_be_visible()
        assert alice.url == f"{server.base_url}/accounts/login/?next=/rooms/away/"
