/** Calling routes from the page: the connection, the request with its reply, and the frames. */
import { ConnectionLost, RouteError } from "../src/errors.js";
import type { Subscription } from "../src/types.js";
import { checker, type Fault } from "./check.js";
import { snippets } from "./code.js";
import { debounced, fill, h, newId, type Child } from "./dom.js";
import { createEditor } from "./editor.js";
import { block, escaped, format } from "./json.js";
import { badge, createLog, type Log } from "./log.js";
import { isObject, type Channel, type Model, type Operation, type Schema } from "./model.js";
import { sampleOf } from "./schema.js";
import { createSession, described, type Session } from "./session.js";

/** Items and pushes that are shown: older ones are in the log. */
const MAX_ITEMS = 100;

interface Place {
  readonly session: Session;
  readonly card: HTMLElement;
  readonly log: Log;
  readonly raw: HTMLElement;
  /** The path with its parameters, or `undefined` where one is missing. `demand` moves the focus there. */
  path(demand?: boolean): string | undefined;
  /** What ends the subscription to a topic and says why. */
  readonly subscriptions: Map<string, (text: string) => void>;
}

export interface Playground {
  show(channel: Channel, operation: Operation | undefined): void;
}

export function createPlayground(element: HTMLElement, model: Model, prefix: string): Playground {
  const places = new Map<string, Place>();
  const panels = new Map<string, HTMLElement>();

  function placeOf(channel: Channel): Place {
    const known = places.get(channel.key);
    if (known) return known;
    const place = createPlace(channel, model, prefix);
    places.set(channel.key, place);
    return place;
  }

  return {
    show(channel, operation) {
      const place = placeOf(channel);
      let panel: HTMLElement | undefined;
      // What has been typed, and the reply, are there again when one comes back.
      if (operation && operation.kind != "control") {
        panel = panels.get(operation.key) ?? createPanel(operation, place, model);
        panels.set(operation.key, panel);
      }
      fill(element, h("h2", { class: "hidden" }, "Try it"), place.card, panel, place.log.element, place.raw);
    },
  };
}

// The connection

function createPlace(channel: Channel, model: Model, prefix: string): Place {
  const log = createLog(() => {
    const keys = channel.keys;
    if (keys && !session.write(JSON.stringify({ [keys.route]: "PING", ...(keys.id ? { [keys.id]: `ping-${++pings}` } : {}) }))) {
      log.add("info", "There is no connection.", null);
    }
  });
  let pings = 0;
  const session = createSession(channel, log);
  const { element: where, path } = pathInputs(channel, prefix);
  const state = h("p", { class: "state", role: "status" });
  const problem = h("p", { class: "small" });
  const button = h("button", { type: "button", class: "wide", onclick: toggle });
  const auth = authInputs(channel, model, session);
  const card = h(
    "section",
    { class: "card", "aria-labelledby": "connection-title" },
    h("div", { class: "bar" }, h("h2", { id: "connection-title" }, "Connection"), state),
    where,
    auth,
    problem,
    button,
  );

  function toggle(): void {
    if (["idle", "closed"].includes(session.state)) {
      const wanted = path(true);
      if (wanted) session.connect(wanted);
    } else session.close();
  }

  function update(): void {
    const { state: now, why } = session;
    const texts = {
      idle: "Not connected",
      connecting: "Connecting",
      authenticating: "Authenticating",
      open: "Connected",
      waiting: "Trying again",
      closed: "Closed",
    };
    fill(state, h("span", { class: `dot ${now}`, "aria-hidden": "true" }), texts[now]);
    fill(button, ["idle", "closed"].includes(now) ? "Connect" : "Disconnect");
    fill(problem, (now == "waiting" || now == "closed") && why ? `The last connection has ended: ${described(why)}` : null);
    problem.hidden = !problem.textContent;
  }

  const subscriptions: Place["subscriptions"] = new Map();
  session.onChange(update);
  session.onChange(() => {
    if (!session.client) for (const end of [...subscriptions.values()]) end("disconnected");
  });
  update();
  return { session, card, log, path, raw: rawEditor(session, log, path), subscriptions };
}

