import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, mock, test } from "node:test";
import { StreamOverflow, type TopicHandlers } from "../src/index.js";
import { collect, settle, World, type Frame } from "./harness.js";

const ofTopic = (topic: string, route: string, payload: unknown): Frame => ({
  route,
  payload,
  headers: { Topic: topic },
});

/** Handlers that write down what they hear. */
function recorder(): TopicHandlers & { heard: unknown[] } {
  const heard: unknown[] = [];
  return {
    heard,
    snapshot: (snapshot) => heard.push(["snapshot", snapshot]),
    push: ({ route, payload }) => heard.push([route, payload]),
    ended: ({ code }) => heard.push(["ended", code]),
  };
}

const sent = (frames: Frame[]): unknown[] =>
  frames.map(({ route, payload }) => [route, (payload as Frame | undefined)?.["topic"]]);

describe("subscriptions", () => {
  test("are sent again at each open, in front of the queue", async () => {
    const world = new World();
    world.socket.call("x").catch(() => {});
    for (const topic of ["a", "b"]) world.socket.subscribe(topic);
    let ws = await world.open();
    assert.deepEqual(sent(ws.take()), [
      ["SUBSCRIBE", "a"],
      ["SUBSCRIBE", "b"],
      ["x", undefined],
    ]);
    await ws.drop();
    await world.clock.advance(500);
    ws = await world.ws.accept();
    assert.deepEqual(sent(ws.take()), [
      ["SUBSCRIBE", "a"],
      ["SUBSCRIBE", "b"],
    ]);
    world.socket.close();
  });

  test("are kept over close() and connect()", async () => {
    const world = new World();
    world.socket.subscribe("a");
    await world.open();
    world.socket.close();
    const ws = await world.open();
    assert.deepEqual(sent(ws.take()), [["SUBSCRIBE", "a"]]);
  });

  test("are counted by name", async () => {
    const world = new World();
    const ws = await world.open();
    const first = world.socket.subscribe("a");
    const second = world.socket.subscribe("a");
    assert.equal(first.topic, "a");
    first.unsubscribe();
    first.unsubscribe();
    assert.deepEqual(sent(ws.take()), [["SUBSCRIBE", "a"]]);
    second.unsubscribe();
    assert.deepEqual(sent(ws.take()), [["UNSUBSCRIBE", "a"]]);
    world.socket.subscribe("a");
    assert.deepEqual(sent(ws.take()), [["SUBSCRIBE", "a"]]);
  });

  test("that ended while there was no connection are not sent again", async () => {
    const world = new World();
    await world.open();
    const room = world.socket.subscribe("a");
    await world.ws.drop();
    room.unsubscribe();
    await world.clock.advance(500);
    await world.ws.accept();
    assert.deepEqual(world.ws.take(), []);
  });

  test("use the window, too: 40 of them do not meet the server's bound", async () => {
    const world = new World();
    for (let n = 0; n < 40; n++) world.socket.subscribe(`room.${n}`);
    const ws = await world.open();
    assert.equal(ws.take().length, 32);
    for (let id = 1; id <= 8; id++) await ws.reply(id);
    assert.equal(ws.take().length, 8);
  });

  test("give the pushes of their topic in order, those before the snapshot too", async () => {
    const world = new World();
    const ws = await world.open();
    const room = recorder();
    const other = recorder();
    world.socket.subscribe("room.5", room);
    world.socket.subscribe("room.6", other);
    await ws.receive(ofTopic("room.5", "said", 1));
    await ws.reply(1, "Kitchen");
    await ws.receive(ofTopic("room.5", "said", 2), ofTopic("room.6", "said", 3), { route: "said", payload: 4 });
    assert.deepEqual(room.heard, [
      ["said", 1],
      ["snapshot", "Kitchen"],
      ["said", 2],
    ]);
    assert.deepEqual(other.heard, [["said", 3]]);
  });

  test("a second one gets the snapshot that is there", async () => {
    const world = new World();
    const ws = await world.open();
    world.socket.subscribe("a");
    await ws.reply(1, "state");
    ws.take();
    const late = recorder();
    world.socket.subscribe("a", late);
    await settle();
    assert.deepEqual([late.heard, ws.take()], [[["snapshot", "state"]], []]);
  });

  test("a second one gets a new snapshot, like the first one, if pushes have come since", async () => {
    const world = new World();
    const ws = await world.open();
    const first = recorder();
    const second = recorder();
    world.socket.subscribe("a", first);
    await ws.reply(1, "old");
    await ws.receive(ofTopic("a", "said", 1));
    ws.take();
    world.socket.subscribe("a", second);
    world.socket.subscribe("a");
    assert.deepEqual(sent(ws.take()), [
      ["UNSUBSCRIBE", "a"],
      ["SUBSCRIBE", "a"],
    ]);
    await ws.reply(2, null, 204);
    await ws.reply(3, "new");
    assert.deepEqual(second.heard, [["snapshot", "new"]]);
    assert.deepEqual(first.heard.at(-1), ["snapshot", "new"]);
  });

  test("already_subscribed is success", async () => {
    const world = new World();
    const ws = await world.open();
    const room = recorder();
    world.socket.subscribe("a", room);
    await ws.reply(1, { code: "already_subscribed" }, 409);
    await ws.receive(ofTopic("a", "said", 1));
    assert.deepEqual(room.heard, [["said", 1]]);
  });

  for (const status of [429, 500, 503, 504]) {
    test(`${status} is tried again with a back-off`, async () => {
      const world = new World();
      const ws = await world.open();
      const room = recorder();
      world.socket.subscribe("a", room);
      await ws.reply(1, { code: "too_many_subscriptions" }, status);
      await world.clock.advance(499);
      assert.equal(ws.take().length, 1);
      await world.clock.advance(1);
      assert.deepEqual(sent(ws.take()), [["SUBSCRIBE", "a"]]);
      await ws.reply(2, { code: "too_many_subscriptions" }, status);
      await world.clock.advance(1_000);
      await ws.reply(3, "state");
      assert.deepEqual(room.heard, [["snapshot", "state"]]);
    });
  }

  test("the back-off is at least what the server says", async () => {
    const world = new World();
    const ws = await world.open();
    world.socket.subscribe("a");
    await ws.reply(1, { code: "throttled", retry_after: 7 }, 429);
    ws.take();
    await world.clock.advance(6_999);
    assert.deepEqual(ws.take(), []);
    await world.clock.advance(1);
    assert.equal(ws.take().length, 1);
  });

  test("a SUBSCRIBE without a reply is tried again", async () => {
    const world = new World();
    const ws = await world.open();
    world.socket.subscribe("a");
    for (const time of [20_000, 15_000, 500]) {
      await ws.receive({ route: "news", payload: null });
      await world.clock.advance(time);
    }
    assert.equal(ws.frames.filter(({ route }) => route === "SUBSCRIBE").length, 2);
  });

  test("that end during the back-off are not tried again", async () => {
    const world = new World();
    const ws = await world.open();
    const room = world.socket.subscribe("a");
    await ws.reply(1, { code: "internal_error" }, 500);
    room.unsubscribe();
    ws.take();
    await world.clock.advance(1_000);
    assert.deepEqual(ws.take(), []);
  });

  for (const status of [400, 401, 403, 404, 422]) {
    test(`${status} ends them`, async () => {
      const world = new World();
      const ws = await world.open();
      const room = recorder();
      world.socket.subscribe("a", room);
      await ws.reply(1, { code: "no" }, status);
      assert.deepEqual(room.heard, [["ended", "no"]]);
      await ws.drop();
      await world.clock.advance(500);
      await world.ws.accept();
      assert.deepEqual(world.ws.take(), []);
    });
  }

  test("an UNSUBSCRIBE of the server ends them", async () => {
    const world = new World();
    const ws = await world.open();
    const room = recorder();
    const subscription = world.socket.subscribe("a", room);
    await ws.reply(1, "state");
    await ws.receive({ route: "UNSUBSCRIBE", payload: { topic: "a", code: "permission_denied" } });
    assert.deepEqual(room.heard.at(-1), ["ended", "permission_denied"]);
    ws.take();
    subscription.unsubscribe();
    assert.deepEqual(ws.take(), []);
  });

  test("the reply to one that has ended is nobody's", async () => {
    const world = new World();
    const ws = await world.open();
    const first = recorder();
    const second = recorder();
    world.socket.subscribe("a", first).unsubscribe();
    world.socket.subscribe("a", second);
    await ws.reply(1, "old");
    await ws.reply(2, null, 204);
    await ws.reply(3, "new");
    assert.deepEqual([first.heard, second.heard], [[], [["snapshot", "new"]]]);
  });
});

