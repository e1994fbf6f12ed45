import { PAGE_OFFSET_MASK } from "../../tables/paging.js";
import { FCW_FIXED, FCW_WRITABLE, FSW } from "../../state/fx-image.js";
import type { OperationName } from "../../x87/arithmetic.js";
import type { Source } from "../../x87/sources.js";
import type { UopEmitter } from "../definition.js";
import {
  loadOperand,
  product,
  quotient,
  roundNearest,
  squareRoot,
  sum,
  toInteger,
  toReal,
  type Rounded,
} from "./numbers.js";
import { BIAS, INTEGER_BIT, Quick, SIGN_BIT, type Extended } from "./quick.js";

/** The quick ways, by the kind of row. Each is a row's `wasm`. */
type Emit = (e: UopEmitter) => void;

/** Push a value that is found by `load`. */
const pushing =
  (load: (q: Quick) => Extended): Emit =>
  (e) =>
    Quick.write(e, "none", (q) => {
      const place = q.physical(q.int(7));
      q.needRoom(place);
      const value = load(q);
      q.write(place, value);
      q.pushed(place);
      q.status(FSW.C1);
      q.end();
    });

export const quickLoad = (source: Source): Emit => pushing((q) => loadOperand(q, source));

export const quickLoadExtended: Emit = pushing((q) => {
  const value = { head: q.i32(), significand: q.i64() };
  q.set(value.significand, () => q.e.load(8, false));
  q.set(
    value.head,
    q.op("i32.wrap_i64", () => q.e.load(2, false, 8)),
  );
  return value;
});

export const quickLoadRegister: Emit = pushing((q) => {
  const from = q.physical(q.n(0, 3));
  q.needValue(from);
  return q.read(from);
});

const ONE = 0;
const ZERO = 6;

/** FLD1 and FLDZ; the others depend on the rounding. */
export const quickLoadConstant: Emit = pushing((q) => {
  const value = { head: q.i32(), significand: q.i64() };
  const isOne = q.op("i32.eq", () => q.e.n(), q.int(ONE));
  const isZero = q.op("i32.eq", () => q.e.n(), q.int(ZERO));
  q.slowIf(q.op("i32.eqz", q.op("i32.or", isOne, isZero)));
  q.set(value.head, q.op("select", q.int(BIAS), q.int(0), isOne));
  q.set(value.significand, q.op("select", q.long(INTEGER_BIT), q.long(0n), isOne));
  return value;
});

/** ST(0), which has to be there. */
function first(q: Quick): Extended {
  q.needValue(q.top);
  return q.read(q.top);
}

export const quickStoreReal =
  (source: "m32" | "m64"): Emit =>
  (e) =>
    Quick.write(e, "nearest", (q) => {
      const value = first(q);
      q.needPlain(value);
      const { bits, inexact, up } = toReal(q, value, source);
      q.keepOperands();
      e.store(source === "m32" ? 4 : 8, q.get(bits));
      q.rounded(inexact, up);
      q.poppedIf(q.n(0, 1));
      q.end();
    });

export const quickStoreInteger =
  (source: "i16" | "i32" | "i64"): Emit =>
  (e) =>
    Quick.write(e, "precision", (q) => {
      const value = first(q);
      q.needPlain(value);
      const size = ({ i16: 16, i32: 32, i64: 64 } as const)[source];
      const { bits, inexact, up } = toInteger(q, value, size, q.n(1, 1));
      q.keepOperands();
      e.store(({ i16: 2, i32: 4, i64: 8 } as const)[source], q.get(bits));
      q.rounded(inexact, up);
      q.poppedIf(q.n(0, 1));
      q.end();
    });

/** Places in a page from which ten bytes do not cross into the next, with room for sixteen. */
const LAST_WHOLE = 0xff0n;

export const quickStoreExtended: Emit = (e) =>
  Quick.write(e, "none", (q) => {
    const value = first(q);
    const linear = q.op(
      "i64.add",
      () => e.a(),
      () => e.immLow(),
    );
    q.slowIf(q.op("i64.gt_u", q.op("i64.and", linear, q.long(BigInt(PAGE_OFFSET_MASK))), q.long(LAST_WHOLE)));
    // The right to store is taken for both parts, which are in one page, before the first; a fault names the first byte.
    e.load(8, true);
    q.w.op("drop");
    q.keepOperands();
    e.store(8, q.get(value.significand));
    e.store(2, q.op("i64.extend_i32_u", q.get(value.head)), 8);
    q.status(FSW.C1);
    q.popped();
    q.end();
  });

