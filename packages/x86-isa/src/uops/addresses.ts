import type { UopDefinition, UopEmitter } from "./definition.js";
import { emitZeroExtend, zeroExtend } from "./parts.js";

/** What an index is shifted by. */
export const LEA_SHIFTS = [0n, 1n, 2n, 3n] as const;

const suffixOf = (cut: boolean): "c" | "" => (cut ? "c" : "");

/** Add the constant to the i64 on the stack. */
function emitDisplacement(e: UopEmitter, cut: boolean): void {
  e.imm();
  e.w.op("i64.add");
  if (cut) emitZeroExtend(e, 32);
}

/** An effective address of base, index and displacement: of 64 bits, or cut to 32. */
export function leaRow(shift: bigint, cut: boolean): UopDefinition {
  const scale = 1n << shift;
  return {
    name: `lea${scale}${suffixOf(cut)}`,
    summary: `d = a + b * ${scale} + imm${cut ? ", cut to 32 bits" : ""}`,
    operands: ["d", "a", "b", "imm"],
    wasm: (e) =>
      e.setD(() => {
        e.a();
        e.b();
        if (shift !== 0n) {
          e.w.i64(shift);
          e.w.op("i64.shl");
        }
        e.w.op("i64.add");
        emitDisplacement(e, cut);
      }),
    evaluate: (v) => v.setD(zeroExtend(cut ? 32 : 64, v.a() + v.b() * scale + v.imm())),
  };
}

/** An address that is relative to RIP: of 64 bits, or cut to 32. */
export function ripRelativeRow(cut: boolean): UopDefinition {
  return {
    name: `ripadd${suffixOf(cut)}`,
    summary: `d = RIP of the block's first instruction + imm, ${cut ? "cut to 32 bits" : "64-bit"}`,
    operands: ["d", "imm"],
    wasm: (e) =>
      e.setD(() => {
        e.get("rip");
        emitDisplacement(e, cut);
      }),
    evaluate: (v) => v.setD(zeroExtend(cut ? 32 : 64, v.get("rip") + v.imm())),
  };
}
