import { DEBUGREG, GUESTDBG, type Vcpu } from "@tapvisor/kvm-core/contract";
import { CPU_BASED, VECTOR, VMCS } from "@tapvisor/x86-isa";
import { toVmx } from "../vcpu-vmx.js";

const ALWAYS_EXITING =
  (1 << VECTOR.PF) | (1 << VECTOR.UD) | (1 << VECTOR.MC) | (1 << VECTOR.NM) | (1 << VECTOR.DB) | (1 << VECTOR.AC);
const SOFTWARE_BREAKPOINTS = GUESTDBG.ENABLE | GUESTDBG.USE_SW_BP;

/** Which exceptions exit: the exception bitmap. */
export function updateExceptionBitmap(vcpu: Vcpu): void {
  const vmx = toVmx(vcpu);
  const { arch } = vcpu;
  let bitmap: number = ALWAYS_EXITING;
  if ((arch.guestDebug & SOFTWARE_BREAKPOINTS) === SOFTWARE_BREAKPOINTS) bitmap |= 1 << VECTOR.BP;
  // The guest's IDT is not in the format that virtual-8086 mode would use.
  if (vmx.realMode.vm86Active) bitmap = ~0;
  if (vmx.intel.features.ept) bitmap &= ~(1 << VECTOR.PF);
  if (arch.fpuActive) bitmap &= ~(1 << VECTOR.NM);
  vmx.vmcs.write32(VMCS.EXCEPTION_BITMAP, bitmap >>> 0);
}

/** VT-x has no field for DR6: the core's copy is the guest's. */
export function vmxGetDr6(vcpu: Vcpu): bigint {
  return vcpu.arch.dr6;
}

/** Empty in 4.9 too: the core has stored the value, and the run loop loads it. */
export function vmxSetDr6(_vcpu: Vcpu, _value: bigint): void {
  // Nothing more to do.
}

export function vmxSetDr7(vcpu: Vcpu, value: bigint): void {
  toVmx(vcpu).vmcs.write(VMCS.GUEST_DR7, value);
}

export function vmxSyncDirtyDebugRegs(vcpu: Vcpu): void {
  const { vmcs } = toVmx(vcpu);
  const { arch } = vcpu;
  for (const dr of [0, 1, 2, 3] as const) arch.db[dr] = vmcs.processor.readDr(dr);
  arch.dr6 = vmcs.processor.readDr(6);
  arch.dr7 = vmcs.read(VMCS.GUEST_DR7);
  arch.switchDbRegs &= ~DEBUGREG.WONT_EXIT;
  vmcs.setBits(VMCS.CPU_BASED_VM_EXEC_CONTROL, CPU_BASED.MOV_DR_EXITING);
}
