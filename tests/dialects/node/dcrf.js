"use strict";

const assert = require("node:assert/strict");
const { EventEmitter } = require("node:events");
const dcrf = require("dcrf-client");
const WebSocket = require("ws");
const { once, rejected, run } = require("./scenarios.js");

function connect(url) {
  return dcrf.default.connect(url, { websocket: { WebSocket, minReconnectionDelay: 1, maxReconnectionDelay: 50 } });
}

/** The changes of an object that a subscription is told of, as events of their action. */
function subscribed(client, pk) {
  const changes = new EventEmitter();
  const subscription = client.subscribe("todos", pk, (data, action) => changes.emit(action, data));
  return { changes, subscription };
}

run({
  async "create-retrieve-list"(url) {
    const client = connect(url);
    const created = await client.create("todos", { title: "Read" });
    assert.equal(created.title, "Read");
    assert.deepEqual(await client.retrieve("todos", created.pk), created);
    const listed = await client.list("todos");
    assert.deepEqual(listed.filter(({ pk }) => pk === created.pk), [created]);
  },

  async "patch-update-delete"(url) {
    const client = connect(url);
    const { pk } = await client.create("todos", { title: "Read" });
    assert.deepEqual(await client.patch("todos", pk, { title: "Write" }), { pk, title: "Write" });
    assert.deepEqual(await client.update("todos", pk, { title: "Send" }), { pk, title: "Send" });
    assert.equal(await client.delete("todos", pk), null);
    const reason = await rejected(client.retrieve("todos", pk));
    assert.equal(reason.response_status, 404);
  },

  async errors(url) {
    const client = connect(url);
    const missing = await rejected(client.retrieve("todos", -1, {}, "an id"));
    assert.deepEqual(missing, {
      errors: ["Not found."], data: null, action: "retrieve", response_status: 404, request_id: "an id",
    });
    const invalid = await rejected(client.create("todos", { title: 5 }));
    assert.equal(invalid.response_status, 422);
    assert.deepEqual(invalid.errors, [{ data: { title: ["Not a valid string."] } }]);
    const forbidden = await rejected(client.request("todos", { action: "forbidden" }));
    assert.equal(forbidden.response_status, 403);
    const unknown = await rejected(client.request("todos", { action: "nowhere" }));
    assert.equal(unknown.response_status, 404);
    const broken = await rejected(client.request("todos", { action: "broken" }));
    assert.equal(broken.response_status, 500);
    assert.equal(broken.errors.length, 1);
    assert.ok(Array.isArray(await client.list("todos")));
  },

  async "many-at-once"(url) {
    const client = connect(url);
    const titles = Array.from({ length: 50 }, (_, number) => `number ${number}`);
    const created = await Promise.all(titles.map((title) => client.create("todos", { title })));
    assert.deepEqual(created.map(({ title }) => title), titles);
  },

  async "two-streams"(url) {
    const client = connect(url);
    const [legacy, list] = await Promise.all([client.list("legacy"), client.list("todos")]);
    assert.equal(legacy, "legacy");
    assert.ok(Array.isArray(list));
  },

  async subscription(url) {
    const [writer, reader] = [connect(url), connect(url)];
    const { pk } = await writer.create("todos", { title: "Read" });
    const other = await writer.create("todos", { title: "Other" });
    const { changes, subscription } = subscribed(reader, pk);
    await subscription;
    const second = subscribed(reader, pk);
    await second.subscription;

    const updated = [once(changes, "update"), once(second.changes, "update")];
    await writer.patch("todos", other.pk, { title: "Of no interest" });
    await writer.patch("todos", pk, { title: "Write" });
    assert.deepEqual(await Promise.all(updated), [{ pk, title: "Write" }, { pk, title: "Write" }]);

    second.changes.on("delete", () => assert.fail("This subscription was cancelled."));
    assert.equal(second.subscription.cancel(), true);
    const deleted = once(changes, "delete");
    await writer.delete("todos", pk);
    assert.deepEqual(await deleted, { pk });
  },

  async "subscription-to-nothing"(url) {
    const reason = await rejected(connect(url).subscribe("todos", -1, () => assert.fail("There is no such object.")));
    assert.equal(reason.response_status, 404);
  },

  async reconnect(url) {
    const [writer, reader] = [connect(url), connect(url)];
    const { pk } = await writer.create("todos", { title: "Read" });
    const { changes, subscription } = subscribed(reader, pk);
    await subscription;

    const again = once(reader.transport, "reconnect");
    reader.request("todos", { action: "drop" });
    await again;
    await reader.list("todos"); // behind the subscription that the client has sent once more

    const updated = once(changes, "update");
    await writer.patch("todos", pk, { title: "Write" });
    assert.deepEqual(await updated, { pk, title: "Write" });
  },
});
