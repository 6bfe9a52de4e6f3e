"""The example's page with a stream, a cancel, a topic and a typed error, in Chromium."""

from __future__ import annotations

import pytest
from playwright.async_api import Page, expect

from tests.servers import Server

from .conftest import OpenPage, frames

pytestmark = [pytest.mark.browser, pytest.mark.servers, pytest.mark.asyncio(loop_scope="package")]


async def tour(server: Server, username: str, open_page: OpenPage) -> Page:
    page = await open_page(server, username, "tour")
    await page.get_by_role("link", name="Tour").click()
    await expect(page.locator("#connection")).to_have_text("Connected")
    return page


async def test_a_story_is_told_until_it_is_stopped(example: Server, open_page: OpenPage) -> None:
    alice = await tour(example, "alice", open_page)
    await alice.get_by_text("Frames", exact=True).click()
    await alice.get_by_role("button", name="Tell").click()
    await expect(alice.get_by_role("log", name="Story")).to_contain_text("There was a page")
    await alice.get_by_role("button", name="Stop").click()
    await expect(alice.get_by_text("Cancelled.", exact=True)).to_be_visible()
    await expect(frames(alice).filter(has_text='"CANCEL"')).to_have_count(1)
    await expect(frames(alice).filter(has_text="499")).to_have_count(1)
    await expect(alice.get_by_role("button", name="Tell")).to_be_enabled()


async def test_a_vote_is_counted_once_and_in_both_windows(example: Server, open_page: OpenPage) -> None:
    alice = await tour(example, "alice", open_page)
    bob = await tour(example, "bob", open_page)
    await expect(bob.locator("#yes-count")).to_have_text("0")
    await alice.get_by_role("button", name="Yes").click()
    await expect(alice.get_by_text("poll.vote → 200")).to_be_visible()
    await expect(bob.locator("#yes-count")).to_have_text("1")
    await alice.get_by_role("button", name="No").click()
    await expect(alice.get_by_text("409: You have voted already. Your answer was yes.")).to_be_visible()
    await alice.get_by_role("button", name="Maybe").click()
    await expect(alice.get_by_text("Answer yes or no.").first).to_be_visible()
    await expect(bob.locator("#no-count")).to_have_text("0")
