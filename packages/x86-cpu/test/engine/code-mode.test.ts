import { describe, expect, it } from "vitest";
import { CpuState, CR0, CR4, slot } from "@tapvisor/x86-isa";
import { codeMode, codeModeName } from "../../src/engine/code-mode.js";

const nameOf = (cr0: bigint, cr4: bigint): string => {
  const state = new CpuState();
  state.set64(slot("cr0"), cr0);
  state.set64(slot("cr4"), cr4);
  return codeModeName(codeMode(state, () => true));
};

describe("the code mode that blocks are kept by", () => {
  it("tells every setting apart that x87, MMX and SSE depend on", () => {
    const bits: bigint[] = [CR0.PE, CR0.EM, CR0.MP, CR0.TS];
    const names = new Set<string>();
    for (let n = 0; n < 32; n++) {
      const cr0 = bits.reduce((sum, bit, i) => ((n >> i) & 1 ? sum | bit : sum), 0n);
      names.add(nameOf(cr0, (n & 16) !== 0 ? CR4.OSFXSR : 0n));
    }
    expect(names.size).toBe(32);
  });

  it("does not change with other bits", () => {
    expect(nameOf(CR0.PE | CR0.NE | CR0.WP, CR4.OSFXSR | CR4.PGE)).toBe(nameOf(CR0.PE, CR4.OSFXSR));
  });
});