export const quickStoreRegister: Emit = (e) =>
  Quick.write(e, "none", (q) => {
    const value = first(q);
    const to = q.physical(q.n(0, 3));
    q.write(to, value);
    q.valid(to);
    q.status(FSW.C1);
    q.poppedIf(q.n(3, 1));
    q.end();
  });

export const quickExchange: Emit = (e) =>
  Quick.write(e, "none", (q) => {
    const other = q.physical(q.n(0, 3));
    const one = first(q);
    q.needValue(other);
    const two = q.read(other);
    q.write(q.top, two);
    q.write(other, one);
    q.status(FSW.C1);
    q.end();
  });

export const quickMoveIf: Emit = (e) =>
  Quick.write(e, "none", (q) => {
    const from = q.physical(q.n(0, 3));
    q.needValue(q.top);
    q.needValue(from);
    const value = q.read(from);
    q.if(
      q.op(
        "i32.eqz",
        q.op("i64.eqz", () => e.a()),
      ),
      () => q.write(q.top, value),
    );
    q.end();
  });

/** FCHS and FABS. */
export const quickSign =
  (op: "i32.xor" | "i32.and", mask: number): Emit =>
  (e) =>
    Quick.write(e, "none", (q) => {
      const value = first(q);
      q.set(value.head, q.op(op, q.get(value.head), q.int(mask)));
      q.write(q.top, value);
      q.status(FSW.C1);
      q.end();
    });
export const CHANGE_SIGN = quickSign("i32.xor", SIGN_BIT);
export const CLEAR_SIGN = quickSign("i32.and", SIGN_BIT - 1);

const OPERATIONS: Record<OperationName, (q: Quick, x: Extended, y: Extended) => Rounded> = {
  add: (q, x, y) => roundNearest(q, sum(q, x, y, false)),
  sub: (q, x, y) => roundNearest(q, sum(q, x, y, true)),
  subr: (q, x, y) => roundNearest(q, sum(q, y, x, true)),
  mul: (q, x, y) => roundNearest(q, product(q, x, y)),
  div: (q, x, y) => roundNearest(q, quotient(q, x, y)),
  divr: (q, x, y) => roundNearest(q, quotient(q, y, x)),
};

export const quickArithmetic =
  (name: OperationName, source: Source): Emit =>
  (e) =>
    Quick.write(e, "plain", (q) => {
      const x = first(q);
      q.needPlain(x);
      const y = loadOperand(q, source);
      const result = OPERATIONS[name](q, x, y);
      q.write(q.top, result);
      q.rounded(result.inexact, result.up);
      q.end();
    });

export const quickArithmeticRegister =
  (name: OperationName): Emit =>
  (e) =>
    Quick.write(e, "plain", (q) => {
      const d = q.physical(q.n(0, 3));
      const s = q.physical(q.n(3, 3));
      q.needValue(d);
      q.needValue(s);
      const [x, y] = [q.read(d), q.read(s)];
      q.needPlain(x);
      q.needPlain(y);
      const result = OPERATIONS[name](q, x, y);
      q.write(d, result);
      q.rounded(result.inexact, result.up);
      q.poppedIf(q.n(6, 1));
      q.end();
    });

export const quickSquareRoot: Emit = (e) =>
  Quick.write(e, "plain", (q) => {
    const x = first(q);
    q.needPlain(x);
    const result = squareRoot(q, x);
    q.write(q.top, result);
    q.rounded(result.inexact, result.up);
    q.end();
  });

/** Whether x is less than y, and whether they are equal (i32); both are normal numbers or zeros. */
function order(q: Quick, x: Extended, y: Extended): { less: number; equal: number } {
  const [less, equal, smaller, same] = [q.i32(), q.i32(), q.i32(), q.i32()];
  q.set(
    same,
    q.op(
      "i32.and",
      q.op("i32.eq", q.exponent(x), q.exponent(y)),
      q.op("i64.eq", q.get(x.significand), q.get(y.significand)),
    ),
  );
  q.set(
    smaller,
    q.op(
      "i32.or",
      q.op("i32.lt_u", q.exponent(x), q.exponent(y)),
      q.op(
        "i32.and",
        q.op("i32.eq", q.exponent(x), q.exponent(y)),
        q.op("i64.lt_u", q.get(x.significand), q.get(y.significand)),
      ),
    ),
  );
  const zeros = q.op("i64.eqz", q.op("i64.or", q.get(x.significand), q.get(y.significand)));
  const sameSign = q.op("i32.eq", q.sign(x), q.sign(y));
  q.set(equal, q.op("i32.or", zeros, q.op("i32.and", q.get(same), sameSign)));
  const negative = q.op("i32.shr_u", q.sign(x), q.int(15));
  const inOrder = q.op("i32.and", q.op("i32.xor", q.get(smaller), negative), q.op("i32.eqz", q.get(same)));
  // Of different signs, the negative one is less; of the same, the order of magnitudes turns with the sign.
  q.set(less, q.op("i32.and", q.op("select", inOrder, negative, sameSign), q.op("i32.eqz", q.get(equal))));
  return { less, equal };
}

