import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { ConnectionLost, RouteError, StreamOverflow } from "../src/index.js";
import { collect, rejected, settle, World, type Frame } from "./harness.js";

const routes = (frames: Frame[]): unknown[] => frames.map(({ route }) => route);
const ids = (frames: Frame[]): unknown[] => frames.map(({ uuid }) => uuid);

describe("ids", () => {
  test("are integers, and not used twice over reconnects", async () => {
    const world = new World();
    let ws = await world.open();
    const lost = rejected(world.socket.call("a"));
    await ws.drop();
    await lost;
    await world.clock.advance(500);
    ws = await world.ws.accept();
    const call = world.socket.call("b");
    await settle();
    assert.deepEqual(ids(ws.take()), [2]);
    await ws.reply(1, "of an earlier connection");
    await ws.reply(2, "b");
    assert.equal(await call, "b");
  });
});

describe("deadlines", () => {
  test("are 35 s, and cancel the call on the server", async () => {
    const world = new World();
    const ws = await world.open();
    const call = rejected(world.socket.call("slow"));
    await world.clock.advance(34_999);
    assert.deepEqual(routes(ws.take()), ["slow", "PING"]);
    await world.clock.advance(1);
    assert.equal((await call).name, "TimeoutError");
    assert.deepEqual(ws.take(), [{ route: "CANCEL", uuid: 1 }]);
  });

  test("of the caller are sent to the server, in seconds", async () => {
    const world = new World();
    const ws = await world.open();
    const call = rejected(world.socket.call("slow", 1, { timeout: 2_500, headers: { traceparent: "00" } }));
    await settle();
    const headers = { traceparent: "00", "Request-Timeout": 2.5 };
    assert.deepEqual(ws.take(), [{ route: "slow", uuid: 1, payload: 1, headers }]);
    await world.clock.advance(2_500);
    assert.equal((await call).name, "TimeoutError");
  });

  test("run in the queue, and what was not sent is not cancelled", async () => {
    const world = new World();
    const call = rejected(world.socket.call("early", null, { timeout: 5_000 }));
    await world.clock.advance(5_000);
    assert.equal((await call).name, "TimeoutError");
    const ws = await world.open();
    assert.deepEqual(ws.take(), []);
  });

  test("say that a call was not sent, and why there is no connection", async () => {
    const world = new World();
    world.socket.connect();
    await world.ws.drop(4503, "Busy.");
    const call = rejected(world.socket.call("early", null, { timeout: 100 }));
    await world.clock.advance(100);
    const { name, message, cause } = await call;
    assert.deepEqual([name, message], ["TimeoutError", "early: not sent in 100 ms: no connection"]);
    assert.deepEqual(cause, { code: 4503, reason: "Busy." });
  });

  test("say that a call waited behind others", async () => {
    const world = new World();
    await world.open();
    const calls = Array.from({ length: 32 }, () => rejected(world.socket.call("slow", null, { timeout: 200 })));
    const behind = rejected(world.socket.call("behind", null, { timeout: 100 }));
    await world.clock.advance(200);
    assert.equal((await behind).message, "behind: not sent in 100 ms");
    assert.equal((await behind).cause, undefined);
    for (const { message } of await Promise.all(calls)) assert.equal(message, "slow: no reply in 200 ms");
  });

  test("say that a call that waits to be sent again was sent", async () => {
    const world = new World();
    const ws = await world.open();
    const call = rejected(world.socket.call("twice", null, { timeout: 100, idempotent: true }));
    await ws.drop();
    await world.clock.advance(100);
    const { message, cause } = await call;
    assert.equal(message, "twice: no reply in 100 ms: no connection");
    assert.deepEqual(cause, { code: 1006, reason: "" });
  });

  test("null is none", async () => {
    const world = new World();
    const ws = await world.open();
    const call = world.socket.call("slow", null, { timeout: null });
    await settle();
    assert.deepEqual(ws.take(), [{ route: "slow", uuid: 1, payload: null }]);
    for (let time = 0; time < 3_600_000; time += 20_000) {
      await world.clock.advance(20_000);
      await ws.receive({ route: "news", payload: null });
    }
    await ws.reply(1, "at last");
    assert.equal(await call, "at last");
  });

  test("longer than a timer can be do not end at once", async () => {
    const world = new World();
    const ws = await world.open();
    const call = world.socket.call("slow", null, { timeout: 1e12 });
    await world.clock.advance(1_000);
    await ws.reply(1, "in time");
    assert.equal(await call, "in time");
  });

  test("leave no timer behind", async () => {
    const world = new World();
    const ws = await world.open();
    const before = world.clock.pending;
    const call = world.socket.call("x");
    await ws.reply(1);
    await call;
    assert.equal(world.clock.pending, before);
  });
});

