import { describe, expect, it } from "vitest";
import { InstructionStream, liftBlock, uopDefinition, type Bitness, type CodeMode } from "../src/index.js";
import { Code, CodeExt } from "../src/decode/iced.js";
import { lifterOf } from "../src/lift/table.js";
import { systemHandlerId } from "../src/system/handlers.js";
import { codesOf, type FormSet } from "./vectors/forms.js";
import { Rng } from "./vectors/rng.js";

const MODES: readonly CodeMode[] = [
  { bitness: 64, stackBytes: 8, flat: false, virtual8086: false, protectedMode: true },
  { bitness: 32, stackBytes: 4, flat: true, virtual8086: false, protectedMode: true },
  { bitness: 32, stackBytes: 2, flat: false, virtual8086: false, protectedMode: true },
  { bitness: 16, stackBytes: 2, flat: false, virtual8086: true, protectedMode: true },
  { bitness: 16, stackBytes: 2, flat: false, virtual8086: false, protectedMode: false },
];

/** Shadow stacks, which no profile shows. */
const NOT_WRITTEN = "Clrssbsy Incsspd Incsspq Rstorssp Saveprevssp Setssbsy Wrssd Wrssq Wrussd Wrussq".split(" ");

/** Bytes that lead to many opcodes: random ones behind prefixes and escapes. */
function randomCode(rng: Rng): Uint8Array {
  const code: number[] = [];
  while (code.length < 64) {
    if (rng.chance(1, 3)) code.push(rng.pick([0x66, 0x67, 0xf0, 0xf2, 0xf3, 0x48, 0x41, 0x2e, 0x65]));
    if (rng.chance(1, 2)) code.push(0x0f);
    if (rng.chance(1, 8)) code.push(rng.pick([0x38, 0x3a, 0xc4, 0xc5, 0x62]));
    for (let n = rng.below(6); n >= 0; n--) code.push(rng.below(256));
  }
  return Uint8Array.from(code);
}

describe.each(MODES.map((mode, n) => [n, mode] as const))("code mode %i", (n, mode) => {
  it("lifts whatever the bytes are, to a block that ends", () => {
    const rng = new Rng(n + 1);
    for (let round = 0; round < 20_000; round++) {
      const code = randomCode(rng);
      const ip = BigInt(rng.below(0x1_0000));
      const stream = new InstructionStream(code, ip, mode.bitness);
      const block = liftBlock(() => stream.next(), ip, mode);
      stream.free();
      if (block === undefined) continue;
      const last = block.uops.at(-1);
      const row = last === undefined ? undefined : uopDefinition(last.op);
      expect(row?.ends === true || row?.faults === true, Buffer.from(code).toString("hex")).toBe(true);
      expect(block.instructions.every(({ first }, k, all) => first >= (all[k - 1]?.first ?? 0))).toBe(true);
    }
  });
});

/** The instructions of a set that nobody has written, by name. */
function notWritten(set: FormSet): string[] {
  const missing = [64, 32, 16].flatMap((bitness) =>
    codesOf(set, bitness as Bitness).filter((code) => {
      const opCode = CodeExt.opCode(code);
      const { mnemonic, fwait } = opCode;
      opCode.free();
      // A form with WAIT in front is two instructions.
      if (fwait) return false;
      return lifterOf(code, mnemonic) === undefined && systemHandlerId({ code, mnemonic }) === undefined;
    }),
  );
  return [...new Set(missing.map((code) => (Code[code] ?? "").replace(/_.*/, "")))].sort();
}

describe("the general-purpose integer set", () => {
  it("is written, but for shadow stacks", () => {
    expect(notWritten("integer")).toEqual(NOT_WRITTEN);
  });
});

describe("the set of vector and floating-point instructions", () => {
  it("is written", () => {
    expect(notWritten("vector")).toEqual([]);
  });
});
