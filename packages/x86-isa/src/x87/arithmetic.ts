import {
  add,
  divide,
  F80,
  multiply,
  roundToIntegral,
  scale,
  extract,
  squareRoot,
  subtract,
  type FloatContext,
  type FloatFormat,
  type FloatValue,
} from "../float/index.js";
import { FSW } from "../state/fx-image.js";
import { INDEFINITE, type X87 } from "./registers.js";
import { loadSource, type Source } from "./sources.js";

type Operation = (c: FloatContext, format: FloatFormat, x: FloatValue, y: FloatValue) => bigint;

const swapped =
  (operation: Operation): Operation =>
  (c, format, x, y) =>
    operation(c, format, y, x);

/** The operations with two operands; the destination is the first. */
export const OPERATIONS = {
  add,
  mul: multiply,
  sub: subtract,
  subr: swapped(subtract),
  div: divide,
  divr: swapped(divide),
} as const satisfies Record<string, Operation>;
export type OperationName = keyof typeof OPERATIONS;

/** ST(0) = ST(0) op memory. */
export function arithmeticMemory(x: X87, name: OperationName, source: Source): void {
  x.wait();
  const value = loadSource(x, source);
  if (x.isEmpty(0)) {
    if (x.fault("underflow")) x.put(0, INDEFINITE);
    return;
  }
  const c = x.context();
  const result = OPERATIONS[name](c, x.resultFormat, x.value(0), value);
  x.finish(c, () => x.put(0, result));
}

/** ST(d) = ST(d) op ST(s), one of which is ST(0); then `pops` values go. */
export function arithmeticRegister(x: X87, name: OperationName, d: number, s: number, pops: number): void {
  x.wait();
  const write = (result: bigint): void => {
    x.put(d, result);
    x.pop(pops);
  };
  if (x.isEmpty(d) || x.isEmpty(s)) {
    if (x.fault("underflow")) write(INDEFINITE);
    return;
  }
  const c = x.context();
  const result = OPERATIONS[name](c, x.resultFormat, x.value(d), x.value(s));
  x.finish(c, () => write(result));
}

/** ST(0) = op ST(0). */
function unary(x: X87, operation: (c: FloatContext, value: FloatValue) => bigint): void {
  x.wait();
  if (x.isEmpty(0)) {
    if (x.fault("underflow")) x.put(0, INDEFINITE);
    return;
  }
  const c = x.context();
  const result = operation(c, x.value(0));
  x.finish(c, () => x.put(0, result));
}

export const fsqrt = (x: X87): void => unary(x, (c, value) => squareRoot(c, x.resultFormat, value));
export const frndint = (x: X87): void => unary(x, (c, value) => roundToIntegral(c, F80, value));

const SIGN = 1n << 79n;

/** FCHS and FABS change the sign of anything, without an exception but that of an empty stack. */
const signed =
  (change: (bits: bigint) => bigint) =>
  (x: X87): void => {
    x.wait();
    if (!x.isEmpty(0)) {
      x.put(0, change(x.bits(0)));
      x.note(0, false);
    } else if (x.fault("underflow")) x.put(0, INDEFINITE);
  };

export const fchs = signed((bits) => bits ^ SIGN);
export const fabs = signed((bits) => bits & ~SIGN);

/** ST(0) scaled by ST(1). */
export function fscale(x: X87): void {
  x.wait();
  if (x.isEmpty(0) || x.isEmpty(1)) {
    if (x.fault("underflow")) x.put(0, INDEFINITE);
    return;
  }
  const c = x.context();
  const result = scale(c, F80, x.value(0), x.value(1));
  x.finish(c, () => x.put(0, result));
}

/** ST(0) becomes the exponent, and the significand is pushed. */
export function fxtract(x: X87): void {
  x.wait();
  const write = (exponent: bigint, significand: bigint): void => {
    x.put(0, exponent);
    x.push(significand);
  };
  if (x.isEmpty(0) || !x.isEmpty(7)) {
    if (x.fault(x.isEmpty(0) ? "underflow" : "overflow")) write(INDEFINITE, INDEFINITE);
    return;
  }
  const c = x.context();
  const { exponent, significand } = extract(c, F80, x.value(0));
  x.finish(c, () => write(exponent, significand));
}

/** Exchange ST(0) and ST(i). An empty one is the indefinite value. */
export function fxch(x: X87, i: number): void {
  x.wait();
  const missing = x.isEmpty(0) || x.isEmpty(i);
  if (missing && !x.fault("underflow")) return;
  const [first, other] = [0, i].map((n) => (x.isEmpty(n) ? INDEFINITE : x.bits(n)));
  if (first === undefined || other === undefined) return;
  x.put(0, other);
  x.put(i, first);
  if (!missing) x.note(0, false);
}

/** Class of ST(0) in C3, C2 and C0, its sign in C1 (SDM vol. 2, "FXAM"). */
export function fxam(x: X87): void {
  x.wait();
  const value = x.value(0);
  x.point();
  const sign = (x.bits(0) & SIGN) === 0n ? 0 : FSW.C1;
  x.setConditions(sign | (x.isEmpty(0) ? FSW.C3 | FSW.C0 : classOf(value)));
}

function classOf(value: FloatValue): number {
  switch (value.kind) {
    case "unsupported":
      return 0;
    case "nan":
      return FSW.C0;
    case "infinity":
      return FSW.C2 | FSW.C0;
    case "zero":
      return FSW.C3;
    case "finite":
      return value.denormal ? FSW.C3 | FSW.C2 : FSW.C2;
  }
}
