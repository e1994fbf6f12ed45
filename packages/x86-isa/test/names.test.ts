import { describe, expect, expectTypeOf, it } from "vitest";
import { slot, type SlotName } from "../src/index.js";
import type { BinaryName, UopName } from "../src/uops/names.js";
import { UOPS, uopNamed, uopNumber } from "../src/uops/table.js";

describe("a name that is in no table", () => {
  it("does not compile, of a field of the state", () => {
    expectTypeOf<"rip" | "cs.base" | "t3" | "xmm15">().toExtend<SlotName>();
    expectTypeOf<"ripp">().not.toExtend<SlotName>();
    expectTypeOf<"cs.bas">().not.toExtend<SlotName>();
    // The number behind a name is looked up as the module loads.
    expect(() => slot("t999")).toThrow('state field "t999" does not exist');
  });

  it("does not compile, of a micro-operation", () => {
    expectTypeOf<"add32" | "movi" | "punpckldq">().toExtend<UopName>();
    expectTypeOf<"add33">().not.toExtend<UopName>();
    expectTypeOf<"add" | "xor">().toExtend<BinaryName>();
    expectTypeOf<"mov">().not.toExtend<BinaryName>();
    expectTypeOf(uopNumber).parameter(0).toEqualTypeOf<UopName>();
  });

  it("is refused where it is put together at run time", () => {
    for (const { name } of UOPS) expect(uopNamed(name)).toBe(name);
    expect(() => uopNamed("add33")).toThrow('micro-operation "add33" does not exist');
  });
});
