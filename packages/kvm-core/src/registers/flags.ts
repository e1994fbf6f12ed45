import { RFLAGS } from "@tapvisor/x86-isa";
import { GUESTDBG, REQUEST, SREG } from "../contract/index.js";
import { makeRequest } from "../requests.js";
import type { VcpuState } from "../state/vcpu-state.js";
import { ripRead } from "./cache.js";
import { is64BitMode } from "./control.js";

/** kvm_get_linear_rip: CS.base is not added in 64-bit mode. */
export function linearRip(vcpu: VcpuState): bigint {
  if (is64BitMode(vcpu)) return ripRead(vcpu);
  return (vcpu.kvm.ops.get_segment_base(vcpu, SREG.CS) + ripRead(vcpu)) & 0xffffffffn;
}

/** kvm_get_rflags: without a TF that the debugger, not the guest, has set. */
export function getRflags(vcpu: VcpuState): bigint {
  const rflags = vcpu.kvm.ops.get_rflags(vcpu);
  return (vcpu.arch.guestDebug & GUESTDBG.SINGLESTEP) !== 0 ? rflags & ~RFLAGS.TF : rflags;
}

/** __kvm_set_rflags: single-stepping by the debugger keeps TF set at the instruction it started from. */
export function setRflagsOnly(vcpu: VcpuState, value: bigint): void {
  const { arch } = vcpu;
  const steps = (arch.guestDebug & GUESTDBG.SINGLESTEP) !== 0 && linearRip(vcpu) === arch.singlestepRip;
  vcpu.kvm.ops.set_rflags(vcpu, steps ? value | RFLAGS.TF : value);
}

/** kvm_set_rflags. */
export function setRflags(vcpu: VcpuState, value: bigint): void {
  setRflagsOnly(vcpu, value);
  makeRequest(vcpu, REQUEST.EVENT);
}
