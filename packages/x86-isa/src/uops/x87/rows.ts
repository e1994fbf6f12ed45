import {
  arithmeticMemory,
  arithmeticRegister,
  fabs,
  fchs,
  frndint,
  fscale,
  fsqrt,
  fxam,
  fxch,
  fxtract,
  OPERATIONS,
  type OperationName,
} from "../../x87/arithmetic.js";
import { compareFlags, compareMemory, compareRegister, ftst } from "../../x87/compare.js";
import { fbld, fbstp } from "../../x87/decimal.js";
import { fldcw, fldenv, fninit, fnsave, fnstenv, frstor, type EnvironmentLayout } from "../../x87/environment.js";
import { X87 } from "../../x87/registers.js";
import { fprem } from "../../x87/remainder.js";
import { isReal, SOURCES } from "../../x87/sources.js";
import { f2xm1, fcos, fpatan, fptan, fsin, fsincos, fyl2x, fyl2xp1 } from "../../x87/transcendental.js";
import {
  ffree,
  fnclex,
  fnop,
  load,
  loadConstant,
  loadExtended,
  loadRegister,
  moveIf,
  storeExtended,
  storeInteger,
  storeReal,
  storeRegister,
  storeUnchecked,
  turnStack,
} from "../../x87/transfer.js";
import {
  CHANGE_SIGN, CLEAR_SIGN, quickArithmetic, quickArithmeticRegister, quickCompare, quickCompareFlags, quickCompareRegister,
  quickExchange, quickLoad, quickLoadConstant, quickLoadControl, quickLoadExtended, quickLoadRegister, quickMoveIf,
  quickSquareRoot, quickStoreExtended, quickStoreInteger, quickStoreReal, quickStoreRegister, quickTest, quickWait,
} from "./quick-rows.js"; // prettier-ignore
import type { UopDefinition, UopOperand, UopValues } from "../definition.js";

/**
 * Instructions of the x87, one row an instruction: each ends by noting exceptions and pointers, and what is pending may
 * be raised first. The constant is as x87/encoding.ts says; `n` packs register numbers and counts of pops.
 */
const rows: UopDefinition[] = [];

type Meaning = (x: X87, n: number, v: UopValues) => void;

/** A row by its meaning alone. */
function row(name: string, summary: string, meaning: Meaning, more: Partial<UopDefinition> = {}): void {
  rows.push({
    name,
    summary,
    operands: ["n", "imm"],
    faults: true,
    outlined: true,
    wasm: (e) => e.evaluate(),
    evaluate: (v) => meaning(new X87(v), v.n(), v),
    ...more,
  });
}

const MEMORY: Partial<UopDefinition> = { operands: ["a", "n", "imm"] satisfies UopOperand[], memory: true };

/** What a row on memory is besides, with a quick way. */
const memory = (wasm: UopDefinition["wasm"]): Partial<UopDefinition> => ({ ...MEMORY, wasm });

const bits = (n: number, from: number, count: number): number => (n >> from) & ((1 << count) - 1);

/** Packs what the rows for registers have in `n`. */
export const X87_N = {
  /** Of arithmetic: destination, source, pops. */
  arithmetic: (d: number, s: number, pops: number): number => d | (s << 3) | (pops << 6),
  /** Of comparisons: register, pops, and whether a quiet NaN is invalid. */
  compare: (i: number, pops: number, signalling: boolean): number => i | (pops << 3) | (signalling ? 1 << 5 : 0),
  /** Of moves: register, pops. */
  move: (i: number, pops: number): number => i | (pops << 3),
  /** Of integer stores: pops, and whether to cut. */
  store: (pops: number, truncate: boolean): number => pops | (truncate ? 2 : 0),
  environment: ({ wide, real }: EnvironmentLayout): number => (wide ? 1 : 0) | (real ? 2 : 0),
} as const;

const layoutOf = (n: number): EnvironmentLayout => ({ wide: bits(n, 0, 1) === 1, real: bits(n, 1, 1) === 1 });

// --- loads and stores

for (const source of SOURCES) {
  row(
    `fld${source}`,
    `push the ${source} operand at linear address a`,
    (x) => load(x, source),
    memory(quickLoad(source)),
  );
  if (isReal(source)) {
    row(
      `fst${source}`,
      `${source} at linear address a = ST(0); n pops`,
      (x, n) => storeReal(x, source, n),
      memory(quickStoreReal(source)),
    );
  } else {
    row(
      `fst${source}`,
      `${source} at linear address a = ST(0); n: pops, bit 1: cut`,
      (x, n) => storeInteger(x, source, bits(n, 0, 1), bits(n, 1, 1) === 1),
      memory(quickStoreInteger(source)),
    );
  }
}
row("fldm80", "push the 80-bit real at linear address a", (x) => loadExtended(x), memory(quickLoadExtended));
row("fstm80", "80-bit real at linear address a = ST(0); pop", (x) => storeExtended(x), memory(quickStoreExtended));
row("fbld", "push the packed decimal at linear address a", (x) => fbld(x), MEMORY);
row("fbstp", "packed decimal at linear address a = ST(0); pop", (x) => fbstp(x), MEMORY);
row("fldst", "push ST(n)", loadRegister, { wasm: quickLoadRegister });
row("fstst", "ST(n) = ST(0); pops", (x, n) => storeRegister(x, bits(n, 0, 3), bits(n, 3, 1)), {
  wasm: quickStoreRegister,
});
row("fstnst", "ST(n) = ST(0) with its tag; pop", storeUnchecked);
row("fldk", "push constant n of FLD1 to FLDZ", loadConstant, { wasm: quickLoadConstant });
row("fxchst", "exchange ST(0) and ST(n)", fxch, { wasm: quickExchange });
row("fcmovst", "ST(0) = ST(n) if a is not 0", (x, n, v) => moveIf(x, n, v.a() !== 0n), {
  operands: ["a", "n", "imm"],
  wasm: quickMoveIf,
});

