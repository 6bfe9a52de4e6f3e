import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { ConnectionLost, RouteError, Routesock } from "../src/index.js";
import { settle, World } from "./harness.js";

test("the example of the README runs", async () => {
  const [, example] = /```ts\n(?:import .*\n\n)([^]*?)```/.exec(readFileSync("README.md", "utf8"))!;
  const world = new World();
  const lines: unknown[][] = [];
  const Connected = class {
    constructor(path: string) {
      assert.equal(path, "/ws/chat/");
      return world.socket;
    }
  };
  const run = new Function("Routesock", "RouteError", "ConnectionLost", "console", `return (async () => {${example}})()`);
  const done = run(Connected, RouteError, ConnectionLost, { log: (...line: unknown[]) => lines.push(line) }) as Promise<void>;
  const ws = await world.ws.accept();
  assert.deepEqual(
    ws.take().map(({ route }) => route),
    ["SUBSCRIBE", "message.send"],
  );
  await ws.reply(2, "Kitchen");
  await ws.receive({ route: "message", payload: "Hi" });
  await ws.reply(1, { id: 7 }, 201);
  await settle();
  await ws.reply(3, "first", 206);
  await ws.reply(3);
  await done;
  assert.deepEqual(lines, [
    ["room", "Kitchen"],
    ["pushed", "Hi"],
    ["sent", { id: 7 }],
    ["row", "first"],
  ]);
  assert.equal(world.socket.state, "closed");
  assert.ok(world.socket instanceof Routesock);
});