describe("abort", () => {
  test("cancels a call on the server, and rejects with the signal's reason", async () => {
    const world = new World();
    const ws = await world.open();
    const control = new AbortController();
    const call = rejected(world.socket.call("slow", null, { signal: control.signal }));
    await settle();
    const reason = new Error("Never mind.");
    control.abort(reason);
    assert.equal(await call, reason);
    assert.deepEqual(routes(ws.take()), ["slow", "CANCEL"]);
    await ws.reply(1, { code: "cancelled" }, 499);
    assert.deepEqual(world.errors, []);
  });

  test("before the call sends nothing", async () => {
    const world = new World();
    const ws = await world.open();
    const error = await rejected(world.socket.call("slow", null, { signal: AbortSignal.abort() }));
    assert.equal(error.name, "AbortError");
    assert.deepEqual(ws.take(), []);
  });

  test("in the queue sends nothing", async () => {
    const world = new World();
    const control = new AbortController();
    const call = rejected(world.socket.call("slow", null, { signal: control.signal }));
    control.abort();
    await call;
    assert.deepEqual((await world.open()).take(), []);
  });

  test("after the reply does nothing", async () => {
    const world = new World();
    const ws = await world.open();
    const control = new AbortController();
    const call = world.socket.call("quick", null, { signal: control.signal });
    await ws.reply(1, "done");
    control.abort();
    assert.equal(await call, "done");
    assert.deepEqual(routes(ws.take()), ["quick"]);
  });
});

describe("the window", () => {
  test("has 32 calls in flight; the others wait in order", async () => {
    const world = new World();
    const ws = await world.open();
    const calls = Array.from({ length: 100 }, (_, n) => world.socket.call("x", n));
    await settle();
    assert.equal(ws.take().length, 32);
    for (let id = 1; id <= 100; id++) await ws.reply(id, id);
    assert.deepEqual(ids(ws.take()), Array.from({ length: 68 }, (_, n) => n + 33));
    assert.deepEqual(await Promise.all(calls), Array.from({ length: 100 }, (_, n) => n + 1));
  });

  test("does not count streams, in flight or waiting", async () => {
    const world = new World();
    const early = world.socket.stream("ticks");
    const ws = await world.open();
    for (let n = 0; n < 40; n++) world.socket.call("x", n).catch(() => {});
    const stream = world.socket.stream("ticks");
    assert.equal(ws.take().filter(({ route }) => route === "x").length, 32);
    assert.equal(ws.frames.filter(({ route }) => route === "ticks").length, 2);
    await stream.return();
    await early.return();
    world.socket.close();
  });

  test("lets streams pass that waited for the connection behind more calls than it has", async () => {
    const world = new World();
    for (let n = 0; n < 40; n++) world.socket.call("x", n).catch(() => {});
    void collect(world.socket.stream("ticks"));
    const ws = await world.open();
    assert.deepEqual(routes(ws.take()), [...Array<string>(32).fill("x"), "ticks"]);
    world.socket.close();
  });

  test("has room again when a call is cancelled", async () => {
    const world = new World();
    const ws = await world.open();
    const control = new AbortController();
    const cancelled = rejected(world.socket.call("x", 0, { signal: control.signal }));
    for (let n = 0; n < 32; n++) world.socket.call("x", n).catch(() => {});
    ws.take();
    control.abort();
    await cancelled;
    assert.deepEqual(routes(ws.take()), ["CANCEL", "x"]);
    world.socket.close();
  });

  test("is as small as the server's HELLO says", async () => {
    const world = new World();
    const ws = await world.open();
    await ws.receive({ route: "HELLO", payload: { protocol: 1, max_frame: 65536, max_queued: 4 } });
    for (let n = 0; n < 8; n++) world.socket.call("x", n).catch(() => {});
    assert.equal(ws.take().length, 4);
    world.socket.close();
  });
});

