// Fails if a built file is larger than its budget, in bytes after gzip -9.
import { readFileSync } from "node:fs";
import { gzipSync } from "node:zlib";

const budgets = { "client.js": 5000, "react.js": 900 };

for (const [name, budget] of Object.entries(budgets)) {
  const path = new URL(`../../../routesock/static/routesock/${name}`, import.meta.url);
  const size = gzipSync(readFileSync(path), { level: 9 }).length;
  console.log(`${name}: ${size} of ${budget} bytes`);
  if (size > budget) process.exitCode = 1;
}
