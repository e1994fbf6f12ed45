import { expect, it } from "vitest";
import { DEBUGREG } from "../../src/contract/index.js";
import { scriptedVcpu } from "../support/scripted.js";

it("power-on takes the guest's breakpoints off the processor", () => {
  const told: { dr6?: bigint; dr7?: bigint } = {};
  const { vm, vcpu } = scriptedVcpu({
    change: (ops) => {
      ops.set_dr6 = (_vcpu, value) => void (told.dr6 = value);
      ops.set_dr7 = (_vcpu, value) => void (told.dr7 = value);
    },
  });
  vcpu.setDebugRegs({ db: [1n, 2n, 3n, 4n], dr6: 0xffff_0ff1n, dr7: 0x401n });
  expect(told).toEqual({ dr6: 0xffff_0ff1n, dr7: 0x401n });
  vcpu.arch.switchDbRegs &= ~DEBUGREG.RELOAD;
  vm.reset();
  expect(told).toEqual({ dr6: 0xffff_0ff0n, dr7: 0x400n });
  expect([...vcpu.arch.effDb]).toEqual([0n, 0n, 0n, 0n]);
  // The addresses are loaded with the next entry, but no breakpoint is armed.
  expect(vcpu.arch.switchDbRegs & (DEBUGREG.RELOAD | DEBUGREG.BP_ENABLED)).toBe(DEBUGREG.RELOAD);
});
