/** Calls as code in other languages. */
import { isObject, payloadOf, type Keys, type Operation } from "./model.js";
import { format } from "./json.js";

export interface Snippet {
  readonly label: string;
  /** `cookie` is the name of the session cookie, if the channel takes one. */
  code(operation: Operation, path: string, payload: unknown, cookie: string): string;
}

const DEFAULTS: Keys = { route: "route", id: "uuid", payload: "payload", status: "status", headers: "headers" };

export const snippets: readonly Snippet[] = [
  { label: "TypeScript", code: typescript },
  { label: "Python", code: python },
  { label: "RouteClient", code: routeClient },
  { label: "websocat", code: websocat },
];

function indented(text: string, by: number): string {
  return text.replace(/\n/g, `\n${" ".repeat(by)}`);
}

function typescript({ name, kind, channel }: Operation, path: string, payload: unknown): string {
  const keys = changedKeys(channel.keys);
  const options = keys ? `, {\n  keys: ${indented(format(keys), 2).replace(/"(\w+)":/g, "$1:")},\n}` : "";
  const head = `import { Routesock } from "routesock";\n\nconst socket = new Routesock(${JSON.stringify(path)}${options}).connect();\n`;
  const data = JSON.stringify(name) + (payload === undefined ? "" : `, ${format(payload)}`);
  if (kind == "stream") return `${head}for await (const item of socket.stream(${data})) {\n  console.log(item);\n}\n`;
  if (kind == "topic") {
    return `${head}const topic = socket.subscribe(${JSON.stringify(topicOf(payload))}, {\n  snapshot: (snapshot) => console.log(snapshot),\n  push: (push) => console.log(push.route, push.payload),\n});\n`;
  }
  return `${head}const reply = await socket.call(${data});\n`;
}

function changedKeys(keys: Keys | null): object | undefined {
  if (!keys) return undefined;
  // Without a key for payloads there are no headers by default.
  const defaults = { ...DEFAULTS, headers: keys.payload === null ? null : "headers" };
  const changed = (Object.keys(DEFAULTS) as (keyof Keys)[]).filter((key) => keys[key] !== defaults[key]);
  return changed.length ? Object.fromEntries(changed.map((key) => [key, keys[key]])) : undefined;
}

/** A JSON value as a Python literal. */
export function literal(value: unknown, indent = 0): string {
  const inner = " ".repeat(indent + 4);
  const end = " ".repeat(indent);
  if (value === null || value === undefined) return "None";
  if (typeof value == "boolean") return value ? "True" : "False";
  if (typeof value == "string") return JSON.stringify(value);
  if (Array.isArray(value)) {
    if (!value.length) return "[]";
    return `[\n${value.map((item) => `${inner}${literal(item, indent + 4)},\n`).join("")}${end}]`;
  }
  if (isObject(value)) {
    const entries = Object.entries(value);
    if (!entries.length) return "{}";
    if (entries.length == 1 && !isObject(entries[0]![1])) return `{${JSON.stringify(entries[0]![0])}: ${literal(entries[0]![1], indent)}}`;
    return `{\n${entries.map(([name, item]) => `${inner}${JSON.stringify(name)}: ${literal(item, indent + 4)},\n`).join("")}${end}}`;
  }
  return String(value);
}

function python({ name, kind, channel }: Operation, path: string, payload: unknown): string {
  const url = new URL(path, location.href);
  url.protocol = url.protocol.replace("http", "ws");
  const keys = changedKeys(channel.keys);
  const options = keys ? `, keys=${literal(keys, 8)}` : "";
  const data = JSON.stringify(name) + (payload === undefined ? "" : `, ${literal(payload, 8)}`);
  const body =
    kind == "stream"
      ? `async for item in ws.stream(${data}):\n            print(item)`
      : kind == "topic"
        ? `async with ws.subscribe(${JSON.stringify(topicOf(payload))}) as topic:\n            async for push in topic:\n                print(push)`
        : `reply = await ws.call(${data})\n        print(reply)`;
  return `import asyncio\n\nfrom routesock.client import Client\n\n\nasync def main():\n    async with Client(${JSON.stringify(url.href)}${options}) as ws:\n        ${body}\n\n\nasyncio.run(main())\n`;
}

function routeClient({ name, kind, channel, replies }: Operation, path: string, payload: unknown): string {
  const data = JSON.stringify(name) + (payload === undefined ? "" : `, ${literal(payload, 8)}`);
  const status = replies.find(({ part }) => part == "reply")?.status[0] ?? 200;
  const body =
    kind == "stream"
      ? `async for item in client.stream(${data}):\n            assert item.status == 206`
      : kind == "topic"
        ? `reply = await client.call("SUBSCRIBE", ${literal({ topic: topicOf(payload) })})\n        assert reply.status == ${status}`
        : `reply = await client.call(${data})\n        assert reply.status == ${status}`;
  return `from routesock.testing import RouteClient\n\n\nasync def test_${name.replace(/\W+/g, "_").toLowerCase()}(user):\n    async with RouteClient(${channel.title}, path=${JSON.stringify(path)}, as_user=user) as client:\n        ${body}\n`;
}

function topicOf(payload: unknown): string {
  return isObject(payload) && typeof payload["topic"] == "string" ? payload["topic"] : "";
}

function websocat(operation: Operation, path: string, payload: unknown, name: string): string {
  const url = new URL(path, location.href);
  url.protocol = url.protocol.replace("http", "ws");
  const frame = JSON.stringify(frameOf(operation, payload)).replace(/'/g, "'\\''");
  const cookie = name ? `  -H 'Cookie: ${name}=…' \\\n` : "";
  return `echo '${frame}' |\n  websocat --no-close \\\n${cookie}  --origin ${url.origin.replace(/^ws/, "http")} \\\n  '${url.href}'\n`;
}

/** A frame of the channel's dialect with this payload. */
export function frameOf({ channel: { keys }, name, kind }: Operation, payload: unknown): unknown {
  if (!keys) return payload;
  const head = { [keys.route]: kind == "topic" ? "SUBSCRIBE" : name, ...(keys.id === null ? {} : { [keys.id]: 1 }) };
  if (payload === undefined) return head;
  if (keys.payload !== null) return { ...head, [keys.payload]: payload };
  const flat = isObject(payload) && JSON.stringify(payloadOf({ ...head, ...payload }, keys)) == JSON.stringify(payload);
  return flat ? { ...head, ...payload } : { ...head, payload };
}
