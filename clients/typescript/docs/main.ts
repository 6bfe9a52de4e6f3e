/** The page at `include("routesock.urls")`: reads the document and shows it. */
import { debounced, fill, h } from "./dom.js";
import { createModel, type AsyncApi, type Channel, type Model, type Operation } from "./model.js";
import { createPlayground, type Playground } from "./playground.js";
import { addressOf, channelPage, KINDS, overview, reference } from "./reference.js";

void start();

async function start(): Promise<void> {
  const root = document.getElementById("routesock")!;
  const { documentUrl, prefix = "", playground } = root.dataset;
  try {
    const response = await fetch(documentUrl!, { headers: { Accept: "application/json" } });
    if (!response.ok) throw new Error(`The server answered ${response.status}.`);
    show(root, createModel((await response.json()) as AsyncApi), prefix, playground !== undefined);
  } catch (error) {
    root.dataset["failed"] = "";
    root.prepend(h("p", { class: "failure", role: "alert" }, `The page cannot be shown. ${(error as Error).message}`));
  }
}

function show(root: HTMLElement, model: Model, prefix: string, canCall: boolean): void {
  const main = h("main", { id: "main", tabindex: -1 });
  const side = h("aside", { class: "side", "aria-label": "Try it" });
  const nav = createNav(model);
  const menu = h("button", { type: "button", class: "menu", "aria-expanded": "false", "aria-controls": "nav", onclick: () => open(nav.element.dataset["open"] === undefined) }, "Menu");
  const jump = canCall ? h("button", { type: "button", class: "jump", onclick: () => side.scrollIntoView() }, "Try it") : null;
  const playground = canCall ? createPlayground(side, model, prefix) : undefined;

  function open(is: boolean): void {
    if (is) nav.element.dataset["open"] = "";
    else delete nav.element.dataset["open"];
    menu.setAttribute("aria-expanded", String(is));
  }

  fill(
    root,
    h("a", { class: "skip", href: "#main", onclick: skip }, "Skip to content"),
    h(
      "header",
      null,
      h("a", { class: "brand", href: "#" }, model.document.info.title),
      h("span", { class: "tag" }, model.document.info.version),
      h("span", { class: "grow" }),
      h("a", { href: "asyncapi.json", class: "file" }, "JSON"),
      root.dataset["yaml"] === undefined ? null : h("a", { href: "asyncapi.yaml", class: "file" }, "YAML"),
      jump,
      menu,
    ),
    h("div", { class: canCall ? "columns" : "columns two" }, nav.element, main, canCall ? side : null),
  );
  root.dataset["ready"] = "";

  function skip(event: Event): void {
    event.preventDefault(); // the hash is the route
    main.focus();
  }

  const render = (isFirst: boolean) => {
    const key = decoded(location.hash.slice(1));
    const operation = model.byKey.get(key);
    const channel = operation?.channel ?? model.channels.find((each) => each.key == key);
    fill(main, operation ? reference(operation, model) : channel ? channelPage(channel) : overview(model));
    document.title = [operation?.name ?? (channel && addressOf(channel)), model.document.info.title].filter(Boolean).join(" · ");
    nav.select(key);
    open(false);
    tryIt(playground, side, channel ?? (model.channels.length == 1 ? model.channels[0] : undefined), operation);
    if (isFirst) return;
    scrollTo(0, 0);
    main.querySelector("h1")?.focus({ preventScroll: true });
  };
  addEventListener("hashchange", () => render(false));
  addEventListener("keydown", (event) => {
    const target = event.target as HTMLElement;
    if (event.key != "/" || event.ctrlKey || event.metaKey || event.altKey) return;
    if (/^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName)) return;
    event.preventDefault();
    open(true);
    nav.search.focus();
  });
  render(true);
}

