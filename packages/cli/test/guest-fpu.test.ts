import { Assembler, dword, reg, word } from "@tapvisor/x86-isa";
import type { DriverStop } from "@tapvisor/kvm-core";
import { defineInterceptor, loadRealMode } from "@tapvisor/sdk";
import { describe, expect, it } from "vitest";
import { createMachine } from "../src/index.js";

const { eax, ax, cx, ds, cr0, sp, al } = reg;
const MEMORY = 1 << 20;
const ADDRESS = 0x8000;
const DEVICE_NOT_AVAILABLE = 7;
const TS = 8;

/** Adds 1.0 to pi thirty times, with an exit after each, and sets CR0.TS in between: #NM comes to its own handler. */
function guest(): Uint8Array {
  const a = new Assembler(16);
  a.xor(ax, ax).mov(ds, ax).mov(sp, 0x7000);
  a.mov(word(DEVICE_NOT_AVAILABLE * 4), "handler").mov(word(DEVICE_NOT_AVAILABLE * 4 + 2), 0);
  a.mov(dword("caught"), 0);
  a.fninit().fldpi().mov(cx, 30);
  a.label("again").fld1().faddp(reg.st1, reg.st0);
  a.out(0x80, al);
  a.mov(eax, cr0).or(eax, TS).mov(cr0, eax);
  a.loop("again");
  a.fistp(dword("sum"));
  a.mov(eax, dword("sum")).shl(eax, 8).or(eax, dword("caught"));
  a.out(0xf4, eax);
  a.label("halt").cli().hlt().jmp("halt");
  a.label("handler").clts().inc(dword("caught")).iret();
  a.label("caught").dd(0);
  a.label("sum").dd(0);
  return a.assemble(ADDRESS).bytes;
}

/** Instructions of one run. */
const SLICE = 25;
/** pi + 30, and #NM at each use after the first. */
const ANSWER = (33 << 8) | 30;

async function run(eagerFpu: boolean): Promise<{ result: DriverStop; activations: number }> {
  let activations = 0;
  const machine = createMachine({
    memorySize: MEMORY,
    hostOptions: { eagerFpu },
    interceptors: [defineInterceptor({ name: "count", ops: { fpu_activate: { observe: () => void activations++ } } })],
  });
  machine.load(loadRealMode(guest(), { memorySize: MEMORY, address: ADDRESS }));
  // Each run ends with the vCPU being put, where its FPU may be given up.
  let result = await machine.run({ maxInstructions: SLICE });
  while (result.stop === "budget") result = await machine.run({ maxInstructions: SLICE });
  machine.dispose();
  return { result, activations };
}

describe("the FPU of a guest", () => {
  it.each([true, false])("keeps its registers over exits, and its own #NM comes to it (eager: %s)", async (eager) => {
    expect((await run(eager)).result).toEqual({ stop: "debug-exit", value: ANSWER });
  });

  it("is loaded anew after each run only where that is on demand", async () => {
    const [eager, lazy] = [await run(true), await run(false)];
    expect(lazy.activations).toBeGreaterThan(eager.activations);
  });
});
