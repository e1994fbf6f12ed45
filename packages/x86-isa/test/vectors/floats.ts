import type { Rng } from "./rng.js";

/** What a lane of a vector register or an operand in memory is filled with. */
export type Lane = "f32" | "f64" | "f80" | "integer";

/** A binary interchange format, its significand without the integer bit in two words. */
interface Format {
  readonly bias: number;
  readonly highBits: number;
  readonly lowBits: number;
}

const F32: Format = { bias: 127, highBits: 0, lowBits: 23 };
const F64: Format = { bias: 1023, highBits: 20, lowBits: 32 };
/** Without its explicit integer bit. */
const F80: Format = { bias: 16383, highBits: 31, lowBits: 32 };

/** Sign, biased exponent and fraction of a value in the making. */
interface Parts {
  negative: boolean;
  exponent: number;
  high: number;
  low: number;
}

const ones = (bits: number): number => (bits === 0 ? 0 : 0xffff_ffff >>> (32 - bits));

/** Exponents around which the values of one case lie, so that they meet each other when they are added or compared. */
export interface Scale {
  /** Unbiased, as a part of the format's range: -1 is the least normal number, 1 the greatest. */
  readonly at: number;
}

export function chooseScale(rng: Rng): Scale {
  switch (rng.below(8)) {
    case 0:
      return { at: -0.99 };
    case 1:
      return { at: 0.99 };
    case 2:
      // Products are at the limits of the range.
      return { at: rng.pick([-0.5, 0.5]) };
    case 3:
      return { at: rng.below(200) / 100 - 1 };
    default:
      return { at: 0 };
  }
}

/** A fraction: random, or with few bits set, or with runs of ones, which are what rounding and exactness turn on. */
function fraction(rng: Rng, format: Format, parts: Parts): void {
  const { highBits, lowBits } = format;
  const kind = rng.below(8);
  parts.high = rng.u32() & ones(highBits);
  parts.low = rng.u32() & ones(lowBits);
  if (kind < 3) return;
  if (kind === 3) {
    parts.high = 0;
    parts.low = 0;
    return;
  }
  // The first bits only, or all ones from some bit on.
  const kept = rng.below(highBits + lowBits + 1);
  const high = kept >= highBits ? ones(highBits) : (ones(kept) << (highBits - kept)) >>> 0;
  const lowKept = Math.max(0, kept - highBits);
  const low = lowKept === 0 ? 0 : ((ones(lowKept) << (lowBits - lowKept)) & ones(lowBits)) >>> 0;
  if (kind === 4) {
    parts.high |= ~high & ones(highBits);
    parts.low |= ~low & ones(lowBits);
  } else {
    parts.high &= high;
    parts.low &= low;
  }
}

/** An integer or a multiple of a half, near a power of two: where conversions to integers turn. */
function integral(rng: Rng, format: Format, parts: Parts): void {
  const power = rng.pick([0, 1, 2, 7, 8, 14, 15, 16, 23, 24, 30, 31, 32, 33, 52, 53, 62, 63, 64]);
  parts.exponent = format.bias + power;
  fraction(rng, format, parts);
  // Nothing below the half.
  const total = format.highBits + format.lowBits;
  const kept = Math.min(total, power + rng.below(2));
  const highKept = Math.min(kept, format.highBits);
  const lowKept = kept - highKept;
  if (highKept < 32) parts.high &= highKept === 0 ? 0 : (ones(highKept) << (format.highBits - highKept)) >>> 0;
  parts.low &= lowKept === 0 ? 0 : (ones(lowKept) << (format.lowBits - lowKept)) >>> 0;
}

const quietBit = (format: Format): { high: number; low: number } =>
  format.highBits === 0
    ? { high: 0, low: 1 << (format.lowBits - 1) }
    : { high: (1 << (format.highBits - 1)) >>> 0, low: 0 };

