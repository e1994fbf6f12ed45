import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Case } from "../../packages/x86-isa/test/vectors/layout.js";
import {
  encodeProgram,
  parseResult,
  type Kind,
  type Origin,
  type Outcome,
} from "../../packages/x86-isa/test/vectors/program.js";

type Bitness = 16 | 32 | 64;

/** What this processor cannot be asked without. */
const NEEDS = "an x86-64 Linux with gcc that can build 32-bit programs (package gcc-multilib) is needed";

/** Why this machine cannot execute cases natively; undefined if it can. */
export function nativeObstacle(): string | undefined {
  if (process.platform !== "linux" || process.arch !== "x64") return NEEDS;
  const gcc = spawnSync("gcc", ["-m32", "-x", "c", "-", "-o", "/dev/null"], {
    input: "#include <signal.h>\nint main(void) { return 0; }\n",
    stdio: ["pipe", "ignore", "ignore"],
  });
  return gcc.status === 0 ? undefined : NEEDS;
}

/** The processor that this program runs on, as recorder.c drives it. */
export class NativeProcessor {
  readonly #folder = mkdtempSync(join(tmpdir(), "recorder-"));
  readonly #built = new Set<string>();

  /** The recorder for code of a size; 16-bit code runs in a 32-bit process. */
  #binary(bitness: Bitness): string {
    const option = bitness === 64 ? "-m64" : "-m32";
    const binary = join(this.#folder, `recorder${option}`);
    if (!this.#built.has(binary)) {
      const source = fileURLToPath(new URL("./recorder.c", import.meta.url));
      // Independent of its position: at a fixed one it would lie where 32-bit addresses lead.
      const options = [option, "-fPIE", "-pie", "-O1", "-Wall", "-Wextra"];
      execFileSync("gcc", [...options, "-o", binary, source]);
      this.#built.add(binary);
    }
    return binary;
  }

  /** Execute all cases in one process. */
  run(bitness: Bitness, kind: Kind, cases: readonly Case[]): { origin: Origin; outcomes: readonly Outcome[] } {
    const program = join(this.#folder, "program");
    const result = join(this.#folder, "result");
    writeFileSync(program, encodeProgram(bitness, kind, cases));
    execFileSync(this.#binary(bitness), [program, result]);
    return parseResult(readFileSync(result), bitness, cases.length);
  }

  close(): void {
    rmSync(this.#folder, { recursive: true });
  }
}
