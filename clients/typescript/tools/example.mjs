// Builds the pages of the example project. With --check nothing is written; it is an error if what is there is not what
// the sources give.
import { build } from "esbuild";
import { readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

const example = fileURLToPath(new URL("../../../example_project/", import.meta.url));
const pages = ["room", "tour"];

/** Pages import the client that Django serves: both are static files, so that this is a relative URL. */
const served = {
  name: "served",
  setup({ onResolve }) {
    onResolve({ filter: /^routesock$/ }, () => ({ path: "../routesock/client.js", external: true }));
  },
};

const { outputFiles } = await build({
  entryPoints: pages.map((page) => `${example}frontend/${page}.ts`),
  outdir: `${example}chat/static/chat`,
  write: false,
  bundle: true,
  format: "esm",
  target: "es2022",
  charset: "utf8",
  banner: { js: "// Built from example_project/frontend by `npm run example` in clients/typescript." },
  plugins: [served],
});

for (const { path, text } of outputFiles) {
  if (!process.argv.includes("--check")) writeFileSync(path, text);
  else if (readFileSync(path, "utf8") !== text) {
    console.error(`${path} is not what the sources give. Run: npm run example`);
    process.exitCode = 1;
  }
}