function pathInputs(channel: Channel, prefix: string): { readonly element: HTMLElement; path(demand?: boolean): string | undefined } {
  if (channel.address === null) {
    const pattern = channel.raw["x-routesock-pattern"] ?? "";
    const input = h("input", { type: "text", placeholder: "/ws/…", autocomplete: "off", spellcheck: "false" });
    return {
      element: h("div", { class: "fields" }, field("Path", input, h("span", { class: "small" }, "It matches ", h("code", null, pattern)))),
      path: (demand) => (input.value.startsWith("/") ? prefix + input.value : demand ? required(input) : undefined),
    };
  }
  const inputs = new Map<string, HTMLInputElement>();
  const shown = h("code", { class: "url" });
  const parts = channel.address.split(/\{([^}]+)\}/);
  const current = () => parts.map((part, index) => (index % 2 ? encoded(inputs.get(part)?.value ?? "") || `{${part}}` : part)).join("");
  const update = () => fill(shown, new URL(location.href).protocol.replace("http", "ws"), "//", location.host, prefix, current());
  for (const [index, name] of parts.entries()) {
    if (index % 2 == 0) continue;
    const about = channel.raw.parameters?.[name] ?? {};
    const values: unknown[] = about.enum ?? [];
    const listId = newId();
    const input = h("input", {
      type: "text",
      autocomplete: "off",
      spellcheck: "false",
      list: values.length ? listId : null,
      value: String(about.default ?? about.examples?.[0] ?? values[0] ?? ""),
      oninput: update,
    });
    input.append(h("datalist", { id: listId }, values.map((value) => h("option", { value }))));
    inputs.set(name, input);
  }
  update();
  return {
    element: h(
      "div",
      { class: "fields" },
      h("p", { class: "url-line" }, shown),
      [...inputs].map(([name, input]) => field(name, input, channel.raw.parameters?.[name]?.description)),
    ),
    path(demand) {
      for (const input of inputs.values()) if (!input.value) return demand ? required(input) : undefined;
      return prefix + current();
    },
  };
}

/** A slash stays: the converter `path` takes it. */
function encoded(text: string): string {
  return encodeURIComponent(text).replace(/%2F/g, "/");
}

function required(input: HTMLInputElement): undefined {
  input.focus();
  input.setAttribute("aria-invalid", "true");
  input.addEventListener("input", () => input.removeAttribute("aria-invalid"), { once: true });
  return undefined;
}

function field(label: string, input: HTMLElement, hint?: Child): HTMLElement {
  const id = newId();
  input.id = id;
  return h("div", { class: "field" }, h("label", { for: id }, label), input, hint ? h("span", { class: "small" }, hint) : null);
}

function authInputs(channel: Channel, model: Model, session: Session): HTMLElement {
  const names = new Set(channel.operations.flatMap(({ security }) => security));
  const schemes = model.document.components?.securitySchemes ?? {};
  const used = [...names].map((name) => schemes[name] ?? {});
  const takesFrame = channel.operations.some(({ kind, name, isSent }) => kind == "control" && name == "AUTH" && !isSent);
  const takesProtocol = used.some((scheme) => scheme["x-routesock-prefix"] == "bearer.");
  const handshake = used.find((scheme) => scheme["x-routesock-handshake"])?.["x-routesock-handshake"];
  const cookie = used.some((scheme) => scheme.in == "cookie");
  const note = cookie
    ? "The socket is opened with your session in this browser."
    : handshake
      ? `The server waits ${handshake.timeout} s for a token${handshake.mode == "optional" ? ", if there is one" : ""}.`
      : null;
  const notes = note ? h("p", { class: "small" }, note) : null;
  if (!channel.keys || !(takesFrame || takesProtocol)) return h("div", null, notes);
  session.auth = takesProtocol && !handshake ? "subprotocol" : "frame";
  const token = h("input", {
    type: "password",
    autocomplete: "off",
    spellcheck: "false",
    oninput: () => {
      session.token = token.value.trim();
    },
  });
  const how = h(
    "select",
    {
      onchange: () => {
        session.auth = how.value as Session["auth"];
      },
    },
    h("option", { value: "frame", selected: session.auth == "frame" }, "in an AUTH frame"),
    h("option", { value: "subprotocol", selected: session.auth == "subprotocol" }, "as a subprotocol"),
  );
  return h(
    "div",
    { class: "fields" },
    notes,
    field("Token", token, "It stays in the memory of this page."),
    takesFrame && takesProtocol ? field("Sent", how) : null,
  );
}

