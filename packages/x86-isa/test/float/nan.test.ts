import { describe, expect, it } from "vitest";
import {
  add,
  compare,
  convert,
  divide,
  F32,
  F64,
  F80,
  firstWins,
  FLOAT_EXCEPTION,
  multiply,
  sseContext,
  squareRoot,
  subtract,
  unpack,
  x87Context,
} from "../../src/float/index.js";

const { IE, DE, ZE } = FLOAT_EXCEPTION;
const sse = (): ReturnType<typeof sseContext> => sseContext(0x1f80);
const x87 = (): ReturnType<typeof x87Context> => x87Context(0x37f);
const INFINITY = unpack(F64, 0x7ff0_0000_0000_0000n);
const ZERO = unpack(F64, 0n);
const ONE = unpack(F64, 0x3ff0_0000_0000_0000n);
const QUIET = unpack(F64, 0x7ff8_0000_0000_0001n);
const LARGER = unpack(F64, 0xfff8_0000_0000_0002n);
const SIGNALLING = unpack(F64, 0xfff0_0000_0000_0003n);
const DENORMAL = unpack(F64, 1n);
const INDEFINITE = 0xfff8_0000_0000_0000n;

describe("NaNs", () => {
  it("go by the first operand in SSE and by the larger significand in the x87", () => {
    expect(add(sse(), F64, QUIET, LARGER)).toBe(0x7ff8_0000_0000_0001n);
    expect(add(x87(), F64, QUIET, LARGER)).toBe(0xfff8_0000_0000_0002n);
  });

  it("that signal are invalid, and answered quiet", () => {
    const c = sse();
    expect(add(c, F64, SIGNALLING, QUIET)).toBe(0xfff8_0000_0000_0003n);
    expect(c.flags).toBe(IE);
    expect(add(x87(), F64, SIGNALLING, QUIET)).toBe(0x7ff8_0000_0000_0001n);
  });

  it("keep their sign when they are subtracted", () => {
    expect(subtract(sse(), F64, ONE, QUIET)).toBe(0x7ff8_0000_0000_0001n);
  });

  it("keep the upper part of their payload in a smaller format", () => {
    expect(convert(sse(), F32, unpack(F64, 0x7ff4_0000_2000_0000n))).toBe(0x7fe0_0001n);
  });

  it("hide a denormal operand beside them", () => {
    const c = sse();
    add(c, F64, DENORMAL, QUIET);
    expect(c.flags).toBe(0);
  });

  it("are unordered, and invalid where the comparison signals", () => {
    const c = sse();
    expect(compare(c, QUIET, ONE, false)).toBe("unordered");
    expect(c.flags).toBe(0);
    compare(c, QUIET, ONE, true);
    expect(c.flags).toBe(IE);
  });

  it("make the second operand the minimum, as two zeros do", () => {
    expect(firstWins(sse(), "min", QUIET, ONE)).toBe(false);
    expect(firstWins(sse(), "min", unpack(F64, 1n << 63n), ZERO)).toBe(false);
  });
});

describe("invalid operations", () => {
  it.each([
    ["infinity - infinity", () => subtract(sse(), F64, INFINITY, INFINITY)],
    ["0 * infinity", () => multiply(sse(), F64, ZERO, INFINITY)],
    ["0 / 0", () => divide(sse(), F64, ZERO, ZERO)],
    ["infinity / infinity", () => divide(sse(), F64, INFINITY, INFINITY)],
    ["the root of -1", () => squareRoot(sse(), F64, unpack(F64, 0xbff0_0000_0000_0000n))],
  ])("%s has no value", (_name, operation) => {
    expect(operation()).toBe(INDEFINITE);
  });

  it("are encodings that the 80387 gave up", () => {
    const c = x87();
    expect(add(c, F80, unpack(F80, 0x3fff_0000_0000_0000_0000n), ONE)).toBe(0xffff_c000_0000_0000_0000n);
    expect(c.flags).toBe(IE);
  });
});

describe("other exceptions", () => {
  it("divides by zero", () => {
    const c = sse();
    expect(divide(c, F64, ONE, ZERO)).toBe(0x7ff0_0000_0000_0000n);
    expect(c.flags).toBe(ZE);
  });

  it("computes nothing after an unmasked denormal operand", () => {
    const c = sseContext(0x1f80 & ~0x100);
    multiply(c, F64, DENORMAL, unpack(F64, 0x3fd5_5555_5555_5555n));
    expect(c.flags).toBe(DE);
  });

  it("takes denormals for zeros when told to", () => {
    const c = sse();
    expect(divide(c, F64, ONE, unpack(F64, 1n, true))).toBe(0x7ff0_0000_0000_0000n);
    expect(c.flags).toBe(ZE);
  });
});
