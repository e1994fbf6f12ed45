import { REG, type MsrAccess, type Vcpu } from "@tapvisor/kvm-core/contract";
import { toVmx } from "../vcpu-vmx.js";

function access(vcpu: Vcpu, data: bigint): MsrAccess {
  return { index: vcpu.arch.regs.u32[2 * REG.RCX] ?? 0, data, hostInitiated: false };
}

export function handleRdmsr(vcpu: Vcpu): boolean {
  const { kvm, ops } = toVmx(vcpu);
  const msr = access(vcpu, 0n);
  if (ops.get_msr(vcpu, msr)) {
    kvm.injectGp(vcpu, 0);
    return true;
  }
  const { u64 } = vcpu.arch.regs;
  u64[REG.RAX] = msr.data & 0xffffffffn;
  u64[REG.RDX] = (msr.data >> 32n) & 0xffffffffn;
  ops.skip_emulated_instruction(vcpu);
  return true;
}

export function handleWrmsr(vcpu: Vcpu): boolean {
  const { kvm, ops } = toVmx(vcpu);
  if (kvm.setMsr(vcpu, access(vcpu, edxEax(vcpu)))) {
    kvm.injectGp(vcpu, 0);
    return true;
  }
  ops.skip_emulated_instruction(vcpu);
  return true;
}

/** The operand EDX:EAX of WRMSR and XSETBV. */
export function edxEax(vcpu: Vcpu): bigint {
  const { u64 } = vcpu.arch.regs;
  return (((u64[REG.RDX] ?? 0n) & 0xffffffffn) << 32n) | ((u64[REG.RAX] ?? 0n) & 0xffffffffn);
}
