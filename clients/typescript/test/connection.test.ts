import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, test } from "node:test";
import { ConnectionLost, Routesock, type State, type Why } from "../src/index.js";
import { rejected, settle, World, type Frame } from "./harness.js";
import { FakePage } from "./page.js";

const notice = (code: number, reconnect: boolean, retry_after?: number): Frame => ({
  route: "CLOSE",
  payload: { code, reason: "Because.", reconnect, ...(retry_after !== undefined && { retry_after }) },
});

describe("connecting", () => {
  test("is given up after 10 s", async () => {
    const world = new World();
    world.socket.connect();
    await world.clock.advance(9_999);
    assert.equal(world.socket.state, "connecting");
    await world.clock.advance(1);
    assert.equal(world.socket.state, "waiting");
    assert.equal(world.socket.why?.code, 1006);
    assert.equal(world.ws.readyState, 2);
  });

  test("leaves events of an older WebSocket alone", async () => {
    const world = new World();
    world.socket.connect();
    await world.clock.advance(10_600);
    const [first, second] = world.sockets;
    await second!.accept();
    await first!.accept();
    await first!.receive({ route: "CLOSE", payload: { code: 4403, reason: "", reconnect: false } });
    await first!.drop(4403);
    assert.equal(world.socket.state, "open");
    assert.equal(world.sockets.length, 2);
  });

  test("reports what the constructor of the WebSocket throws as the cause, and tries again", async () => {
    const failure = new Error("SyntaxError");
    let constructed = 0;
    const world = new World({
      WebSocket: class {
        constructor() {
          ++constructed;
          throw failure;
        }
      } as never,
    });
    world.socket.connect();
    await settle();
    assert.deepEqual([world.socket.state, world.socket.why?.cause], ["waiting", failure]);
    await world.clock.advance(500);
    assert.equal(constructed, 2);
  });

  test("reports the error of an error event as the cause", async () => {
    const world = new World();
    world.socket.connect();
    const error = new Error("Unexpected server response: 403");
    (world.ws.onerror as ((event: unknown) => void) | null)?.({ error });
    world.ws.onclose?.({ code: 1006, reason: "" });
    assert.deepEqual(world.socket.why, { code: 1006, reason: "", cause: error });
  });

  test("throws at once where there is no WebSocket", () => {
    const there = Object.getOwnPropertyDescriptor(globalThis, "WebSocket");
    Reflect.deleteProperty(globalThis, "WebSocket");
    try {
      const socket = new Routesock("ws://test/ws/");
      assert.throws(() => socket.connect(), { name: "ReferenceError", message: "WebSocket is not defined" });
      assert.equal(socket.state, "idle");
    } finally {
      if (there) Object.defineProperty(globalThis, "WebSocket", there);
    }
  });

  test("a URL that cannot be parsed is an error of the constructor", () => {
    assert.throws(() => new World({}, "ws:// /"), TypeError);
  });

  test("the constructor says that a path needs a page", () => {
    assert.throws(() => new World({}, "/ws/"), new TypeError("Pass a whole URL: there is no page."));
  });
});

