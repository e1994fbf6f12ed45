import { F80, FLOAT_EXCEPTION, packZero, round, toInteger } from "../float/index.js";
import type { X87 } from "./registers.js";

/** Packed decimal integers: 18 digits in nine bytes, the sign in bit 7 of the tenth (SDM vol. 1, "BCD and Packed BCD Integers"). */
const DIGITS = 18;
const LIMIT = 10n ** BigInt(DIGITS);
const BYTES = 10;
const DIGIT_BYTES = 9;
const SIGN = 1n << 79n;
const PACKED_INDEFINITE = 0xffff_c000_0000_0000_0000n;

/** FBLD. A nibble above 9 counts as it is. */
export function fbld(x: X87): void {
  x.wait();
  const packed = x.load(8) | (x.load(2, 8) << 64n);
  if (!x.hasRoom()) return;
  let value = 0n;
  for (let n = DIGITS - 1; n >= 0; n--) value = value * 10n + ((packed >> BigInt(n * 4)) & 0xfn);
  const sign = (packed & SIGN) === 0n ? 0 : 1;
  const c = x.context();
  x.finishPush(c, value === 0n ? packZero(F80, sign) : round(c, F80, sign, 0, value));
}

const storePacked = (x: X87, packed: bigint): void => {
  x.store(8, BigInt.asUintN(64, packed));
  x.store(2, packed >> 64n, 8);
};

/** FBSTP. */
export function fbstp(x: X87): void {
  x.wait();
  x.probe(BYTES);
  if (x.isEmpty(0)) {
    if (x.fault("underflow")) {
      storePacked(x, PACKED_INDEFINITE);
      x.pop(1);
    }
    return;
  }
  const c = x.context();
  const bits = x.bits(0);
  const value = BigInt.asIntN(64, toInteger(c, 64, x.value(0)));
  const magnitude = value < 0n ? -value : value;
  const fits = magnitude < LIMIT && (c.flags & FLOAT_EXCEPTION.IE) === 0;
  if (!fits) {
    const masked = (x.fcw & FLOAT_EXCEPTION.IE) !== 0;
    if (masked) {
      storePacked(x, PACKED_INDEFINITE);
      x.pop(1);
    }
    x.note(FLOAT_EXCEPTION.IE, false);
    return;
  }
  storePacked(x, (bits & SIGN) | encode(magnitude));
  x.pop(1);
  x.note(c.flags, (c.flags & FLOAT_EXCEPTION.PE) !== 0 && c.roundedUp);
}

function encode(magnitude: bigint): bigint {
  return BigInt(`0x${magnitude.toString().padStart(DIGIT_BYTES * 2, "0")}`);
}