describe("429", () => {
  const full = { code: "too_many_in_flight", title: "Too Many Requests", detail: "" };

  test("too_many_in_flight is tried three times more, in front of what waits", async () => {
    const world = new World();
    const ws = await world.open();
    const call = rejected<RouteError>(world.socket.call("x"));
    for (const delay of [500, 1000, 2000]) {
      await ws.reply(1, full, 429);
      await world.clock.advance(delay - 1);
      ws.take();
      await world.clock.advance(1);
      assert.deepEqual(ids(ws.take()), [1]);
    }
    await ws.reply(1, full, 429);
    assert.equal((await call).status, 429);
  });

  test("a call that waits to be tried again can be aborted, and ends with the socket", async () => {
    const world = new World();
    const ws = await world.open();
    const control = new AbortController();
    const aborted = rejected(world.socket.call("x", null, { signal: control.signal }));
    const closed = rejected<ConnectionLost>(world.socket.call("y"));
    await ws.reply(1, full, 429);
    await ws.reply(2, full, 429);
    control.abort();
    assert.equal((await aborted).name, "AbortError");
    world.socket.close();
    assert.equal((await closed).sent, false);
    await world.clock.advance(5_000);
    assert.deepEqual([world.clock.pending, ids(ws.take())], [0, [1, 2]]);
  });

  test("a call that waits to be tried again is sent over the next connection", async () => {
    const world = new World();
    const ws = await world.open();
    const call = world.socket.call("x");
    await ws.reply(1, full, 429);
    await ws.drop();
    await world.clock.advance(500);
    await world.ws.accept();
    assert.deepEqual(ids(world.ws.take()), [1]);
    await world.ws.reply(1, "done");
    assert.equal(await call, "done");
  });

  for (const [status, code] of [
    [429, "throttled"],
    [503, "unavailable"],
  ] as const) {
    test(`${status} ${code} is the caller's, with the seconds to wait`, async () => {
      const world = new World();
      const ws = await world.open();
      const call = rejected<RouteError>(world.socket.call("x"));
      await ws.reply(1, { code, title: "", detail: "", retry_after: 3 }, status);
      const error = await call;
      assert.deepEqual([error.status, error.problem.code, error.retryAfter], [status, code, 3]);
    });
  }

  test("Retry-After counts where the payload does not say it", async () => {
    const world = new World();
    const ws = await world.open();
    const call = rejected<RouteError>(world.socket.call("x"));
    await ws.reply(1, "no problem object", 429, { "Retry-After": 4 });
    assert.equal((await call).retryAfter, 4);
  });
});

describe("a lost connection", () => {
  test("rejects what was sent at once, and sends the rest over the next one, in order", async () => {
    const world = new World();
    const ws = await world.open();
    const sent = Array.from({ length: 32 }, (_, n) => rejected<ConnectionLost>(world.socket.call("sent", n)));
    const waiting = Array.from({ length: 3 }, (_, n) => world.socket.call("waiting", n));
    await ws.drop();
    for (const error of await Promise.all(sent)) assert.equal(error.sent, true);
    await world.clock.advance(500);
    await world.ws.accept();
    assert.deepEqual(
      world.ws.take().map(({ payload }) => payload),
      [0, 1, 2],
    );
    for (const id of [33, 34, 35]) await world.ws.reply(id, id);
    assert.deepEqual(await Promise.all(waiting), [33, 34, 35]);
  });

  test("sends idempotent calls again, in front of the others", async () => {
    const world = new World();
    const ws = await world.open();
    const first = world.socket.call("get", 1, { idempotent: true });
    const lost = rejected<ConnectionLost>(world.socket.call("pay"));
    const second = world.socket.call("get", 2, { idempotent: true });
    await ws.drop();
    await lost;
    const behind = world.socket.call("later");
    await world.clock.advance(500);
    await world.ws.accept();
    assert.deepEqual(ids(world.ws.take()), [1, 3, 4]);
    for (const id of [1, 3, 4]) await world.ws.reply(id, id);
    assert.deepEqual(await Promise.all([first, second, behind]), [1, 3, 4]);
  });

  test("rejects idempotent calls, too, if it is for good", async () => {
    const world = new World();
    const ws = await world.open();
    const call = rejected<ConnectionLost>(world.socket.call("get", 1, { idempotent: true }));
    await ws.drop(4403);
    assert.equal((await call).sent, true);
  });

  test("says why", async () => {
    const world = new World();
    const ws = await world.open();
    const call = rejected<ConnectionLost>(world.socket.call("x"));
    await ws.receive({ route: "CLOSE", payload: { code: 1012, reason: "Restart.", reconnect: true, retry_after: 1 } });
    await ws.drop(1012);
    assert.deepEqual((await call).why, { code: 1012, reason: "Restart.", reconnect: true, retryAfter: 1 });
  });

  test("is noticed while the WebSocket still closes: nothing is sent into it", async () => {
    const world = new World();
    const ws = await world.open();
    ws.readyState = 2;
    const call = world.socket.call("x");
    assert.equal(world.socket.notify("y"), false);
    await ws.drop();
    await world.clock.advance(500);
    await world.ws.accept();
    await world.ws.reply(1, "over the next one");
    assert.equal(await call, "over the next one");
  });
});

