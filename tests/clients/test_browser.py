"""The TypeScript client in Chromium: what pages go through that Node.js does not know."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, async_playwright

from tests.browser.conftest import ARGUMENTS, PROGRAMS
from tests.servers import ASGI_SERVERS, Server, pytest_runtest_makereport, run_server

__all__ = ["pytest_runtest_makereport"]

pytestmark = [pytest.mark.browser, pytest.mark.servers, pytest.mark.asyncio(loop_scope="module")]

HIDE = """() => {
  Object.defineProperty(document, "visibilityState", { configurable: true, value: "hidden" });
  document.dispatchEvent(new Event("visibilitychange"));
}"""

SHOW = """() => {
  delete document.visibilityState;
  document.dispatchEvent(new Event("visibilitychange"));
}"""


@pytest.fixture(scope="module", params=ASGI_SERVERS)
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    with run_server(request.param, "tests.clients.asgi:application") as server:
        yield server


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def chromium() -> AsyncIterator[Browser]:
    """With the back/forward cache, which Playwright turns off."""
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if program is None:
        raise RuntimeError("These tests need Chromium (Debian: apt-get install chromium).")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=program,
            headless=True,
            args=ARGUMENTS,
            ignore_default_args=["--disable-back-forward-cache"],
        )
        yield browser
        await browser.close()


@pytest_asyncio.fixture(loop_scope="module")
async def page(chromium: Browser, server: Server) -> AsyncIterator[Page]:
    """A page with an open socket; its timers run when the test moves its clock."""
    context = await chromium.new_context(base_url=server.base_url)
    page = await context.new_page()
    failures: list[str] = []
    page.on("pageerror", lambda error: failures.append(str(error)))
    yield page
    await context.close()
    assert failures == []


async def opened(page: Page) -> None:
    await page.wait_for_function("window.socket?.state === 'open'")


async def test_a_relative_url_is_the_host_of_the_page(page: Page) -> None:
    await page.goto("/")
    assert await page.evaluate("socket.call('echo', { text: 'Hello' })") == {"text": "Hello"}
    items = await page.evaluate(
        "(async () => { const n = []; for await (const i of socket.stream('count', 3)) n.push(i); return n })()"
    )
    assert items == [0, 1, 2]


async def test_a_page_that_comes_online_connects_at_once(page: Page, server: Server) -> None:
    await page.clock.install()
    await page.goto("/")
    await opened(page)
    server.kill()
    await page.wait_for_function("socket.state === 'waiting'")
    await page.context.set_offline(True)
    for _ in range(6):  # the next try is 45 s away in the end
        await page.clock.run_for(50_000)
        await page.wait_for_function("socket.state === 'waiting'")
    server.start()
    await page.context.set_offline(False)
    await page.clock.run_for(100)
    await opened(page)


async def test_a_page_that_was_frozen_finds_out_that_its_socket_is_gone(page: Page, server: Server) -> None:
    await page.goto("/")
    await opened(page)
    cdp = await page.context.new_cdp_session(page)
    await cdp.send("Page.setWebLifecycleState", {"state": "frozen"})
    server.kill()
    server.start()
    await cdp.send("Page.setWebLifecycleState", {"state": "active"})
    await page.wait_for_function("states.filter((state) => state === 'open').length === 2")


async def test_a_hidden_page_whose_timers_fire_once_a_minute_stays_connected(page: Page) -> None:
    heard = 0

    def count(_: object) -> None:
        nonlocal heard
        heard += 1

    page.on("websocket", lambda socket: socket.on("framereceived", count))
    await page.clock.install()
    await page.goto("/")
    await opened(page)
    await page.evaluate(HIDE)
    for _ in range(10):
        before = heard
        await page.clock.fast_forward(60_000)
        while heard == before:  # the PONG
            await page.wait_for_timeout(10)
    await page.evaluate(SHOW)
    assert await page.evaluate("states") == ["connecting", "open"]


async def test_a_hidden_page_connects_when_it_is_visible(page: Page, server: Server) -> None:
    await page.clock.install()
    await page.goto("/")
    await opened(page)
    await page.evaluate(HIDE)
    server.kill()
    await page.wait_for_function("socket.state === 'waiting'")
    server.start()
    await page.clock.run_for(20_000)
    assert await page.evaluate("socket.state") == "waiting"
    await page.evaluate(SHOW)
    await page.clock.run_for(10)
    await opened(page)


async def test_a_page_comes_back_from_the_back_forward_cache_with_its_socket(page: Page) -> None:
    await page.goto("/")
    await opened(page)
    await page.evaluate("void (window.kept = socket.call('wait', 60).catch((error) => [error.name, error.sent]))")
    await page.goto("/another/")
    await page.go_back(wait_until="commit")
    await opened(page)
    assert await page.evaluate("restored"), "it was loaded anew"
    assert await page.evaluate("states") == ["connecting", "open", "waiting", "connecting", "open"]
    assert await page.evaluate("kept") == ["ConnectionLost", True]
    assert await page.evaluate("socket.call('echo', 1)") == 1


SUBSCRIBE = """async (count) => {
  // A server that answers at once: thousands of frames to a real one would take a minute.
  window.answering ??= class {
    readyState = 1;
    constructor() {
      queueMicrotask(() => this.onopen());
    }
    send(data) {
      const { route, uuid } = JSON.parse(data);
      const reply = JSON.stringify({ route, uuid, status: 200, payload: {} });
      queueMicrotask(() => this.onmessage({ data: reply }));
    }
    close() {}
  };
  const { Routesock } = await import("/client.js");
  const other = (window.other ??= new Routesock("/ws/", { WebSocket: answering }).connect());
  let snapshots = 0;
  for (let n = 0; n < count; n++) {
    const handlers = { snapshot: () => snapshots++, push() {}, ended() {} };
    const subscription = other.subscribe(`room.${n}`, handlers);
    await other.call("echo");
    subscription.unsubscribe();
  }
  return snapshots;
}"""


@pytest.mark.parametrize("server", ["uvicorn"], indirect=True)
async def test_subscriptions_that_have_ended_leave_nothing_behind(page: Page) -> None:
    await page.goto("/")
    await opened(page)
    cdp = await page.context.new_cdp_session(page)

    async def heap() -> int:
        await cdp.send("HeapProfiler.collectGarbage")
        used: int = (await cdp.send("Runtime.getHeapUsage"))["usedSize"]
        return used

    await page.evaluate(SUBSCRIBE, 1_000)  # what is compiled and cached is there before
    before = await heap()
    assert await page.evaluate(SUBSCRIBE, 10_000) == 10_000
    assert await heap() - before <= 1024 * 1024
