/** The frames of a connection, the newest first. */
import { fill, h } from "./dom.js";
import { block, format } from "./json.js";
import { isObject, type Keys } from "./model.js";

const MAX_FRAMES = 500;
/** Longer frames are cut: 500 of the largest would take half a gigabyte. */
const MAX_CHARS = 20_000;

export type Direction = "sent" | "received" | "info";

interface Entry {
  readonly direction: Direction;
  readonly text: string;
  readonly size: number;
  readonly time: Date;
  readonly title: string;
  readonly status: number | undefined;
}

export interface Log {
  readonly element: HTMLElement;
  add(direction: Direction, data: unknown, keys: Keys | null): void;
}

export function createLog(ping: () => void): Log {
  const entries: { readonly entry: Entry; readonly element: HTMLElement }[] = [];
  let paused = false;
  let waiting = 0;

  const list = h("ol", { class: "frames", "aria-label": "Frames, the newest first" });
  const empty = h("p", { class: "empty" }, "Frames appear here as soon as you connect.");
  const filter = h("input", { type: "search", placeholder: "Filter frames", "aria-label": "Filter frames", oninput: show });
  const pause = h("button", { type: "button", "aria-pressed": "false", onclick: toggle }, "Pause");
  const count = h("span", { class: "count" });
  const element = h(
    "section",
    { class: "card log", "aria-labelledby": "log-title" },
    h("div", { class: "bar" }, h("h2", { id: "log-title" }, "Frames"), count),
    h(
      "div",
      { class: "bar" },
      filter,
      pause,
      h("button", { type: "button", onclick: clear }, "Clear"),
      h("button", { type: "button", onclick: ping }, "PING"),
    ),
    empty,
    list,
  );

  function matches({ title, text, direction }: Entry): boolean {
    const wanted = filter.value.trim().toLowerCase();
    return !wanted || `${direction} ${title} ${text}`.toLowerCase().includes(wanted);
  }

  function show(): void {
    const found = entries.filter(({ entry }) => matches(entry));
    list.replaceChildren(...found.map(({ element: item }) => item).reverse());
    summarise();
  }

  function summarise(): void {
    empty.hidden = entries.length > 0;
    fill(count, paused && waiting ? `${waiting} new, paused` : entries.length ? `${list.childElementCount} of ${entries.length}` : null);
  }

  function toggle(): void {
    paused = !paused;
    waiting = 0;
    pause.setAttribute("aria-pressed", String(paused));
    show();
  }

  function clear(): void {
    entries.length = 0;
    waiting = 0;
    show();
  }

  return {
    element,
    add(direction, data, keys) {
      const entry = entryOf(direction, data, keys);
      const item = itemOf(entry);
      entries.push({ entry, element: item });
      if (entries.length > MAX_FRAMES) {
        const [oldest] = entries.splice(0, 1);
        if (!paused) oldest!.element.remove();
      }
      if (paused) ++waiting;
      else if (matches(entry)) list.prepend(item);
      summarise();
    },
  };
}

function entryOf(direction: Direction, data: unknown, keys: Keys | null): Entry {
  const text = typeof data == "string" ? data : `${(data as ArrayBuffer).byteLength} bytes`;
  const entry = { direction, text: text.slice(0, MAX_CHARS), size: text.length, time: new Date() };
  if (direction == "info") return { ...entry, title: text, status: undefined };
  try {
    const frame: unknown = JSON.parse(text);
    if (keys && isObject(frame)) {
      const status = keys.status === null ? undefined : frame[keys.status];
      return { ...entry, title: String(frame[keys.route]), status: typeof status == "number" ? status : undefined };
    }
  } catch {
    // It is shown as it is.
  }
  return { ...entry, title: text.slice(0, 60), status: undefined };
}

const ARROWS = { sent: ["↑", "Sent"], received: ["↓", "Received"], info: ["·", "Connection"] } as const;

function itemOf({ direction, text, size, time, title, status }: Entry): HTMLElement {
  const [arrow, label] = ARROWS[direction];
  const head = [
    h("span", { class: "arrow", "aria-hidden": "true" }, arrow),
    h("span", { class: "hidden" }, label),
    h("time", { datetime: time.toISOString() }, clock(time)),
    h("span", { class: "frame-name" }, title),
    status === undefined ? null : badge(status),
  ];
  if (direction == "info") return h("li", { class: "frame info" }, head);
  const details = h("details", null, h("summary", null, head, h("span", { class: "size" }, sizeOf(size))));
  details.addEventListener("toggle", () => details.append(block(pretty(text, size), "Frame")), { once: true });
  return h("li", { class: `frame ${direction}` }, details);
}

function pretty(text: string, size: number): string {
  if (text.length < size) return `${text}\n… ${size - text.length} more characters`;
  try {
    return format(JSON.parse(text));
  } catch {
    return text;
  }
}

function clock(time: Date): string {
  const digits = (value: number, length = 2) => String(value).padStart(length, "0");
  return `${digits(time.getHours())}:${digits(time.getMinutes())}:${digits(time.getSeconds())}.${digits(time.getMilliseconds(), 3)}`;
}

export function sizeOf(size: number): string {
  return size < 1024 ? `${size} B` : `${(size / 1024).toFixed(1)} KiB`;
}

/** A status with a colour. */
export function badge(status: number | string): HTMLElement {
  const family = Number(String(status)[0]);
  return h("span", { class: `status s${family >= 2 && family <= 5 ? family : "x"}` }, status);
}
