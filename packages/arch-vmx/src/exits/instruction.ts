import { REG, type Vcpu } from "@tapvisor/kvm-core/contract";
import { VECTOR, VMCS } from "@tapvisor/x86-isa";
import { toVmx } from "../vcpu-vmx.js";
import { growPleWindow } from "../vmcs/ple-window.js";
import { edxEax } from "./msr.js";

export function handleCpuid(vcpu: Vcpu): boolean {
  toVmx(vcpu).kvm.emulateCpuid(vcpu);
  return true;
}

export function handleHalt(vcpu: Vcpu): boolean {
  return toVmx(vcpu).kvm.emulateHalt(vcpu);
}

/** Memory is coherent: nothing has to be thrown away. */
export function handleInvd(vcpu: Vcpu): boolean {
  toVmx(vcpu).ops.skip_emulated_instruction(vcpu);
  return true;
}

/** Exits only without EPT. */
export function handleInvlpg(vcpu: Vcpu): boolean {
  const { kvm, ops, vmcs } = toVmx(vcpu);
  kvm.mmuInvlpg(vcpu, vmcs.read(VMCS.EXIT_QUALIFICATION));
  ops.skip_emulated_instruction(vcpu);
  return true;
}

export function handleRdpmc(vcpu: Vcpu): boolean {
  const { kvm } = toVmx(vcpu);
  kvm.completeInsnGp(vcpu, kvm.rdpmc(vcpu));
  return true;
}

export function handleVmcall(vcpu: Vcpu): boolean {
  return toVmx(vcpu).kvm.emulateHypercall(vcpu);
}

/** They exit always; a guest without nested VMX has none of them. */
export function handleVmxInstruction(vcpu: Vcpu): boolean {
  toVmx(vcpu).kvm.queueException(vcpu, VECTOR.UD);
  return true;
}

export function handleWbinvd(vcpu: Vcpu): boolean {
  toVmx(vcpu).kvm.emulateWbinvd(vcpu);
  return true;
}

export function handleXsetbv(vcpu: Vcpu): boolean {
  const { kvm, ops } = toVmx(vcpu);
  const index = vcpu.arch.regs.u32[2 * REG.RCX] ?? 0;
  // Refused: #GP is queued already.
  if (!kvm.setXcr(vcpu, index, edxEax(vcpu))) ops.skip_emulated_instruction(vcpu);
  return true;
}

/** The XSS-exiting bitmap is 0, so no state component makes it exit. 4.9 skips the instruction. */
export function handleXsaves(vcpu: Vcpu): boolean {
  toVmx(vcpu).ops.skip_emulated_instruction(vcpu);
  return true;
}

/** A loop of PAUSE: the lock that it waits for may be another vCPU's that does not run. */
export function handlePause(vcpu: Vcpu): boolean {
  const vmx = toVmx(vcpu);
  if (vmx.intel.features.pleGap !== 0) growPleWindow(vmx);
  vmx.ops.skip_emulated_instruction(vcpu);
  vmx.kvm.onSpin(vcpu);
  return true;
}

/** MONITOR and MWAIT do nothing: a guest that waits so spins. */
export function handleMwait(vcpu: Vcpu): boolean {
  toVmx(vcpu).ops.skip_emulated_instruction(vcpu);
  return true;
}

export function handleMonitor(vcpu: Vcpu): boolean {
  toVmx(vcpu).ops.skip_emulated_instruction(vcpu);
  return true;
}

export function handleMonitorTrap(_vcpu: Vcpu): boolean {
  return true;
}

/** Loads and stores of GDTR, IDTR, LDTR and TR, where descriptor-table exiting is on. */
export function handleDescriptorTable(vcpu: Vcpu): boolean {
  return toVmx(vcpu).kvm.emulateInstruction(vcpu) === "done";
}
