// Builds one ES module a view into widgetkit/widgets/static/, or (--tests) the tests into .tests/.
//
// The bundles are committed, so the output may depend on nothing but the sources and the
// locked version of esbuild: no dates, no paths, no hashes of the machine.

import { existsSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import * as esbuild from "esbuild";

const here = dirname(fileURLToPath(import.meta.url));
const source = join(here, "src");
const target = join(here, "..", "widgetkit", "widgets", "static");
const palettePython = join(here, "..", "widgetkit", "palette.py");
const paletteTypescript = join(source, "shared", "palette.ts");

/** Views are the folders of src/ that hold an index.ts. */
const views = readdirSync(source, { withFileTypes: true })
  .filter((entry) => entry.isDirectory() && existsSync(join(source, entry.name, "index.ts")))
  .map((entry) => entry.name)
  .sort();

/** `import css from "./x.css"` gives the minified text; the view puts it beside its own nodes. */
const cssAsText = {
  name: "css-as-text",
  setup(build) {
    build.onLoad({ filter: /\.css$/ }, async ({ path }) => {
      const text = await readFile(path, "utf8");
      const { code } = await esbuild.transform(text, { loader: "css", minify: true });
      return { contents: code.trim(), loader: "text" };
    });
  },
};

/** palette.ts is written from palette.py, so that the colours exist once. */
function generatePalette() {
  const python = readFileSync(palettePython, "utf8");
  const list = /CATEGORICAL[^=]*=\s*\(([^)]*)\)/.exec(python);
  const none = /NONE_COLOUR\s*=\s*"(#[0-9A-Fa-f]{6})"/.exec(python);
  const noneIndex = /NONE_INDEX\s*=\s*(\d+)/.exec(python);
  if (!list || !none || !noneIndex) throw new Error(`${palettePython}: the palette was not found`);
  const colours = list[1].match(/#[0-9A-Fa-f]{6}/g);
  const text = [
    "// Written by build.mjs from widgetkit/palette.py. Do not edit.",
    "",
    "export const CATEGORICAL: readonly string[] = [",
    ...colours.map((colour) => `  "${colour}",`),
    "];",
    "",
    `export const NONE_COLOUR = "${none[1]}";`,
    "",
    "/** Palette index that means \"none\" on the wire. */",
    `export const NONE_INDEX = ${noneIndex[1]};`,
    "",
  ].join("\n");
  if (!existsSync(paletteTypescript) || readFileSync(paletteTypescript, "utf8") !== text) {
    writeFileSync(paletteTypescript, text);
  }
}

generatePalette();

const common = {
  bundle: true,
  format: "esm",
  target: "es2022",
  charset: "utf8",
  legalComments: "none",
  logLevel: "warning",
  absWorkingDir: here,
  plugins: [cssAsText],
};

if (process.argv.includes("--tests")) {
  const folder = join(here, ".tests");
  rmSync(folder, { recursive: true, force: true });
  const tests = readdirSync(join(here, "tests"))
    .filter((name) => name.endsWith(".test.ts"))
    .map((name) => join("tests", name));
  await esbuild.build({
    ...common,
    entryPoints: tests,
    outdir: folder,
    outExtension: { ".js": ".mjs" },
    platform: "node",
  });
} else {
  const only = process.argv.slice(2).filter((word) => !word.startsWith("-"));
  const chosen = only.length > 0 ? views.filter((view) => only.includes(view)) : views;
  for (const view of chosen) {
    await esbuild.build({
      ...common,
      entryPoints: [join("src", view, "index.ts")],
      outfile: join(target, `${view}.js`),
      minify: true,
    });
    const size = readFileSync(join(target, `${view}.js`)).length;
    console.log(`${view}.js ${(size / 1000).toFixed(1)} kB`);
  }
}
