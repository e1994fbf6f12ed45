import { describe, expect, expectTypeOf, it } from "vitest";
import { slot, type SlotName } from "../src/index.js";
import type { BinaryName, UopName } from "../src/uops/names.js";
import { UOPS, uopNamed, uopNumber } from "../src/uops/table.js";

describe("a name that is in no table", () => {
  it("does not compile, of a field of the state", () => {
    expectTypeOf<"rip" | "cs.base" | "t3" | "xmm15">().toExtend<SlotName>();
    expectTypeOf<"ripp">().not.toExtend<SlotName>();
    expectTypeOf<"cs.bas">().not.toExtend<SlotName>();
    expectTypeOf<"t32">().not.toExtend<SlotName>();
    expectTypeOf(slot).parameter(0).toEqualTypeOf<SlotName>();
  });

  it("does not compile, of a micro-operation", () => {
    expectTypeOf<"add32" | "movi" | "punpckldq">().toExtend<UopName>();
    expectTypeOf<"add33">().not.toExtend<UopName>();
    expectTypeOf<"add" | "xor">().toExtend<BinaryName>();
    expectTypeOf<"mov">().not.toExtend<BinaryName>();
    expectTypeOf(uopNumber).parameter(0).toEqualTypeOf<UopName>();
  });

  it("is refused where it is put together at run time", () => {
    for (const { name, flagless } of UOPS) {
      expect(uopNamed(name)).toBe(name);
      if (flagless !== undefined) expect(uopNamed(flagless)).toBe(flagless);
    }
    expect(() => uopNamed("add33")).toThrow('micro-operation "add33" does not exist');
  });
});
