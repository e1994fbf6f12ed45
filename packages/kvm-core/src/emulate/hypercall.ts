import { REG, REQUEST } from "../contract/index.js";
import { acceptInterrupt } from "../irqchip/lapic-delivery.js";
import { MODE_MASK, VECTOR_MASK } from "../irqchip/lapic-registers.js";
import { apicId } from "../irqchip/lapic-vectors.js";
import { is64BitMode } from "../registers/control.js";
import { registerRead, registerReadU32, registerWrite } from "../registers/cache.js";
import { makeRequest } from "../requests.js";
import type { VcpuState } from "../state/vcpu-state.js";

/** Hypercalls (Documentation/virtual/kvm/hypercalls.txt) and what they answer, as 64-bit two's complement. */
const KVM_HC_VAPIC_POLL_IRQ = 1n;
const KVM_HC_KICK_CPU = 5n;
/** Of later kernels: guests call it only where CPUID shows KVM_FEATURE_PV_SEND_IPI, but kvm-unit-tests always. */
const KVM_HC_SEND_IPI = 10n;
const KVM_EPERM = -1n;
const KVM_ENOSYS = -1000n;

/** kvm_emulate_hypercall. */
export function emulateHypercall(vcpu: VcpuState): boolean {
  const { ops } = vcpu.kvm;
  ops.skip_emulated_instruction(vcpu);
  const wide = is64BitMode(vcpu);
  const nr = wide ? registerRead(vcpu, REG.RAX) : BigInt(registerReadU32(vcpu, REG.RAX));
  let result = KVM_ENOSYS;
  if (ops.get_cpl(vcpu) !== 0) {
    result = KVM_EPERM;
  } else if (nr === KVM_HC_VAPIC_POLL_IRQ) {
    result = 0n;
  } else if (nr === KVM_HC_KICK_CPU) {
    const id = registerReadU32(vcpu, REG.RCX);
    const target = vcpu.vm.vcpus.find(({ lapic }) => lapic !== undefined && apicId(lapic) === id);
    if (target) {
      if (target.arch.mpState === "halted") target.arch.mpState = "runnable";
      makeRequest(target, REQUEST.EVENT);
    }
    result = 0n;
  } else if (nr === KVM_HC_SEND_IPI && vcpu.lapic) {
    result = sendIpis(vcpu, wide);
  }
  registerWrite(vcpu, REG.RAX, BigInt.asUintN(wide ? 64 : 32, result));
  return true;
}

/**
 * kvm_pv_send_ipi: the ICR's low word in RSI to the APICs whose IDs start at RDX, one for each bit of RBX and then RCX.
 * Answers how many took it.
 */
function sendIpis(vcpu: VcpuState, wide: boolean): bigint {
  const cut = (reg: number): bigint => BigInt.asUintN(wide ? 64 : 32, registerRead(vcpu, reg));
  const wordBits = wide ? 64n : 32n;
  const bitmap = cut(REG.RBX) | (cut(REG.RCX) << wordBits);
  const first = registerReadU32(vcpu, REG.RDX);
  const icr = registerReadU32(vcpu, REG.RSI);
  let count = 0n;
  for (const { lapic } of vcpu.vm.vcpus) {
    if (lapic === undefined) continue;
    const id = apicId(lapic);
    if (id < first || ((bitmap >> BigInt(id - first)) & 1n) === 0n) continue;
    if (acceptInterrupt(lapic, icr & MODE_MASK, icr & VECTOR_MASK, true, false)) count += 1n;
  }
  return count;
}

/** kvm_vcpu_halt: with the APIC in the kernel the vCPU waits for its interrupt here, otherwise user space is told. */
export function vcpuHalt(vcpu: VcpuState): boolean {
  if (vcpu.lapic) {
    vcpu.arch.mpState = "halted";
    return true;
  }
  vcpu.exit = { reason: "hlt" };
  return false;
}

/** kvm_emulate_halt. */
export function emulateHalt(vcpu: VcpuState): boolean {
  vcpu.kvm.ops.skip_emulated_instruction(vcpu);
  return vcpuHalt(vcpu);
}

/** kvm_emulate_wbinvd. Caches are coherent here: the instruction is only counted as done. */
export function emulateWbinvd(vcpu: VcpuState): void {
  vcpu.kvm.ops.skip_emulated_instruction(vcpu);
}
