import { ARITHMETIC_FLAGS, decodeFlags, encodeFlags } from "../state/flags.js";
import type { UopDefinition, UopEmitter, UopValues } from "./definition.js";
import { branchTarget, emitBranch } from "./parts.js";

const { CF, PF, ZF, SF, OF } = { CF: 1n, PF: 1n << 2n, ZF: 1n << 6n, SF: 1n << 7n, OF: 1n << 11n };

interface Condition {
  readonly name: string;
  /** Push the condition as i32, any non-zero value for true. */
  wasm(e: UopEmitter): void;
  holds(flags: bigint): boolean;
}

/** Push an i64 whose sign is the flag. */
const signs = {
  carry: (e: UopEmitter): void => e.get("flagAux"),
  overflow: (e: UopEmitter): void => {
    e.get("flagAux");
    e.get("flagAux");
    e.w.i64(1n);
    e.w.op("i64.shl", "i64.xor");
  },
  sign: (e: UopEmitter): void => {
    e.get("flagResult");
    e.get("flagAux");
    // SF_DELTA, bit 4, to bit 63.
    e.w.i64(59n);
    e.w.op("i64.shl", "i64.xor");
  },
  less: (e: UopEmitter): void => {
    signs.sign(e);
    signs.overflow(e);
    e.w.op("i64.xor");
  },
};

/** Push 1 if the i64 on the stack is negative. */
const negative = (e: UopEmitter): void => {
  e.w.i64(0n);
  e.w.op("i64.lt_s");
};

const zero = (e: UopEmitter): void => {
  e.get("flagResult");
  e.w.op("i64.eqz");
};

const parityEven = (e: UopEmitter): void => {
  const { w } = e;
  e.get("flagResult");
  e.get("flagAux");
  w.i64(8n);
  w.op("i64.shr_u", "i64.xor", "i32.wrap_i64");
  w.i32(0xff);
  w.op("i32.and", "i32.popcnt");
  w.i32(1);
  w.op("i32.and", "i32.eqz");
};

const POSITIVE: readonly Condition[] = [
  {
    name: "o",
    wasm: (e) => {
      signs.overflow(e);
      negative(e);
    },
    holds: (f) => (f & OF) !== 0n,
  },
  {
    name: "b",
    wasm: (e) => {
      signs.carry(e);
      negative(e);
    },
    holds: (f) => (f & CF) !== 0n,
  },
  { name: "e", wasm: zero, holds: (f) => (f & ZF) !== 0n },
  {
    name: "be",
    wasm: (e) => {
      signs.carry(e);
      negative(e);
      zero(e);
      e.w.op("i32.or");
    },
    holds: (f) => (f & (CF | ZF)) !== 0n,
  },
  {
    name: "s",
    wasm: (e) => {
      signs.sign(e);
      negative(e);
    },
    holds: (f) => (f & SF) !== 0n,
  },
  { name: "p", wasm: parityEven, holds: (f) => (f & PF) !== 0n },
  {
    name: "l",
    wasm: (e) => {
      signs.less(e);
      negative(e);
    },
    holds: (f) => ((f & SF) !== 0n) !== ((f & OF) !== 0n),
  },
  {
    name: "le",
    wasm: (e) => {
      signs.less(e);
      negative(e);
      zero(e);
      e.w.op("i32.or");
    },
    holds: (f) => (f & ZF) !== 0n || ((f & SF) !== 0n) !== ((f & OF) !== 0n),
  },
];

const NEGATIVE_NAMES = ["no", "ae", "ne", "a", "ns", "np", "ge", "g"] as const;

/** The sixteen conditions in the order of their encoding (SDM vol. 1, "EFLAGS Condition Codes"). */
const conditions: Condition[] = POSITIVE.flatMap((condition, i) => [
  condition,
  {
    name: NEGATIVE_NAMES[i] as string,
    wasm: (e: UopEmitter) => {
      condition.wasm(e);
      e.w.op("i32.eqz");
    },
    holds: (flags: bigint) => !condition.holds(flags),
  },
]);