// --- arithmetic

for (const name of Object.keys(OPERATIONS) as OperationName[]) {
  for (const source of SOURCES) {
    if (source === "i64") continue;
    row(
      `f${name}${source}`,
      `ST(0) = ST(0) ${name} ${source} at linear address a`,
      (x) => arithmeticMemory(x, name, source),
      memory(quickArithmetic(name, source)),
    );
  }
  row(
    `f${name}st`,
    `ST(d) = ST(d) ${name} ST(s); pops`,
    (x, n) => arithmeticRegister(x, name, bits(n, 0, 3), bits(n, 3, 3), bits(n, 6, 1)),
    { wasm: quickArithmeticRegister(name) },
  );
}
row("fchs", "change the sign of ST(0)", fchs, { wasm: CHANGE_SIGN });
row("fabs", "clear the sign of ST(0)", fabs, { wasm: CLEAR_SIGN });
row("fsqrt", "ST(0) = its square root", fsqrt, { wasm: quickSquareRoot });
row("frndint", "round ST(0) to an integer", frndint);
row("fscale", "ST(0) = ST(0) * 2^ST(1)", fscale);
row("fxtract", "ST(0) = its exponent; push its significand", fxtract);
row("fprem", "partial remainder of ST(0) by ST(1), the quotient cut", (x) => fprem(x, false));
row("fprem1", "partial remainder of ST(0) by ST(1), the quotient rounded", (x) => fprem(x, true));

row("fsin", "ST(0) = its sine", fsin);
row("fcos", "ST(0) = its cosine", fcos);
row("fsincos", "ST(0) = its sine; push its cosine", fsincos);
row("fptan", "ST(0) = its tangent; push 1.0", fptan);
row("fpatan", "ST(1) = arc tangent of ST(1)/ST(0); pop", fpatan);
row("f2xm1", "ST(0) = 2^ST(0) - 1", f2xm1);
row("fyl2x", "ST(1) = ST(1) * log2(ST(0)); pop", fyl2x);
row("fyl2xp1", "ST(1) = ST(1) * log2(ST(0) + 1); pop", fyl2xp1);

// --- comparisons

for (const source of SOURCES) {
  if (source === "i64") continue;
  row(
    `fcom${source}`,
    `compare ST(0) with ${source} at linear address a; n pops`,
    (x, n) => compareMemory(x, source, n),
    memory(quickCompare(source)),
  );
}
row(
  "fcomst",
  "compare ST(0) with ST(n); pops",
  (x, n) => compareRegister(x, bits(n, 0, 3), bits(n, 5, 1) === 1, bits(n, 3, 2)),
  { wasm: quickCompareRegister },
);
row(
  "fcomist",
  "compare ST(0) with ST(n) into the flags; pops",
  (x, n, v) => compareFlags(v, x, bits(n, 0, 3), bits(n, 5, 1) === 1, bits(n, 3, 2)),
  { writesFlags: true, readsFlags: true, wasm: quickCompareFlags },
);
row("ftst", "compare ST(0) with 0", ftst, { wasm: quickTest });
row("fxam", "class of ST(0)", fxam);

// --- control

row("fwait", "raise what is pending", (x) => x.wait(), { operands: [], wasm: quickWait });
row("fnop", "raise what is pending; remember where", fnop);
row("ffree", "ST(n) is empty; pops", (x, n) => ffree(x, bits(n, 0, 3), bits(n, 3, 1)));
row("fincstp", "turn the stack up", (x) => turnStack(x, 1));
row("fdecstp", "turn the stack down", (x) => turnStack(x, -1));
row("fninit", "initialize the x87", fninit, { operands: [] });
row("fnclex", "clear the exceptions", fnclex, { operands: [] });
row("fldcw", "control word = 16 bits at linear address a", fldcw, memory(quickLoadControl));
row("fnstenv", "store the environment, mask all exceptions", (x, n) => fnstenv(x, layoutOf(n)), MEMORY);
row("fldenv", "load the environment", (x, n) => fldenv(x, layoutOf(n)), MEMORY);
row("fnsave", "store environment and registers, initialize", (x, n) => fnsave(x, layoutOf(n)), MEMORY);
row("frstor", "load environment and registers", (x, n) => frstor(x, layoutOf(n)), MEMORY);

/** The x87. */
export const X87_ROWS: readonly UopDefinition[] = rows;
