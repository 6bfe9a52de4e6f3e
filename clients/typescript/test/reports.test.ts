// What users of other clients have reported, one test each.

import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, test } from "node:test";
import { ConnectionLost } from "../src/index.js";
import { rejected, World } from "./harness.js";
import { FakePage } from "./page.js";

describe("what users of other clients reported", () => {
  let page: FakePage;
  beforeEach(() => (page = new FakePage()));
  afterEach(() => page.remove());

  test("1: no reconnect after the machine slept", async () => {
    const world = new World();
    const ws = await world.open();
    page.hide();
    await world.clock.sleep(8 * 3_600_000);
    page.show();
    ws.take();
    await world.clock.advance(3_000);
    assert.equal(world.socket.state, "connecting");
    await world.ws.accept();
    assert.equal(world.socket.state, "open");
  });

  test("2: the platform sends no close event (iOS)", async () => {
    const world = new World();
    const ws = await world.open();
    const call = rejected<ConnectionLost>(world.socket.call("x", null, { timeout: null }));
    await world.clock.advance(35_000);
    assert.equal(world.socket.state, "waiting");
    assert.equal((await call).sent, true);
    await world.clock.advance(500);
    await world.ws.accept();
    await ws.drop();
    assert.equal(world.socket.state, "open", "a close event that comes later is that of the old connection");
  });

  test("3: background tabs hold the heartbeat up", async () => {
    const world = new World();
    const ws = await world.open();
    page.hide();
    for (let minute = 0; minute < 60; minute++) {
      await world.clock.sleep(60_000);
      if (ws.take().length) await ws.receive({ route: "PONG" });
    }
    assert.deepEqual([world.socket.state, world.sockets.length], ["open", 1]);
  });

  test("4: all clients come back at the same time", async () => {
    const delays: number[] = [];
    for (let client = 0; client < 200; client++) {
      const world = new World();
      const ws = await world.open();
      world.random = client / 200;
      await ws.drop();
      delays.push(await world.clock.until(() => world.sockets.length === 2));
    }
    const most = Math.max(...delays.map((from) => delays.filter((at) => at >= from && at < from + 100).length));
    assert.ok(most <= 41, `${most} of 200 in 100 ms`);
    assert.ok(Math.max(...delays) - Math.min(...delays) > 490);
  });

  test("5: 4401 is never tried again with a new token, or for ever with the old one", async () => {
    const tokens = ["old", "new", "newest"];
    const world = new World({ token: () => tokens.shift() ?? "none is left" });
    await world.open();
    await world.ws.drop(4401);
    await world.clock.advance(500);
    await world.ws.accept();
    await world.ws.drop(4401);
    assert.deepEqual([world.socket.state, tokens], ["closed", ["newest"]]);
  });

  test("6: a token ends while the socket is open", async () => {
    let tokens = 0;
    const world = new World({ token: () => `token-${++tokens}` });
    const ws = await world.open();
    await ws.reply(1, { expires: 0, ttl: 8 });
    await world.clock.advance(6_000);
    assert.deepEqual(ws.take().at(-1), { route: "AUTH", uuid: 2, payload: { token: "token-2" } });
    assert.equal(world.socket.state, "open");
  });

  test("7: a call is sent twice after a reconnect", async () => {
    const world = new World();
    await world.open();
    const call = rejected<ConnectionLost>(world.socket.call("pay"));
    await world.ws.drop();
    await call;
    await world.clock.advance(500);
    await world.ws.accept();
    await world.clock.advance(60_000);
    assert.deepEqual(
      world.ws.take().filter(({ route }) => route === "pay"),
      [],
    );
  });

  test("8: a call never settles when the connection ends", async () => {
    const world = new World();
    await world.open();
    const lost = rejected<ConnectionLost>(world.socket.call("x", null, { timeout: null }));
    await world.ws.drop();
    assert.equal((await lost).sent, true);
    const waiting = rejected<ConnectionLost>(world.socket.call("x", null, { timeout: null }));
    world.socket.close();
    assert.equal((await waiting).sent, false);
    assert.equal((await rejected<ConnectionLost>(world.socket.call("x"))).sent, false);
  });

  test("9: a proxy closes with 1000, and the client takes that for the end", async () => {
    const world = new World();
    await world.open();
    await world.ws.drop(1000);
    assert.equal(world.socket.state, "waiting");
  });

  test("10: components that mount twice open two sockets", async () => {
    const world = new World();
    world.socket.connect();
    world.socket.close();
    await world.open();
    assert.equal(world.sockets.filter(({ readyState }) => readyState === 1).length, 1);
    world.socket.connect();
    assert.equal(world.sockets.length, 2);
  });

  test("11: an explicit reconnect does not subscribe again", async () => {
    const world = new World();
    await world.open();
    world.socket.subscribe("room.5");
    world.socket.close();
    await world.open();
    assert.deepEqual(world.ws.take(), [{ route: "SUBSCRIBE", uuid: 2, payload: { topic: "room.5" } }]);
  });
});