const flagsOf = (v: UopValues): bigint => decodeFlags(v.get("flagResult"), v.get("flagAux"));

/** XOR `bits` into the second flag word if bit 0 of `a` differs from the sign of the i64 pushed by `current`. */
function editAux(e: UopEmitter, bits: bigint, current: () => void): void {
  const { w } = e;
  const changed = e.i64(0);
  current();
  e.a();
  w.i64(63n);
  w.op("i64.shl", "i64.xor");
  w.i64(63n);
  w.op("i64.shr_s");
  w.i64(bits);
  w.op("i64.and");
  w.set(changed);
  e.set("flagAux", () => {
    e.get("flagAux");
    w.get(changed);
    w.op("i64.xor");
  });
}

/** The same in bigint: `at` is the flag's place in RFLAGS. */
function editFlag(v: UopValues, bits: bigint, at: bigint): void {
  if (((flagsOf(v) >> at) & 1n) !== (v.a() & 1n)) v.set("flagAux", v.get("flagAux") ^ bits);
}

function storeFlags(v: UopValues, flags: bigint): void {
  const { flagResult, flagAux } = encodeFlags(flags & ARITHMETIC_FLAGS);
  v.set("flagResult", flagResult);
  v.set("flagAux", flagAux);
}

const rows: UopDefinition[] = [];

for (const [code, { name, wasm, holds }] of conditions.entries()) {
  rows.push({
    name: `cc${code}`,
    summary: `d = 1 if condition ${name} holds, else 0`,
    operands: ["d"],
    readsFlags: true,
    wasm: (e) =>
      e.setD(() => {
        wasm(e);
        e.w.op("i64.extend_i32_u");
      }),
    evaluate: (v) => v.setD(holds(flagsOf(v)) ? 1n : 0n),
  });
  for (const size of [16, 32, 64] as const) {
    rows.push({
      name: `jcc${code}_${size}`,
      summary: `RIP += low half of imm (signed), cut to ${size} bits, if condition ${name} holds; else += high half`,
      operands: ["imm"],
      readsFlags: true,
      ends: true,
      ways: 2,
      wasm: (e) => emitBranch(e, size, () => wasm(e)),
      evaluate: (v) => {
        v.set("rip", branchTarget(v, size, holds(flagsOf(v))));
      },
    });
  }
}

