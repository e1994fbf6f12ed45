import { INTERRUPT_SHADOW, REQUEST, type Vcpu } from "@tapvisor/kvm-core/contract";
import {
  CPU_BASED, INTERRUPTIBILITY, INTR_INFO, INTR_INFO_TYPE_SHIFT, INTR_TYPE, RFLAGS, VECTOR, VMCS,
} from "@tapvisor/x86-isa"; // prettier-ignore
import { completeInterrupts } from "../events/complete-interrupts.js";
import { toVmx, type VcpuVmx } from "../vcpu-vmx.js";
import { hasVirtualNmis } from "../vmcs/capabilities.js";

const SHADOW = INTERRUPTIBILITY.STI | INTERRUPTIBILITY.MOV_SS;
const IF = Number(RFLAGS.IF);

export function vmxGetInterruptShadow(vcpu: Vcpu): number {
  const state = toVmx(vcpu).vmcs.read32(VMCS.GUEST_INTERRUPTIBILITY_INFO);
  return (
    ((state & INTERRUPTIBILITY.STI) !== 0 ? INTERRUPT_SHADOW.STI : 0) |
    ((state & INTERRUPTIBILITY.MOV_SS) !== 0 ? INTERRUPT_SHADOW.MOV_SS : 0)
  );
}

export function vmxSetInterruptShadow(vcpu: Vcpu, mask: number): void {
  const { vmcs } = toVmx(vcpu);
  const old = vmcs.read32(VMCS.GUEST_INTERRUPTIBILITY_INFO);
  let state = old & ~SHADOW;
  // VM entry refuses both at once.
  if ((mask & INTERRUPT_SHADOW.MOV_SS) !== 0) state |= INTERRUPTIBILITY.MOV_SS;
  else if ((mask & INTERRUPT_SHADOW.STI) !== 0) state |= INTERRUPTIBILITY.STI;
  if (state !== old) vmcs.write32(VMCS.GUEST_INTERRUPTIBILITY_INFO, state);
}

/** VMCALL. */
export function vmxPatchHypercall(_vcpu: Vcpu, code: Uint8Array): void {
  code.set([0x0f, 0x01, 0xc1]);
}

/** Write the VM-entry interruption-information field. */
function inject(vmx: VcpuVmx, type: number, vector: number, deliverCode = false): void {
  const info = INTR_INFO.VALID | (deliverCode ? INTR_INFO.DELIVER_CODE : 0) | (type << INTR_INFO_TYPE_SHIFT) | vector;
  vmx.vmcs.write32(VMCS.VM_ENTRY_INTR_INFO_FIELD, info >>> 0);
}

/** Real mode without unrestricted guest: deliver through the guest's interrupt vector table, by hand. */
function injectRealMode(vcpu: Vcpu, vmx: VcpuVmx, vector: number, instructionLength: number): void {
  if (vmx.kvm.injectRealmodeInterrupt(vcpu, vector, instructionLength) !== "done")
    vmx.kvm.makeRequest(vcpu, REQUEST.TRIPLE_FAULT);
}

export function vmxInjectIrq(vcpu: Vcpu): void {
  const vmx = toVmx(vcpu);
  const { nr, soft } = vcpu.arch.interrupt;
  if (vmx.realMode.vm86Active) {
    injectRealMode(vcpu, vmx, nr, soft ? vcpu.arch.eventExitInstLen : 0);
    return;
  }
  if (soft) vmx.vmcs.write32(VMCS.VM_ENTRY_INSTRUCTION_LEN, vcpu.arch.eventExitInstLen);
  inject(vmx, soft ? INTR_TYPE.SOFT_INTR : INTR_TYPE.EXT_INTR, nr);
}

export function vmxInjectNmi(vcpu: Vcpu): void {
  const vmx = toVmx(vcpu);
  if (!hasVirtualNmis(vmx.intel.config)) {
    // The end of blocking is guessed from the next open interrupt window: guests keep interrupts off in an NMI handler.
    vmx.softVnmiBlocked = true;
    vmx.vnmiBlockedTime = 0;
  }
  vmx.nmiKnownUnmasked = false;
  if (vmx.realMode.vm86Active) injectRealMode(vcpu, vmx, VECTOR.NMI, 0);
  else inject(vmx, INTR_TYPE.NMI_INTR, VECTOR.NMI);
}

/** #BP and #OF come from instructions, whose length the processor has to know. */
function isSoft(vector: number): boolean {
  return vector === VECTOR.BP || vector === VECTOR.OF;
}

