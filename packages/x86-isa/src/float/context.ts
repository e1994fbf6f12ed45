/** Floating-point exceptions, at their places in MXCSR and in the x87 status word; masks are at the same ones in both control words' fields. */
export const FLOAT_EXCEPTION = {
  /** Invalid operation. */
  IE: 1,
  /** Denormal operand. */
  DE: 2,
  /** Divide by zero. */
  ZE: 4,
  /** Numeric overflow. */
  OE: 8,
  /** Numeric underflow. */
  UE: 16,
  /** Inexact result (precision). */
  PE: 32,
} as const;

/** Exceptions that are found before the result is computed (SDM vol. 1, "SIMD Floating-Point Exception Conditions"). */
export const PRE_COMPUTATION = FLOAT_EXCEPTION.IE | FLOAT_EXCEPTION.DE | FLOAT_EXCEPTION.ZE;

/** The rounding-control field of MXCSR and of the x87 control word. */
export const ROUNDING = { NEAREST: 0, DOWN: 1, UP: 2, ZERO: 3 } as const;
export type Rounding = (typeof ROUNDING)[keyof typeof ROUNDING];

/** How operations round and what they do about exceptions, and the exceptions that they have met. */
export interface FloatContext {
  /** Which NaN wins, and what an unmasked overflow or underflow leaves. */
  readonly rules: "sse" | "x87";
  readonly rounding: Rounding;
  /** Exceptions that are masked. */
  readonly masks: number;
  /** A denormal operand is a zero (MXCSR.DAZ). */
  readonly daz: boolean;
  /** A tiny result is a zero while underflow is masked (MXCSR.FTZ). */
  readonly ftz: boolean;
  /** Exceptions met, masked or not. Operations add to them. */
  flags: number;
  /** The last rounding went away from zero: C1 of the x87. */
  roundedUp: boolean;
}

/** The context that MXCSR describes. */
export function sseContext(mxcsr: number): FloatContext {
  return {
    rules: "sse",
    rounding: ((mxcsr >> 13) & 3) as Rounding,
    masks: (mxcsr >> 7) & 0x3f,
    daz: (mxcsr & 0x40) !== 0,
    ftz: (mxcsr & 0x8000) !== 0,
    flags: 0,
    roundedUp: false,
  };
}

/** The context that the x87 control word describes, but for its precision control, which the format of a result says. */
export function x87Context(fcw: number): FloatContext {
  return {
    rules: "x87",
    rounding: ((fcw >> 10) & 3) as Rounding,
    masks: fcw & 0x3f,
    daz: false,
    ftz: false,
    flags: 0,
    roundedUp: false,
  };
}

/** Note exceptions; true if one of those that were met before the computation is unmasked, so that there is none. */
export function met(c: FloatContext, exceptions: number): boolean {
  c.flags |= exceptions;
  return (c.flags & ~c.masks & PRE_COMPUTATION) !== 0;
}