describe("the queue", () => {
  test("has 256 frames; one more is rejected", async () => {
    const world = new World();
    const calls = Array.from({ length: 256 }, (_, n) => world.socket.call("x", n));
    const error = await rejected<ConnectionLost>(world.socket.call("x", "too much"));
    assert.deepEqual([error instanceof ConnectionLost, error.sent], [true, false]);
    const ws = await world.open();
    for (let id = 1; id <= 256; id++) await ws.reply(id, id);
    assert.equal((await Promise.all(calls)).length, 256);
  });

  test("has 256 KiB, counted in UTF-8", async () => {
    const world = new World();
    const envelope = JSON.stringify({ route: "x", uuid: 1, payload: "" }).length;
    world.socket.call("x", "é".repeat((256 * 1024 - envelope) / 2)).catch(() => {});
    const error = await rejected<ConnectionLost>(world.socket.call("x"));
    assert.equal(error.sent, false);
    world.socket.close();
  });

  test("is cut to its bounds when the connection is lost; the oldest calls stay", async () => {
    const world = new World();
    const ws = await world.open();
    const outcomes = Array.from({ length: 32 + 300 }, (_, n) =>
      world.socket.call("x", n).then(
        () => "done",
        (error: ConnectionLost) => error.sent,
      ),
    );
    await ws.drop();
    await world.clock.advance(500);
    await world.ws.accept();
    for (let id = 33; id <= 332; id++) await world.ws.reply(id);
    const found = await Promise.all(outcomes);
    assert.deepEqual(found, [
      ...Array<boolean>(32).fill(true),
      ...Array<string>(256).fill("done"),
      ...Array<boolean>(44).fill(false),
    ]);
  });

  test("is not for queue: false", async () => {
    const world = new World();
    assert.equal((await rejected<ConnectionLost>(world.socket.call("x", null, { queue: false }))).sent, false);
    world.socket.connect();
    await world.ws.drop(4503, "Busy.");
    const { message, cause } = await rejected<ConnectionLost>(world.socket.call("x", null, { queue: false }));
    assert.equal(message, "Not sent: there is no connection.");
    assert.deepEqual(cause, { code: 4503, reason: "Busy." });
    const ws = await world.open();
    const call = world.socket.call("x", null, { queue: false });
    await ws.reply(3, "sent");
    assert.equal(await call, "sent");
  });

  test("has the payload as it was when it was called", async () => {
    const world = new World();
    const payload = { text: "before" };
    world.socket.call("x", payload).catch(() => {});
    payload.text = "after";
    const ws = await world.open();
    assert.deepEqual(ws.take()[0]?.["payload"], { text: "before" });
    world.socket.close();
  });

  test("rejects everything when the socket is closed", async () => {
    const world = new World();
    const call = rejected<ConnectionLost>(world.socket.call("x"));
    world.socket.close();
    assert.deepEqual([(await call).sent, (await call).why?.code], [false, 1000]);
    assert.equal((await call).cause, (await call).why);
    assert.equal((await rejected<ConnectionLost>(world.socket.call("x"))).sent, false);
  });

  test("rejects a call that was sent and waits to be sent again as one that may have run", async () => {
    const world = new World();
    const ws = await world.open();
    const call = rejected<ConnectionLost>(world.socket.call("x", null, { idempotent: true }));
    await ws.drop();
    world.socket.close();
    assert.equal((await call).sent, true);
  });

  test("rejects a call that the server was too busy to run as not sent", async () => {
    const world = new World();
    const ws = await world.open();
    const call = rejected<ConnectionLost>(world.socket.call("x"));
    await ws.reply(1, { code: "too_many_in_flight" }, 429);
    world.socket.close();
    assert.equal((await call).sent, false);
  });

  test("a payload that cannot be encoded rejects its call alone", async () => {
    const world = new World();
    await world.open();
    assert.ok((await rejected(world.socket.call("x", 1n))) instanceof TypeError);
    assert.equal(world.socket.state, "open");
  });
});

describe("notify", () => {
  test("is written or not, and never queued", async () => {
    const world = new World();
    assert.equal(world.socket.notify("typing"), false);
    const ws = await world.open();
    assert.deepEqual(ws.take(), []);
    assert.equal(world.socket.notify("typing", { in: 5 }), true);
    assert.deepEqual(ws.take(), [{ route: "typing", payload: { in: 5 } }]);
  });

  test("an error of one goes to onError", async () => {
    const world = new World();
    const ws = await world.open();
    world.socket.notify("typing");
    await ws.receive({ uuid: null, route: "typing", status: 422, payload: { code: "invalid" } });
    assert.deepEqual(
      world.errors.map((error) => [(error as RouteError).route, (error as RouteError).status]),
      [["typing", 422]],
    );
  });
});

