/** A text area for JSON with line numbers and marks at errors. */
import { debounced, fill, h, newId } from "./dom.js";
import type { Fault } from "./check.js";
import { format, parse, type Parsed } from "./json.js";

export interface Editor {
  readonly element: HTMLElement;
  /** The mistakes. Whatever is below the list moves when it changes, so a button to press belongs above it. */
  readonly list: HTMLElement;
  readonly area: HTMLTextAreaElement;
  /** The value; `undefined` where the text is empty or no JSON. */
  readonly value: unknown;
  /** Reads what has just been typed, and returns whether it is JSON, or empty. */
  read(): boolean;
  set(value: unknown): void;
  /** Shows what the server has refused, until the text changes. */
  refuse(faults: readonly Fault[]): void;
}

const MIN_ROWS = 3;
const MAX_ROWS = 20;

export function createEditor(label: string, check: (value: unknown) => Fault[], send: () => void, changed: () => void): Editor {
  const listId = newId();
  const area = h("textarea", {
    spellcheck: "false",
    autocapitalize: "off",
    autocomplete: "off",
    wrap: "off",
    placeholder: "No payload",
    "aria-label": label,
    "aria-describedby": listId,
  });
  const gutter = h("div", { class: "gutter", "aria-hidden": "true" });
  const list = h("ul", { class: "faults", id: listId, "aria-live": "polite" });
  let parsed: Parsed = { offsets: new Map() };
  let refused: readonly Fault[] = [];

  const later = debounced(update, 120);
  area.addEventListener("input", () => {
    refused = [];
    area.rows = rows();
    number([]);
    later();
  });
  area.addEventListener("scroll", () => (gutter.scrollTop = area.scrollTop));
  area.addEventListener("keydown", (event) => {
    if (event.key == "Enter" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      send();
    }
  });

  function rows(): number {
    return Math.min(Math.max(area.value.split("\n").length, MIN_ROWS), MAX_ROWS);
  }

  function number(lines: readonly number[]): void {
    const count = area.value.split("\n").length;
    const marks = Array.from({ length: count }, (_, line) => h("span", { class: lines.includes(line) ? "bad" : null }, line + 1));
    fill(gutter, marks);
    gutter.scrollTop = area.scrollTop;
  }

  function update(): void {
    const text = area.value;
    parsed = text.trim() ? parse(text) : { offsets: new Map() };
    const faults: { offset: number; where: string; message: string }[] = [];
    if (parsed.error) faults.push({ ...parsed.error, where: "" });
    else if (text.trim()) for (const fault of check(parsed.value)) if (!isRefused(fault)) faults.push(placed(fault, ""));
    for (const fault of refused) faults.push(placed(fault, "Server: "));
    const line = (offset: number) => text.slice(0, offset).split("\n").length - 1;
    number(faults.map(({ offset }) => line(offset)));
    area.rows = rows();
    area.setAttribute("aria-invalid", String(faults.length > 0));
    fill(
      list,
      faults.map(({ offset, where, message }) =>
        h(
          "li",
          null,
          h("button", { type: "button", class: "fault", onclick: () => select(offset) }, where ? h("code", null, where) : `Line ${line(offset) + 1}`),
          h("span", null, message),
        ),
      ),
    );
    changed();
  }

  /** The server's own message about a field says more than that of the schema. */
  function isRefused({ pointer }: Fault): boolean {
    return refused.some((fault) => fault.pointer == pointer);
  }

  /** The place of a fault: that of its field, or of the nearest one around it that is there. */
  function placed({ pointer, message }: Fault, prefix: string): { offset: number; where: string; message: string } {
    let found = pointer;
    while (found && !parsed.offsets.has(found)) found = found.slice(0, found.lastIndexOf("/"));
    const where = pointer.slice(1).replace(/\//g, ".").replace(/~1/g, "/").replace(/~0/g, "~");
    return { offset: parsed.offsets.get(found) ?? 0, where, message: prefix + message };
  }

  function select(offset: number): void {
    area.focus();
    const end = area.value.indexOf("\n", offset);
    area.setSelectionRange(offset, end < 0 ? area.value.length : end);
  }

  return {
    element: h("div", { class: "editor" }, h("div", { class: "pad" }, gutter, area)),
    list,
    area,
    get value() {
      return parsed.value;
    },
    read() {
      update();
      return !parsed.error;
    },
    set(value) {
      refused = [];
      area.value = value === undefined ? "" : format(value);
      update();
    },
    refuse(faults) {
      refused = faults;
      update();
    },
  };
}
