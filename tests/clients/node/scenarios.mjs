// Runs scenarios of the TypeScript client: `node scenarios.mjs URL RUNS_FILE`. Each line of stdin names one; when it has
// ended, a line of stdout says OK or FAILED. What only the test can do, such as stopping the server, a scenario asks for
// with a line of stdout, and the next line of stdin says that it is done.

import assert from "node:assert/strict";
import { copyFileSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";

const root = new URL("../../../", import.meta.url);
// Node.js would take client.js for CommonJS.
const folder = mkdtempSync(join(tmpdir(), "routesock-"));
copyFileSync(new URL("routesock/static/routesock/client.js", root), join(folder, "client.mjs"));
const { ConnectionLost, RouteError, Routesock } = await import(join(folder, "client.mjs"));
rmSync(folder, { recursive: true });
const { WebSocket } = createRequire(new URL("clients/typescript/package.json", root))("ws");

const [url, runsFile] = process.argv.slice(2);
const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();

/** Has the test do something to the server: stop, start, kill, restart, pause, resume. */
async function server(action) {
  console.log(`DO ${action}`);
  await lines.next();
}

/** A clock that is so many times faster. */
function faster(factor) {
  const start = Date.now();
  return {
    now: () => start + (Date.now() - start) * factor,
    setTimeout: (callback, delay) => setTimeout(callback, delay / factor),
    clearTimeout: (timer) => clearTimeout(timer),
  };
}

const sockets = [];

/** What tells the names in a scenario from those of others, of other processes as well. */
let unique = process.pid * 1000;

function open(path = "ws/", options = {}) {
  const socket = new Routesock(url + path, { WebSocket, ...options }).connect();
  sockets.push(socket);
  return socket;
}

/** Resolves when the socket is in one of these states. */
function reached(socket, ...states) {
  return new Promise((resolve) => {
    if (states.includes(socket.state)) return resolve(socket.state);
    const off = socket.onState((state) => {
      if (!states.includes(state)) return;
      off();
      resolve(state);
    });
  });
}

/** The next `count` arguments that `listen` is called back with. */
function heard(count, listen) {
  const found = [];
  return new Promise((resolve) => listen((value) => found.push(value) === count && resolve(found)));
}

async function rejected(promise) {
  const resolved = Symbol("resolved");
  const reason = await promise.then(() => resolved, (error) => error);
  assert.notEqual(reason, resolved, "it was not rejected");
  return reason;
}

async function eventually(check) {
  for (let tries = 0; !(await check()); tries++) {
    assert.ok(tries < 200, `not in time: ${check}`);
    await sleep(20);
  }
}

const runs = () => readFileSync(runsFile, "utf8").split("\n").filter(Boolean);

const scenarios = {
  async "call waits for the connection"() {
    const socket = open();
    assert.equal(socket.state, "connecting");
    assert.deepEqual(await socket.call("echo", { text: "é☃" }), { text: "é☃" });
  },

  async "request has status and headers"() {
    const reply = await open().request("add", { a: 1, b: 2 });
    assert.deepEqual(reply, { status: 201, payload: 3, headers: { Location: "sum" } });
  },

  async "errors have their problem"() {
    const socket = open();
    const invalid = await rejected(socket.call("add", { a: 1 }));
    assert.ok(invalid instanceof RouteError);
    assert.deepEqual([invalid.status, invalid.problem.code], [422, "invalid"]);
    assert.deepEqual(Object.keys(invalid.problem.errors), ["b"]);
    const unknown = await rejected(socket.call("no-such"));
    assert.deepEqual([unknown.status, unknown.problem.code], [404, "unknown_route"]);
    const throttled = await rejected(socket.call("throttled"));
    assert.deepEqual([throttled.status, throttled.retryAfter], [429, 3]);
  },

  async "a frame that is too large is refused with its id"() {
    const error = await rejected(open().call("echo", "x".repeat(70_000)));
    assert.equal(error.status, 413);
  },

  async "notify runs, and its error is heard"() {
    let socket;
    const errors = heard(1, (hear) => (socket = open("ws/", { onError: hear })));
    assert.equal(socket.notify("add", {}), false);
    await reached(socket, "open");
    assert.equal(socket.notify("add", {}), true);
    const [error] = await errors;
    assert.deepEqual([error.route, error.status], ["add", 422]);
  },

  async "a stream gives its items"() {
    const socket = open();
    const items = [];
    for await (const item of socket.stream("count", 5)) items.push(item);
    assert.deepEqual(items, [0, 1, 2, 3, 4]);
  },

  async "a stream throws the error that ends it"() {
    const items = [];
    const error = await rejected((async () => {
      for await (const item of open().stream("fails")) items.push(item);
    })());
    assert.deepEqual([items, error.status], [[0], 403]);
  },

  async "break cancels a stream on the server"() {
    const socket = open();
    const token = `break ${unique}`;
    for await (const item of socket.stream("ticks", token)) if (item === 3) break;
    await eventually(async () => (await socket.call("cancelled")).includes(token));
  },

  async "abort cancels a call on the server"() {
    const socket = open();
    const seconds = unique;
    const control = new AbortController();
    const call = rejected(socket.call("wait", seconds, { signal: control.signal }));
    await socket.call("echo");
    control.abort(new Error("Enough."));
    assert.equal((await call).message, "Enough.");
    await eventually(async () => (await socket.call("cancelled")).includes(seconds));
  },

  async "a timeout is the server's, too"() {
    const socket = open();
    assert.deepEqual(await socket.call("headers", null, { timeout: 5_000 }), { "Request-Timeout": 5 });
    const error = await rejected(socket.call("wait", 60, { timeout: 100 }));
    // The server's 504 and the own timer are due at the same time.
    assert.ok(error.name === "TimeoutError" || error.status === 504, error);
  },

  async "a topic gives its snapshot and its pushes"() {
    const socket = open();
    const topic = `room.${unique}`;
    const got = heard(2, (hear) => socket.subscribe(topic, { snapshot: hear, push: hear }));
    await socket.call("say", { room: topic, text: "Hello" });
    const [snapshot, push] = await got;
    assert.deepEqual(snapshot, { room: topic });
    assert.deepEqual(push, { route: "said", payload: "Hello", headers: { Topic: topic }, topic });
  },

  async "a topic that the server ends says why"() {
    const socket = open();
    const topic = `room.closed-${unique}`;
    const ended = heard(1, (hear) => socket.subscribe(topic, { ended: hear }));
    await socket.call("close.room", topic);
    await socket.call("say", { room: topic, text: "Hello" });
    const [{ code }] = await ended;
    assert.equal(code, "not_authenticated");
    const refused = heard(1, (hear) => socket.subscribe(topic, { ended: hear }));
    assert.equal((await refused)[0].code, "not_authenticated");
  },

  async "a topic is entered twice and left once"() {
    const socket = open();
    const topic = `room.twice-${unique}`;
    const first = await new Promise((resolve) => {
      const subscription = socket.subscribe(topic, { snapshot: () => resolve(subscription) });
    });
    const told = heard(1, (hear) => socket.on("said", hear));
    await socket.call("say", { room: topic, text: "1" });
    await told;
    const late = heard(1, (hear) => socket.subscribe(topic, { snapshot: hear }));
    assert.deepEqual(await late, [{ room: topic }]);
    first.unsubscribe();
    const push = heard(1, (hear) => socket.on("said", hear));
    await socket.call("say", { room: topic, text: "2" });
    assert.deepEqual(await push, ["2"]);
  },

  async "a close with a verdict is final"() {
    const socket = open();
    assert.equal((await rejected(socket.call("close", { with: 403 }))).sent, true);
    assert.equal(await reached(socket, "closed", "waiting"), "closed");
    assert.deepEqual([socket.why.code, socket.why.reconnect], [4403, false]);
    const { sent } = await rejected(socket.call("echo"));
    assert.equal(sent, false);
    assert.equal(await socket.connect().call("echo", 1), 1);
  },

  async "a close without a notice is not final"() {
    const socket = open();
    for (const code of [1000, 4000]) {
      await socket.call("drop", { with: code }).catch((error) => assert.ok(error instanceof ConnectionLost));
      assert.equal(await reached(socket, "closed", "waiting"), "waiting");
      assert.equal(socket.why.code, code);
      assert.equal(await socket.call("echo", 1), 1);
    }
  },

  async "a path that is not served is tried again"() {
    const socket = open("nowhere/");
    assert.equal(await reached(socket, "closed", "waiting"), "waiting");
  },

  async "a token in a frame comes first"() {
    const socket = open("handshake/", { token: () => "carol" });
    assert.equal(await socket.call("me"), "carol");
  },

  async "a wrong token is replaced once"() {
    const refusals = [];
    const token = (refused) => (refusals.push(refused), refused ? "carol" : "wrong");
    assert.equal(await open("handshake/", { token }).call("me"), "carol");
    assert.deepEqual(refusals, [false, true]);
  },

  async "a token that stays wrong is final"() {
    const socket = open("handshake/", { token: () => "wrong" });
    assert.equal(await reached(socket, "closed"), "closed");
    assert.equal(socket.why.code, 4401);
  },

  async "a token is refreshed before it ends"() {
    let tokens = 0;
    // The client's clock runs ahead, so that it asks long before the token ends for the server.
    const socket = open("handshake/", { token: () => (++tokens, "carol-5"), clock: faster(2.5) });
    const states = [];
    socket.onState((state) => states.push(state));
    await eventually(() => tokens >= 3);
    await sleep(4_000); // the second token has ended by now
    assert.equal(await socket.call("me"), "carol");
    assert.deepEqual(states, ["authenticating", "open"]);
  },

  async "a token that has ended is replaced on the next connection"() {
    const refusals = [];
    const token = (refused) => {
      if (refusals.push(refused) === 2) throw new Error("The refresh fails.");
      return "carol-1.5";
    };
    const socket = open("handshake/", { token });
    await reached(socket, "open");
    await reached(socket, "waiting");
    assert.equal(socket.why.code, 4401);
    assert.equal(await socket.call("me"), "carol");
    assert.deepEqual(refusals.slice(0, 3), [false, false, true]);
  },

  async "a token as a subprotocol"() {
    const socket = open("token/", { auth: "subprotocol", token: () => "dave" });
    assert.equal(await socket.call("me"), "dave");
    const refused = open("token/", { auth: "subprotocol", token: () => "wrong" });
    assert.equal(await reached(refused, "closed"), "closed");
    assert.equal(refused.why.code, 4401);
  },

  async "flat frames"() {
    const socket = open("flat/", { keys: { route: "action", id: "request_id", payload: null } });
    assert.deepEqual(await socket.call("echo", { text: "a" }), { text: "a" });
    assert.equal((await socket.request("add", { a: 1, b: 2 })).payload, 3);
    const error = await rejected(socket.call("add", { a: 1 }));
    assert.deepEqual([error.status, error.problem.code], [422, "invalid"]);
    const topic = `room.flat-${unique}`;
    const got = heard(2, (hear) => socket.subscribe(topic, { snapshot: hear, push: hear }));
    await socket.call("say", { room: topic, text: "Hello" });
    const [snapshot, push] = await got;
    assert.deepEqual([snapshot, push.topic, push.payload.payload], [{ room: topic }, topic, "Hello"]);
    assert.equal((await rejected(socket.call("close", { with: 403 }))).sent, true);
    await reached(socket, "closed");
    assert.equal(socket.why.reason, "As you wish.");
  },

  async "camelCase frames"() {
    const socket = open("camel/");
    const error = await rejected(socket.call("throttled"));
    assert.equal(error.retryAfter, 3);
  },

  async "frames without ids"() {
    const socket = open("no-ids/", { keys: { id: null } });
    const calls = Array.from({ length: 20 }, (_, n) => socket.call("echo", n));
    assert.deepEqual(await Promise.all(calls), Array.from({ length: 20 }, (_, n) => n));
    assert.equal((await rejected(socket.call("add", {}))).status, 422);
    assert.equal(await socket.call("echo", "after"), "after");
  },

  async "a PING of the server is answered"() {
    const socket = open("watched/");
    await reached(socket, "open");
    await sleep(3_000);
    assert.equal(socket.state, "open");
    assert.equal(await socket.call("echo", 1), 1);
  },

  async "a server that hangs is found, and its calls end"() {
    // Not faster: on a busy machine a server that does not hang may take a second to answer.
    const socket = open("ws/", { clock: faster(10) });
    await socket.call("echo", null, { timeout: null, idempotent: true });
    await server("pause");
    const call = rejected(socket.call("echo", null, { timeout: null }));
    assert.equal(await reached(socket, "waiting", "closed"), "waiting");
    assert.equal((await call).sent, true);
    await server("resume");
    assert.equal(await open().call("echo", 1), 1);
  },

  async "1000 calls at once"() {
    const socket = open();
    const ordered = open();
    await Promise.all([reached(socket, "open"), reached(ordered, "open")]);
    const calls = Array.from({ length: 1_000 }, () => socket.request("wait", 0.03));
    const others = Array.from({ length: 200 }, () => ordered.request("ordered", 0.03));
    const replies = await Promise.all([...calls, ...others]);
    assert.deepEqual(new Set(replies.map(({ status }) => status)), new Set([200]));
    assert.equal(replies.length, 1_200);
  },

  async "a restart is announced, and survived"() {
    const socket = open();
    const topic = `room.restart-${unique}`;
    const snapshots = heard(2, (hear) => socket.subscribe(topic, { snapshot: hear }));
    await socket.call("echo");
    const lost = reached(socket, "waiting");
    await server("stop");
    await lost;
    // On a busy machine daphne may end before it has written the notice.
    const { code, reconnect, retryAfter } = socket.why;
    if (code !== 1006) assert.ok(code === 1012 && reconnect && retryAfter >= 1, JSON.stringify(socket.why));
    const offline = socket.call("echo", "offline");
    await server("start");
    assert.equal(await offline, "offline");
    assert.deepEqual(await snapshots, [{ room: topic }, { room: topic }]);
  },

  async "topics with a history miss nothing over a reconnect"() {
    const socket = open("ws/", { clock: faster(0.001) }); // connect() ends the wait, and no timer does
    const other = open();
    const topic = `log.${unique}`;
    const second = `log.second-${unique}`;
    const [got, others] = [[], []];
    for (const [name, list] of [[topic, got], [second, others]]) {
      socket.subscribe(name, {
        snapshot: (snapshot) => list.push(snapshot),
        recovered: () => list.push("recovered"),
        push: ({ payload }) => list.push(payload),
      });
    }
    await socket.call("say", { room: topic, text: "1" });
    await eventually(() => got.includes("1") && others.length);
    const lost = reached(socket, "waiting");
    await socket.call("drop", { with: 1000 }).catch((error) => assert.ok(error instanceof ConnectionLost));
    await lost;
    for (const text of ["2", "3", "4"]) {
      await other.call("say", { room: topic, text });
      await other.call("say", { room: second, text });
    }
    socket.connect();
    await socket.call("say", { room: topic, text: "5" });
    await eventually(() => got.includes("5"));
    assert.deepEqual(got, [{ log: topic }, "1", "recovered", "2", "3", "4", "5"]);
    await eventually(() => others.includes("4"));
    assert.deepEqual(others, [{ log: second }, "recovered", "2", "3", "4"]);
  },

  async "calls in flight at a crash settle once and run once"() {
    const socket = open();
    await socket.call("echo");
    let number = 0;
    const outcomes = new Map();
    const settled = (id, outcome) => {
      assert.ok(!outcomes.has(id), "settled twice");
      outcomes.set(id, outcome);
    };
    for (let crash = 0; crash < Number(process.env.CRASHES ?? 2); crash++) {
      const calls = Array.from({ length: 20 }, () => {
        const id = `${unique}-${++number}`;
        return socket.call("record", id, { timeout: 60_000 }).then(
          () => settled(id, "reply"),
          (error) => settled(id, error instanceof ConnectionLost ? error.sent : error),
        );
      });
      await eventually(() => runs().includes(`${unique}-${number - 19}`));
      await server("kill");
      const queued = `${unique}-${++number}`;
      calls.push(socket.call("record", queued, { timeout: 60_000 }).then(() => settled(queued, "reply")));
      await server("start");
      socket.connect();
      await Promise.all(calls);
      assert.equal(outcomes.size, number);
      assert.equal(outcomes.get(queued), "reply");
    }
    const mine = runs().filter((run) => run.startsWith(`${unique}-`));
    assert.equal(new Set(mine).size, mine.length, "something ran twice");
    for (const [id, outcome] of outcomes) {
      assert.ok(outcome === true || outcome === "reply", `${id}: ${outcome}`);
      if (outcome === "reply") assert.ok(mine.includes(id));
    }
  },

  async "an idempotent call survives a crash"() {
    const socket = open();
    const call = socket.call("wait", 1, { idempotent: true });
    await socket.call("echo");
    await server("kill");
    await server("start");
    assert.equal(await call, 1);
  },

  async "200 clients come back spread over a restart"() {
    // The delays that each client asks for count, and not when this busy machine comes to its timers: noticing that the
    // connection is lost and running a timer take as long as they take here.
    const clients = Array.from({ length: 200 }, (_, index) => {
      const random = (index + 0.5) / 200;
      const delays = [];
      let waits = false;
      const clock = {
        now: () => Date.now(),
        setTimeout: (callback, delay) => {
          if (waits) delays.push(delay); // the first timer of the state
          waits = false;
          return setTimeout(callback, delay);
        },
        clearTimeout: (timer) => clearTimeout(timer),
      };
      const socket = open("ws/", { clock, random: () => random });
      socket.onState((state) => (waits = state == "waiting"));
      return { socket, random, delays };
    });
    await Promise.all(clients.map(({ socket }) => reached(socket, "open")));
    await server("stop");
    await server("start");
    await Promise.all(clients.map(({ socket }) => reached(socket, "open")));
    for (const { random, delays } of clients) {
      for (const [nth, delay] of delays.entries()) {
        // A server that ends says from 1 s to 3 s to 200 clients, and they add up to a fifth. Where nobody answers, the
        // delay is half a second that doubles up to 30 s, and half of it less or more; a stable connection counts anew.
        const retryAfter = delay / (1 + random / 5);
        const backOffs = [nth, nth - 1].map((n) => Math.min(30_000, 500 * 2 ** Math.max(0, n)) * (0.5 + random));
        // daphne on a busy machine may end before the notice is written, so the first delay may be a back-off, too.
        const documented = backOffs.some((one) => Math.abs(one - delay) < 1);
        assert.ok(documented || (retryAfter > 999 && retryAfter < 3_001), `${delay} is delay ${nth + 1} for ${random}`);
      }
    }
    // When each came back, counted from the loss. The server draws at random: on average 50 come in half a second. They
    // are more where notices were not written, but never most of them.
    const times = clients.map(({ delays }) => delays.reduce((sum, delay) => sum + delay, 0));
    const most = Math.max(...times.map((from) => times.filter((at) => at >= from && at < from + 500).length));
    console.log(`${most} within half a second, ${Math.max(...clients.map(({ delays }) => delays.length))} attempts`);
    assert.ok(most <= 120, `${most} in half a second`);
  },
};

for (let line = await lines.next(); !line.done; line = await lines.next()) {
  try {
    ++unique;
    await scenarios[line.value]();
    console.log("OK");
  } catch (error) {
    console.log(error);
    console.log("FAILED");
  }
  for (const socket of sockets.splice(0)) socket.close();
}
