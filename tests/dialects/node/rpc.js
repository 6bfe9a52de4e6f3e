"use strict";

const assert = require("node:assert/strict");
const { Client } = require("rpc-websockets");
const { once, rejected, run } = require("./scenarios.js");

async function connect(url) {
  const client = new Client(url, { reconnect_interval: 10 });
  await once(client, "open");
  return client;
}

run({
  async calls(url) {
    const client = await connect(url);
    assert.equal(await client.call("subtract", [42, 23]), 19);
    assert.equal(await client.call("subtract", { subtrahend: 23, minuend: 42 }), 19);
    assert.deepEqual(await client.call("get_data"), ["hello", 5]);
    assert.equal(await client.call("update", [1, 2]), null);
    const results = await Promise.all(Array.from({ length: 50 }, (_, number) => client.call("sum", [number, 1])));
    assert.deepEqual(results, Array.from({ length: 50 }, (_, number) => number + 1));
  },

  async errors(url) {
    const client = await connect(url);
    const unknown = await rejected(client.call("nowhere"));
    assert.equal(unknown.code, -32601);
    assert.equal(unknown.message, "Method not found");
    const invalid = await rejected(client.call("text", { text: 5 }));
    assert.equal(invalid.code, -32602);
    assert.deepEqual(invalid.data.errors, { text: ["Not a valid string."] });
    assert.equal((await rejected(client.call("divide", [1, 0]))).code, -32603);
    const forbidden = await rejected(client.call("forbidden"));
    assert.deepEqual([forbidden.code, forbidden.message, forbidden.data.status], [-32003, "Forbidden", 403]);
    assert.equal(await client.call("subtract", [3, 2]), 1);
  },

  async notifications(url) {
    const client = await connect(url);
    const answers = [];
    client.socket.addEventListener("message", ({ data }) => answers.push(JSON.parse(data)));
    await client.notify("update", [1, 2, 3]);
    await client.notify("nowhere");
    await client.notify("divide", [1, 0]);
    assert.equal(await client.call("sum", [1, 2]), 3);
    assert.deepEqual(answers, [{ jsonrpc: "2.0", result: 3, id: 1 }]);
  },

  async events(url) {
    const [writer, reader] = [await connect(url), await connect(url)];
    assert.deepEqual(await reader.subscribe("news"), { news: "ok" });
    assert.deepEqual(await reader.subscribe(["prices"]), { prices: { EUR: 1 } });
    const headline = once(reader, "headline");
    await writer.call("publish", { text: "Rain" });
    assert.deepEqual(await headline, { text: "Rain" });
    assert.deepEqual(await reader.unsubscribe("news"), { news: "ok" });
    reader.on("headline", () => assert.fail("The client has unsubscribed."));
    await writer.call("publish", { text: "Sun" });
    assert.equal((await rejected(reader.subscribe("nowhere"))).data.code, "unknown_topic");
  },

  async login(url) {
    const client = await connect(url);
    const early = await rejected(client.call("sum", [1, 2]));
    assert.deepEqual([early.code, early.data.code], [-32001, "not_authenticated"]);
    assert.equal((await rejected(client.login({ token: "no token" }))).code, -32001);
    assert.deepEqual(await client.login({ token: "ada's token" }), { expires: null, ttl: null });
    assert.equal(await client.call("sum", [1, 2]), 3);
  },

  async stream(url) {
    const client = await connect(url);
    const items = [];
    client.on("$/progress", ({ token, value }) => items.push([token, value]));
    assert.equal(await client.call("count", { to: 3 }), null);
    assert.deepEqual(items, [[1, 0], [1, 1], [1, 2]]);
  },

  async cancel(url) {
    const client = await connect(url);
    const waiting = rejected(client.call("wait"));
    await client.notify("$/cancelRequest", { id: 1 });
    assert.equal((await waiting).code, -32800);
    assert.deepEqual(await client.call("rpc.ping", { sent: 5 }), { sent: 5 });
  },

  async reconnect(url) {
    const client = await connect(url);
    const notice = once(client, "rpc.close");
    const again = once(client, "open");
    client.call("drop").catch(() => {});
    assert.deepEqual(await notice, { code: 4503, reason: "Back in a moment.", reconnect: true });
    await again;
    assert.equal(await client.call("sum", [1, 2]), 3);
  },
});
