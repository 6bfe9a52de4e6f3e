// Fails if built files are larger than their budget, in bytes after gzip -9.
import { readFileSync } from "node:fs";
import { gzipSync } from "node:zlib";

const budgets = { "client.js": 5500, "react.js": 900, "docs.js docs.css": 36000 };

for (const [names, budget] of Object.entries(budgets)) {
  let size = 0;
  for (const name of names.split(" ")) {
    const path = new URL(`../../../routesock/static/routesock/${name}`, import.meta.url);
    size += gzipSync(readFileSync(path), { level: 9 }).length;
  }
  console.log(`${names}: ${size} of ${budget} bytes`);
  if (size > budget) process.exitCode = 1;
}
