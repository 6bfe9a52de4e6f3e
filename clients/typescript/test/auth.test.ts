import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { SocketOptions } from "../src/index.js";
import { rejected, settle, World, type Frame } from "./harness.js";

/** A socket whose tokens are `token-1`, `token-2`, and so on. */
class Authenticated extends World {
  readonly refusals: boolean[];

  constructor(options: SocketOptions = {}) {
    const refusals: boolean[] = [];
    super({
      token: async (refused) => `token-${refusals.push(refused)}`,
      ...options,
    });
    this.refusals = refusals;
  }

  /** The token of the AUTH that was sent last on the newest WebSocket, and its id. */
  get auth(): [unknown, unknown] {
    const frame = this.ws.frames.filter(({ route }) => route === "AUTH").at(-1);
    return [(frame?.["payload"] as Frame)["token"], frame?.["uuid"]];
  }

  async grant(payload: unknown = { expires: null, ttl: null }): Promise<void> {
    await this.ws.reply(this.auth[1], payload);
  }

  async refuse(status = 401): Promise<void> {
    await this.ws.reply(this.auth[1], { code: "not_authenticated", title: "", detail: "No." }, status);
  }

  /** The next connection is there, and has sent its AUTH. */
  async again(): Promise<void> {
    const before = this.sockets.length;
    await this.clock.until(() => this.sockets.length > before);
    await this.ws.accept();
  }
}

describe("AUTH", () => {
  test("comes first, and everything else behind its 200", async () => {
    const world = new Authenticated();
    const call = world.socket.call("me");
    world.socket.subscribe("room.5");
    const ws = await world.open();
    assert.deepEqual(ws.take(), [{ route: "AUTH", uuid: 2, payload: { token: "token-1" } }]);
    assert.equal(world.socket.notify("typing"), false);
    await world.grant();
    assert.deepEqual(
      ws.take().map(({ route }) => route),
      ["SUBSCRIBE", "me"],
    );
    await ws.reply(1, "carol");
    assert.equal(await call, "carol");
    assert.deepEqual(world.states, ["connecting", "authenticating", "open"]);
  });

  test("is sent on each connection, with a token of its own", async () => {
    const world = new Authenticated();
    await world.open();
    await world.grant();
    await world.ws.drop();
    await world.again();
    assert.equal(world.auth[0], "token-2");
    assert.deepEqual(world.refusals, [false, false]);
  });

  test("is not sent where there is no token", async () => {
    const world = new World({ token: () => null });
    const ws = await world.open();
    assert.deepEqual([ws.take(), world.socket.state], [[], "open"]);
  });

  test("and connecting take 10 s together", async () => {
    const world = new Authenticated();
    world.socket.connect();
    await world.clock.advance(6_000);
    await world.ws.accept();
    await world.clock.advance(3_999);
    assert.equal(world.socket.state, "authenticating");
    await world.clock.advance(1);
    assert.equal(world.socket.state, "waiting");
  });

  test("a token() that hangs is given up after 10 s", async () => {
    const world = new World({ token: () => new Promise<string>(() => {}) });
    await world.open();
    await world.clock.advance(10_000);
    assert.equal(world.socket.state, "waiting");
  });

  test("a token() that fails leads to another try, with the error as the cause", async () => {
    const failure = new Error("offline");
    const world = new World({ token: () => Promise.reject(failure) });
    await world.open();
    assert.deepEqual([world.socket.state, world.socket.why?.cause], ["waiting", failure]);
  });

  test("a server that does not know it needs none", async () => {
    const world = new Authenticated();
    await world.open();
    await world.refuse(404);
    assert.equal(world.socket.state, "open");
  });

  test("close() while it is checked is final", async () => {
    const world = new Authenticated();
    await world.open();
    world.socket.close();
    await world.clock.advance(60_000);
    assert.deepEqual([world.sockets.length, world.socket.state], [1, "closed"]);
  });
});

