/** JSON texts: where each value is, and how they are shown. */
import { h, type Child } from "./dom.js";

export interface Parsed {
  readonly value?: unknown;
  /** JSON pointer to the offset of the value. That of a member is the offset of its name. */
  readonly offsets: ReadonlyMap<string, number>;
  readonly error?: { readonly message: string; readonly offset: number };
}

const LITERALS: readonly (readonly [string, unknown])[] = [
  ["true", true],
  ["false", false],
  ["null", null],
];

/** Parses a text. Unlike `JSON.parse` it says where values and errors are. */
export function parse(text: string): Parsed {
  const offsets = new Map<string, number>();
  let at = 0;

  const fail = (message: string): never => {
    throw new Fault(message, at);
  };
  const space = () => {
    while (at < text.length && " \t\n\r".includes(text[at]!)) ++at;
  };

  function string(): string {
    const start = at++;
    while (text[at] != '"') {
      if (at >= text.length || text[at] == "\n") fail("This text does not end.");
      at += text[at] == "\\" ? 2 : 1;
    }
    ++at;
    try {
      return JSON.parse(text.slice(start, at)) as string;
    } catch {
      at = start;
      return fail("This text has a character that has to be escaped.");
    }
  }

  function value(pointer: string): unknown {
    space();
    if (!offsets.has(pointer)) offsets.set(pointer, at);
    const first = text[at];
    if (first == "{") return object(pointer);
    if (first == "[") return array(pointer);
    if (first == '"') return string();
    for (const [name, literal] of LITERALS) {
      if (text.startsWith(name, at)) {
        at += name.length;
        return literal;
      }
    }
    const number = /^-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?/.exec(text.slice(at, at + 400))?.[0];
    if (number === undefined) return fail(at < text.length ? "A value is expected here." : "A value is missing.");
    at += number.length;
    return Number(number);
  }

  function object(pointer: string): unknown {
    const found: [string, unknown][] = [];
    ++at;
    for (space(); text[at] != "}"; space()) {
      if (found.length) {
        if (text[at] != ",") fail("A comma or } is expected here.");
        ++at;
        space();
      }
      if (text[at] != '"') fail('A name in quotes is expected here.');
      const start = at;
      const name = string();
      const inner = `${pointer}/${escaped(name)}`;
      offsets.set(inner, start);
      space();
      if (text[at] != ":") fail("A colon is expected here.");
      ++at;
      found.push([name, value(inner)]);
    }
    ++at;
    return Object.fromEntries(found);
  }

  function array(pointer: string): unknown {
    const found: unknown[] = [];
    ++at;
    for (space(); text[at] != "]"; space()) {
      if (found.length) {
        if (text[at] != ",") fail("A comma or ] is expected here.");
        ++at;
      }
      found.push(value(`${pointer}/${found.length}`));
    }
    ++at;
    return found;
  }

  try {
    const found = value("");
    space();
    if (at < text.length) fail("Nothing is expected behind the value.");
    return { value: found, offsets };
  } catch (fault) {
    if (!(fault instanceof Fault)) throw fault;
    return { offsets, error: { message: fault.message, offset: Math.min(fault.offset, text.length) } };
  }
}

class Fault extends Error {
  readonly offset: number;

  constructor(message: string, offset: number) {
    super(message);
    this.offset = offset;
  }
}

/** A name as part of a JSON pointer. */
export function escaped(name: string): string {
  return name.replace(/~/g, "~0").replace(/\//g, "~1");
}

export function format(value: unknown): string {
  return JSON.stringify(value, null, 2) ?? "";
}

const TOKENS = /("(?:[^"\\]|\\.)*")(\s*:)?|-?\d[\d.eE+-]*|\b(?:true|false|null)\b/g;
/** Longer texts are shown without colours. */
const MAX_COLOURED = 20_000;

/** A value as an indented text with colours. */
export function coloured(text: string): Child[] {
  if (text.length > MAX_COLOURED) return [text];
  const parts: Child[] = [];
  let last = 0;
  for (const found of text.matchAll(TOKENS)) {
    const [whole, quoted, colon] = found;
    const token = quoted ?? whole;
    parts.push(text.slice(last, found.index));
    parts.push(h("span", { class: colon !== undefined ? "name" : quoted ? "string" : "number" }, token));
    last = found.index + token.length;
  }
  parts.push(text.slice(last));
  return parts;
}

/** A block of code that the keyboard can scroll. */
export function block(text: string, label: string, colours = true): HTMLElement {
  return h("pre", { tabindex: 0, role: "group", "aria-label": label }, h("code", null, colours ? coloured(text) : text));
}
