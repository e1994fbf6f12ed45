import { RFLAGS } from "../tables/registers.js";
import type { UopDefinition } from "./definition.js";
import { SIZES, u64 } from "./parts.js";
import { emitComparing, emitFilling, emitMoving, emitScanning, repeatRow } from "./repeat.js";

const rows: UopDefinition[] = [
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
        e.w.i64(RFLAGS.DF);
        e.w.op("i64.and", "i64.eqz", "select");
      }),
    evaluate: (v) => v.setD((v.get("flagsRest") & RFLAGS.DF) === 0n ? v.imm() : u64(-v.imm())),
  },
];

for (const size of SIZES) {
  rows.push(
    repeatRow("repmovs", size, { source: "rsi", target: "rdi" }, emitMoving),
    repeatRow("repstos", size, { target: "rdi" }, emitFilling),
  );
  for (const [name, equal] of [
    ["repe", true],
    ["repne", false],
  ] as const) {
    rows.push(
      repeatRow(`${name}cmps`, size, { source: "rsi", other: "rdi" }, (r) => emitComparing(r, equal)),
      repeatRow(`${name}scas`, size, { source: "rdi" }, (r) => emitScanning(r, equal)),
    );
  }
}

/** What string instructions need beyond loads, stores and skips. */
export const STRINGS: readonly UopDefinition[] = rows;
