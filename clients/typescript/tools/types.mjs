// Checks the types of the sources and tests, and those of the built declarations with the oldest TypeScript as well.
import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";

process.chdir(fileURLToPath(new URL("..", import.meta.url)));

const checks = [
  ["typescript", "tsconfig.json"],
  ["typescript", "tsconfig.docs.json"],
  ["typescript", "../../example_project/frontend/tsconfig.json"],
  ["typescript", "tsconfig.declarations.json"],
  ["typescript-5.4", "tsconfig.declarations.json"],
];

for (const [compiler, project] of checks) {
  const { status } = spawnSync(process.execPath, [`node_modules/${compiler}/bin/tsc`, "--noEmit", "-p", project], {
    stdio: "inherit",
  });
  if (status !== 0) {
    console.error(`${compiler} refuses ${project}.`);
    process.exitCode = 1;
  }
}