const CONDITIONS = FSW.C0 | FSW.C1 | FSW.C2 | FSW.C3;

function answer(q: Quick, x: Extended, y: Extended): void {
  const { less, equal } = order(q, x, y);
  q.status(CONDITIONS, q.op("i64.or", q.flag(q.get(less), FSW.C0), q.flag(q.get(equal), FSW.C3)));
}

export const quickCompare =
  (source: Source): Emit =>
  (e) =>
    Quick.write(e, "none", (q) => {
      const x = first(q);
      q.needPlain(x);
      answer(q, x, loadOperand(q, source));
      q.poppedIf(q.n(0, 1));
      q.end();
    });

/** ST(0) and ST(i), both plain. */
function pair(q: Quick): readonly [Extended, Extended] {
  const x = first(q);
  q.needPlain(x);
  const other = q.physical(q.n(0, 3));
  q.needValue(other);
  const y = q.read(other);
  q.needPlain(y);
  return [x, y];
}

/** Pops of a comparison: 0, 1 or 2. */
function popPair(q: Quick): void {
  const pops = q.i32();
  q.set(pops, q.n(3, 2));
  q.if(q.get(pops), () => {
    q.popped();
    q.if(q.op("i32.gt_u", q.get(pops), q.int(1)), () => q.popped());
  });
}

export const quickCompareRegister: Emit = (e) =>
  Quick.write(e, "none", (q) => {
    const [x, y] = pair(q);
    answer(q, x, y);
    popPair(q);
    q.end();
  });

/** Into the lazy flags: ZF if equal, CF if less, PF clear. */
export const quickCompareFlags: Emit = (e) =>
  Quick.write(e, "none", (q) => {
    const [x, y] = pair(q);
    const { less, equal } = order(q, x, y);
    // ZF is a result of 0, whose parity is even and has to be turned; 1 is odd, as PF wants it.
    e.set("flagResult", q.op("i64.extend_i32_u", q.op("i32.eqz", q.get(equal))));
    const carry = q.op("i64.mul", q.op("i64.extend_i32_u", q.get(less)), q.long(-(1n << 62n)));
    e.set("flagAux", q.op("i64.or", carry, q.op("i64.shl", q.op("i64.extend_i32_u", q.get(equal)), q.long(8n))));
    popPair(q);
    q.end();
  });

export const quickTest: Emit = (e) =>
  Quick.write(e, "none", (q) => {
    const x = first(q);
    q.needPlain(x);
    const zero = q.op("i64.eqz", q.get(x.significand));
    const negative = q.op("i32.and", q.op("i32.shr_u", q.sign(x), q.int(15)), q.op("i32.eqz", zero));
    q.status(CONDITIONS, q.op("i64.or", q.flag(negative, FSW.C0), q.flag(zero, FSW.C3)));
    q.end();
  });

/** FWAIT: nothing, if nothing is pending. */
export const quickWait: Emit = (e) => Quick.write(e, "none", () => undefined);

/** FLDCW, if the new control word unmasks nothing that is flagged. */
export const quickLoadControl: Emit = (e) =>
  Quick.write(e, "none", (q) => {
    const control = q.i64();
    const loaded = q.op("i64.and", () => e.load(2, false), q.long(BigInt(FCW_WRITABLE)));
    q.set(control, q.op("i64.or", loaded, q.long(BigInt(FCW_FIXED))));
    const status = q.op("i64.shr_u", q.get(q.header), q.long(16n));
    const unmasked = q.op("i64.and", status, q.op("i64.xor", q.get(control), q.long(-1n)));
    q.slowIf(q.op("i64.ne", q.op("i64.and", unmasked, q.long(BigInt(FSW.EXCEPTIONS))), q.long(0n)));
    const rest = q.op("i64.and", q.get(q.header), q.long(~0xffffn));
    e.set("fcw", q.op("i64.or", rest, q.get(control)));
  });
