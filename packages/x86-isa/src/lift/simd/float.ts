import { Code, Mnemonic } from "../../decode/iced.js";
import type { UopName } from "../../uops/names.js";
import { PREDICATE_NAMES } from "../../uops/sse/compare.js";
import type { Shape } from "../../uops/sse/lanes.js";
import { ROUNDING_NAMES } from "../../uops/sse/round.js";
import { uopNamed } from "../../uops/table.js";
import type { Builder } from "../builder.js";
import type { CodeFamily, Family, Lifter } from "../family.js";
import { readScalar, readVector, xmmOperand } from "../vectors.js";

type Suffix = Shape["suffix"];

/** Operand `n` in the width that the suffix says; 16 bytes of memory must be aligned. */
function source(b: Builder, n: number, suffix: Suffix): number {
  if (suffix === "ss") return readScalar(b, n, 4);
  return suffix === "sd" ? readScalar(b, n, 8) : readVector(b, n);
}

/** Destination and first source in one register, the second source a register or memory: ADDPS and its kind. */
const binary =
  (row: UopName, suffix: Suffix): Lifter =>
  (b) => {
    const d = xmmOperand(b, 0);
    b.emit(row, { d, a: d, b: source(b, 1, suffix) });
  };

/** SQRTPS and its kind. */
const unary =
  (row: UopName, suffix: Suffix): Lifter =>
  (b) => {
    b.emit(row, { d: xmmOperand(b, 0), b: source(b, 1, suffix) });
  };

/** COMISS and its kind. */
const flags =
  (row: UopName, suffix: "ss" | "sd"): Lifter =>
  (b) => {
    b.emit(row, { a: xmmOperand(b, 0), b: source(b, 1, suffix) });
  };

/** CMPPS and its kind: the predicate is a constant, of which three bits count. */
const compare =
  (suffix: Suffix): Lifter =>
  (b) => {
    const predicate = b.operand(2);
    const number = predicate.kind === "immediate" ? Number(predicate.value & 7n) : 0;
    const d = xmmOperand(b, 0);
    b.emit(uopNamed(`cmp${PREDICATE_NAMES[number] ?? ""}${suffix}`), { d, a: d, b: source(b, 1, suffix) });
  };

/** CVTSI2SS, CVTSI2SD. */
const fromInteger =
  (suffix: "ss" | "sd"): Lifter =>
  (b) => {
    const operand = b.operand(1);
    const value = b.slot(b.read(operand));
    b.emit(uopNamed(`cvtsi${b.sizeOf(operand) * 8}${suffix}`), { d: xmmOperand(b, 0), a: value });
  };

/** CVTSS2SI, CVTTSD2SI, ... */
const toInteger =
  (row: "cvt" | "cvtt", suffix: "ss" | "sd"): Lifter =>
  (b) => {
    const target = b.destination(b.operand(0));
    b.emit(uopNamed(`${row}${suffix}si${b.sizeOf(b.operand(0)) * 8}`), { d: target.result, b: source(b, 1, suffix) });
    target.commit();
  };

/** Conversions from `bytes` bytes of the second operand. */
const conversion =
  (row: UopName, bytes: 4 | 8 | 16): Lifter =>
  (b) => {
    b.emit(row, { d: xmmOperand(b, 0), b: bytes === 16 ? readVector(b, 1) : readScalar(b, 1, bytes) });
  };

function control(b: Builder): number {
  const operand = b.operand(2);
  if (operand.kind !== "immediate") throw new RangeError("the instruction needs its control byte");
  return Number(operand.value & 0xffn);
}

/** ROUNDPS and its kind: bit 2 of the control byte leaves the rounding to MXCSR. */
const roundToInteger =
  (suffix: Suffix): Lifter =>
  (b) => {
    const byte = control(b);
    const name = ROUNDING_NAMES[(byte & 4) !== 0 ? 4 : byte & 3] ?? "";
    b.emit(uopNamed(`round${name}${suffix}`), { d: xmmOperand(b, 0), b: source(b, 1, suffix), imm: BigInt(byte) });
  };

const dotProduct =
  (suffix: "ps" | "pd"): Lifter =>
  (b) => {
    const d = xmmOperand(b, 0);
    b.emit(`dp${suffix}`, { d, a: d, b: source(b, 1, suffix), imm: BigInt(control(b)) });
  };

const loadControl: Lifter = (b) => {
  b.emit("setmxcsr", { a: b.slot(b.read(b.operand(0))) });
};

const storeControl: Lifter = (b) => {
  const target = b.destination(b.operand(0));
  b.emit("getmxcsr", { d: target.result });
  target.commit();
};