rows.push(
  {
    name: "cmovnz",
    summary: "d = b if a is not 0",
    operands: ["d", "a", "b"],
    wasm: (e) =>
      e.setD(() => {
        e.b();
        e.d();
        e.a();
        e.w.i64(0n);
        e.w.op("i64.ne", "select");
      }),
    evaluate: (v) => v.setD(v.a() !== 0n ? v.b() : v.d()),
  },
  {
    name: "getflags",
    summary: "d = CF, PF, AF, ZF, SF and OF at their places in RFLAGS, the other bits zero",
    operands: ["d"],
    readsFlags: true,
    wasm: (e) => {
      const { w } = e;
      const at = (shift: bigint, push: () => void): void => {
        push();
        w.op("i64.extend_i32_u");
        w.i64(shift);
        w.op("i64.shl", "i64.or");
      };
      const flag = (name: string): (() => void) => {
        const condition = conditions.find((c) => c.name === name);
        if (condition === undefined) throw new RangeError(`no condition "${name}"`);
        return () => condition.wasm(e);
      };
      e.setD(() => {
        flag("b")();
        w.op("i64.extend_i32_u");
        at(2n, flag("p"));
        at(6n, flag("e"));
        at(7n, flag("s"));
        at(11n, flag("o"));
        e.get("flagAux");
        w.i64(1n);
        w.op("i64.shl");
        w.i64(1n << 4n);
        w.op("i64.and", "i64.or");
      });
    },
    evaluate: (v) => v.setD(flagsOf(v)),
  },
  {
    name: "setflags",
    summary: "CF, PF, AF, ZF, SF, OF = those bits of a",
    operands: ["a"],
    writesFlags: true,
    wasm: (e) => {
      const { w } = e;
      const flags = e.i64(0);
      const bitTo = (from: number, to: number): void => {
        w.get(flags);
        w.i64(1n << BigInt(from));
        w.op("i64.and");
        if (to === from) return;
        w.i64(BigInt(Math.abs(to - from)));
        w.op(to > from ? "i64.shl" : "i64.shr_u");
      };
      e.a();
      w.set(flags);
      // As encodeFlags(): a result of 0 or 1, and deltas for what such a result does not show.
      const result = e.i64(1);
      bitTo(6, 0);
      w.i64(1n);
      w.op("i64.xor");
      w.set(result);
      e.set("flagResult", () => w.get(result));
      e.set("flagAux", () => {
        bitTo(0, 63);
        bitTo(0, 62);
        bitTo(11, 62);
        w.op("i64.xor", "i64.or");
        bitTo(4, 3);
        w.op("i64.or");
        bitTo(7, 4);
        w.op("i64.or");
        // Parity of the result is even (1) exactly when ZF; the delta is ZF ^ PF.
        bitTo(6, 8);
        bitTo(2, 8);
        w.op("i64.xor", "i64.or");
      });
    },
    evaluate: (v) => storeFlags(v, v.a()),
  },
  {
    name: "setcf",
    summary: "CF = bit 0 of a; the other flags stay",
    operands: ["a"],
    writesFlags: true,
    readsFlags: true,
    // Bits 63 and 62 flip together when CF changes, so that OF, their difference, stays.
    wasm: (e) => editAux(e, 3n << 62n, () => e.get("flagAux")),
    evaluate: (v) => editFlag(v, 3n << 62n, 0n),
  },
  {
    name: "setof",
    summary: "OF = bit 0 of a; the other flags stay",
    operands: ["a"],
    writesFlags: true,
    readsFlags: true,
    wasm: (e) => editAux(e, 1n << 62n, () => signs.overflow(e)),
    evaluate: (v) => editFlag(v, 1n << 62n, 11n),
  },
  {
    name: "getcf",
    summary: "d = CF",
    operands: ["d"],
    readsFlags: true,
    wasm: (e) =>
      e.setD(() => {
        signs.carry(e);
        e.w.i64(63n);
        e.w.op("i64.shr_u");
      }),
    evaluate: (v) => v.setD(flagsOf(v) & CF),
  },
  {
    name: "getof",
    summary: "d = OF",
    operands: ["d"],
    readsFlags: true,
    wasm: (e) =>
      e.setD(() => {
        signs.overflow(e);
        e.w.i64(63n);
        e.w.op("i64.shr_u");
      }),
    evaluate: (v) => v.setD((flagsOf(v) >> 11n) & 1n),
  },
  {
    name: "setzf",
    summary: "ZF = bit 0 of a; the other flags stay",
    operands: ["a"],
    writesFlags: true,
    readsFlags: true,
    // A result of 0 or 1, its sign and parity mended by the deltas: what SF and PF are now has to be known first.
    wasm: (e) => {
      const { w } = e;
      const [result, aux] = [e.i64(0), e.i64(1)];
      e.a();
      w.i64(1n);
      w.op("i64.and");
      w.i64(1n);
      w.op("i64.xor");
      w.set(result);
      e.get("flagAux");
      w.i64(0xc000_0000_0000_0008n);
      w.op("i64.and");
      signs.sign(e);
      negative(e);
      w.op("i64.extend_i32_u");
      w.i64(4n);
      w.op("i64.shl", "i64.or");
      // Parity of a result of 1 is odd, of 0 even.
      parityEven(e);
      w.op("i64.extend_i32_u");
      w.get(result);
      w.op("i64.xor");
      w.i64(1n);
      w.op("i64.xor");
      w.i64(8n);
      w.op("i64.shl", "i64.or");
      w.set(aux);
      e.set("flagResult", () => w.get(result));
      e.set("flagAux", () => w.get(aux));
    },
    evaluate: (v) => storeFlags(v, (flagsOf(v) & ~ZF) | ((v.a() & 1n) << 6n)),
  },
);

/** Conditions as values, conditional moves and jumps, flags as bits. */
export const CONDITIONS: readonly UopDefinition[] = rows;
