/** A binary floating-point format: how values are encoded, and to how many bits results are rounded. */
export interface FloatFormat {
  /** Bits of the significand of a result, with the integer bit. Less than the encoding holds under precision control. */
  readonly precision: number;
  /** Exponents of the smallest normal number and of the largest number, as powers of two of the integer bit. */
  readonly minimum: number;
  readonly maximum: number;
  /** Bits of the encoded significand without the integer bit. */
  readonly fractionBits: number;
  readonly exponentBits: number;
  /** The integer bit is part of the encoding. */
  readonly explicit: boolean;
}

/** Single precision (SDM vol. 1, "Floating-Point Data Types"). */
export const F32: FloatFormat = {
  precision: 24,
  minimum: -126,
  maximum: 127,
  fractionBits: 23,
  exponentBits: 8,
  explicit: false,
};
/** Double precision. */
export const F64: FloatFormat = {
  precision: 53,
  minimum: -1022,
  maximum: 1023,
  fractionBits: 52,
  exponentBits: 11,
  explicit: false,
};
/** Double extended precision: 80 bits, with an explicit integer bit. */
export const F80: FloatFormat = {
  precision: 64,
  minimum: -16_382,
  maximum: 16_383,
  fractionBits: 63,
  exponentBits: 15,
  explicit: true,
};
/** Results of the x87 under precision control: the range of F80 with the precision of F64 or F32. */
export const F80_DOUBLE: FloatFormat = { ...F80, precision: 53 };
export const F80_SINGLE: FloatFormat = { ...F80, precision: 24 };

/** What an encoding means, in the same form for all formats. */
export interface FloatValue {
  /** `unsupported`: an 80-bit encoding that processors since the 80387 refuse (SDM vol. 1, "Unsupported Double Extended-Precision Floating-Point Encodings and Pseudo-Denormals"). */
  readonly kind: "zero" | "finite" | "infinity" | "nan" | "unsupported";
  /** 1 if negative. */
  readonly sign: 0 | 1;
  /** A finite value is `significand * 2^exponent`. Of a NaN: its significand aligned to 64 bits, with the integer bit. */
  readonly significand: bigint;
  readonly exponent: number;
  /** It was encoded as a denormal, or as a pseudo-denormal. */
  readonly denormal: boolean;
}

/** The bit of an aligned NaN significand that makes it quiet. */
export const QUIET = 1n << 62n;
const INTEGER_BIT = 1n << 63n;

const zero = (sign: 0 | 1): FloatValue => ({ kind: "zero", sign, significand: 0n, exponent: 0, denormal: false });

/** Whether a value is a signalling NaN. */
export const isSignalling = (x: FloatValue): boolean => x.kind === "nan" && (x.significand & QUIET) === 0n;

/**
 * The meaning of an encoding.
 *
 * @param bits as many as the format has; those above are ignored
 * @param daz denormals are zeros (MXCSR.DAZ)
 */
export function unpack(format: FloatFormat, bits: bigint, daz = false): FloatValue {
  const { fractionBits, exponentBits, explicit, minimum } = format;
  const width = BigInt(explicit ? fractionBits + 1 : fractionBits);
  const significand = BigInt.asUintN(Number(width), bits);
  const top = Number(BigInt.asUintN(exponentBits + 1, bits >> width));
  const sign = (top >> exponentBits) as 0 | 1;
  const biased = top & ((1 << exponentBits) - 1);
  const hidden = 1n << BigInt(fractionBits);
  if (biased === 0) {
    if (significand === 0n || daz) return zero(sign);
    return { kind: "finite", sign, significand, exponent: minimum - fractionBits, denormal: true };
  }
  if (explicit && (significand & hidden) === 0n) {
    return { kind: "unsupported", sign, significand, exponent: 0, denormal: false };
  }
  const fraction = significand & (hidden - 1n);
  if (biased === (1 << exponentBits) - 1) {
    if (fraction === 0n) return { kind: "infinity", sign, significand: 0n, exponent: 0, denormal: false };
    const aligned = INTEGER_BIT | (fraction << BigInt(63 - fractionBits));
    return { kind: "nan", sign, significand: aligned, exponent: 0, denormal: false };
  }
  return {
    kind: "finite",
    sign,
    significand: hidden | fraction,
    exponent: biased - 1 + minimum - fractionBits,
    denormal: false,
  };
}

const encode = (format: FloatFormat, sign: 0 | 1, biased: number, significand: bigint): bigint => {
  const { fractionBits, exponentBits, explicit } = format;
  const width = explicit ? fractionBits + 1 : fractionBits;
  return (BigInt((sign << exponentBits) | biased) << BigInt(width)) | BigInt.asUintN(width, significand);
};

export const packZero = (format: FloatFormat, sign: 0 | 1): bigint => encode(format, sign, 0, 0n);

export const packInfinity = (format: FloatFormat, sign: 0 | 1): bigint =>
  encode(format, sign, (1 << format.exponentBits) - 1, 1n << BigInt(format.fractionBits));

/** The finite number of greatest magnitude. */
export function packLargest(format: FloatFormat, sign: 0 | 1): bigint {
  const { precision, fractionBits, exponentBits } = format;
  const significand = ((1n << BigInt(precision)) - 1n) << BigInt(fractionBits + 1 - precision);
  return encode(format, sign, (1 << exponentBits) - 2, significand);
}

/** A NaN from its aligned significand, made quiet; what does not fit the format is cut off. */
export function packNan(format: FloatFormat, sign: 0 | 1, aligned: bigint): bigint {
  const significand = (aligned | QUIET | INTEGER_BIT) >> BigInt(63 - format.fractionBits);
  return encode(format, sign, (1 << format.exponentBits) - 1, significand);
}

/** The QNaN floating-point indefinite: the answer to an invalid operation. */
export const packIndefinite = (format: FloatFormat): bigint => packNan(format, 1, QUIET);

/**
 * A finite number from a significand whose integer bit is bit `fractionBits`, or below it at the least exponent.
 *
 * @param exponent of the integer bit
 */
export function packFinite(format: FloatFormat, sign: 0 | 1, exponent: number, significand: bigint): bigint {
  const normal = significand >> BigInt(format.fractionBits) !== 0n;
  return encode(format, sign, normal ? exponent - format.minimum + 1 : 0, significand);
}