describe("a refused token", () => {
  test("is replaced once; a second refusal is final", async () => {
    const world = new Authenticated();
    await world.open();
    await world.refuse();
    assert.equal(world.socket.state, "waiting");
    await world.again();
    assert.equal(world.auth[0], "token-2");
    await world.refuse();
    assert.deepEqual([world.refusals, world.socket.state, world.socket.why?.code], [[false, true], "closed", 4401]);
  });

  for (const notice of [undefined, false, true]) {
    test(`4401 is treated like that, too (reconnect: ${notice})`, async () => {
      const world = new Authenticated();
      for (const [refused, state] of [
        [false, "waiting"],
        [true, "closed"],
      ] as const) {
        if (refused) await world.again();
        else await world.open();
        await world.grant();
        await world.clock.advance(4_999);
        if (notice !== undefined) {
          await world.ws.receive({ route: "CLOSE", payload: { code: 4401, reason: "", reconnect: notice } });
        }
        await world.ws.drop(4401);
        assert.equal(world.socket.state, state);
      }
      assert.deepEqual(world.refusals, [false, true]);
    });
  }

  test("is one of many once a connection was open for 5 s", async () => {
    const world = new Authenticated();
    await world.open();
    for (let n = 0; n < 3; n++) {
      await world.grant();
      await world.clock.advance(5_000);
      await world.ws.drop(4401);
      assert.equal(world.socket.state, "waiting");
      await world.again();
    }
    assert.deepEqual(world.refusals, [false, true, true, true]);
  });

  test("is one of many after close() and connect()", async () => {
    const world = new Authenticated();
    await world.open();
    await world.refuse();
    await world.again();
    await world.refuse();
    await world.open();
    assert.deepEqual(world.refusals, [false, true, false]);
  });

  test("with 403 is final", async () => {
    const world = new Authenticated();
    await world.open();
    await world.refuse(403);
    assert.deepEqual([world.socket.state, world.socket.why?.code], ["closed", 4403]);
  });

  for (const status of [429, 500, 503]) {
    test(`${status} is no refusal: it is tried again`, async () => {
      const world = new Authenticated();
      await world.open();
      await world.refuse(status);
      assert.equal(world.socket.state, "waiting");
      await world.again();
      assert.deepEqual(world.refusals, [false, false]);
    });
  }

  test("without a token function 4401 is what its notice says", async () => {
    for (const [reconnect, state] of [
      [true, "waiting"],
      [false, "closed"],
    ] as const) {
      const world = new World();
      const ws = await world.open();
      await ws.receive({ route: "CLOSE", payload: { code: 4401, reason: "", reconnect } });
      await ws.drop(4401);
      assert.equal(world.socket.state, state);
    }
  });
});

