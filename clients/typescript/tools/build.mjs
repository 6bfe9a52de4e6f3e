// Builds the package into dist/ and routesock/static/routesock/. With --check nothing is written; it is an error if
// what is there is not what the sources give.
import { build } from "esbuild";
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
const targets = [join(root, "dist"), join(root, "../../routesock/static/routesock")];
process.chdir(root);

/** The JavaScript of one entry point. Names with a leading underscore are private, so they may become short. */
async function script(entry) {
  const { outputFiles } = await build({
    entryPoints: [entry],
    write: false,
    bundle: true,
    external: ["react"],
    format: "esm",
    target: "es2022",
    minify: true,
    lineLimit: 1200, // Node.js prints the line of an uncaught error
    mangleProps: /^_/,
    legalComments: "none",
  });
  return outputFiles[0].text;
}

/** The declarations of the given modules in one file: each imports from the others alone, under their own names. */
function declarations(folder, modules) {
  return modules
    .map((name) => readFileSync(join(folder, `${name}.d.ts`), "utf8"))
    .map((text) => text.replace(/^import [^;]*;\n/gm, "").replace(/^export \{\};\n/gm, ""))
    .join("");
}

/** The page of the documents: a classic script, so that it may come from another origin without CORS. */
async function page(entry) {
  const { outputFiles } = await build({
    entryPoints: [entry],
    write: false,
    bundle: true,
    format: "iife",
    target: ["es2022", "safari16.4"],
    minify: true,
    mangleProps: /^_[a-z]/, // two underscores are those of the validator
    legalComments: "none",
    banner: entry.endsWith(".ts") ? { js: "/* With @cfworker/json-schema, (c) Jeremy Danyow, MIT licence. */" } : {},
  });
  return outputFiles[0].text;
}

const scratch = mkdtempSync(join(tmpdir(), "routesock-"));
const files = {};
/** These are not in the npm package. */
const pages = {};
try {
  const options = ["--declaration", "--emitDeclarationOnly", "--stripInternal", "--noEmit", "false"];
  execFileSync(
    process.execPath,
    ["node_modules/typescript/bin/tsc", "-p", "tsconfig.build.json", ...options, "--outDir", scratch],
    { stdio: "inherit" },
  );
  files["client.js"] = await script("src/index.ts");
  files["client.d.ts"] = '/// <reference lib="esnext.disposable" />\n' + declarations(scratch, ["types", "errors", "socket"]);
  files["react.js"] = await script("src/react.ts");
  files["react.d.ts"] = readFileSync(join(scratch, "react.d.ts"), "utf8").replace("./index.js", "./client.js");
  pages["docs.js"] = await page("docs/main.ts");
  pages["docs.css"] = await page("docs/docs.css");
} finally {
  rmSync(scratch, { recursive: true });
}

let differ = false;
for (const folder of targets) {
  mkdirSync(folder, { recursive: true });
  for (const [name, text] of Object.entries(folder === targets[0] ? files : { ...files, ...pages })) {
    const path = join(folder, name);
    if (!process.argv.includes("--check")) writeFileSync(path, text);
    else if (folder !== targets[0] && read(path) !== text) {
      console.error(`${path} is not what the sources give. Run: npm run build`);
      differ = true;
    }
  }
}
process.exitCode = differ ? 1 : 0;

function read(path) {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return undefined;
  }
}