/** Floating point of SSE to SSE4.1. */
export const SIMD_FLOAT: Family = {
  [Mnemonic.Addss]: binary("addss", "ss"),
  [Mnemonic.Addsd]: binary("addsd", "sd"),
  [Mnemonic.Addps]: binary("addps", "ps"),
  [Mnemonic.Addpd]: binary("addpd", "pd"),
  [Mnemonic.Subss]: binary("subss", "ss"),
  [Mnemonic.Subsd]: binary("subsd", "sd"),
  [Mnemonic.Subps]: binary("subps", "ps"),
  [Mnemonic.Subpd]: binary("subpd", "pd"),
  [Mnemonic.Mulss]: binary("mulss", "ss"),
  [Mnemonic.Mulsd]: binary("mulsd", "sd"),
  [Mnemonic.Mulps]: binary("mulps", "ps"),
  [Mnemonic.Mulpd]: binary("mulpd", "pd"),
  [Mnemonic.Divss]: binary("divss", "ss"),
  [Mnemonic.Divsd]: binary("divsd", "sd"),
  [Mnemonic.Divps]: binary("divps", "ps"),
  [Mnemonic.Divpd]: binary("divpd", "pd"),
  [Mnemonic.Minss]: binary("minss", "ss"),
  [Mnemonic.Minsd]: binary("minsd", "sd"),
  [Mnemonic.Minps]: binary("minps", "ps"),
  [Mnemonic.Minpd]: binary("minpd", "pd"),
  [Mnemonic.Maxss]: binary("maxss", "ss"),
  [Mnemonic.Maxsd]: binary("maxsd", "sd"),
  [Mnemonic.Maxps]: binary("maxps", "ps"),
  [Mnemonic.Maxpd]: binary("maxpd", "pd"),
  [Mnemonic.Sqrtss]: unary("sqrtss", "ss"),
  [Mnemonic.Sqrtsd]: unary("sqrtsd", "sd"),
  [Mnemonic.Sqrtps]: unary("sqrtps", "ps"),
  [Mnemonic.Sqrtpd]: unary("sqrtpd", "pd"),
  [Mnemonic.Rcpss]: unary("rcpss", "ss"),
  [Mnemonic.Rcpps]: unary("rcpps", "ps"),
  [Mnemonic.Rsqrtss]: unary("rsqrtss", "ss"),
  [Mnemonic.Rsqrtps]: unary("rsqrtps", "ps"),
  [Mnemonic.Addsubps]: binary("addsubps", "ps"),
  [Mnemonic.Addsubpd]: binary("addsubpd", "pd"),
  [Mnemonic.Haddps]: binary("haddps", "ps"),
  [Mnemonic.Haddpd]: binary("haddpd", "pd"),
  [Mnemonic.Hsubps]: binary("hsubps", "ps"),
  [Mnemonic.Hsubpd]: binary("hsubpd", "pd"),
  [Mnemonic.Cmpss]: compare("ss"),
  [Mnemonic.Cmpps]: compare("ps"),
  [Mnemonic.Cmppd]: compare("pd"),
  [Mnemonic.Comiss]: flags("comiss", "ss"),
  [Mnemonic.Comisd]: flags("comisd", "sd"),
  [Mnemonic.Ucomiss]: flags("ucomiss", "ss"),
  [Mnemonic.Ucomisd]: flags("ucomisd", "sd"),
  [Mnemonic.Cvtsi2ss]: fromInteger("ss"),
  [Mnemonic.Cvtsi2sd]: fromInteger("sd"),
  [Mnemonic.Cvtss2si]: toInteger("cvt", "ss"),
  [Mnemonic.Cvtsd2si]: toInteger("cvt", "sd"),
  [Mnemonic.Cvttss2si]: toInteger("cvtt", "ss"),
  [Mnemonic.Cvttsd2si]: toInteger("cvtt", "sd"),
  [Mnemonic.Cvtss2sd]: conversion("cvtsssd", 4),
  [Mnemonic.Cvtsd2ss]: conversion("cvtsdss", 8),
  [Mnemonic.Cvtps2pd]: conversion("cvtpspd", 8),
  [Mnemonic.Cvtpd2ps]: conversion("cvtpdps", 16),
  [Mnemonic.Cvtdq2pd]: conversion("cvtdqpd", 8),
  [Mnemonic.Cvtdq2ps]: conversion("cvtdqps", 16),
  [Mnemonic.Cvtps2dq]: conversion("cvtpsdq", 16),
  [Mnemonic.Cvttps2dq]: conversion("cvttpsdq", 16),
  [Mnemonic.Cvtpd2dq]: conversion("cvtpddq", 16),
  [Mnemonic.Cvttpd2dq]: conversion("cvttpddq", 16),
  [Mnemonic.Roundss]: roundToInteger("ss"),
  [Mnemonic.Roundsd]: roundToInteger("sd"),
  [Mnemonic.Roundps]: roundToInteger("ps"),
  [Mnemonic.Roundpd]: roundToInteger("pd"),
  [Mnemonic.Dpps]: dotProduct("ps"),
  [Mnemonic.Dppd]: dotProduct("pd"),
  [Mnemonic.Ldmxcsr]: loadControl,
  [Mnemonic.Stmxcsr]: storeControl,
};

/** CMPSD shares its mnemonic with a string instruction. */
export const SIMD_FLOAT_CODES: CodeFamily = {
  [Code.Cmpsd_xmm_xmmm64_imm8]: compare("sd"),
};
