import { Mnemonic } from "../../decode/iced.js";
import type { UopName } from "../../uops/names.js";
import { uopNamed } from "../../uops/table.js";
import type { Builder } from "../builder.js";
import type { Family, Lifter } from "../family.js";
import { HIGH, readVector, xmm, xmmOperand } from "../vectors.js";
import { endMmx, mmxDestination, mmxOperand, mmxSource, setMmx } from "./mmx.js";

/** The mnemonic that a row has its name from. */
function mnemonicOf(row: UopName): Mnemonic {
  const name = row.charAt(0).toUpperCase() + row.slice(1);
  const mnemonic = Mnemonic[name as keyof typeof Mnemonic] as Mnemonic | undefined;
  if (mnemonic === undefined) throw new RangeError(`no instruction is called ${row}`);
  return mnemonic;
}

/** How an operation on vectors becomes one on the 64 bits of an MMX register. */
type Narrowing = (b: Builder, row: UopName, first: number, second: number) => number;

/** Elements of the result depend on those at the same place, or to the right of it. */
const lowHalf: Narrowing = (b, row, first, second) => {
  const d = b.vectorTemp();
  b.emit(row, { d, a: first, b: second });
  return d;
};

/** The low interleaving of vectors takes all of MMX operands, and has what comes from their high halves above. */
const highHalf: Narrowing = (b, row, first, second) =>
  lowHalf(b, uopNamed(row.replace("punpckh", "punpckl")), first, second) + HIGH;

/** The operation goes over the first operand, then the second: both in one vector. */
const sideBySide: Narrowing = (b, row, first, second) => {
  const both = b.vectorTemp();
  b.emit("mov", { d: both, a: first });
  b.emit("mov", { d: both + HIGH, a: second });
  return lowHalf(b, row, both, both);
};

/** PSHUFB takes three bits of a byte for one of eight positions. */
const masked: Narrowing = (b, row, first, second) => {
  const positions = b.vectorTemp();
  b.emit("andi64nf", { d: positions, a: second, imm: 0x8787_8787_8787_8787n });
  return lowHalf(b, row, first, positions);
};

/** d = d OP source, on XMM registers or, if there is such a form, on MMX registers. */
const binary =
  (row: UopName, narrowing?: Narrowing): Lifter =>
  (b) => {
    const d = xmm(b.operand(0));
    if (d !== undefined) {
      b.emit(row, { d, a: d, b: readVector(b, 1) });
      return;
    }
    if (narrowing === undefined) throw new RangeError(`${row} has no form on MMX registers`);
    const first = mmxDestination(b);
    setMmx(b, first, narrowing(b, row, first, mmxSource(b, 1)));
  };

/** d = OP source. */
const unary =
  (row: UopName): Lifter =>
  (b) => {
    const d = xmm(b.operand(0));
    if (d !== undefined) {
      b.emit(row, { d, a: readVector(b, 1) });
      return;
    }
    const into = mmxDestination(b);
    const result = b.vectorTemp();
    b.emit(row, { d: result, a: mmxSource(b, 1) });
    setMmx(b, into, result);
  };

/** The count is a constant, or the low 64 bits of an operand that is read as a whole. */
const shift =
  (row: UopName): Lifter =>
  (b) => {
    const vector = xmm(b.operand(0));
    const first = vector ?? mmxDestination(b);
    const d = vector ?? b.vectorTemp();
    const count = b.operand(1);
    if (count.kind === "immediate") {
      b.emit(uopNamed(`${row.slice(0, -1)}i${row.slice(-1)}`), { d, a: first, imm: count.value });
    } else {
      b.emit(row, { d, a: first, b: vector === undefined ? mmxSource(b, 1) : readVector(b, 1) });
    }
    if (vector === undefined) setMmx(b, first, d);
  };

function constant(b: Builder, n: number): number {
  const operand = b.operand(n);
  if (operand.kind !== "immediate") throw new RangeError(`operand ${n} is no constant`);
  return Number(operand.value & 0xffn);
}

/** PSLLDQ and PSRLDQ: everything goes out by 16 bytes. */
const shiftBytes =
  (row: UopName): Lifter =>
  (b) => {
    const d = xmmOperand(b, 0);
    b.emit(row, { d, a: d, imm: BigInt(Math.min(constant(b, 1), 16)) });
  };

const palignr: Lifter = (b) => {
  const d = xmm(b.operand(0));
  if (d !== undefined) {
    b.emit("palignr", { d, a: d, b: readVector(b, 1), imm: BigInt(Math.min(constant(b, 2), 32)) });
    return;
  }
  const first = mmxDestination(b);
  const both = b.vectorTemp();
  b.emit("mov", { d: both, a: mmxSource(b, 1) });
  b.emit("mov", { d: both + HIGH, a: first });
  b.emit("psrldq", { d: both, a: both, imm: BigInt(Math.min(constant(b, 2), 16)) });
  setMmx(b, first, both);
};

/** d = the signs of the elements, zero-extended into a general register. */
const signs =
  (row: UopName): Lifter =>
  (b) => {
    const to = b.destination(b.operand(0));
    const from = xmm(b.operand(1));
    if (from !== undefined) {
      b.emit(row, { d: to.result, a: from });
    } else {
      b.emit("mmxcheck");
      const bytes = b.vectorTemp();
      b.emit("mov", { d: bytes, a: mmxOperand(b, 1) });
      b.emit("movi", { d: bytes + HIGH, imm: 0n });
      b.emit(row, { d: to.result, a: bytes });
      endMmx(b);
    }
    to.commit();
  };

