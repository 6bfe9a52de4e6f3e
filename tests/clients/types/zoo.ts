// What the compiler has to accept and to refuse with the types of tests/asyncapi/zoo.py. It is never run.

import { Routesock, type ErrorOf, type Items, type Push } from "routesock";
import {
  type Camel,
  camel,
  type Flat,
  flat,
  type ItemOutput,
  nested,
  type Nested,
  noIds,
  ownDialect,
  type Tree,
  type Zoo,
  zoo,
} from "./zoo.generated";
import { type Asking, asking, type Confirm, type Hostile, hostile } from "./hostile.generated";

const NAME = "<script>alert('zoo')</script>";

export async function accepted(): Promise<void> {
  const socket = new Routesock<Zoo>(zoo.path, { ...zoo });
  const tree: Tree = await socket.call("tree", { name: "a", children: [{ name: "b" }] });
  const item: ItemOutput = await socket.call("item", { id: 1 });
  const maybe: ItemOutput | null = await socket.call("item.maybe", { id: item.id, title: "t" });
  const done: null = await socket.call("done");
  const anything: unknown = await socket.call("echo", [tree, maybe, done]);
  const others: { one: number }[] = await socket.call("list");
  await socket.call("Żółw & <script>", { text: anything });
  const never: Promise<never> = socket.call("silent");
  const rows: Items<{ one: number }> = socket.stream("stream");
  for await (const { one } of rows) one.toFixed(others.length);
  socket.on(NAME, ({ status, note }) => [status.trim(), note?.trim()]);
  socket.on("tree", ({ children }) => children?.map(({ name }) => name));
  socket.on("anything", (payload: unknown) => payload);
  const pk: number = item.id;
  socket.subscribe(`room.${pk}`, { snapshot: ({ name }) => name.trim() });
  socket.subscribe("room.5", { push: (push) => (push.route === "echo" ? push.payload.title.trim() : push.payload) });
  socket.subscribe("room.vip", { snapshot: (vip: unknown) => vip });
  socket.subscribe("a/b.c-x.d", { push: (push: Push) => push });
  new Routesock<Nested>(nested.path({ pk, name: "a" }), { ...nested }).notify("done");
  new Routesock<Flat>(flat.path, flat).notify("status", { status: "in a frame that has no other status" });
  new Routesock<Camel>(camel.path({ room: "a" }), { ...camel, keys: camel.keys });
  const url: string = ownDialect.path({ rest: "a/b" });
  const none: null = noIds.keys.id;
  void never;
  void [url, none];
}

export function errors(error: unknown): string | undefined {
  const failed = error as ErrorOf<Zoo["routes"]["moved"]>;
  if (failed.status === 410) return failed.problem.moved_to;
  return failed.problem.detail;
}

export async function refused(socket: Routesock<Zoo>, flatly: Routesock<Flat>): Promise<void> {
  // @ts-expect-error there is no such route
  await socket.call("trees");
  // @ts-expect-error the payload is required
  await socket.call("tree");
  // @ts-expect-error a member is missing
  await socket.call("tree", { children: [] });
  // @ts-expect-error a member inside another has another type
  await socket.call("tree", { name: "a", children: [{ name: 1 }] });
  // @ts-expect-error a member is not known
  await socket.call("item", { id: 1, titel: "t" });
  // @ts-expect-error a number as text is a spelling of the server, and no type
  await socket.call("item", { id: "1" });
  // @ts-expect-error a route with a prefix of another one's name
  await socket.call("item.");
  // @ts-expect-error the reply may be null
  const item: ItemOutput = await socket.call("item.maybe", { id: 1 });
  // @ts-expect-error a stream is not called
  await socket.call("stream");
  // @ts-expect-error a route does not stream
  socket.stream("tree", { name: "a" });
  // @ts-expect-error an item has other members
  for await (const { two } of socket.stream("stream")) void two;
  // @ts-expect-error there is no such push
  socket.on("trees", () => {});
  // @ts-expect-error the payload of a push is not known
  socket.on("anything", (payload) => payload.a);
  // @ts-expect-error there is no such topic
  socket.subscribe("rooms.5");
  // @ts-expect-error a parameter of a topic has no dot
  socket.subscribe("room.5.members");
  // @ts-expect-error this topic has another snapshot
  socket.subscribe("room.vip", { snapshot: (vip) => vip.name });
  // @ts-expect-error a flat frame takes an object
  await flatly.call("echo", 5);
  // @ts-expect-error a parameter of the path is missing
  nested.path({ pk: 1 });
  // @ts-expect-error a parameter of the path is a number
  nested.path({ pk: "1", name: "a" });
  // @ts-expect-error a URL pattern without a template has no path
  noIds.path;
  void item;
}

export async function withHostileNames(socket: Routesock<Hostile>): Promise<void> {
  await socket.call("\"'`${1}\\\n\u2028</script>", { "*/": "a", "\"\\": 1 });
  await socket.call("constructor");
  await socket.call("__proto__");
  socket.subscribe("`$5\\.</script>");
  new Routesock(hostile.path({ "default": "a" }), hostile);
  // @ts-expect-error nothing in a text becomes code
  type Leaked = (typeof import("./hostile.generated"))["leaked"];
  // @ts-expect-error there is no such member
  await socket.call("\"'`${1}\\\n\u2028</script>", { "*": "a" });
}

export function asked(): void {
  const socket = new Routesock<Asking>(asking.path, { ...asking });
  socket.answer("confirm", ({ text }) => ({ delete: text === "" }));
  socket.answer("confirm", async ({ text }, push) => ({ delete: push.payload.text === text, reason: "No." }));
  socket.answer("ready", () => true);
  socket.on("said", ({ text }) => text.trim());
  socket.subscribe("news", { snapshot: (news: Confirm) => news.text });
  // @ts-expect-error it asks no such thing
  socket.answer("confirmed", () => true);
  // @ts-expect-error the answer is an object
  socket.answer("confirm", () => true);
  // @ts-expect-error a member of the answer is missing
  socket.answer("confirm", async () => ({ reason: "No." }));
  // @ts-expect-error a push is no ask
  socket.answer("said", () => true);
  // @ts-expect-error an ask is no push
  socket.on("confirm", () => {});
}
