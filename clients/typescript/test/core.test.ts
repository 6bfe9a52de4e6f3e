import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { ConnectionLost, RouteError } from "../src/index.js";
import { collect, rejected, settle, World } from "./harness.js";

describe("connect", () => {
  test("goes from idle over connecting to open", async () => {
    const world = new World();
    assert.equal(world.socket.state, "idle");
    await world.open();
    assert.deepEqual(world.states, ["connecting", "open"]);
    assert.equal(world.ws.url, "ws://test/ws/");
  });

  test("opens one WebSocket, however often it is called", async () => {
    const world = new World();
    world.socket.connect().connect();
    await world.open();
    world.socket.connect();
    assert.equal(world.sockets.length, 1);
  });

  test("makes a WebSocket URL of an HTTP one", async () => {
    const world = new World({}, "https://example.com/ws/?a=1");
    world.socket.connect();
    assert.equal(world.ws.url, "wss://example.com/ws/?a=1");
  });
});

describe("call", () => {
  test("resolves to the payload of its reply", async () => {
    const world = new World();
    const ws = await world.open();
    const call = world.socket.call("message.send", { text: "Hello" });
    await settle();
    assert.deepEqual(ws.take(), [{ route: "message.send", uuid: 1, payload: { text: "Hello" } }]);
    await ws.reply(1, { id: 7 }, 201);
    assert.deepEqual(await call, { id: 7 });
  });

  test("request() has status and headers", async () => {
    const world = new World();
    const ws = await world.open();
    const call = world.socket.request("book");
    await ws.reply(1, { day: 1 }, 201, { Location: "book/7" });
    assert.deepEqual(await call, { status: 201, payload: { day: 1 }, headers: { Location: "book/7" } });
  });

  test("rejects with the server's error", async () => {
    const world = new World();
    const ws = await world.open();
    const call = rejected<RouteError>(world.socket.call("busy"));
    const problem = { code: "throttled", title: "Too Many Requests", detail: "Slow down.", retry_after: 2 };
    await ws.reply(1, problem, 429, { "Retry-After": 2 });
    const error = await call;
    assert.ok(error instanceof RouteError);
    assert.deepEqual([error.status, error.problem, error.retryAfter], [429, problem, 2]);
    assert.deepEqual(error.headers, { "Retry-After": 2 });
  });

  test("waits for the connection", async () => {
    const world = new World();
    const call = world.socket.call("early");
    const ws = await world.open();
    assert.deepEqual(ws.take(), [{ route: "early", uuid: 1 }]);
    await ws.reply(1, "late");
    assert.equal(await call, "late");
  });

  test("rejects at once when the connection is lost under it", async () => {
    const world = new World();
    const ws = await world.open();
    const call = rejected<ConnectionLost>(world.socket.call("pay"));
    await ws.drop();
    const error = await call;
    assert.ok(error instanceof ConnectionLost);
    assert.equal(error.sent, true);
    assert.equal(error.why?.code, 1006);
  });
});

describe("stream", () => {
  test("gives the items of a stream", async () => {
    const world = new World();
    const ws = await world.open();
    const items = collect(world.socket.stream("count", 2));
    await ws.reply(1, 0, 206);
    await ws.reply(1, 1, 206);
    await ws.reply(1);
    assert.deepEqual(await items, [0, 1]);
  });

  test("break cancels it", async () => {
    const world = new World();
    const ws = await world.open();
    const reading = (async () => {
      for await (const item of world.socket.stream("count", 2)) return item;
      return undefined;
    })();
    await ws.reply(1, 0, 206);
    assert.equal(await reading, 0);
    assert.deepEqual(ws.take().at(-1), { route: "CANCEL", uuid: 1 });
  });
});

describe("pushes and topics", () => {
  test("on() gets what is pushed until it is ended", async () => {
    const world = new World();
    const ws = await world.open();
    const heard: unknown[] = [];
    const off = world.socket.on("message", (payload) => heard.push(payload));
    await ws.receive({ route: "message", payload: 1 });
    off();
    await ws.receive({ route: "message", payload: 2 });
    assert.deepEqual(heard, [1]);
  });

  test("subscribe() gets the snapshot, the pushes, and the snapshot again after a reconnect", async () => {
    const world = new World();
    const ws = await world.open();
    const heard: unknown[] = [];
    const room = world.socket.subscribe("room.5", {
      snapshot: (snapshot) => heard.push(snapshot),
      push: ({ route, payload }) => heard.push([route, payload]),
    });
    assert.deepEqual(ws.take(), [{ route: "SUBSCRIBE", uuid: 1, payload: { topic: "room.5" } }]);
    await ws.reply(1, "Kitchen");
    await ws.receive({ route: "said", payload: "Hello", headers: { Topic: "room.5" } });
    assert.deepEqual(heard, ["Kitchen", ["said", "Hello"]]);
    await ws.drop();
    await world.clock.advance(1000);
    await world.ws.accept();
    assert.deepEqual(world.ws.take(), [{ route: "SUBSCRIBE", uuid: 2, payload: { topic: "room.5" } }]);
    await world.ws.reply(2, "Kitchen again");
    assert.equal(heard.at(-1), "Kitchen again");
    room.unsubscribe();
    assert.deepEqual(world.ws.take(), [{ route: "UNSUBSCRIBE", uuid: 3, payload: { topic: "room.5" } }]);
  });
});
