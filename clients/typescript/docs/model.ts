/** The AsyncAPI document as routesock writes it, and what the page makes of it. */

export type Schema = { readonly [keyword: string]: any };

export interface Ref {
  readonly $ref: string;
}

interface RawMessage {
  readonly name?: string;
  readonly title?: string;
  readonly payload: Schema;
  readonly examples?: readonly { readonly payload: unknown }[];
  readonly "x-routesock-part"?: string;
  readonly "x-routesock-payload"?: Schema;
  readonly "x-routesock-statuses"?: { readonly [status: string]: string };
}

interface RawOperation {
  readonly action: "send" | "receive";
  readonly channel: Ref;
  readonly messages: readonly Ref[];
  readonly reply?: { readonly messages: readonly Ref[] };
  readonly [member: string]: any;
}

interface RawChannel {
  readonly address: string | null;
  readonly title?: string;
  readonly summary?: string;
  readonly description?: string;
  readonly parameters?: { readonly [name: string]: Schema };
  readonly messages: { readonly [key: string]: RawMessage };
  readonly [member: string]: any;
}

export interface AsyncApi {
  readonly info: { readonly title: string; readonly version: string; readonly description?: string; readonly [member: string]: any };
  readonly channels: { readonly [key: string]: RawChannel };
  readonly operations: { readonly [key: string]: RawOperation };
  readonly components?: { readonly schemas?: { readonly [name: string]: Schema }; readonly securitySchemes?: { readonly [name: string]: Schema } };
  readonly "x-routesock-undocumented"?: readonly { readonly address: string | null; readonly title?: string; readonly "x-routesock-pattern"?: string }[];
}

/** The keys of the envelope, as the document has them. `null`: frames are not objects with such keys. */
export interface Keys {
  readonly route: string;
  readonly id: string | null;
  readonly payload: string | null;
  readonly status: string | null;
  readonly headers: string | null;
  readonly topic?: string;
}

export type Kind = "route" | "stream" | "topic" | "push" | "control";

export interface Message {
  readonly part: string;
  readonly payload: Schema;
  readonly statuses: { readonly [status: string]: string };
  /** What the envelope says about the status: one number, several, or a range. */
  readonly status: readonly number[];
}

export interface Operation {
  readonly key: string;
  readonly channel: Channel;
  readonly name: string;
  readonly kind: Kind;
  readonly summary: string;
  readonly description: string;
  readonly tags: readonly string[];
  readonly deprecated: boolean;
  readonly isSent: boolean;
  readonly request: Message;
  readonly replies: readonly Message[];
  /** Payloads of requests. */
  readonly examples: readonly unknown[];
  readonly security: readonly string[];
  readonly raw: RawOperation;
}

export interface Channel {
  readonly key: string;
  readonly address: string | null;
  readonly title: string;
  readonly keys: Keys | null;
  readonly operations: Operation[];
  readonly raw: RawChannel;
}

export interface Model {
  readonly document: AsyncApi;
  readonly channels: readonly Channel[];
  readonly byKey: ReadonlyMap<string, Operation>;
  /** Follows references. */
  resolve(schema: Schema): Schema;
}

/** The last part of a reference. */
export function nameOf(reference: string): string {
  const last = reference.slice(reference.lastIndexOf("/") + 1);
  return last.replace(/~1/g, "/").replace(/~0/g, "~");
}

export function createModel(document: AsyncApi): Model {
  const schemas = document.components?.schemas ?? {};
  const byKey = new Map<string, Operation>();
  const channels = new Map<string, Channel>();
  for (const [key, raw] of Object.entries(document.channels)) {
    const dialect = raw["x-routesock-dialect"];
    const keys = typeof dialect?.route == "string" ? (dialect as Keys) : null;
    const address = raw.address ?? null;
    const title = raw.title ?? key;
    channels.set(key, { key, address, title, keys, operations: [], raw });
  }
  for (const [key, raw] of Object.entries(document.operations)) {
    const channel = channels.get(nameOf(raw.channel.$ref));
    const kind = kindOf(raw);
    if (!channel || !kind) continue;
    const operation = operationOf(key, raw, channel, kind);
    channel.operations.push(operation);
    byKey.set(key, operation);
  }
  for (const channel of channels.values()) channel.operations.sort(byNameOf);
  return {
    document,
    channels: [...channels.values()],
    byKey,
    resolve(schema) {
      for (let depth = 0; typeof schema.$ref == "string" && depth < 50; ++depth) {
        schema = schemas[nameOf(schema.$ref)] ?? {};
      }
      return schema;
    },
  };
}

const ORDER: readonly Kind[] = ["route", "stream", "topic", "push", "control"];

/** "many.9" comes before "many.10". */
const { compare } = new Intl.Collator("en", { numeric: true });

function byNameOf(one: Operation, other: Operation): number {
  const [first, second] = [one, other].map(({ kind }) => (kind == "stream" ? 0 : ORDER.indexOf(kind))) as [number, number];
  return first - second || compare(one.name, other.name);
}

function kindOf(raw: RawOperation): Kind | undefined {
  const kind = raw["x-routesock-kind"];
  if (kind == "subscribe") return "topic";
  if (kind == "route") return raw.reply?.messages.some(({ $ref }) => /\.item(-[0-9a-f]+)?$/.test($ref)) ? "stream" : "route";
  if (kind == "push") return "push";
  // UNSUBSCRIBE is part of its topic.
  return kind == "control" || kind == "error" ? "control" : undefined;
}

function operationOf(key: string, raw: RawOperation, channel: Channel, kind: Kind): Operation {
  const messages = channel.raw.messages;
  const request = messages[nameOf(raw.messages[0]?.$ref ?? "")];
  const replies = (raw.reply?.messages ?? []).map(({ $ref }) => messages[nameOf($ref)]);
  return {
    key,
    channel,
    name: raw["x-routesock-name"] ?? key,
    kind,
    summary: raw.summary ?? "",
    description: raw.description ?? "",
    tags: ((raw.tags ?? []) as { name: string }[]).map(({ name }) => name),
    deprecated: raw["x-routesock-deprecated"] === true,
    isSent: raw.action == "send",
    request: messageOf(request, channel),
    replies: replies.map((reply) => messageOf(reply, channel)),
    examples: (request?.examples ?? []).map(({ payload }) => payloadOf(payload, channel.keys)),
    security: ((raw.security ?? []) as Ref[]).map(({ $ref }) => nameOf($ref)),
    raw,
  };
}

function messageOf(raw: RawMessage | undefined, channel: Channel): Message {
  const status = raw?.payload.properties?.[channel.keys?.status ?? ""] ?? {};
  return {
    part: raw?.["x-routesock-part"] ?? "",
    payload: raw?.["x-routesock-payload"] ?? (channel.keys ? {} : (raw?.payload ?? {})),
    statuses: raw?.["x-routesock-statuses"] ?? {},
    status: status.enum ?? (status.const === undefined ? [] : [status.const]),
  };
}

/** The payload in a frame. */
export function payloadOf(frame: unknown, keys: Keys | null): unknown {
  if (!keys || !isObject(frame)) return frame;
  if (keys.payload !== null) return frame[keys.payload];
  const { [keys.route]: _route, [keys.id ?? ""]: _id, ...rest } = frame;
  return Object.keys(rest).join() == "payload" ? rest["payload"] : rest;
}

export function isObject(value: unknown): value is { [name: string]: unknown } {
  return typeof value == "object" && value !== null && !Array.isArray(value);
}