describe("streams", () => {
  test("throw the error that ends them, behind the items", async () => {
    const world = new World();
    const ws = await world.open();
    const items = collect(world.socket.stream("count"));
    await ws.reply(1, 0, 206);
    await ws.reply(1, { code: "internal_error" }, 500);
    const [first, error] = (await items) as [number, RouteError];
    assert.deepEqual([first, error.status], [0, 500]);
  });

  test("wait for the connection", async () => {
    const world = new World();
    const items = collect(world.socket.stream("count"));
    const ws = await world.open();
    await ws.reply(1, 0, 206);
    await ws.reply(1);
    assert.deepEqual(await items, [0]);
  });

  test("throw ConnectionLost where the connection is lost, and are not sent again", async () => {
    const world = new World();
    const ws = await world.open();
    const items = collect(world.socket.stream("count"));
    await ws.reply(1, 0, 206);
    await ws.drop();
    const [first, error] = (await items) as [number, ConnectionLost];
    assert.deepEqual([first, error.sent], [0, true]);
    await world.clock.advance(500);
    await world.ws.accept();
    assert.deepEqual(world.ws.take(), []);
  });

  test("are cancelled by their signal", async () => {
    const world = new World();
    const ws = await world.open();
    const control = new AbortController();
    const items = collect(world.socket.stream("count", null, { signal: control.signal }));
    await ws.reply(1, 0, 206);
    control.abort(new Error("Enough."));
    const [first, error] = (await items) as [number, Error];
    assert.deepEqual([first, error.message], [0, "Enough."]);
    assert.deepEqual(routes(ws.take()), ["count", "CANCEL"]);
  });

  test("of a signal that is aborted already send nothing", async () => {
    const world = new World();
    const ws = await world.open();
    const [error] = await collect(world.socket.stream("count", null, { signal: AbortSignal.abort() }));
    assert.equal((error as Error).name, "AbortError");
    assert.deepEqual(ws.take(), []);
  });

  test("that are not read are cancelled after 1,000 items, and give those first", async () => {
    const world = new World();
    const ws = await world.open();
    const stream = world.socket.stream("flood");
    for (let n = 0; n < 1_002; n++) await ws.reply(1, n, 206);
    assert.deepEqual(routes(ws.take()), ["flood", "CANCEL"]);
    const items = await collect(stream);
    assert.equal(items.length, 1_001);
    assert.ok(items.at(-1) instanceof StreamOverflow);
    assert.deepEqual(await stream.next(), { value: undefined, done: true });
  });

  test("have no deadline, and with one it runs from item to item", async () => {
    const world = new World();
    const ws = await world.open();
    const patient = world.socket.stream("ticks");
    const hasty = collect(world.socket.stream("ticks", null, { timeout: 2_000 }));
    for (let n = 0; n < 10; n++) {
      await world.clock.advance(1_500);
      await ws.reply(2, n, 206);
    }
    await world.clock.advance(2_000);
    const found = await hasty;
    assert.equal(found.length, 11);
    assert.equal((found.at(-1) as Error).name, "TimeoutError");
    for (let n = 0; n < 10; n++) {
      await world.clock.advance(20_000);
      await ws.receive({ route: "news", payload: null });
    }
    await ws.reply(1, "still there", 206);
    assert.deepEqual(await patient.next(), { value: "still there", done: false });
  });

  test("several reads at once are answered in order", async () => {
    const world = new World();
    const ws = await world.open();
    const stream = world.socket.stream("count");
    const reads = Promise.all([stream.next(), stream.next(), stream.next()]);
    await ws.reply(1, "a", 206);
    await ws.reply(1, "b", 206);
    await ws.reply(1);
    assert.deepEqual(
      (await reads).map(({ value }) => value),
      ["a", "b", undefined],
    );
  });

  test("return() ends a read that waits", async () => {
    const world = new World();
    const ws = await world.open();
    const stream = world.socket.stream("count");
    const read = stream.next();
    await stream.return();
    assert.deepEqual(await read, { value: undefined, done: true });
    assert.deepEqual(routes(ws.take()), ["count", "CANCEL"]);
  });

  test("that have ended are not cancelled by leaving the loop", async () => {
    const world = new World();
    const ws = await world.open();
    const stream = world.socket.stream("count");
    await ws.reply(1, 0, 206);
    await ws.reply(1);
    for await (const item of stream) {
      assert.equal(item, 0);
      break;
    }
    assert.deepEqual(routes(ws.take()), ["count"]);
  });
});