describe("pushes", () => {
  let report: ReturnType<typeof mock.fn>;
  beforeEach(() => {
    report = mock.fn();
    (globalThis as Record<string, unknown>)["reportError"] = report;
  });
  afterEach(() => {
    delete (globalThis as Record<string, unknown>)["reportError"];
  });

  test("carry route, headers and topic", async () => {
    const world = new World();
    const ws = await world.open();
    const heard: unknown[] = [];
    world.socket.on("said", (_, push) => heard.push(push));
    await ws.receive({ route: "said", payload: 1, headers: { Topic: "room.5", Version: 2 } });
    assert.deepEqual(heard, [
      { route: "said", payload: 1, headers: { Topic: "room.5", Version: 2 }, topic: "room.5" },
    ]);
  });

  test("that nobody listens to reach on('*')", async () => {
    const world = new World();
    const ws = await world.open();
    const heard: unknown[] = [];
    world.socket.on("*", (payload, { route }) => heard.push([route, payload]));
    const off = world.socket.on("known", () => {});
    await ws.receive({ route: "known", payload: 1 }, { route: "unknown", payload: 2 });
    off();
    await ws.receive({ route: "known", payload: 3 });
    assert.deepEqual(heard, [
      ["unknown", 2],
      ["known", 3],
    ]);
  });

  test("a listener that throws is reported, and harms nothing", async () => {
    const world = new World();
    const ws = await world.open();
    const failure = new Error("A fault of the page.");
    const fail = () => {
      throw failure;
    };
    const heard: unknown[] = [];
    world.socket.on("said", fail);
    world.socket.on("said", (payload) => heard.push(payload));
    world.socket.onState(fail);
    world.socket.subscribe("a", { snapshot: fail, push: fail, ended: fail });
    await ws.reply(1, "state");
    await ws.receive(ofTopic("a", "said", 1));
    await ws.receive({ route: "UNSUBSCRIBE", payload: { topic: "a", code: "gone" } });
    await ws.drop();
    assert.deepEqual(heard, [1]);
    assert.deepEqual(
      report.mock.calls.map((call) => call.arguments[0]),
      Array(5).fill(failure),
    );
    assert.equal(world.socket.state, "waiting");
  });

  test("a frame that cannot be read is reported, and harms nothing", async () => {
    const world = new World();
    const ws = await world.open();
    await ws.receive("no JSON", "[1]", "null", '{"route": null}', "{}");
    assert.equal(report.mock.callCount(), 2, "the first and the third");
    assert.equal(world.socket.state, "open");
  });

  test("a listener may end itself and add others while it is called", async () => {
    const world = new World();
    const ws = await world.open();
    const heard: string[] = [];
    const off = world.socket.on("said", () => {
      heard.push("first");
      off();
      world.socket.on("said", () => heard.push("added"));
    });
    await ws.receive({ route: "said", payload: null });
    await ws.receive({ route: "said", payload: null });
    assert.deepEqual(heard, ["first", "added"]);
  });

  test("can be iterated until the loop is left", async () => {
    const world = new World();
    const ws = await world.open();
    const pushes = world.socket.pushes("said");
    await ws.receive({ route: "said", payload: 1 }, { route: "said", payload: 2 });
    const heard: unknown[] = [];
    for await (const payload of pushes) if (heard.push(payload) === 2) break;
    assert.deepEqual(heard, [1, 2]);
    const unheard: unknown[] = [];
    world.socket.on("*", (payload) => unheard.push(payload));
    await ws.receive({ route: "said", payload: 3 });
    assert.deepEqual(unheard, [3]);
  });

  test("can be iterated until the signal", async () => {
    const world = new World();
    const ws = await world.open();
    const control = new AbortController();
    const heard = collect(world.socket.pushes("said", { signal: control.signal }));
    await ws.receive({ route: "said", payload: 1 });
    control.abort(new Error("Enough."));
    assert.deepEqual(await heard, [1, new Error("Enough.")]);
    assert.throws(() => world.socket.pushes("said", { signal: control.signal }), /Enough/);
  });

  test("are iterated over reconnects", async () => {
    const world = new World();
    await world.open();
    const pushes = world.socket.pushes("said");
    await world.ws.drop();
    await world.clock.advance(500);
    await world.ws.accept();
    await world.ws.receive({ route: "said", payload: 1 });
    assert.deepEqual(await pushes.next(), { value: 1, done: false });
  });

  test("that are not read end the iteration after 1,000", async () => {
    const world = new World();
    const ws = await world.open();
    const pushes = world.socket.pushes("said");
    for (let n = 0; n < 1_001; n++) await ws.receive({ route: "said", payload: n });
    const heard = await collect(pushes);
    assert.equal(heard.length, 1_001);
    assert.ok(heard.at(-1) instanceof StreamOverflow);
  });
});