describe("back-off", () => {
  const delays = async (world: World, tries: number): Promise<number[]> => {
    const found: number[] = [];
    for (let n = 0; n < tries; n++) {
      const before = world.sockets.length;
      await world.ws.drop();
      found.push(await world.clock.until(() => world.sockets.length > before));
    }
    return found;
  };

  for (const [random, expected] of [
    [0, [250, 500, 1000, 2000, 4000, 8000, 15000, 15000]],
    [0.5, [500, 1000, 2000, 4000, 8000, 16000, 30000, 30000]],
    [1, [750, 1500, 3000, 6000, 12000, 24000, 45000, 45000]],
  ] as const) {
    test(`doubles up to 30 s, and is spread (random ${random})`, async () => {
      const world = new World();
      world.random = random;
      world.socket.connect();
      assert.deepEqual(await delays(world, 8), expected);
    });
  }

  test("begins anew after 5 s open, not at open", async () => {
    const world = new World();
    world.socket.connect();
    await delays(world, 3);
    await world.ws.accept();
    await world.clock.advance(4_999);
    assert.deepEqual(await delays(world, 1), [4000]);
    await world.ws.accept();
    await world.clock.advance(5_000);
    assert.deepEqual(await delays(world, 1), [500]);
  });

  test("maxTries attempts in a row close the socket", async () => {
    const world = new World({ maxTries: 3 });
    world.socket.connect();
    await world.fail(3);
    assert.equal(world.socket.state, "closed");
    assert.equal(world.sockets.length, 3);
  });

  for (const [random, delay] of [
    [0, 7_000],
    [1, 8_400],
  ] as const) {
    test(`is what the server says, a little later (random ${random})`, async () => {
      const world = new World();
      world.random = random;
      const ws = await world.open();
      await ws.receive(notice(1012, true, 7));
      await ws.drop(1012);
      await world.clock.advance(delay - 1);
      assert.equal(world.sockets.length, 1);
      await world.clock.advance(1);
      assert.equal(world.sockets.length, 2);
    });
  }

  test("retry_after is cut short neither by connect() nor by the page", async () => {
    const page = new FakePage();
    const world = new World();
    const ws = await world.open();
    await ws.receive(notice(4429, true, 30));
    await ws.drop(4429);
    world.socket.connect();
    page.emit("online");
    page.show();
    page.resume();
    await world.clock.advance(29_000);
    assert.equal(world.sockets.length, 1);
    await world.clock.advance(7_000);
    assert.equal(world.sockets.length, 2);
    page.remove();
  });

  test("connect() cuts the back-off short", async () => {
    const world = new World();
    await world.open();
    await world.ws.drop();
    world.socket.connect();
    assert.equal(world.sockets.length, 2);
  });
});

describe("verdicts", () => {
  const after = async (code: number, sent?: Frame): Promise<[State, Why | undefined]> => {
    const world = new World();
    const ws = await world.open();
    if (sent) await ws.receive(sent);
    await ws.drop(code, "Closed.");
    return [world.socket.state, world.socket.why];
  };

  for (const code of [4400, 4401, 4403, 4404, 4413]) {
    test(`${code} without a notice is final`, async () => {
      assert.deepEqual(await after(code), ["closed", { code, reason: "Closed." }]);
    });
  }

  for (const code of [1000, 1001, 1005, 1006, 1008, 1011, 1012, 1013, 1015, 3000, 4000, 4408, 4429, 4500, 4503]) {
    test(`${code} without a notice leads to another try`, async () => {
      assert.deepEqual(await after(code), ["waiting", { code, reason: "Closed." }]);
    });
  }

  for (const code of [1012, 4401, 4403, 4408, 4503]) {
    test(`the notice decides (${code})`, async () => {
      assert.deepEqual((await after(code, notice(code, false)))[0], "closed");
      assert.deepEqual((await after(code, notice(code, true)))[0], "waiting");
    });
  }

  test("the notice says why, and not the close event", async () => {
    const [, why] = await after(4503, notice(1012, true, 2));
    assert.deepEqual(why, { code: 1012, reason: "Because.", reconnect: true, retryAfter: 2 });
  });

  test("a notice whose names are camelCase is understood", async () => {
    const payload = { code: 4429, reason: "", reconnect: true, retryAfter: 3 };
    assert.equal((await after(4429, { route: "CLOSE", payload }))[1]?.retryAfter, 3);
  });

  test("a notice without a close counts as one after 3 s", async () => {
    const world = new World();
    const ws = await world.open();
    await ws.receive(notice(4403, false));
    assert.equal(world.socket.state, "open");
    await world.clock.advance(3_000);
    assert.equal(world.socket.state, "closed");
  });

  test("nothing is sent behind a notice", async () => {
    const world = new World();
    const ws = await world.open();
    await ws.receive(notice(1012, true, 1));
    const call = world.socket.call("late");
    assert.equal(world.socket.notify("late"), false);
    assert.deepEqual(ws.take(), []);
    await ws.drop(1012);
    await world.clock.advance(1200);
    await world.ws.accept();
    assert.deepEqual(world.ws.take(), [{ route: "late", uuid: 1 }]);
    await world.ws.reply(1, "sent");
    assert.equal(await call, "sent");
  });
});

