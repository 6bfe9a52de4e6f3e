// Parses the documents that are named on the command line with the official parser, and prints their diagnostics.
import { readFileSync } from "node:fs";

import parserPackage from "@asyncapi/parser";

const { Parser } = parserPackage;
const parser = new Parser();
const found = {};
for (const file of process.argv.slice(2)) {
  const { diagnostics } = await parser.parse(readFileSync(file, "utf8"));
  found[file] = diagnostics.map(({ severity, code, message, path }) => ({ severity, code, message, path }));
}
console.log(JSON.stringify(found));
