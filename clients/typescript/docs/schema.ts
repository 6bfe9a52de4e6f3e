/** JSON Schema as tables, and examples made from it. */
import { h, type Child } from "./dom.js";
import { coloured } from "./json.js";
import { isObject, nameOf, type Model, type Schema } from "./model.js";

/** Deeper objects are named but not shown. */
const MAX_DEPTH = 6;

/** What a schema accepts, in a few words. */
export function typeOf(schema: Schema, model: Model, depth = 0): string {
  const found = model.resolve(schema);
  if (typeof schema.$ref == "string" && (found.properties || depth > 3)) return nameOf(schema.$ref);
  const parts = found.anyOf ?? found.oneOf;
  if (Array.isArray(parts)) return unique(parts.map((part: Schema) => typeOf(part, model, depth + 1))).join(" or ");
  if (found.const !== undefined) return JSON.stringify(found.const);
  if (found.enum && !found.type) return "one of the values";
  const types: string[] = found.type === undefined ? [] : [found.type].flat();
  const names = types.map((type) => {
    if (type == "array") {
      const { items } = found;
      if (Array.isArray(items)) return `[${items.map((item: Schema) => typeOf(item, model, depth + 1)).join(", ")}]`;
      return isObject(items) ? `array of ${typeOf(items, model, depth + 1)}` : "array";
    }
    return type;
  });
  if (names.length) return unique(names).join(" or ");
  if (found.allOf) return unique(found.allOf.map((part: Schema) => typeOf(part, model, depth + 1))).join(" and ");
  return found.properties ? "object" : "anything";
}

function unique(texts: readonly string[]): string[] {
  return [...new Set(texts)];
}

/** The rules of a schema beside its type. */
export function rulesOf(schema: Schema): string[] {
  const rules: string[] = [];
  const range = (unit: string, low: unknown, high: unknown) => {
    if (low !== undefined && low === high) rules.push(`${low} ${unit}`.trim());
    else if (low !== undefined && high !== undefined) rules.push(`${low} to ${high} ${unit}`.trim());
    else if (low !== undefined) rules.push(`at least ${low} ${unit}`.trim());
    else if (high !== undefined) rules.push(`at most ${high} ${unit}`.trim());
  };
  if (schema.format) rules.push(schema.format);
  range("characters", schema.minLength, schema.maxLength);
  range("", schema.minimum, schema.maximum);
  if (schema.exclusiveMinimum !== undefined) rules.push(`more than ${schema.exclusiveMinimum}`);
  if (schema.exclusiveMaximum !== undefined) rules.push(`less than ${schema.exclusiveMaximum}`);
  if (schema.multipleOf !== undefined) rules.push(`multiple of ${schema.multipleOf}`);
  range("items", schema.minItems, schema.maxItems);
  range("members", schema.minProperties, schema.maxProperties);
  if (schema.uniqueItems) rules.push("no item twice");
  return rules;
}

/** The table of the members of a payload, or a line for one that is no object. */
export function table(schema: Schema, model: Model, caption: string): HTMLElement {
  const found = model.resolve(schema);
  const rows: HTMLElement[] = [];
  if (isObject(found.properties) && Object.keys(found.properties).length) members(found, model, rows, "", 0, new Set([found]));
  else rows.push(row("", schema, found, model, false, 0));
  const notes = notesOf(found);
  return h(
    "div",
    { class: "schema" },
    h(
      "div",
      { class: "scroll", tabindex: 0, role: "group", "aria-label": caption },
      h(
        "table",
        null,
        h("caption", { class: "hidden" }, caption),
        h("thead", null, h("tr", null, h("th", { scope: "col" }, "Field"), h("th", { scope: "col" }, "Type"), h("th", { scope: "col" }, "Description"))),
        h("tbody", null, rows),
      ),
    ),
    found.additionalProperties === false && found.properties
      ? h("p", { class: "small" }, "No other fields.")
      : isObject(found.additionalProperties)
        ? h("p", { class: "small" }, `Other fields: ${typeOf(found.additionalProperties, model)}.`)
        : null,
    notes,
  );
}

/** What the server checks and the schema does not say. */
export function notesOf(schema: Schema): Child {
  const reasons: string[] = schema["x-routesock-inexact"] ?? [];
  if (!reasons.length) return null;
  return h(
    "p",
    { class: "note" },
    "The server may refuse values that fit here, because of ",
    reasons.map((reason, index) => [index ? ", " : null, h("code", null, reason)]),
    ".",
  );
}

function members(schema: Schema, model: Model, rows: HTMLElement[], path: string, depth: number, above: Set<Schema>): void {
  const required: string[] = schema.required ?? [];
  for (const [name, inner] of Object.entries(schema.properties as { [name: string]: Schema })) {
    const found = model.resolve(inner);
    const own = path ? `${path}.${name}` : name;
    rows.push(row(own, inner, found, model, required.includes(name), depth));
    const nested = nestedIn(found, model);
    if (!nested || above.has(nested[0]) || depth >= MAX_DEPTH) continue;
    members(nested[0], model, rows, own + nested[1], depth + 1, new Set([...above, nested[0]]));
  }
}