function tryIt(playground: Playground | undefined, side: HTMLElement, channel: Channel | undefined, operation: Operation | undefined): void {
  if (!playground) return;
  if (channel) playground.show(channel, operation);
  else fill(side, h("p", { class: "empty" }, "Choose a route to try it."));
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

// Navigation

interface Nav {
  readonly element: HTMLElement;
  readonly search: HTMLInputElement;
  /** Marks where the reader is. */
  select(key: string): void;
}

interface Entry {
  readonly link: HTMLAnchorElement;
  readonly item: HTMLElement;
  readonly words: string;
}

function createNav(model: Model): Nav {
  const entries = new Map<string, Entry>();
  const groups: { readonly element: HTMLElement; readonly entries: readonly Entry[] }[] = [];
  let current: HTMLAnchorElement | undefined;

  const search = h("input", { type: "search", placeholder: "Search", "aria-label": "Search routes, topics and pushes", "aria-keyshortcuts": "/", autocomplete: "off", spellcheck: "false" });
  const none = h("p", { class: "empty", role: "status", hidden: true }, "Nothing found.");
  const element = h("nav", { id: "nav", "aria-label": "Routes" }, h("div", { class: "search" }, search, h("kbd", { "aria-hidden": "true" }, "/")), none, model.channels.map(channelOf));

  function channelOf(channel: Channel): HTMLElement {
    const own: Entry[] = [];
    const lists = groupsOf(channel.operations).map(([title, operations]) => {
      const found = operations.map(entryOf);
      own.push(...found);
      const list = h("ul", null, found.map(({ item }) => item));
      const group =
        title == PROTOCOL
          ? h("details", null, h("summary", null, title), list)
          : h("div", { role: "group", "aria-label": title }, h("p", { class: "group" }, title), list);
      groups.push({ element: group, entries: found });
      return group;
    });
    const link = h("a", { href: `#${channel.key}`, class: "address" }, addressOf(channel));
    const whole = h("section", null, link, lists);
    entries.set(channel.key, { link, item: link, words: "" });
    groups.push({ element: whole, entries: own });
    return whole;
  }

  function entryOf(operation: Operation): Entry {
    const { key, name, kind, summary, deprecated, tags, channel } = operation;
    const link = h("a", { href: `#${key}` }, h("span", { class: `mark ${kind}`, title: KINDS[kind] }), h("span", { class: deprecated ? "deprecated" : null }, name), h("span", { class: "hidden" }, `, ${KINDS[kind]}`));
    const entry = { link, item: h("li", null, link), words: [name, summary, KINDS[kind], addressOf(channel), ...tags].join(" ").toLowerCase() };
    entries.set(key, entry);
    return entry;
  }

  function filter(): void {
    const wanted = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    let found = 0;
    const matches = ({ words }: Entry) => wanted.every((word) => words.includes(word));
    for (const { element: group, entries: own } of groups) {
      const shown = own.filter(matches);
      group.hidden = wanted.length > 0 && !shown.length;
      if (group instanceof HTMLDetailsElement) group.open = wanted.length > 0 && shown.length > 0;
    }
    for (const entry of entries.values()) {
      if (!entry.words) continue;
      entry.item.hidden = !matches(entry);
      if (!entry.item.hidden) ++found;
    }
    none.hidden = found > 0;
  }

  /** The links that can be seen, in their order. */
  const visible = () => [...element.querySelectorAll<HTMLAnchorElement>("li a")].filter((link) => link.offsetParent);

  search.addEventListener("input", debounced(filter, 40));
  element.addEventListener("keydown", (event) => {
    if (event.target == search && /^(ArrowDown|Enter)$/.test(event.key)) filter();
    const links = visible();
    const at = links.indexOf(document.activeElement as HTMLAnchorElement);
    if (event.key == "ArrowDown") links[at + 1]?.focus();
    else if (event.key == "ArrowUp" && at >= 0) (links[at - 1] ?? search).focus();
    else if (event.key == "Enter" && event.target == search) links[0]?.click();
    else if (event.key == "Escape" && search.value) {
      search.value = "";
      filter();
      search.focus();
    } else return;
    event.preventDefault();
  });

  return {
    element,
    search,
    select(key) {
      current?.removeAttribute("aria-current");
      current = entries.get(key)?.link;
      current?.setAttribute("aria-current", "page");
      const around = current?.closest("details");
      if (around) around.open = true;
      current?.scrollIntoView({ block: "nearest" });
    },
  };
}

const PROTOCOL = "Protocol";

/** Routes by their first tag, then topics, pushes, and the frames of the protocol. */
function groupsOf(operations: readonly Operation[]): [string, Operation[]][] {
  const tags = new Map<string, Operation[]>();
  const others = new Map<string, Operation[]>([["Topics", []], ["Pushes", []], [PROTOCOL, []]]);
  for (const operation of operations) {
    const { kind } = operation;
    if (kind == "topic") others.get("Topics")!.push(operation);
    else if (kind == "push") others.get("Pushes")!.push(operation);
    else if (kind == "control") others.get(PROTOCOL)!.push(operation);
    else {
      const title = operation.tags[0] ?? "Routes";
      tags.set(title, [...(tags.get(title) ?? []), operation]);
    }
  }
  return [...tags, ...others].filter(([, found]) => found.length);
}
