// Runs the tests with node:test, on the built files, whose private names are shortened: `node tools/test.mjs [NAME...]`.
// They are bundled before, since Node.js before 22 does not run TypeScript.
import { build } from "esbuild";
import { spawnSync } from "node:child_process";
import { readdirSync, rmSync } from "node:fs";
import { fileURLToPath } from "node:url";

const wanted = process.argv.slice(2);
const tests = readdirSync("test").filter((name) => /\.test\.tsx?$/.test(name));
const chosen = tests.filter((name) => !wanted.length || wanted.some((part) => name.includes(part)));
rmSync("build", { recursive: true, force: true });
await build({
  entryPoints: chosen.map((name) => `test/${name}`),
  outdir: "build",
  outExtension: { ".js": ".mjs" },
  bundle: true,
  platform: "node",
  packages: "external",
  format: "esm",
  target: "node18",
  jsx: "automatic",
  sourcemap: "inline",
  logLevel: "warning",
  plugins: [{ name: "built", setup }],
});
/** The sources under test are replaced by what was built of them. */
function setup({ onResolve }) {
  const built = { "../src/index.js": "client.js", "../src/react.js": "react.js" };
  onResolve({ filter: /^\.\.\/src\// }, ({ path }) => ({
    path: fileURLToPath(new URL(`../../../routesock/static/routesock/${built[path]}`, import.meta.url)),
  }));
}

const files = chosen.map((name) => `build/${name.replace(/\.tsx?$/, ".mjs")}`);
const { status } = spawnSync(process.execPath, ["--enable-source-maps", "--test", "--test-reporter=spec", ...files], {
  stdio: "inherit",
});
process.exit(status ?? 1);