describe("close()", () => {
  test("closes for good, and connect() begins anew", async () => {
    const world = new World();
    await world.open();
    world.socket.close();
    assert.deepEqual([world.socket.state, world.ws.readyState], ["closed", 2]);
    assert.equal(world.clock.pending, 0);
    await world.open();
    assert.equal(world.socket.state, "open");
    assert.deepEqual(world.states, ["connecting", "open", "closed", "connecting", "open"]);
  });

  test("ends a wait", async () => {
    const world = new World();
    await world.open();
    await world.ws.drop();
    world.socket.close();
    assert.equal(world.clock.pending, 0);
    await world.clock.advance(60_000);
    assert.equal(world.sockets.length, 1);
  });

  test("ends an attempt", async () => {
    const world = new World();
    world.socket.connect();
    world.socket.close();
    await world.ws.accept();
    assert.equal(world.socket.state, "closed");
  });

  test("is what asyncDispose does", async () => {
    const world = new World();
    await world.open();
    await world.socket[Symbol.asyncDispose]();
    assert.equal(world.socket.state, "closed");
  });

  test("before connect() is remembered", async () => {
    const world = new World();
    world.socket.close();
    const { sent } = await rejected<ConnectionLost>(world.socket.call("x"));
    assert.deepEqual([sent, world.socket.state], [false, "closed"]);
  });
});

describe("onState", () => {
  test("gets the state and why the last connection ended, until it is ended", async () => {
    const world = new World();
    const heard: unknown[] = [];
    const off = world.socket.onState((state, why) => heard.push([state, why?.code]));
    await world.open();
    await world.ws.drop(1011);
    off();
    world.socket.close();
    assert.deepEqual(heard, [
      ["connecting", undefined],
      ["open", undefined],
      ["waiting", 1011],
    ]);
  });

  test("sees the state of the socket", async () => {
    const world = new World();
    world.socket.onState((state) => assert.equal(world.socket.state, state));
    await world.open();
    await world.ws.drop(4403);
    assert.equal(world.socket.state, "closed");
  });
});

describe("heartbeat", () => {
  test("sends a PING after 25 s without a frame, and gives up 10 s later", async () => {
    const world = new World();
    const ws = await world.open();
    await world.clock.advance(24_999);
    assert.deepEqual(ws.take(), []);
    await world.clock.advance(1);
    assert.deepEqual(ws.take(), [{ route: "PING" }]);
    await world.clock.advance(9_999);
    assert.equal(world.socket.state, "open");
    await world.clock.advance(1);
    assert.equal(world.socket.state, "waiting");
  });

  test("counts any frame as life", async () => {
    const world = new World();
    const ws = await world.open();
    await world.clock.advance(20_000);
    await ws.receive({ route: "news", payload: 1 });
    await world.clock.advance(24_999);
    assert.deepEqual(ws.take(), []);
    await world.clock.advance(1);
    assert.deepEqual(ws.take(), [{ route: "PING" }]);
    await world.clock.advance(9_000);
    await ws.receive({ route: "PONG", uuid: null, payload: null });
    await world.clock.advance(20_000);
    assert.equal(world.socket.state, "open");
  });

  test("answers a PING of the server", async () => {
    const world = new World();
    const ws = await world.open();
    await ws.receive({ route: "PING", payload: null });
    assert.deepEqual(ws.take(), [{ route: "PONG", payload: null }]);
  });

  test("a clock that was set back does not stop it", async () => {
    const world = new World();
    const ws = await world.open();
    world.clock.time -= 3_600_000;
    await world.clock.advance(3_600_000 + 50_000);
    assert.deepEqual(ws.take()[0], { route: "PING" });
  });
});

