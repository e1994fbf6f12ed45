// Writes packages/x86-isa/dist/decode/iced-browser.js: iced-x86 as one ECMAScript module that needs nothing of Node.
// Usage: node tools/generate/iced-browser.mjs   (runs before x86-isa is packed)
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const target = fileURLToPath(new URL("../../packages/x86-isa/dist/decode/iced-browser.js", import.meta.url));
const require = createRequire(new URL("../../packages/x86-isa/package.json", import.meta.url));
const entry = require.resolve("iced-x86");
const glue = readFileSync(entry, "utf8");
const binary = readFileSync(join(dirname(entry), "iced_x86_bg.wasm"));

// What the glue does for Node, and what takes its place. A browser compiles modules of this size asynchronously alone.
const changes = [
  ["const { TextDecoder, TextEncoder } = require(`util`);", ""],
  ["const path = require('path').join(__dirname, 'iced_x86_bg.wasm');", ""],
  [
    "const bytes = require('fs').readFileSync(path);",
    `const bytes = Uint8Array.from(atob("${binary.toString("base64")}"), (char) => char.charCodeAt(0));`,
  ],
  ["const wasmModule = new WebAssembly.Module(bytes);", "const wasmModule = await WebAssembly.compile(bytes);"],
];
let text = glue;
for (const [from, to] of changes) {
  if (text.split(from).length !== 2) throw new Error(`iced-x86 has changed: "${from}" is not there once`);
  text = text.replace(from, () => to);
}
// Examples in comments require modules too.
if (/^(?!\s*\*).*\brequire\s*\(/m.test(text)) throw new Error("iced-x86 has changed: it requires something else");

const names = [...new Set([...glue.matchAll(/^module\.exports\.([A-Z]\w*) = /gm)].map((match) => match[1]))];
const { version } = require("iced-x86/package.json");
mkdirSync(dirname(target), { recursive: true });
writeFileSync(
  target,
  [
    `// iced-x86 ${version} (MIT licence, https://github.com/icedland/iced), as a module for browsers.`,
    "const library = await (async (module) => {",
    text,
    "return module.exports;",
    "})({ exports: {} });",
    ...names.map((name) => `export const ${name} = library.${name};`),
    "",
  ].join("\n"),
);