/** Without nested VMX a fresh exception and one that is injected again go the same way. */
export function vmxQueueException(
  vcpu: Vcpu,
  nr: number,
  hasErrorCode: boolean,
  errorCode: number,
  _reinject: boolean,
): void {
  const vmx = toVmx(vcpu);
  const soft = isSoft(nr);
  if (vmx.realMode.vm86Active) {
    injectRealMode(vcpu, vmx, nr, soft ? vcpu.arch.eventExitInstLen : 0);
    return;
  }
  // Real mode pushes no error codes, and an entry that would is refused.
  const deliverCode = hasErrorCode && vmx.kvm.isProtectedMode(vcpu);
  if (deliverCode) vmx.vmcs.write32(VMCS.VM_ENTRY_EXCEPTION_ERROR_CODE, errorCode);
  if (soft) vmx.vmcs.write32(VMCS.VM_ENTRY_INSTRUCTION_LEN, vcpu.arch.eventExitInstLen);
  inject(vmx, soft ? INTR_TYPE.SOFT_EXCEPTION : INTR_TYPE.HARD_EXCEPTION, nr, deliverCode);
}

export function vmxCancelInjection(vcpu: Vcpu): void {
  const { vmcs } = toVmx(vcpu);
  const info = vmcs.read32(VMCS.VM_ENTRY_INTR_INFO_FIELD);
  completeInterrupts(vcpu, info, VMCS.VM_ENTRY_INSTRUCTION_LEN, VMCS.VM_ENTRY_EXCEPTION_ERROR_CODE);
  vmcs.write32(VMCS.VM_ENTRY_INTR_INFO_FIELD, 0);
}

export function vmxInterruptAllowed(vcpu: Vcpu): boolean {
  const { vmcs } = toVmx(vcpu);
  return (vmcs.read32(VMCS.GUEST_RFLAGS) & IF) !== 0 && (vmcs.read32(VMCS.GUEST_INTERRUPTIBILITY_INFO) & SHADOW) === 0;
}

export function vmxNmiAllowed(vcpu: Vcpu): boolean {
  const vmx = toVmx(vcpu);
  if (!hasVirtualNmis(vmx.intel.config) && vmx.softVnmiBlocked) return false;
  return (vmx.vmcs.read32(VMCS.GUEST_INTERRUPTIBILITY_INFO) & (SHADOW | INTERRUPTIBILITY.NMI)) === 0;
}

export function vmxGetNmiMask(vcpu: Vcpu): boolean {
  const vmx = toVmx(vcpu);
  if (!hasVirtualNmis(vmx.intel.config)) return vmx.softVnmiBlocked;
  if (vmx.nmiKnownUnmasked) return false;
  return (vmx.vmcs.read32(VMCS.GUEST_INTERRUPTIBILITY_INFO) & INTERRUPTIBILITY.NMI) !== 0;
}

export function vmxSetNmiMask(vcpu: Vcpu, masked: boolean): void {
  const vmx = toVmx(vcpu);
  if (!hasVirtualNmis(vmx.intel.config)) {
    if (vmx.softVnmiBlocked === masked) return;
    vmx.softVnmiBlocked = masked;
    vmx.vnmiBlockedTime = 0;
    return;
  }
  vmx.nmiKnownUnmasked = !masked;
  if (masked) vmx.vmcs.setBits(VMCS.GUEST_INTERRUPTIBILITY_INFO, INTERRUPTIBILITY.NMI);
  else vmx.vmcs.clearBits(VMCS.GUEST_INTERRUPTIBILITY_INFO, INTERRUPTIBILITY.NMI);
}

export function enableNmiWindow(vcpu: Vcpu): void {
  const { vmcs, intel, ops } = toVmx(vcpu);
  const sti = (vmcs.read32(VMCS.GUEST_INTERRUPTIBILITY_INFO) & INTERRUPTIBILITY.STI) !== 0;
  // The NMI window opens in the shadow of STI already; the interrupt window does not.
  if (!hasVirtualNmis(intel.config) || sti) ops.enable_irq_window(vcpu);
  else vmcs.setBits(VMCS.CPU_BASED_VM_EXEC_CONTROL, CPU_BASED.NMI_WINDOW_EXITING);
}

export function enableIrqWindow(vcpu: Vcpu): void {
  toVmx(vcpu).vmcs.setBits(VMCS.CPU_BASED_VM_EXEC_CONTROL, CPU_BASED.INTERRUPT_WINDOW_EXITING);
}
