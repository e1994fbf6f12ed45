import type { UopDefinition } from "./definition.js";
import { u64 } from "./parts.js";

const DF = 1n << 10n;

/** What string instructions need beyond loads, stores and skips. */
export const STRINGS: readonly UopDefinition[] = [
  {
    name: "step",
    summary: "d = imm, negated if RFLAGS.DF is set",
    operands: ["d", "imm"],
    wasm: (e) =>
      e.setD(() => {
        e.imm();
        e.w.i64(0n);
        e.imm();
        e.w.op("i64.sub");
        e.get("flagsRest");
        e.w.i64(DF);
        e.w.op("i64.and", "i64.eqz", "select");
      }),
    evaluate: (v) => v.setD((v.get("flagsRest") & DF) === 0n ? v.imm() : u64(-v.imm())),
  },
];
