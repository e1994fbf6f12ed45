import { GuestException } from "../../environment.js";
import { MXCSR_MASK } from "../../state/fx-image.js";
import { slot } from "../../state/layout.js";
import { VECTOR } from "../../tables/vectors.js";
import type { UopDefinition } from "../definition.js";

const MXCSR_SLOT = slot("mxcsr");
const RESERVED = ~BigInt(MXCSR_MASK) & 0xffff_ffffn;

/** LDMXCSR and STMXCSR, but for their memory operands. */
export const SSE_CONTROL: readonly UopDefinition[] = [
  {
    name: "setmxcsr",
    summary: "MXCSR = low 32 bits of a; #GP(0) if a reserved bit is set",
    operands: ["a"],
    faults: true,
    outlined: true,
    wasm: (e) => {
      const { w } = e;
      e.a();
      w.i64(RESERVED);
      w.op("i64.and", "i64.eqz", "i32.eqz");
      w.if(() => e.raise(VECTOR.GP, 0));
      e.set32("mxcsr", () => {
        e.a();
        w.op("i32.wrap_i64");
      });
    },
    evaluate: (v) => {
      if ((v.a() & RESERVED) !== 0n) throw new GuestException(VECTOR.GP, 0);
      v.machine.state.set32(MXCSR_SLOT, Number(BigInt.asUintN(32, v.a())));
    },
  },
  {
    name: "getmxcsr",
    summary: "d = MXCSR",
    operands: ["d"],
    outlined: true,
    wasm: (e) =>
      e.setD(() => {
        e.get32("mxcsr");
        e.w.op("i64.extend_i32_u");
      }),
    evaluate: (v) => v.setD(BigInt(v.machine.state.get32(MXCSR_SLOT))),
  },
];
