import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PassThrough } from "node:stream";
import { main } from "../../src/main.js";

/** Run the command in this process, with `typed` as its input. */
export async function tapvisor(args: readonly string[], typed = "") {
  let output = "";
  let errors = "";
  const input = new PassThrough();
  input.end(typed);
  const status = await main(args, {
    input,
    output: { write: (bytes) => void (output += Buffer.from(bytes).toString("latin1")) },
    errors: { write: (text) => void (errors += text) },
  });
  return { status, output, errors };
}

const folder = mkdtempSync(join(tmpdir(), "tapvisor-test-"));

/** Write a file for a test; the result is its path. */
export function file(name: string, contents: Uint8Array | string): string {
  const path = join(folder, name);
  writeFileSync(path, contents);
  return path;
}

/** A path in the same folder at which nothing is. */
export function missing(name: string): string {
  return join(folder, name);
}
