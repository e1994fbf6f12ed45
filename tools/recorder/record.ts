import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { encodeProgram, encodeVectors, parseResult } from "../../packages/x86-isa/test/vectors/format.js";
import { suite, vectorFile } from "../../packages/x86-isa/test/vectors/suite.js";

/** Build the recorder, run every form on this processor, and write the vectors that the tests of x86-isa read. */
export function record(print: (line: string) => void): void {
  const folder = mkdtempSync(join(tmpdir(), "recorder-"));
  try {
    const source = fileURLToPath(new URL("./recorder.c", import.meta.url));
    for (const bitness of [64, 32, 16] as const) {
      const binary = join(folder, `recorder${bitness}`);
      execFileSync("gcc", [bitness === 64 ? "-m64" : "-m32", "-O1", "-Wall", "-Wextra", "-o", binary, source]);
      const { forms, cases } = suite(bitness);
      const program = join(folder, "program");
      const result = join(folder, "result");
      writeFileSync(program, encodeProgram(bitness, cases));
      execFileSync(binary, [program, result]);
      const { origin, outcomes } = parseResult(readFileSync(result), bitness, cases.length);
      const file = encodeVectors(bitness, origin, cases, outcomes);
      writeFileSync(vectorFile(bitness), file);
      const faults = outcomes.filter((outcome) => outcome.vector !== undefined).length;
      print(
        `${bitness}-bit code: ${forms.length} forms, ${cases.length} cases, ${faults} faults, ${file.length} bytes, on ${origin.processor}`,
      );
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
}
