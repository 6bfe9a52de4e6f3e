import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { Dialect, Keys, RouteError } from "../src/index.js";
import { collect, rejected, settle, World, type Frame } from "./harness.js";

const FLAT: Keys = { route: "action", id: "request_id", payload: null };

/** What is sent for a call with `payload`. */
async function sent(keys: Keys, payload?: unknown): Promise<Frame | undefined> {
  const world = new World({ keys });
  const ws = await world.open();
  world.socket.call("x", payload, { headers: { a: 1 } }).catch(() => {});
  await settle();
  world.socket.close();
  return ws.take()[0];
}

describe("keys", () => {
  test("name the parts of the envelope", async () => {
    const keys = { route: "type", id: "ref", payload: "data", status: "code", headers: "meta" };
    const world = new World({ keys });
    const ws = await world.open();
    const call = world.socket.request("x", 1, { headers: { a: 1 } });
    await settle();
    assert.deepEqual(ws.take(), [{ type: "x", ref: 1, data: 1, meta: { a: 1 } }]);
    await ws.receive({ type: "x", ref: 1, code: 201, data: 2, meta: { b: 2 } });
    assert.deepEqual(await call, { status: 201, payload: 2, headers: { b: 2 } });
  });

  test("the id stands behind the route, in front of the payload", async () => {
    for (const keys of [{}, FLAT]) {
      const world = new World({ keys });
      const ws = await world.open();
      world.socket.call("x", { a: 1 }).catch(() => {});
      await settle();
      assert.match(String(ws.texts[0]), /^\{"(route|action)":"x","(uuid|request_id)":1,/);
      world.socket.close();
    }
  });
});

describe("flat frames", () => {
  test("have the members of a payload as their own, and no headers", async () => {
    assert.deepEqual(await sent(FLAT, { text: "a" }), { action: "x", request_id: 1, text: "a" });
  });

  test("have any other payload under payload", async () => {
    for (const payload of [5, "a", [1], null]) {
      assert.deepEqual(await sent(FLAT, payload), { action: "x", request_id: 1, payload });
    }
    assert.deepEqual(await sent(FLAT), { action: "x", request_id: 1 });
    const date = new Date(0);
    assert.deepEqual(await sent(FLAT, date), { action: "x", request_id: 1, payload: date.toJSON() });
  });

  test("have a payload with a key of their own under payload", async () => {
    for (const key of ["action", "request_id"]) {
      assert.deepEqual(await sent(FLAT, { [key]: 1 }), { action: "x", request_id: 1, payload: { [key]: 1 } });
    }
    for (const key of ["status", "payload"]) {
      assert.deepEqual(await sent(FLAT, { [key]: 1 }), { action: "x", request_id: 1, [key]: 1 });
    }
  });

  test("are read as they are written", async () => {
    for (const [members, payload] of [
      [{ text: "a" }, { text: "a" }],
      [{ payload: [1] }, [1]],
      [{ payload: 1, text: "a" }, { payload: 1, text: "a" }],
      [{}, {}],
    ] as const) {
      const world = new World({ keys: FLAT });
      const ws = await world.open();
      const call = world.socket.call("x");
      await ws.receive({ action: "x", request_id: 1, status: 200, ...members });
      assert.deepEqual(await call, payload);
    }
  });

  test("have errors, notices and topics", async () => {
    const world = new World({ keys: FLAT });
    const ws = await world.open();
    const heard: unknown[] = [];
    world.socket.subscribe("room.5", {
      push: ({ payload, topic }) => heard.push([payload, topic]),
      ended: ({ code }) => heard.push(code),
    });
    assert.deepEqual(ws.take(), [{ action: "SUBSCRIBE", request_id: 1, topic: "room.5" }]);
    await ws.receive({ action: "SUBSCRIBE", request_id: 1, status: 200, title: "Kitchen" });
    await ws.receive({ action: "said", topic: "room.5", text: "Hello" });
    await ws.receive({ action: "UNSUBSCRIBE", topic: "room.5", code: "permission_denied" });
    assert.deepEqual(heard, [[{ topic: "room.5", text: "Hello" }, "room.5"], "permission_denied"]);
    const call = rejected<RouteError>(world.socket.call("x"));
    await ws.receive({ action: "x", request_id: 2, status: 429, code: "throttled", detail: "Slow.", retry_after: 2 });
    assert.deepEqual([(await call).problem.code, (await call).retryAfter], ["throttled", 2]);
    await ws.receive({ action: "CLOSE", code: 1012, reason: "Restart.", reconnect: true, retry_after: 1 });
    await ws.drop(4503);
    assert.equal(world.socket.why?.code, 1012);
  });
});

describe("frames without a status", () => {
  test("count as a 200 if they have an id", async () => {
    const world = new World({ keys: { status: null } });
    const ws = await world.open();
    const call = world.socket.request("x");
    const heard: unknown[] = [];
    world.socket.on("x", (payload) => heard.push(payload));
    await ws.receive({ route: "x", payload: "push" }, { route: "x", uuid: 1, payload: "reply" });
    assert.deepEqual([(await call).status, (await call).payload, heard], [200, "reply", ["push"]]);
  });
});

describe("frames without ids", () => {
  const keys: Keys = { id: null };

  test("one call is in flight at a time", async () => {
    const world = new World({ keys });
    const ws = await world.open();
    const calls = ["a", "b"].map((route) => world.socket.call(route));
    const items = collect(world.socket.stream("c"));
    assert.deepEqual(ws.take(), [{ route: "a" }]);
    await ws.receive({ route: "a", status: 200, payload: 1 });
    assert.deepEqual(ws.take(), [{ route: "b" }]);
    await ws.receive({ route: "b", status: 200, payload: 2 });
    await ws.receive({ route: "c", status: 206, payload: 3 }, { route: "c", status: 200, payload: null });
    assert.deepEqual([await Promise.all(calls), await items], [[1, 2], [3]]);
  });

  test("the reply to a call that was given up is not taken for that of the next one", async () => {
    const world = new World({ keys });
    const ws = await world.open();
    const control = new AbortController();
    const first = rejected(world.socket.call("x", 1, { signal: control.signal }));
    const second = world.socket.call("x", 2);
    control.abort();
    await first;
    assert.deepEqual(ws.take(), [{ route: "x", payload: 1 }], "no CANCEL, since it would name nothing");
    await ws.receive({ route: "x", status: 200, payload: "first" });
    await ws.receive({ route: "x", status: 200, payload: "second" });
    assert.equal(await second, "second");
  });

  test("a push of another name is a push", async () => {
    const world = new World({ keys });
    const ws = await world.open();
    const heard: unknown[] = [];
    world.socket.on("news", (payload) => heard.push(payload));
    const call = world.socket.call("x");
    await ws.receive({ route: "news", payload: 1 }, { route: "x", status: 200, payload: 2 });
    assert.deepEqual([await call, heard], [2, [1]]);
  });
});

describe("a dialect of your own", () => {
  test("encodes and decodes everything", async () => {
    const dialect: Dialect = {
      encode: ({ route, id, payload }) => new TextEncoder().encode(JSON.stringify([route, id, payload])).buffer,
      decode(data) {
        const [route, id, status, payload] = JSON.parse(new TextDecoder().decode(data as ArrayBuffer)) as never[];
        return route === "noise" ? undefined : { route: route!, id, status, payload };
      },
    };
    const world = new World({ dialect });
    const ws = await world.open();
    const receive = (...parts: unknown[]) => {
      ws.onmessage?.({ data: new TextEncoder().encode(JSON.stringify(parts)).buffer as never });
      return settle();
    };
    assert.equal(ws.binaryType, "arraybuffer");
    const call = world.socket.call("x", 1);
    await settle();
    assert.equal(new TextDecoder().decode(ws.texts[0] as ArrayBuffer), '["x",1,1]');
    await receive("noise");
    await receive("x", 1, 200, "answer");
    assert.equal(await call, "answer");
  });
});