describe("the refresh", () => {
  for (const [ttl, after] of [
    [3_600, 3_540],
    [240, 180],
    [100, 75],
    [4, 3],
  ] as const) {
    test(`of a token for ${ttl} s comes after ${after} s`, async () => {
      const world = new Authenticated();
      const ws = await world.open();
      await world.grant({ expires: 0, ttl });
      ws.take();
      const sent = () => ws.frames.filter(({ route }) => route === "AUTH").length;
      const alive = async (until: number) => {
        while (world.clock.time < until) {
          await world.clock.advance(Math.min(20_000, until - world.clock.time));
          await ws.receive({ route: "news", payload: null });
        }
      };
      const start = world.clock.time;
      await alive(start + after * 1000 - 1);
      assert.equal(sent(), 1);
      await alive(start + after * 1000);
      assert.equal(sent(), 2);
      assert.equal(world.auth[0], "token-2");
      await world.grant({ expires: 0, ttl });
      await alive(start + 2 * after * 1000);
      assert.equal(sent(), 3);
      assert.equal(world.socket.state, "open");
    });
  }

  test("goes by the end of the token where the server does not say the seconds", async () => {
    const world = new Authenticated();
    const ws = await world.open();
    await world.grant({ expires: world.clock.time / 1000 + 4 });
    await world.clock.advance(3_000);
    assert.equal(ws.frames.filter(({ route }) => route === "AUTH").length, 2);
  });

  test("of a token that lasts for years does not come at once", async () => {
    const world = new Authenticated();
    const ws = await world.open();
    await world.grant({ expires: 0, ttl: 10 * 365 * 86_400 });
    await world.clock.advance(20_000);
    assert.equal(ws.frames.filter(({ route }) => route === "AUTH").length, 1);
  });

  test("that is refused leaves the socket until the server ends it", async () => {
    const world = new Authenticated();
    const ws = await world.open();
    await world.grant({ expires: 0, ttl: 12 });
    await world.clock.advance(9_000);
    await world.refuse();
    assert.equal(world.socket.state, "open");
    await ws.drop(4401);
    assert.equal(world.socket.state, "waiting");
    await world.again();
    assert.deepEqual(world.refusals, [false, false, true]);
  });

  test("whose token() fails leaves the socket", async () => {
    let calls = 0;
    const world = new World({ token: () => (calls++ ? Promise.reject(new Error("offline")) : "token") });
    const ws = await world.open();
    await ws.reply(1, { expires: 0, ttl: 4 });
    await world.clock.advance(3_000);
    assert.deepEqual([calls, world.socket.state], [2, "open"]);
  });

  test("is given up with its connection", async () => {
    const world = new Authenticated();
    await world.open();
    await world.grant({ expires: 0, ttl: 4 });
    await world.ws.drop();
    await world.again();
    await world.clock.advance(4_000);
    assert.equal(world.ws.frames.length, 1);
  });
});

describe("a token as a subprotocol", () => {
  test("is offered beside one to be chosen", async () => {
    const world = new Authenticated({ auth: "subprotocol" });
    world.socket.connect();
    await settle();
    assert.deepEqual(world.ws.protocols, ["routesock", "bearer.token-1"]);
    await world.ws.accept();
    assert.deepEqual([world.ws.take(), world.socket.state], [[], "open"]);
  });

  test("is offered beside your own", async () => {
    const world = new Authenticated({ auth: "subprotocol", protocols: ["chat.v2", "chat"] });
    world.socket.connect();
    await settle();
    assert.deepEqual(world.ws.protocols, ["chat.v2", "chat", "bearer.token-1"]);
  });

  test("is replaced once after 4401", async () => {
    const world = new Authenticated({ auth: "subprotocol" });
    world.socket.connect();
    await settle();
    await world.ws.accept();
    await world.ws.receive({ route: "CLOSE", payload: { code: 4401, reason: "", reconnect: false } });
    await world.ws.drop(4401);
    await world.again();
    assert.deepEqual(world.ws.protocols, ["routesock", "bearer.token-2"]);
    await world.ws.drop(4401);
    assert.deepEqual([world.refusals, world.socket.state], [[false, true], "closed"]);
  });

  test("of an attempt that was given up opens nothing", async () => {
    let give: (token: string) => void = () => {};
    const world = new World({ auth: "subprotocol", token: () => new Promise<string>((resolve) => (give = resolve)) });
    world.socket.connect();
    world.socket.close();
    give("late");
    await settle();
    assert.equal(world.sockets.length, 0);
  });
});

describe("tokens", () => {
  test("are neither in the URL nor in an error", async () => {
    const world = new World({ token: () => "secret-token" });
    await world.open();
    await world.ws.reply(1, { expires: null, ttl: null });
    const call = rejected(world.socket.call("x"));
    await world.ws.reply(2, { code: "permission_denied", title: "Forbidden", detail: "No." }, 403);
    const error = await call;
    await world.ws.drop(4403);
    for (const text of [world.ws.url, String(error), JSON.stringify(world.socket.why)]) {
      assert.ok(!text.includes("secret-token"), text);
    }
  });
});
