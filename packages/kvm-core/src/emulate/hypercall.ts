import { REG } from "../contract/index.js";
import { makeRequest } from "../requests.js";
import { REQUEST } from "../contract/index.js";
import { is64BitMode } from "../registers/control.js";
import { registerRead, registerReadU32, registerWrite } from "../registers/cache.js";
import type { KvmVcpu } from "../vcpu.js";

/** Hypercalls (Documentation/virtual/kvm/hypercalls.txt) and what they answer, as 64-bit two's complement. */
const KVM_HC_VAPIC_POLL_IRQ = 1n;
const KVM_HC_KICK_CPU = 5n;
const KVM_EPERM = -1n;
const KVM_ENOSYS = -1000n;

/** kvm_emulate_hypercall. */
export function emulateHypercall(vcpu: KvmVcpu): boolean {
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
    const apicId = registerReadU32(vcpu, REG.RCX);
    const target = vcpu.vm.vcpus.find(({ lapic }) => lapic?.id === apicId);
    if (target) {
      if (target.arch.mpState === "halted") target.arch.mpState = "runnable";
      makeRequest(target, REQUEST.EVENT);
    }
    result = 0n;
  }
  registerWrite(vcpu, REG.RAX, BigInt.asUintN(wide ? 64 : 32, result));
  return true;
}

/** kvm_vcpu_halt: with the APIC in the kernel the vCPU waits for its interrupt here, otherwise user space is told. */
export function vcpuHalt(vcpu: KvmVcpu): boolean {
  if (vcpu.lapic) {
    vcpu.arch.mpState = "halted";
    return true;
  }
  vcpu.exit = { reason: "hlt" };
  return false;
}

/** kvm_emulate_halt. */
export function emulateHalt(vcpu: KvmVcpu): boolean {
  vcpu.kvm.ops.skip_emulated_instruction(vcpu);
  return vcpuHalt(vcpu);
}

/** kvm_emulate_wbinvd. Caches are coherent here: the instruction is only counted as done. */
export function emulateWbinvd(vcpu: KvmVcpu): void {
  vcpu.kvm.ops.skip_emulated_instruction(vcpu);
}
