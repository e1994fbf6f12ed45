import { APIC_BASE } from "@tapvisor/x86-isa";
import { expect, it } from "vitest";
import { APIC, LVT_COUNT } from "../../src/irqchip/lapic-registers.js";
import { resetLapic, setLapicBase } from "../../src/irqchip/lapic-state.js";
import { register, setRegister } from "../../src/irqchip/lapic-vectors.js";
import type { Lapic, VcpuState } from "../../src/state/vcpu-state.js";
import { scriptedVcpu } from "../support/scripted.js";

/** All that a local APIC holds, as values that can be compared. */
function snapshot({ vcpu: _vcpu, regs, timer: { handle, ...timer }, ...fields }: Lapic): object {
  return structuredClone({ ...fields, timer, armedFor: handle.deadline, regs });
}

/** Every field another than a reset leaves: a guest used the APIC, and its timer is about to expire. */
function use(apic: Lapic): void {
  for (let i = 0; i < apic.regs.length; i++) apic.regs[i] = 0x5a5a_0000 + i;
  apic.timer.handle.arm(1e9);
  Object.assign(apic.timer, {
    deadline: 1e9,
    period: 5,
    tscDeadline: 7n,
    pending: true,
    divideCount: 128,
    mode: 1 << 17,
  });
  Object.assign(apic, {
    irrPending: true,
    highestIsr: 0x31,
    pendingEvents: 3,
    sipiVector: 0x9f,
    arbitrationPriority: 4,
  });
}

function lapicOf(vcpu: VcpuState): Lapic {
  if (!vcpu.lapic) throw new Error("the vCPU has no local APIC");
  return vcpu.lapic;
}

it("power-on leaves nothing of what a guest did with its local APIC", () => {
  const { vm, vcpu } = scriptedVcpu();
  const apic = lapicOf(vcpu);
  const fresh = snapshot(apic);
  use(apic);
  expect(snapshot(apic)).not.toEqual(fresh);
  vm.reset();
  expect(snapshot(apic)).toEqual(fresh);
});

it("power-on gives the registers the values of the manual", () => {
  // SDM vol. 3, "Local APIC State After Power-Up or Reset"; LINT0 lets the PIC through (KVM's LINT0_REENABLED).
  const { vm, vcpu } = scriptedVcpu();
  const apic = lapicOf(vcpu);
  use(apic);
  vm.reset();
  const expected = new Uint32Array(apic.regs.length);
  const put = (offset: number, value: number): void => void (expected[offset >> 2] = value);
  put(APIC.LVR, 0x0005_0014);
  put(APIC.DFR, 0xffff_ffff);
  put(APIC.SPIV, 0xff);
  for (let i = 0; i < LVT_COUNT; i++) put(APIC.LVTT + 0x10 * i, 0x1_0000);
  put(APIC.LVT0, 0x700);
  expect(apic.regs).toEqual(expected);
  expect(apic.timer.divideCount).toBe(2);
});

it("INIT keeps the identity of an APIC in x2APIC mode, and clears the rest", () => {
  // SDM vol. 3, "x2APIC State Transitions": INIT preserves the APIC's ID and the logical ID that follows from it.
  const { vcpu } = scriptedVcpu();
  const apic = lapicOf(vcpu);
  setLapicBase(apic, vcpu.arch.apicBase | APIC_BASE.X2APIC_ENABLE);
  const identity = [APIC.ID, APIC.LDR].map((offset) => register(apic, offset));
  expect(identity[1]).not.toBe(0);
  setRegister(apic, APIC.TMICT, 5);
  resetLapic(apic, true);
  expect([APIC.ID, APIC.LDR].map((offset) => register(apic, offset))).toEqual(identity);
  expect(register(apic, APIC.TMICT)).toBe(0);
});
