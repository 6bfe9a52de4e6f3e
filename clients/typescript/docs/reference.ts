/** What the page says about one route, topic or push, and the overview. */
import { h, paragraphs, type Child } from "./dom.js";
import { block, format } from "./json.js";
import { badge } from "./log.js";
import { isObject, type Channel, type Message, type Model, type Operation } from "./model.js";
import { table } from "./schema.js";

export const KINDS = { route: "route", stream: "stream", topic: "topic", push: "push", control: "protocol" } as const;

/** An operation in the middle of the page. */
export function reference(operation: Operation, model: Model): HTMLElement {
  const { name, kind, channel, summary, description, tags, deprecated } = operation;
  return h(
    "article",
    null,
    h("p", { class: "crumbs" }, h("a", { href: `#${channel.key}` }, h("code", null, addressOf(channel))), h("span", { class: "soft" }, channel.title)),
    h(
      "h1",
      { tabindex: -1 },
      h("code", null, name),
      h("a", { class: "permalink", href: `#${operation.key}`, "aria-label": `Link to ${name}` }, "#"),
    ),
    h(
      "p",
      { class: "tags" },
      h("span", { class: `kind ${kind}` }, KINDS[kind]),
      deprecated ? h("span", { class: "tag warn" }, "deprecated") : null,
      tags.map((tag) => h("span", { class: "tag" }, tag)),
    ),
    summary ? h("p", { class: "summary" }, summary) : null,
    paragraphs(description),
    facts(operation, model),
    body(operation, model),
  );
}

export function addressOf(channel: Channel): string {
  return channel.address ?? channel.raw["x-routesock-pattern"] ?? channel.key;
}

function section(title: Child, ...children: Child[]): HTMLElement {
  return h("section", null, h("h2", null, title), children);
}

function body(operation: Operation, model: Model): Child {
  const { kind, isSent, request, raw, channel } = operation;
  if (isSent) {
    return [
      section("Payload", payload(request, model, "Fields of the payload")),
      links("Subscribers of these topics receive it", raw["x-routesock-topics"], channel, "topic"),
    ];
  }
  const parts = (part: string) => operation.replies.filter((reply) => reply.part == part);
  return [
    section(
      kind == "topic" ? "Name" : "Request",
      payload(request, model, "Fields of the request"),
      operation.examples.map((example, index) => [
        h("h3", null, operation.examples.length > 1 ? `Example ${index + 1}` : "Example"),
        block(format(example), "Example of a request"),
      ]),
    ),
    parts("item").map((item) => section(["Each item ", badge(206)], payload(item, model, "Fields of an item"))),
    parts("end").map(() => section(["End of the stream ", badge(200)], h("p", { class: "small" }, "No payload."))),
    parts("reply").map((reply) =>
      section(
        [kind == "topic" ? "Snapshot " : "Reply ", reply.status.map((status) => [badge(status), " "])],
        payload(reply, model, "Fields of the reply"),
      ),
    ),
    errors(parts("error"), model),
    links("Subscribers receive", raw["x-routesock-pushes"], channel, "push"),
  ];
}

function payload({ payload: schema }: Message, model: Model, caption: string): Child {
  if (!Object.keys(schema).length) return h("p", { class: "small" }, "Anything, or nothing: no schema is declared.");
  if (model.resolve(schema).type == "null") return h("p", { class: "small" }, "No payload.");
  return table(schema, model, caption);
}

/** The statuses of errors, and what is in those that have a payload of their own. */
function errors(messages: readonly Message[], model: Model): Child {
  const [general, ...others] = messages;
  if (!general) return null;
  const rows = Object.entries({ ...general.statuses, ...Object.assign({}, ...others.map(({ statuses }) => statuses)) });
  return section(
    "Errors",
    rows.length
      ? h("dl", { class: "statuses" }, rows.map(([status, text]) => [h("dt", null, badge(status)), h("dd", null, String(text))]))
      : h("p", { class: "small" }, "None of its own. A 400, 404, 429, 500 or 503 of the server is possible for every request."),
    others.map((message) => [
      h("h3", null, "Payload of ", badge(Object.keys(message.statuses)[0] ?? "")),
      table(message.payload, model, "Fields of the error"),
    ]),
    h("details", null, h("summary", null, rows.length > others.length ? "Payload of the errors" : "Payload of errors"), payload(general, model, "Fields of errors")),
  );
}

function facts({ raw, security, channel }: Operation, model: Model): Child {
  const schemes = model.document.components?.securitySchemes ?? {};
  const entries: (readonly [string, Child])[] = [];
  const add = (label: string, value: Child) => value && entries.push([label, value]);
  const names = (values: unknown): Child => (Array.isArray(values) && values.length ? values.map((value, index) => [index ? ", " : null, h("code", null, String(value))]) : null);
  add("Permissions", names(raw["x-routesock-permissions"]));
  add("Login", security.length ? security.map((name) => loginOf(schemes[name] ?? {}, name)).join(", or ") : null);
  add("Throttle", names(raw["x-routesock-throttles"]));
  add("Deadline", raw["x-routesock-timeout"] ? `${raw["x-routesock-timeout"]} s` : null);
  add("Order", raw["x-routesock-parallel"] ? "runs beside other requests" : null);
  add("Before login", raw["x-routesock-public"] ? "answered before AUTH" : null);
  add("Other frames", channel.raw["x-routesock-foreign"] && raw["x-routesock-kind"] == "error" ? "the consumer has code for frames that are not listed here" : null);
  if (!entries.length) return null;
  return h("dl", { class: "facts" }, entries.map(([label, value]) => h("div", null, h("dt", null, label), h("dd", null, value))));
}