/** The object whose members are shown below a field: the field itself, its items, or its only part that is an object. */
function nestedIn(schema: Schema, model: Model): readonly [Schema, string] | undefined {
  if (isObject(schema.properties) && Object.keys(schema.properties).length) return [schema, ""];
  if (isObject(schema.items)) {
    const inner = nestedIn(model.resolve(schema.items), model);
    return inner && [inner[0], `[]${inner[1]}`];
  }
  const parts: Schema[] = schema.anyOf ?? schema.oneOf ?? [];
  const objects = parts.map((part) => nestedIn(model.resolve(part), model)).filter((part) => part !== undefined);
  return objects.length == 1 ? objects[0] : undefined;
}

function row(path: string, schema: Schema, found: Schema, model: Model, required: boolean, depth: number): HTMLElement {
  const cut = Math.max(path.lastIndexOf("."), -1) + 1;
  const values: unknown[] = found.enum ?? [];
  const examples: unknown[] = found.examples ?? [];
  const description: string = schema.description ?? found.description ?? "";
  const isRoot = path == "";
  return h(
    "tr",
    { class: depth ? "inner" : null },
    h(
      "th",
      { scope: "row" },
      isRoot
        ? h("span", { class: "soft" }, "payload")
        : h("code", null, cut ? h("span", { class: "soft" }, path.slice(0, cut)) : null, path.slice(cut)),
      required ? h("span", { class: "required" }, "required") : null,
      found.deprecated ? h("span", { class: "tag warn" }, "deprecated") : null,
    ),
    h(
      "td",
      null,
      h("span", { class: "type" }, typeOf(schema, model)),
      rulesOf(found).map((rule) => h("span", { class: "rule" }, rule)),
    ),
    h(
      "td",
      null,
      description ? h("p", { class: "text" }, description) : null,
      values.length ? listed("One of", values) : null,
      found.default !== undefined ? listed("Default", [found.default]) : null,
      examples.length ? listed(examples.length > 1 ? "Examples" : "Example", examples) : null,
      found.pattern ? patternOf(found.pattern) : null,
      isRoot ? null : notesOf(found),
    ),
  );
}

/** Longer patterns are folded: few readers want them. */
const MAX_PATTERN = 32;

function patternOf(pattern: string): HTMLElement {
  const code = h("code", null, pattern);
  if (pattern.length <= MAX_PATTERN) return h("p", { class: "fact" }, "Pattern ", code);
  return h("details", { class: "fact" }, h("summary", null, "Pattern"), code);
}

function listed(label: string, values: readonly unknown[]): HTMLElement {
  return h(
    "p",
    { class: "fact" },
    `${label} `,
    values.map((value, index) => [index ? ", " : null, h("code", null, coloured(JSON.stringify(value)))]),
  );
}

/** A value that a schema may accept, for a start. Optional members are left out below the first level. */
export function sampleOf(schema: Schema, model: Model, depth = 0): unknown {
  const found = model.resolve(schema);
  if (found.const !== undefined) return found.const;
  if (found.default !== undefined) return found.default;
  if (found.examples?.length) return found.examples[0];
  if (found.enum?.length) return found.enum[0];
  const parts: Schema[] = found.anyOf ?? found.oneOf ?? found.allOf ?? [];
  if (parts.length && !found.type) return sampleOf(parts[0]!, model, depth + 1);
  const type = [found.type].flat()[0] ?? (found.properties ? "object" : undefined);
  if (depth > MAX_DEPTH) return null;
  if (type == "object") {
    const required: string[] = found.required ?? [];
    const entries = Object.entries((found.properties ?? {}) as { [name: string]: Schema });
    const chosen = entries.filter(([name, inner]) => required.includes(name) || (!depth && model.resolve(inner).default !== undefined));
    return Object.fromEntries(chosen.map(([name, inner]) => [name, sampleOf(inner, model, depth + 1)]));
  }
  if (type == "array") {
    if (Array.isArray(found.items)) return found.items.map((item: Schema) => sampleOf(item, model, depth + 1));
    return found.minItems && isObject(found.items) ? [sampleOf(found.items, model, depth + 1)] : [];
  }
  if (type == "integer" || type == "number") return Math.max(found.minimum ?? 0, (found.exclusiveMinimum ?? -1) + 1);
  if (type == "boolean") return false;
  return type == "string" ? text(found) : null;
}

const TEXTS: { readonly [format: string]: string } = {
  date: "2026-01-31",
  "date-time": "2026-01-31T12:00:00Z",
  time: "12:00:00Z",
  email: "name@example.com",
  uri: "https://example.com/",
  uuid: "0b4e9e5a-6a0c-4d1c-9b56-6a4d3f1f2a10",
  ipv4: "192.0.2.1",
  ipv6: "2001:db8::1",
};

/** A text that fits the format, or one of the usual patterns, or at least the length. */
function text(schema: Schema): string {
  const known = TEXTS[schema.format as string];
  if (known !== undefined) return known;
  if (schema.pattern !== undefined) {
    const candidates = [...Object.values(TEXTS), "text", "1", "0", "a", "A1"];
    try {
      const pattern = new RegExp(schema.pattern, "u");
      return candidates.find((candidate) => pattern.test(candidate)) ?? "";
    } catch {
      return "";
    }
  }
  return "text".slice(0, schema.maxLength ?? 4).padEnd(schema.minLength ?? 0, ".");
}