describe("a page", () => {
  let page: FakePage;
  beforeEach(() => (page = new FakePage()));
  afterEach(() => page.remove());

  const wakes: [string, (page: FakePage) => void][] = [
    ["visible", (page) => page.show()],
    ["online", (page) => page.emit("online")],
    ["pageshow", (page) => page.emit("pageshow", true)],
    ["resume", (page) => page.resume()],
  ];

  for (const [name, wake] of wakes) {
    test(`${name} ends a wait at once`, async () => {
      const world = new World();
      world.socket.connect();
      await world.fail(4);
      await world.ws.drop();
      await world.clock.advance(100);
      const before = world.sockets.length;
      wake(page);
      await world.clock.advance(0);
      assert.equal(world.sockets.length, before + 1);
    });

    test(`${name} has an open socket checked if it was silent for 5 s`, async () => {
      const world = new World();
      const ws = await world.open();
      await world.clock.advance(5_000);
      wake(page);
      assert.deepEqual(ws.take(), []);
      await world.clock.advance(1);
      wake(page);
      assert.deepEqual(ws.take(), [{ route: "PING" }]);
      await world.clock.advance(2_999);
      assert.equal(world.socket.state, "open");
      await world.clock.advance(1);
      assert.equal(world.socket.state, "connecting", "dead: a new connection is tried at once");
    });
  }

  test("that is hidden tries every 30 s at most", async () => {
    const world = new World();
    await world.open();
    page.hide();
    await world.ws.drop();
    await world.clock.advance(29_000);
    assert.equal(world.sockets.length, 1);
    await world.clock.advance(1_000);
    assert.equal(world.sockets.length, 2);
    await world.ws.drop();
    page.emit("online");
    await world.clock.advance(29_999);
    assert.equal(world.sockets.length, 2);
    await world.clock.advance(1);
    assert.equal(world.sockets.length, 3);
  });

  test("that is hidden tries at once when it is visible", async () => {
    const world = new World();
    await world.open();
    page.hide();
    await world.ws.drop();
    await world.clock.advance(2_000);
    page.show();
    await world.clock.advance(0);
    assert.equal(world.sockets.length, 2);
  });

  test("that is hidden for 10 min with timers once a minute closes nothing", async () => {
    const world = new World();
    const ws = await world.open();
    page.hide();
    for (let minute = 0; minute < 10; minute++) {
      await world.clock.sleep(60_000);
      for (const { route } of ws.take()) if (route === "PING") await ws.receive({ route: "PONG" });
      assert.equal(world.socket.state, "open");
    }
    assert.equal(world.sockets.length, 1);
  });

  test("that enters the back/forward cache closes the socket, and opens it when it comes back", async () => {
    const world = new World();
    const ws = await world.open();
    const call = rejected<ConnectionLost>(world.socket.call("x"));
    page.emit("pagehide", true);
    assert.deepEqual([ws.readyState, world.socket.state, world.socket.why?.code], [2, "waiting", 1001]);
    assert.equal((await call).sent, true);
    await world.clock.advance(600_000);
    assert.equal(world.sockets.length, 1);
    page.emit("pageshow", true);
    await world.clock.advance(0);
    assert.equal(world.sockets.length, 2);
  });

  test("that is left for good closes nothing", async () => {
    const world = new World();
    await world.open();
    page.emit("pagehide", false);
    assert.equal(world.socket.state, "open");
  });

  test("that enters the back/forward cache while it connects gives the attempt up", async () => {
    const world = new World();
    world.socket.connect();
    page.emit("pagehide", true);
    assert.equal(world.socket.state, "waiting");
    page.emit("pageshow", true);
    await world.clock.advance(0);
    assert.equal(world.sockets.length, 2);
  });

  test("is listened to between connect() and the end alone", async () => {
    const world = new World();
    assert.equal(page.listening, 0);
    await world.open();
    assert.ok(page.listening > 0);
    world.socket.close();
    assert.equal(page.listening, 0);
    await world.open();
    await world.ws.drop(4403);
    assert.equal(page.listening, 0);
  });

  test("a relative URL belongs to the page's host", async () => {
    const globals = globalThis as Record<string, unknown>;
    globals["location"] = { href: "https://example.com/rooms/5/" };
    const world = new World({}, "/ws/chat/");
    world.socket.connect();
    assert.equal(world.ws.url, "wss://example.com/ws/chat/");
    delete globals["location"];
  });
});

describe("timers that are late", () => {
  test("a PING is sent anew, and nothing is closed at once", async () => {
    const world = new World();
    const ws = await world.open();
    await world.clock.advance(25_000);
    assert.equal(ws.take().length, 1);
    await world.clock.sleep(3_600_000);
    assert.equal(world.socket.state, "open");
    assert.deepEqual(ws.take(), [{ route: "PING" }]);
    await world.clock.advance(10_000);
    assert.equal(world.socket.state, "waiting");
  });

  test("a PING is sent first where none was", async () => {
    const world = new World();
    const ws = await world.open();
    await world.clock.sleep(3_600_000);
    assert.deepEqual([ws.take(), world.socket.state], [[{ route: "PING" }], "open"]);
  });

  test("after the third PING without an answer the connection is given up", async () => {
    const world = new World();
    await world.open();
    for (let minute = 0; minute < 3; minute++) {
      await world.clock.sleep(60_000);
      assert.equal(world.socket.state, "open");
    }
    await world.clock.sleep(60_000);
    assert.equal(world.socket.state, "waiting");
  });

  test("5 s late is not late", async () => {
    const world = new World();
    await world.open();
    await world.clock.advance(25_000);
    await world.clock.sleep(15_000);
    assert.equal(world.socket.state, "waiting");
  });
});
