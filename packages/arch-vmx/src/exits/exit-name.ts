import type { Vcpu } from "@tapvisor/kvm-core/contract";
import { EXIT_REASON, namesByValue } from "@tapvisor/x86-isa";
import { toVmx } from "../vcpu-vmx.js";

const NAMES: ReadonlyMap<number, string> = namesByValue(EXIT_REASON);

/** Name of the newest VM exit of a vCPU of this backend, for statistics: `CPUID`, `EPT_VIOLATION`. */
export function vmxExitName(vcpu: Vcpu): string {
  const basic = toVmx(vcpu).exitReason & 0xffff;
  return NAMES.get(basic) ?? `exit reason ${String(basic)}`;
}
