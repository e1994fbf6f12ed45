import type { UopEmitter, UopValues } from "./definition.js";

/** Operand widths of the integer rows, in bits. */
export const SIZES = [8, 16, 32, 64] as const;
export type Size = (typeof SIZES)[number];

export const u64 = (value: bigint): bigint => BigInt.asUintN(64, value);
export const zeroExtend = (size: number, value: bigint): bigint => BigInt.asUintN(size, value);
/** Sign-extended from `size` bits, as unsigned 64 bits. */
export const signExtend = (size: number, value: bigint): bigint => BigInt.asUintN(64, BigInt.asIntN(size, value));
export const bit = (value: bigint, n: number): bigint => (value >> BigInt(n)) & 1n;
export const mask = (size: number): bigint => (1n << BigInt(size)) - 1n;

/** Zero-extend the i64 on the stack from `size` bits. */
export function emitZeroExtend(e: UopEmitter, size: Size): void {
  if (size === 64) return;
  if (size === 32) {
    e.w.op("i32.wrap_i64", "i64.extend_i32_u");
    return;
  }
  e.w.i64(mask(size));
  e.w.op("i64.and");
}

/** Sign-extend the i64 on the stack from `size` bits. */
export function emitSignExtend(e: UopEmitter, size: Size): void {
  if (size === 8) e.w.op("i64.extend8_s");
  else if (size === 16) e.w.op("i64.extend16_s");
  else if (size === 32) e.w.op("i64.extend32_s");
}

/** Store local `result` to `d`, zero-extended. */
export function emitResult(e: UopEmitter, size: Size, result: number): void {
  e.setD(() => {
    e.w.get(result);
    emitZeroExtend(e, size);
  });
}

/**
 * End the block: to RIP plus the low half of the constant, cut to `size` bits, if `condition` pushes an i32 that is not 0;
 * otherwise to RIP plus the high half, of which 16-bit code keeps 32 bits (see `instructionPointerBits`).
 */
export function emitBranch(e: UopEmitter, size: Size, condition: () => void): void {
  const { w } = e;
  const taken = e.i32(0);
  condition();
  w.set(taken);
  e.jump(
    () => {
      e.get("rip");
      e.immLow();
      e.immHigh();
      w.get(taken);
      w.op("select", "i64.add");
      if (size === 16) {
        w.i64(mask(16));
        w.i64(mask(32));
        w.get(taken);
        w.op("select", "i64.and");
      } else {
        emitZeroExtend(e, size);
      }
    },
    () => {
      w.get(taken);
      w.op("i32.eqz");
    },
  );
}

/** Where {@link emitBranch} leads. */
export function branchTarget(v: UopValues, size: Size, taken: boolean): bigint {
  const distance = BigInt.asIntN(32, taken ? v.imm() : v.imm() >> 32n);
  return zeroExtend(taken || size === 64 ? size : 32, v.get("rip") + distance);
}

/** Write the lazy flags: the result from a local, the second word as pushed by `aux`. */
export function emitFlags(e: UopEmitter, size: Size, result: number, aux: () => void): void {
  e.set("flagResult", () => {
    e.w.get(result);
    emitSignExtend(e, size);
  });
  e.set("flagAux", aux);
}

/** Write the lazy flags from CF, OF and AF as bits. */
export function setFlags(
  v: UopValues,
  size: Size,
  result: bigint,
  { cf, of, af }: { cf: bigint; of: bigint; af: bigint },
): void {
  v.set("flagResult", signExtend(size, result));
  v.set("flagAux", (cf << 63n) | ((cf ^ of) << 62n) | (af << 3n));
}

/** CF as 0 or 1. */
export const carryOf = (v: UopValues): bigint => v.get("flagAux") >> 63n;

/** Push CF as an i64 of 0 or 1. */
export function emitCarry(e: UopEmitter): void {
  e.get("flagAux");
  e.w.i64(63n);
  e.w.op("i64.shr_u");
}
