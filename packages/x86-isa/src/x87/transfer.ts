import {
  convert,
  F80,
  FLOAT_EXCEPTION,
  fromInteger,
  packIndefinite,
  ROUNDING,
  toInteger,
  unpack,
  type FloatContext,
} from "../float/index.js";
import { FSW } from "../state/fx-image.js";
import { INDEFINITE, type X87 } from "./registers.js";
import { isReal, realFormat, SOURCE_BYTES, type Source } from "./sources.js";

const { IE, OE, UE } = FLOAT_EXCEPTION;

const ALL_MASKED = 0x3f;

/** FLD m32 and m64, FILD. */
export function load(x: X87, source: Source): void {
  x.wait();
  const size = SOURCE_BYTES[source];
  const bits = x.load(size);
  if (!x.hasRoom()) return;
  // A denormal is loaded even if it is an exception that is not masked; what is signalling is not.
  const c = { ...x.context(), masks: ALL_MASKED };
  const result = isReal(source)
    ? convert(c, F80, unpack(realFormat(source), bits))
    : fromInteger(c, F80, BigInt.asIntN(size * 8, bits));
  if ((c.flags & ~x.fcw & IE) === 0) x.push(result);
  x.note(c.flags, false);
}

const EXTENDED_HIGH = 8;

/** FLD m80 takes any encoding as it is. */
export function loadExtended(x: X87): void {
  x.wait();
  const bits = x.load(8) | (x.load(2, EXTENDED_HIGH) << 64n);
  if (x.hasRoom()) x.finishPush(x.context(), bits);
}

/** FLD ST(i). */
export function loadRegister(x: X87, i: number): void {
  x.wait();
  if (x.isEmpty(i)) {
    if (x.fault("underflow")) x.push(INDEFINITE);
    return;
  }
  const bits = x.bits(i);
  if (x.hasRoom()) x.finishPush(x.context(), bits);
}

/** Exceptions that keep a store to memory from happening while they are not masked. */
const stops = (c: FloatContext): number => c.flags & ~c.masks & (IE | OE | UE);

function finishStore(x: X87, c: FloatContext, pops: number, write: () => void): void {
  const stopped = stops(c);
  if (stopped !== 0) {
    x.note(stopped, false);
    return;
  }
  write();
  x.pop(pops);
  x.note(c.flags, (c.flags & FLOAT_EXCEPTION.PE) !== 0 && c.roundedUp);
}

/** FST and FSTP to m32 and m64. A denormal operand is no exception here. */
export function storeReal(x: X87, source: "m32" | "m64", pops: number): void {
  x.wait();
  const format = realFormat(source);
  const size = SOURCE_BYTES[source];
  x.probe(size);
  if (x.isEmpty(0)) {
    storeMissing(x, pops, () => x.store(size, packIndefinite(format)));
    return;
  }
  const c = x.context();
  const bits = convert(c, format, { ...x.value(0), denormal: false });
  finishStore(x, c, pops, () => x.store(size, bits));
}

/** The value to store is missing: the indefinite one goes in its place, while that is masked. */
function storeMissing(x: X87, pops: number, write: () => void): void {
  if ((x.fcw & IE) !== 0) {
    write();
    x.pop(pops);
  }
  x.fault("underflow");
}

/** FSTP m80. */
export function storeExtended(x: X87): void {
  x.wait();
  x.probe(10);
  const write = (bits: bigint): void => {
    x.store(8, BigInt.asUintN(64, bits));
    x.store(2, bits >> 64n, EXTENDED_HIGH);
  };
  if (x.isEmpty(0)) {
    storeMissing(x, 1, () => write(INDEFINITE));
    return;
  }
  finishStore(x, x.context(), 1, () => write(x.bits(0)));
}

/** FIST, FISTP, and FISTTP, which cuts. */
export function storeInteger(x: X87, source: "i16" | "i32" | "i64", pops: number, truncate: boolean): void {
  x.wait();
  const size = SOURCE_BYTES[source];
  const bits = (size * 8) as 16 | 32 | 64;
  x.probe(size);
  if (x.isEmpty(0)) {
    storeMissing(x, pops, () => x.store(size, 1n << BigInt(bits - 1)));
    return;
  }
  const c = x.context();
  const value = toInteger(c, bits, x.value(0), truncate ? ROUNDING.ZERO : c.rounding);
  finishStore(x, c, pops, () => x.store(size, value));
}

/** FST and FSTP to a register. */
export function storeRegister(x: X87, i: number, pops: number): void {
  x.wait();
  if (x.isEmpty(0)) {
    if (!x.fault("underflow")) return;
    x.put(i, INDEFINITE);
    x.pop(pops);
    return;
  }
  x.put(i, x.bits(0));
  x.pop(pops);
  x.note(0, false);
}

/** FSTPNCE does not mind an empty stack: it only pops then. */
export function storeUnchecked(x: X87, i: number): void {
  x.wait();
  if (!x.isEmpty(0)) x.put(i, x.bits(0));
  x.pop(1);
  x.note(0, false);
}

/** FCMOVcc. Both registers must hold values, whatever the condition. */
export function moveIf(x: X87, i: number, condition: boolean): void {
  x.wait();
  if (x.isEmpty(0) || x.isEmpty(i)) {
    if (x.fault("underflow")) x.put(0, INDEFINITE);
    return;
  }
  if (condition) x.put(0, x.bits(i));
  // C1 is left alone.
  x.point();
}

/** The constants of FLD1 to FLDZ: exponent word, significand cut, and whether the nearest value is the one above. */
const CONSTANTS: readonly (readonly [exponent: bigint, significand: bigint, nearestUp: boolean, exact: boolean])[] = [
  [0x3fffn, 0x8000_0000_0000_0000n, false, true],
  [0x4000n, 0xd49a_784b_cd1b_8afen, false, false],
  [0x3fffn, 0xb8aa_3b29_5c17_f0bbn, true, false],
  [0x4000n, 0xc90f_daa2_2168_c234n, true, false],
  [0x3ffdn, 0x9a20_9a84_fbcf_f798n, true, false],
  [0x3ffen, 0xb172_17f7_d1cf_79abn, true, false],
  [0n, 0n, false, true],
];

/** FLD1, FLDL2T, FLDL2E, FLDPI, FLDLG2, FLDLN2, FLDZ, by their place in that list. Inexact, but no exception says so. */
export function loadConstant(x: X87, n: number): void {
  x.wait();
  const constant = CONSTANTS[n];
  if (constant === undefined) throw new RangeError(`x87 constant ${n} does not exist`);
  if (!x.hasRoom()) return;
  const [exponent, significand, nearestUp, exact] = constant;
  const c = x.context();
  const up = !exact && (c.rounding === ROUNDING.UP || (c.rounding === ROUNDING.NEAREST && nearestUp));
  x.finishPush(c, (exponent << 64n) | (up ? significand + 1n : significand));
}

/** FFREE and FFREEP. */
export function ffree(x: X87, i: number, pops: number): void {
  x.wait();
  x.free(i);
  x.pop(pops);
  x.note(0, false);
}

/** FINCSTP and FDECSTP move TOP, and nothing else. */
export function turnStack(x: X87, by: number): void {
  x.wait();
  x.top = x.top + by;
  x.note(0, false);
}

/** FNOP, and FWAIT, which leaves the instruction pointer alone. */
export function fnop(x: X87): void {
  x.wait();
  x.point();
}

/** FNCLEX. */
export function fnclex(x: X87): void {
  x.fsw &= ~(FSW.EXCEPTIONS | FSW.SF | FSW.ES | FSW.B);
}