function loginOf(scheme: { readonly [member: string]: any }, name: string): string {
  if (scheme.in == "cookie") return "session";
  if (scheme["x-routesock-handshake"]) return "token in AUTH";
  if (scheme.name == "Sec-WebSocket-Protocol") return "token as subprotocol";
  if (scheme.in == "query") return "token in the query string";
  if (scheme.scheme) return `token in the header Authorization (${scheme.scheme})`;
  return name;
}

function links(title: string, names: unknown, channel: Channel, kind: string): Child {
  if (!Array.isArray(names) || !names.length) return null;
  const found = names.map((name) => [name, channel.operations.find((other) => other.kind == kind && other.name == name)] as const);
  return section(
    title,
    h("ul", { class: "plain" }, found.map(([name, other]) => h("li", null, other ? h("a", { href: `#${other.key}` }, h("code", null, name)) : h("code", null, String(name)), other?.summary ? ` ${other.summary}` : null))),
  );
}

/** The start: what the API is, and all that is in it. */
export function overview(model: Model): HTMLElement {
  const { info, "x-routesock-undocumented": others = [] } = model.document;
  return h(
    "article",
    null,
    h("h1", { tabindex: -1 }, info.title),
    h("p", { class: "tags" }, h("span", { class: "tag" }, `version ${info.version}`), link(info["termsOfService"], "Terms"), link(info["license"]?.url, info["license"]?.name ?? ""), contact(info["contact"])),
    paragraphs(info.description),
    model.channels.length ? model.channels.map((channel) => channelCard(channel, "h2")) : h("p", { class: "empty" }, "No consumer with RouteMixin is routed in ASGI_APPLICATION."),
    others.length
      ? section(
          "Other consumers",
          h("p", { class: "small" }, "They do not use routesock, so nothing is known of their frames."),
          h("ul", { class: "plain" }, others.map((other) => h("li", null, h("code", null, other.address ?? other["x-routesock-pattern"] ?? ""), " ", h("span", { class: "soft" }, other.title)))),
        )
      : null,
  );
}

/** The start of one channel. */
export function channelPage(channel: Channel): HTMLElement {
  return h("article", null, channelCard(channel, "h1"));
}

function channelCard(channel: Channel, level: "h1" | "h2"): HTMLElement {
  const { raw, operations } = channel;
  const groups = (["route", "topic", "push"] as const).map((kind) => operations.filter((operation) => operation.kind == kind || (kind == "route" && operation.kind == "stream")));
  return h(
    "section",
    { class: "channel" },
    h(level, level == "h1" ? { tabindex: -1 } : null, level == "h2" ? h("a", { href: `#${channel.key}` }, h("code", null, addressOf(channel))) : h("code", null, addressOf(channel))),
    h("p", { class: "tags" }, h("span", { class: "tag" }, channel.title)),
    raw.summary ? h("p", { class: "summary" }, raw.summary) : null,
    paragraphs(raw.description),
    raw["x-routesock-foreign"] ? h("p", { class: "note" }, "This consumer also has code for frames that are not listed here.") : null,
    groups.map((group, index) => (group.length ? [h(level == "h1" ? "h2" : "h3", null, ["Routes", "Topics", "Pushes"][index]!), indexOf(group)] : null)),
    level == "h1" && isObject(raw["x-routesock-limits"]) ? [h("h2", null, "Limits"), limits(raw["x-routesock-limits"])] : null,
  );
}

function indexOf(operations: readonly Operation[]): HTMLElement {
  return h(
    "ul",
    { class: "index" },
    operations.map((operation) =>
      h(
        "li",
        null,
        h("a", { href: `#${operation.key}` }, h("code", { class: operation.deprecated ? "deprecated" : null }, operation.name)),
        operation.kind == "stream" ? h("span", { class: "kind stream" }, "stream") : null,
        h("span", { class: "soft" }, operation.summary),
      ),
    ),
  );
}

const LIMITS: { readonly [name: string]: string } = {
  max_frame: "Largest frame in bytes",
  max_queued: "Requests that may wait",
  protocol: "Version of the protocol",
  heartbeat: "Heartbeat in seconds",
};

function limits(values: { readonly [name: string]: unknown }): HTMLElement {
  return h(
    "dl",
    { class: "facts" },
    Object.entries(values).map(([name, value]) => h("div", null, h("dt", null, LIMITS[name] ?? name), h("dd", null, isObject(value) ? Object.entries(value).map(([key, inner]) => `${key} ${String(inner)}`).join(", ") : String(value)))),
  );
}

/** A link, if it leads to the web: other schemes would run scripts. */
function link(url: unknown, text: string): Child {
  if (typeof url != "string" || !/^https?:\/\//i.test(url)) return text && url !== undefined ? h("span", { class: "tag" }, text) : null;
  return h("a", { class: "tag", href: url, rel: "noreferrer" }, text || url);
}

function contact(found: unknown): Child {
  if (!isObject(found)) return null;
  const text = String(found["name"] ?? found["email"] ?? "Contact");
  return found["url"] ? link(found["url"], text) : h("span", { class: "tag" }, [found["name"], found["email"]].filter(Boolean).join(" "));
}
