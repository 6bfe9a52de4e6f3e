import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { RouteError } from "../src/index.js";
import { settle, World } from "./harness.js";

/** What the server sends to ask. */
const ask = (id: string, payload: unknown = null) => ({
  route: "confirm",
  uuid: id,
  payload,
  headers: { Timeout: 10 },
});

/** Collects what would be reported as an uncaught error. */
function reported(): unknown[] {
  const errors: unknown[] = [];
  globalThis.reportError = (error: unknown) => errors.push(error);
  return errors;
}

describe("answer()", () => {
  test("answers with what the handler returns or its promise resolves to", async () => {
    const world = new World();
    const ws = await world.open();
    const seen: unknown[] = [];
    world.socket.answer("confirm", (payload: unknown, push) => {
      seen.push(payload, push.headers["Timeout"]);
      return payload;
    });
    world.socket.answer("other", async () => "later");
    await ws.receive(ask("@1", { text: "?" }));
    await ws.receive({ ...ask("@2"), route: "other" });
    assert.deepEqual(seen, [{ text: "?" }, 10]);
    assert.deepEqual(ws.take(), [
      { route: "ANSWER", uuid: "@1", status: 200, payload: { text: "?" } },
      { route: "ANSWER", uuid: "@2", status: 200, payload: "later" },
    ]);
  });

  test("refuses with the status and the problem of a RouteError", async () => {
    const errors = reported();
    const world = new World();
    const ws = await world.open();
    const problem = { code: "no", title: "No", detail: "No." };
    world.socket.answer("confirm", () => {
      throw new RouteError("confirm", 409, problem, {});
    });
    await ws.receive(ask("@1"));
    assert.deepEqual(ws.take(), [{ route: "ANSWER", uuid: "@1", status: 409, payload: problem }]);
    assert.deepEqual(errors, []);
  });

  for (const thrown of [new Error("broken"), "a text", null, undefined]) {
    test(`answers 500 and reports when ${String(thrown)} is thrown`, async () => {
      const errors = reported();
      const world = new World();
      const ws = await world.open();
      world.socket.answer("confirm", async () => {
        throw thrown;
      });
      await ws.receive(ask("@1"));
      assert.deepEqual(ws.take(), [{ route: "ANSWER", uuid: "@1", status: 500 }]);
      assert.deepEqual(errors, [thrown]);
    });
  }

  test("answers 500 and reports when what the handler returns cannot be encoded", async () => {
    const errors = reported();
    const world = new World();
    const ws = await world.open();
    world.socket.answer("confirm", () => 1n);
    await ws.receive(ask("@1"));
    assert.deepEqual(ws.take(), [{ route: "ANSWER", uuid: "@1", status: 500 }]);
    assert.equal(errors.length, 1);
  });

  test("leaves pushes of the name to on(), and asks of other names too", async () => {
    const world = new World();
    const ws = await world.open();
    const heard: unknown[] = [];
    const off = world.socket.answer("confirm", () => true);
    world.socket.on("confirm", (payload) => heard.push(payload));
    await ws.receive({ route: "confirm", payload: 1 });
    await ws.receive(ask("@1", 2));
    assert.deepEqual(heard, [1]);
    assert.equal(ws.take().length, 1);
    off();
    await ws.receive(ask("@2", 3));
    assert.deepEqual(heard, [1, 3]);
    assert.deepEqual(ws.take(), []);
  });

  test("does not answer over another connection than that of the ask", async () => {
    const world = new World();
    let ws = await world.open();
    let finish: (value: string) => void = () => {};
    world.socket.answer("confirm", () => new Promise((resolve) => (finish = resolve)));
    await ws.receive(ask("@1"));
    await ws.drop();
    await world.clock.advance(500);
    ws = await world.ws.accept();
    finish("late");
    await settle();
    assert.deepEqual(ws.take(), []);
  });

  test("is answered by the first of several handlers", async () => {
    const world = new World();
    const ws = await world.open();
    const off = world.socket.answer("confirm", () => 1);
    world.socket.answer("confirm", () => 2);
    await ws.receive(ask("@1"));
    off();
    await ws.receive(ask("@2"));
    assert.deepEqual(ws.take().map(({ payload }) => payload), [1, 2]);
  });

  test("uses the keys of the dialect", async () => {
    const world = new World({ keys: { route: "type", id: "n", payload: null, status: "code" } });
    const ws = await world.open();
    world.socket.answer("confirm", ({ text }: { text: string }) => ({ said: text }));
    await ws.receive({ type: "confirm", n: "@1", text: "?" });
    assert.deepEqual(ws.take(), [{ type: "ANSWER", n: "@1", code: 200, said: "?" }]);
  });
});