function rawEditor(session: Session, log: Log, path: () => string | undefined): HTMLElement {
  const area = h("textarea", { rows: 3, spellcheck: "false", "aria-label": "Raw frame", placeholder: "Any text" });
  const send = async () => {
    const wanted = path();
    if (session.state != "open" && wanted && session.client) await session.opened(wanted).catch(() => undefined);
    if (!session.write(area.value)) log.add("info", "Not sent: there is no connection.", null);
  };
  area.addEventListener("keydown", (event) => {
    if (event.key == "Enter" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      void send();
    }
  });
  return h(
    "details",
    { class: "card" },
    h("summary", null, h("h2", null, "Raw frame")),
    h("p", { class: "small" }, "Sent as it is. Whatever the server answers is among the frames."),
    area,
    h("button", { type: "button", onclick: () => void send() }, "Send as it is"),
  );
}

// Requests

function createPanel(operation: Operation, place: Place, model: Model): HTMLElement {
  if (!operation.channel.keys) {
    return h("section", { class: "card" }, h("h2", null, "Request"), h("p", { class: "small" }, "The frames of this channel have a format that the page does not know. Connect, and send a raw frame."));
  }
  if (operation.isSent) return pushPanel(operation, place);
  if (operation.kind == "topic") return topicPanel(operation, place, model);
  return requestPanel(operation, place, model);
}

const HOTKEY = /Mac|iP(hone|ad)/.test(navigator.platform) ? "⌘ Enter" : "Ctrl Enter";

function requestPanel(operation: Operation, place: Place, model: Model): HTMLElement {
  const { session } = place;
  const schema = operation.request.payload;
  const takesNothing = !Object.keys(schema).length;
  const answers = operation.replies.some(({ part }) => part == "reply" || part == "item" || part == "end");
  const result = h("div", { class: "result", "aria-live": "polite" });
  const editor = createEditor("Payload as JSON", takesNothing ? () => [] : checker(schema, model), () => void send(), () => refresh());
  const button = h("button", { type: "button", class: "primary", "aria-keyshortcuts": "Control+Enter", onclick: () => void send() }, "Send", h("kbd", null, HOTKEY));
  const cancel = h("button", { type: "button", hidden: true, onclick: () => abort?.abort() }, "Cancel");
  const code = codeCard(operation, place, model, () => editor.value);
  const refresh = debounced(() => code.refresh(), 60);

  session.onNotificationError((error) => {
    if (!answers && error.route == operation.name) showError(error, performance.now() - started);
  });
  let abort: AbortController | undefined;
  let started = 0;

  const samples = operation.examples.length ? operation.examples : takesNothing ? [] : [sampleOf(schema, model)];
  editor.set(samples[0]);

  async function send(): Promise<void> {
    if (abort) return;
    if (!editor.read()) return void editor.area.focus();
    const path = place.path(true);
    if (!path) return;
    abort = new AbortController();
    button.disabled = true;
    cancel.hidden = false;
    fill(result, h("p", { class: "small" }, "Waiting for a reply…"));
    try {
      await untilAborted(session.opened(path), abort.signal);
      await run(abort.signal);
    } catch (error) {
      showFailure(error);
    } finally {
      abort = undefined;
      button.disabled = false;
      cancel.hidden = true;
    }
  }

  async function run(signal: AbortSignal): Promise<void> {
    const client = session.client!;
    started = performance.now();
    if (!answers) {
      client.notify(operation.name, editor.value);
      return fill(result, h("p", { class: "small" }, "Sent. This route answers errors only."));
    }
    if (operation.kind == "stream") return stream(signal);
    try {
      const reply = await client.request(operation.name, editor.value, { signal });
      fill(result, outcome(reply.status, performance.now() - started, reply.payload, reply.headers));
    } catch (error) {
      if (!(error instanceof RouteError)) throw error;
      showError(error, performance.now() - started);
    }
  }

  async function stream(signal: AbortSignal): Promise<void> {
    const items = h("ol", { class: "items", reversed: true });
    const head = h("p", { class: "outcome" });
    let count = 0;
    const summary = (status: number | string, ended: boolean) =>
      fill(head, badge(status), h("span", null, `${count} ${count == 1 ? "item" : "items"}`), h("span", { class: "soft" }, `${Math.round(performance.now() - started)} ms`), ended ? null : h("span", { class: "soft" }, "running"));
    fill(result, head, items);
    try {
      for await (const item of session.client!.stream(operation.name, editor.value, { signal })) {
        ++count;
        items.prepend(h("li", null, block(format(item), `Item ${count}`)));
        if (items.childElementCount > MAX_ITEMS) items.lastElementChild!.remove();
        summary(206, false);
      }
      summary(200, true);
    } catch (error) {
      if (signal.aborted) return summary("cancelled", true);
      if (!(error instanceof RouteError)) throw error;
      showError(error, performance.now() - started, items);
    }
  }

  function showError(error: RouteError, duration: number, items?: Child): void {
    fill(result, outcome(error.status, duration, error.problem, error.headers), items);
    editor.refuse(faultsOf(error.problem["errors"]));
  }

  function showFailure(error: unknown): void {
    const text =
      abort?.signal.aborted ? "Cancelled."
      : error instanceof ConnectionLost ? `The connection was lost ${error.sent ? "before the reply came" : "before the request was sent"}.`
      : error instanceof Error ? error.message
      : String(error);
    fill(result, h("p", { class: "failure" }, text));
  }

  const chooser =
    samples.length > 1
      ? h(
          "select",
          { "aria-label": "Example", onchange: (event) => editor.set(samples[Number((event.target as HTMLSelectElement).value)]) },
          samples.map((sample, index) => h("option", { value: index }, `Example ${index + 1}: ${JSON.stringify(sample).slice(0, 40)}`)),
        )
      : h("button", { type: "button", class: "quiet", onclick: () => editor.set(samples[0]) }, "Reset");

  return h(
    "div",
    null,
    h(
      "section",
      { class: "card", "aria-labelledby": "request-title" },
      h("div", { class: "bar" }, h("h2", { id: "request-title" }, "Request"), chooser),
      editor.element,
      h("div", { class: "bar" }, button, cancel),
      editor.list,
      result,
    ),
    code.element,
  );
}

function untilAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  return Promise.race([
    promise,
    new Promise<T>((_, reject) => signal.addEventListener("abort", () => reject(signal.reason as Error), { once: true })),
  ]);
}

/** A status, the time, headers and the payload of a reply. */
function outcome(status: number, duration: number, payload: unknown, headers: { readonly [name: string]: unknown }): Child {
  const names = Object.entries(headers ?? {});
  const text = format(payload);
  return [
    h("p", { class: "outcome" }, badge(status), h("span", { class: "soft" }, `${duration < 10 ? duration.toFixed(1) : Math.round(duration)} ms`)),
    names.length
      ? h("dl", { class: "headers" }, names.map(([name, value]) => [h("dt", null, name), h("dd", null, typeof value == "string" ? value : JSON.stringify(value))]))
      : null,
    payload === undefined || payload === null || text == "{}" ? h("p", { class: "small" }, "No payload.") : block(text, "Reply"),
  ];
}

/** The messages of a 422, flat or nested, with the places of their fields. */
export function faultsOf(errors: unknown, pointer = ""): Fault[] {
  if (typeof errors == "string") return [{ pointer, message: errors }];
  if (Array.isArray(errors)) return errors.flatMap((item) => (typeof item == "string" ? faultsOf(item, pointer) : nativeFaults(item, pointer)));
  if (!isObject(errors)) return [];
  return Object.entries(errors).flatMap(([name, inner]) => {
    const path = name == "_schema" || name == "non_field_errors" || name == "" ? [] : name.split(".");
    return faultsOf(inner, [pointer, ...path.map(escaped)].join("/"));
  });
}

/** An entry of pydantic: `{loc: [...], msg}`. */
function nativeFaults(item: unknown, pointer: string): Fault[] {
  if (!isObject(item)) return [];
  const { loc, msg } = item;
  if (typeof msg != "string" || !Array.isArray(loc)) return faultsOf(item, pointer);
  return [{ pointer: [pointer, ...loc.map((part) => escaped(String(part)))].join("/"), message: msg }];
}

// Topics and pushes

