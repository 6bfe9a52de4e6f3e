"""The tutorials work: each is followed from its first command to its last, in a project that begins empty."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest
from playwright.async_api import Browser

from tests.docs_pages import ROOT
from tests.docs_project import Project

pytestmark = [pytest.mark.browser, pytest.mark.servers]

TUTORIALS = ROOT / "docs" / "tutorials"


@pytest.mark.asyncio(loop_scope="package")
async def test_first_route(tmp_path: Path, chromium: Browser) -> None:
    context = await chromium.new_context()
    with closing(Project(tmp_path, context)) as project:
        await project.follow(TUTORIALS / "first-route.rst")
        assert project.misfits() == []
    await context.close()


@pytest.mark.asyncio(loop_scope="package")
async def test_channels_chat(tmp_path: Path, chromium: Browser, redis_url: str) -> None:
    """It begins where the tutorial of Channels ends."""
    context = await chromium.new_context()
    with closing(Project(tmp_path, context, {"redis://127.0.0.1:6379": redis_url})) as project:
        await project.follow(Path(__file__).parent / "channels_part_3.rst")
        await project.follow(TUTORIALS / "channels-chat.rst")
        assert project.misfits() == []
    await context.close()


def test_each_tutorial_is_followed() -> None:
    assert {page.stem for page in TUTORIALS.glob("*.rst")} == {"first-route", "channels-chat"}