function value(rng: Rng, format: Format, scale: Scale): Parts {
  const parts: Parts = { negative: rng.chance(1, 2), exponent: 0, high: 0, low: 0 };
  const top = format.bias * 2 + 1;
  switch (rng.below(16)) {
    case 0:
      // Zero.
      break;
    case 1:
      // Denormal; the least and the greatest among them.
      fraction(rng, format, parts);
      if (rng.chance(1, 4)) [parts.high, parts.low] = rng.pick([[0, 1], [ones(format.highBits), ones(format.lowBits)]]); // prettier-ignore
      break;
    case 2:
      // Least and greatest normal, and their neighbours.
      parts.exponent = rng.pick([1, 1, 2, top - 1, top - 1, top - 2]);
      if (rng.chance(1, 2)) fraction(rng, format, parts);
      else if (rng.chance(1, 2)) [parts.high, parts.low] = [ones(format.highBits), ones(format.lowBits)];
      break;
    case 3:
      // Infinity.
      parts.exponent = top;
      break;
    case 4: {
      // NaN, quiet or signalling, with a payload.
      const quiet = quietBit(format);
      parts.exponent = top;
      fraction(rng, format, parts);
      if (rng.chance(1, 2)) {
        parts.high |= quiet.high;
        parts.low |= quiet.low;
      } else {
        parts.high &= ~quiet.high;
        parts.low &= ~quiet.low;
        if (parts.high === 0 && parts.low === 0) parts.low = 1;
      }
      if (rng.chance(1, 8)) [parts.high, parts.low] = [quiet.high, quiet.low];
      break;
    }
    case 5:
      // One, or a power of two close to it.
      parts.exponent = format.bias + rng.below(3) - 1;
      break;
    case 6:
    case 7:
      integral(rng, format, parts);
      break;
    case 8:
      // Any normal number.
      parts.exponent = 1 + rng.below(top - 1);
      fraction(rng, format, parts);
      break;
    default: {
      const spread = rng.pick([0, 1, 3, 8, format.highBits + format.lowBits + 4]);
      const middle = format.bias + Math.trunc(scale.at * (format.bias - 1));
      parts.exponent = Math.min(top - 1, Math.max(1, middle + rng.below(2 * spread + 1) - spread));
      fraction(rng, format, parts);
    }
  }
  return parts;
}

export function writeF32(rng: Rng, scale: Scale, into: DataView, at: number): void {
  const { negative, exponent, low } = value(rng, F32, scale);
  into.setUint32(at, (negative ? 0x8000_0000 : 0) | (exponent << 23) | low, true);
}

export function writeF64(rng: Rng, scale: Scale, into: DataView, at: number): void {
  const { negative, exponent, high, low } = value(rng, F64, scale);
  into.setUint32(at, low, true);
  into.setUint32(at + 4, (negative ? 0x8000_0000 : 0) | (exponent << 20) | high, true);
}

/** Ten bytes, now and then with an integer bit that does not belong there: pseudo-denormals and invalid operands. */
export function writeF80(rng: Rng, scale: Scale, into: DataView, at: number): void {
  const parts = value(rng, F80, scale);
  // Values that another precision represents exactly, or just not.
  if (rng.chance(1, 3)) {
    const single = rng.chance(1, 2);
    const edge = rng.below(3);
    if (single) [parts.high, parts.low] = [parts.high & 0x7fff_ff00, 0];
    else parts.low &= ~0x7ff;
    if (edge === 1) parts.low |= 1;
    if (edge === 2) {
      if (single) parts.high |= 0x80;
      else parts.low |= 0x400;
    }
  }
  const integerBit = (parts.exponent !== 0) !== rng.chance(1, 24);
  into.setUint32(at, parts.low, true);
  into.setUint32(at + 4, (integerBit ? 0x8000_0000 : 0) | parts.high, true);
  into.setUint16(at + 8, (parts.negative ? 0x8000 : 0) | parts.exponent, true);
}

const BYTES = [0, 0, 1, 0x7f, 0x80, 0x81, 0xff, 0xff, 0x55, 0xaa];

/** Integer lanes of random width at their limits, or random bits. */
function writeIntegers(rng: Rng, into: DataView, at: number): void {
  const width = rng.pick([1, 2, 4, 8]);
  const corners = rng.below(4) * 4;
  for (let lane = 0; lane < 16; lane += width) {
    const corner = rng.below(16) < corners;
    const fill = rng.pick([0, 0xff]);
    const last = rng.pick(BYTES);
    for (let i = 0; i < width; i++)
      into.setUint8(at + lane + i, corner ? (i === width - 1 ? last : fill) : rng.below(256));
  }
}

/** Fill 16 bytes with lanes of a kind; of `f80` there is one. */
export function writeLanes(rng: Rng, lane: Lane, scale: Scale, into: DataView, at: number): void {
  switch (lane) {
    case "f32":
      for (let n = 0; n < 16; n += 4) writeF32(rng, scale, into, at + n);
      return;
    case "f64":
      for (let n = 0; n < 16; n += 8) writeF64(rng, scale, into, at + n);
      return;
    case "f80":
      writeF80(rng, scale, into, at);
      return;
    default:
      writeIntegers(rng, into, at);
  }
}