function topicPanel(operation: Operation, place: Place, model: Model): HTMLElement {
  const schema: Schema = model.resolve(operation.request.payload);
  const check = checker(schema, model);
  const names = operation.examples.map((example) => (isObject(example) ? String(example["topic"]) : "")).filter(Boolean);
  const input = h("input", { type: "text", autocomplete: "off", spellcheck: "false", value: names[0] ?? (operation.name.includes("{") ? "" : operation.name), placeholder: operation.name });
  const hint = h("span", { class: "faults", role: "status" });
  const list = h("div", { class: "topics" });
  const code = codeCard(operation, place, model, () => ({ topic: input.value }));
  const button = h("button", { type: "button", class: "primary", onclick: () => void subscribe() }, "SUBSCRIBE");
  const validate = () => {
    const faults = input.value ? check({ topic: input.value }) : [];
    input.setAttribute("aria-invalid", String(faults.length > 0));
    fill(hint, faults.length ? `This is no name of ${operation.name}.` : null);
    code.refresh();
  };
  input.addEventListener("input", validate);
  input.addEventListener("keydown", (event) => {
    if (event.key == "Enter") void subscribe();
  });

  async function subscribe(): Promise<void> {
    const topic = input.value;
    const path = place.path(true);
    if (!topic) return void required(input);
    if (!path || place.subscriptions.has(topic)) return;
    const events = h("ol", { class: "items", reversed: true });
    const state = h("span", { class: "soft" }, "subscribing");
    const stop = h("button", { type: "button", onclick: () => end("unsubscribed") }, "UNSUBSCRIBE");
    const entry = h("section", { class: "subscription", "aria-label": topic }, h("div", { class: "bar" }, h("code", null, topic), state, stop), events);
    list.prepend(entry);
    const add = (label: string, payload: unknown) => {
      events.prepend(h("li", null, h("span", { class: "frame-name" }, label), block(format(payload), label)));
      if (events.childElementCount > MAX_ITEMS) events.lastElementChild!.remove();
    };
    let subscription: Subscription | undefined;
    const end = (text: string) => {
      subscription?.unsubscribe();
      place.subscriptions.delete(topic);
      fill(state, text);
      stop.remove();
    };
    place.subscriptions.set(topic, end);
    try {
      await place.session.opened(path);
    } catch (error) {
      return end((error as Error).message);
    }
    subscription = place.session.client!.subscribe(topic, {
      snapshot: (payload) => {
        fill(state, "subscribed");
        add("snapshot", payload);
      },
      push: ({ route, payload }) => add(route, payload),
      ended: (problem) => {
        end("ended");
        add(String(problem.code ?? "ended"), problem);
      },
    });
  }

  return h(
    "div",
    null,
    h("section", { class: "card" }, h("h2", null, "Subscription"), field("Topic", input), hint, h("div", { class: "bar" }, button), list),
    code.element,
  );
}

function pushPanel(operation: Operation, place: Place): HTMLElement {
  const items = h("ol", { class: "items", reversed: true, "aria-live": "polite" });
  const empty = h("p", { class: "empty" }, `Connect, and each ${operation.name} that the server sends appears here.`);
  let off: (() => void) | undefined;
  let listened: unknown;
  const listen = () => {
    const { client } = place.session;
    if (client === listened) return;
    off?.();
    listened = client;
    off = client?.on(operation.name, (payload) => {
      empty.hidden = true;
      items.prepend(h("li", null, h("time", null, new Date().toLocaleTimeString()), block(format(payload), operation.name)));
      if (items.childElementCount > MAX_ITEMS) items.lastElementChild!.remove();
    });
  };
  place.session.onChange(listen);
  listen();
  return h("section", { class: "card" }, h("h2", null, "Received"), empty, items);
}

// Code

function codeCard(operation: Operation, place: Place, model: Model, payload: () => unknown): { readonly element: HTMLElement; refresh(): void } {
  let chosen = snippets[0]!;
  const output = h("div");
  const tabs = snippets.map((snippet) =>
    h("button", { type: "button", "aria-pressed": String(snippet == chosen), onclick: () => choose(snippet) }, snippet.label),
  );
  const copied = h("span", { class: "small", role: "status" });
  const element = h(
    "details",
    { class: "card", ontoggle: () => refresh() },
    h("summary", null, h("h2", null, "Copy as code")),
    h("div", { class: "tabs", role: "group", "aria-label": "Language" }, tabs),
    output,
    h("div", { class: "bar" }, h("button", { type: "button", onclick: () => void copy() }, "Copy"), copied),
  );
  const schemes = model.document.components?.securitySchemes ?? {};
  const cookie = operation.security.map((name) => schemes[name]).find((scheme) => scheme?.in == "cookie")?.name ?? "";
  let code = "";

  function choose(snippet: (typeof snippets)[number]): void {
    chosen = snippet;
    tabs.forEach((tab, index) => tab.setAttribute("aria-pressed", String(snippets[index] == chosen)));
    refresh();
  }

  function refresh(): void {
    if (!element.open) return;
    const path = place.path() ?? operation.channel.address ?? "/";
    code = chosen.code(operation, path, payload(), cookie);
    fill(output, block(code, chosen.label, false));
  }

  async function copy(): Promise<void> {
    try {
      await navigator.clipboard.writeText(code);
      fill(copied, "Copied.");
    } catch {
      getSelection()?.selectAllChildren(output);
      fill(copied, "Selected: copy it with the keyboard.");
    }
  }

  return { element, refresh };
}
