/** Values held against a schema, with messages for people. */
import { Validator, type Schema as AnySchema } from "@cfworker/json-schema";
import { nameOf, type Model, type Schema } from "./model.js";

export interface Fault {
  /** JSON pointer. */
  readonly pointer: string;
  readonly message: string;
}

/** Returns a function that returns what is wrong with a value. */
export function checker(schema: Schema, model: Model): (value: unknown) => Fault[] {
  const used: { [name: string]: Schema } = {};
  const all = model.document.components?.schemas ?? {};
  const collect = (part: unknown): void => {
    if (typeof part != "object" || part === null) return;
    const reference = (part as Schema).$ref;
    if (typeof reference == "string") {
      const name = nameOf(reference);
      if (Object.hasOwn(all, name) && !Object.hasOwn(used, name)) collect((used[name] = all[name]!));
    }
    Object.values(part).forEach(collect);
  };
  collect(schema);
  let validator: Validator;
  try {
    // A copy, since the validator writes into its schema.
    const whole = { allOf: [schema], components: { schemas: used } };
    validator = new Validator(structuredClone(whole) as AnySchema, "7", false);
    validator.validate(null);
  } catch {
    return () => []; // such as a pattern that this browser does not know: the server checks
  }
  return (value) => {
    const { valid, errors } = validator.validate(value);
    if (valid) return [];
    const found = new Map<string, Fault>();
    for (const { keyword, keywordLocation, instanceLocation, error } of errors) {
      if (AROUND.includes(keyword)) continue;
      const pointer = decoded(instanceLocation.slice(1));
      const message = messageOf(keyword, limitAt(schema, keywordLocation, model), error);
      found.set(`${pointer} ${message}`, { pointer, message });
    }
    return [...found.values()];
  };
}

/** These say that something below them is wrong, which is reported too. */
const AROUND = ["$ref", "allOf", "anyOf", "oneOf", "properties", "additionalProperties", "propertyNames", "items", "additionalItems"];

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** The value of the keyword at a location such as `#/allOf/0/$ref/properties/text/minLength`. */
function limitAt(schema: Schema, location: string, model: Model): unknown {
  let at: any = { allOf: [schema] };
  for (const step of location.split("/").slice(1)) {
    if (step != "$ref") at = at?.[nameOf(decoded(step))];
    else if (at) at = model.resolve(at);
  }
  return at;
}

function messageOf(keyword: string, limit: unknown, error: string): string {
  const messages: { readonly [keyword: string]: string } = {
    type: `Expected ${[limit].flat().join(" or ")}.`,
    const: `Expected ${JSON.stringify(limit)}.`,
    enum: `Expected one of ${JSON.stringify(limit)}.`,
    minLength: `Expected at least ${limit} ${limit == 1 ? "character" : "characters"}.`,
    maxLength: `Expected at most ${limit} characters.`,
    minItems: `Expected at least ${limit} ${limit == 1 ? "item" : "items"}.`,
    maxItems: `Expected at most ${limit} items.`,
    minimum: `Expected ${limit} or more.`,
    maximum: `Expected ${limit} or less.`,
    exclusiveMinimum: `Expected more than ${limit}.`,
    exclusiveMaximum: `Expected less than ${limit}.`,
    multipleOf: `Expected a multiple of ${limit}.`,
    pattern: `Expected a match of ${limit}.`,
    format: `Expected the format ${limit}.`,
    required: `${/"(.*)"/.exec(error)?.[1] ?? "A field"} is missing.`,
    uniqueItems: "Expected items that differ.",
    false: "This field is not allowed.",
    not: "This value is not allowed.",
  };
  return messages[keyword] ?? error;
}
