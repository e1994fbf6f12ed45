import { GuestException } from "../environment.js";
import type { UopDefinition, UopEmitter } from "./definition.js";
import { branchTarget, emitBranch, emitZeroExtend, signExtend, u64, zeroExtend } from "./parts.js";

const GENERAL_PROTECTION = 13;

const rows: UopDefinition[] = [];

/** Skip `n` micro-operations if the condition on `a` holds. */
const skips = (name: string, text: string, always: boolean, whenZero: boolean): void => {
  rows.push({
    name,
    summary: `skip the next n micro-operations${text}`,
    operands: always ? ["n"] : ["a", "n"],
    wasm: (e) => {
      if (always) {
        e.skip(() => e.n());
        return;
      }
      e.a();
      e.w.op("i64.eqz");
      if (!whenZero) e.w.op("i32.eqz");
      e.w.if(() => e.skip(() => e.n()));
    },
    evaluate: (v) => {
      if (always || (v.a() === 0n) === whenZero) v.skip(v.n());
    },
  });
};
skips("skip", "", true, false);
skips("skipz", " if a is 0", false, true);
skips("skipnz", " if a is not 0", false, false);

rows.push(
  {
    name: "raise",
    summary: "if a is not 0, exception imm: vector, bits 30:8 the error code if bit 31 says that there is one",
    operands: ["a", "imm"],
    faults: true,
    wasm: (e) => {
      e.a();
      e.w.op("i64.eqz", "i32.eqz");
      e.w.if(() =>
        e.raiseDynamic(() => {
          e.imm();
          e.w.op("i32.wrap_i64");
        }),
      );
    },
    evaluate: (v) => {
      if (v.a() === 0n) return;
      const fault = Number(v.imm() & 0xffff_ffffn);
      const hasErrorCode = fault >= 2 ** 31;
      throw new GuestException(fault & 0xff, hasErrorCode ? (fault >>> 8) & 0x7f_ffff : undefined);
    },
  },
  {
    name: "canon",
    summary: "#GP(0) if a is not a canonical 48-bit address",
    operands: ["a"],
    faults: true,
    wasm: (e) => {
      const { w } = e;
      e.a();
      w.i64(16n);
      w.op("i64.shl");
      w.i64(16n);
      w.op("i64.shr_s");
      e.a();
      w.op("i64.ne");
      w.if(() => e.raise(GENERAL_PROTECTION, 0));
    },
    evaluate: (v) => {
      if (signExtend(48, v.a()) !== v.a()) throw new GuestException(GENERAL_PROTECTION, 0);
    },
  },
  {
    name: "stop",
    summary:
      "leave at an instruction boundary: RIP += imm, n instructions of the block have not run; put by an engine over code that has changed",
    operands: ["n", "imm"],
    ends: true,
    wasm: (e) => {
      e.set("rip", () => {
        e.get("rip");
        e.imm();
        e.w.op("i64.add");
      });
      e.set("fuel", () => {
        e.get("fuel");
        e.n();
        e.w.op("i64.extend_i32_u", "i64.add");
      });
      e.stop();
    },
    evaluate: (v) => {
      v.set("rip", u64(v.get("rip") + v.imm()));
      v.set("fuel", u64(v.get("fuel") + BigInt(v.n())));
    },
  },
  {
    name: "sys",
    summary: "the system instruction that ends the block, by its handler",
    operands: ["imm"],
    ends: true,
    wasm: (e) => e.system(),
    evaluate: (v) => v.system(),
  },
);

/** RIP plus a half of the constant. */
const ahead = (e: UopEmitter, half: "low" | "high"): void => {
  e.get("rip");
  if (half === "low") e.immLow();
  else e.immHigh();
  e.w.op("i64.add");
};

for (const size of [16, 32, 64] as const) {
  rows.push(
    {
      name: `jmp${size}`,
      summary: `RIP += low half of imm (signed), cut to ${size} bits`,
      operands: ["imm"],
      ends: true,
      ways: 1,
      wasm: (e) =>
        e.jump(
          () => {
            ahead(e, "low");
            emitZeroExtend(e, size);
          },
          () => e.w.i32(0),
        ),
      evaluate: (v) => v.set("rip", zeroExtend(size, v.get("rip") + BigInt.asIntN(32, v.imm()))),
    },
    {
      name: `jnz${size}`,
      summary: `RIP += low half of imm (signed), cut to ${size} bits, if a is not 0; else += high half`,
      operands: ["a", "imm"],
      ends: true,
      ways: 2,
      wasm: (e) =>
        emitBranch(e, size, () => {
          e.a();
          e.w.op("i64.eqz", "i32.eqz");
        }),
      evaluate: (v) => {
        v.set("rip", branchTarget(v, size, v.a() !== 0n));
      },
    },
    {
      name: `jmpi${size}`,
      summary: `RIP = a, cut to ${size} bits; \`canon\` has checked it before`,
      operands: ["a"],
      ends: true,
      wasm: (e) =>
        e.jump(() => {
          e.a();
          emitZeroExtend(e, size);
        }),
      evaluate: (v) => v.set("rip", zeroExtend(size, v.a())),
    },
  );
}

/** Skips, exceptions, jumps, and the end of a block. */
export const CONTROL: readonly UopDefinition[] = rows;