/** PTEST: the other flags become 0. */
const ptest: Lifter = (b) => {
  const flags = b.temp();
  b.emit("vtest", { d: flags, a: xmmOperand(b, 0), b: readVector(b, 1) });
  b.emit("setflags", { a: flags });
};

const aeskeygenassist: Lifter = (b) => {
  b.emit("aeskeygenassist", { d: xmmOperand(b, 0), a: readVector(b, 1), imm: BigInt(constant(b, 2)) });
};

/** Bits 0 and 4 of the control byte choose the half of each operand. */
const pclmulqdq: Lifter = (b) => {
  const d = xmmOperand(b, 0);
  const control = constant(b, 2);
  const second = readVector(b, 1);
  b.emit("clmul", { d, a: d + ((control & 1) !== 0 ? HIGH : 0), b: second + ((control & 16) !== 0 ? HIGH : 0) });
};

/** Bits 1:0 of the control byte choose the group of the second operand, bit 2 where the first begins. */
const mpsadbw: Lifter = (b) => {
  const d = xmmOperand(b, 0);
  const control = constant(b, 2);
  const second = readVector(b, 1);
  const [bytes, group] = [b.vectorTemp(), b.vectorTemp()];
  b.emit("psrldq", { d: bytes, a: d, imm: BigInt(control & 4) });
  b.emit("psrldq", { d: group, a: second, imm: BigInt((control & 3) * 4) });
  b.emit("mpsadbw", { d, a: bytes, b: group });
};

const ELEMENTWISE = ["paddb", "paddw", "paddd", "paddq", "psubb", "psubw", "psubd", "psubq", "paddsb", "paddsw", "paddusb", "paddusw", "psubsb", "psubsw", "psubusb", "psubusw", "pminub", "pminsw", "pmaxub", "pmaxsw", "pavgb", "pavgw", "pcmpeqb", "pcmpeqw", "pcmpeqd", "pcmpgtb", "pcmpgtw", "pcmpgtd", "pand", "pandn", "por", "pxor", "psignb", "psignw", "psignd", "pmullw", "pmulhw", "pmulhuw", "pmulhrsw", "pmaddwd", "pmaddubsw", "pmuludq", "psadbw", "punpcklbw", "punpcklwd", "punpckldq"] as const satisfies readonly UopName[]; // prettier-ignore
const INTERLEAVING_HIGH = ["punpckhbw", "punpckhwd", "punpckhdq"] as const satisfies readonly UopName[]; // prettier-ignore
const OVER_BOTH = ["packsswb", "packssdw", "packuswb", "phaddw", "phaddd", "phaddsw", "phsubw", "phsubd", "phsubsw"] as const satisfies readonly UopName[]; // prettier-ignore
const ON_XMM_ALONE = ["punpcklqdq", "punpckhqdq", "packusdw", "pminsb", "pminuw", "pminsd", "pminud", "pmaxsb", "pmaxuw", "pmaxsd", "pmaxud", "pcmpeqq", "pcmpgtq", "pmulld", "pmuldq"] as const satisfies readonly UopName[]; // prettier-ignore
const SHIFTS = ["psllw", "pslld", "psllq", "psrlw", "psrld", "psrlq", "psraw", "psrad"] as const satisfies readonly UopName[]; // prettier-ignore

/** Instructions for floating point that do nothing to numbers, and so are the same as others. */
const SYNONYMS: readonly (readonly [Mnemonic, UopName])[] = [
  [Mnemonic.Andps, "pand"],
  [Mnemonic.Andpd, "pand"],
  [Mnemonic.Andnps, "pandn"],
  [Mnemonic.Andnpd, "pandn"],
  [Mnemonic.Orps, "por"],
  [Mnemonic.Orpd, "por"],
  [Mnemonic.Xorps, "pxor"],
  [Mnemonic.Xorpd, "pxor"],
  [Mnemonic.Unpcklps, "punpckldq"],
  [Mnemonic.Unpckhps, "punpckhdq"],
  [Mnemonic.Unpcklpd, "punpcklqdq"],
  [Mnemonic.Unpckhpd, "punpckhqdq"],
];

const byRow = (rows: readonly UopName[], lifter: (row: UopName) => Lifter): Family =>
  Object.fromEntries(rows.map((row) => [mnemonicOf(row), lifter(row)]));

/** Operations on all elements of a register: sums, products, comparisons, logic, shifts, packing. */
export const SIMD_OPERATIONS: Family = {
  ...byRow(ELEMENTWISE, (row) => binary(row, lowHalf)),
  ...byRow(INTERLEAVING_HIGH, (row) => binary(row, highHalf)),
  ...byRow(OVER_BOTH, (row) => binary(row, sideBySide)),
  ...byRow(ON_XMM_ALONE, (row) => binary(row)),
  ...byRow(SHIFTS, shift),
  ...byRow(["pslldq", "psrldq"], shiftBytes),
  ...byRow(["pabsb", "pabsw", "pabsd"], unary),
  ...byRow(["pmovmskb", "movmskps", "movmskpd"], signs),
  ...Object.fromEntries(SYNONYMS.map(([mnemonic, row]) => [mnemonic, binary(row)])),
  [Mnemonic.Pshufb]: binary("pshufb", masked),
  ...byRow(["phminposuw", "aesimc"], unary),
  ...byRow(["aesenc", "aesenclast", "aesdec", "aesdeclast"], (row) => binary(row)),
  [Mnemonic.Aeskeygenassist]: aeskeygenassist,
  [Mnemonic.Pclmulqdq]: pclmulqdq,
  [Mnemonic.Mpsadbw]: mpsadbw,
  [Mnemonic.Palignr]: palignr,
  [Mnemonic.Ptest]: ptest,
};
