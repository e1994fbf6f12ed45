import { CPUID, CPUID_LEAF, CR4 } from "@tapvisor/x86-isa";
import { KvmError, type CpuidEntry } from "../contract/index.js";
import { TIMER_MODE, apicIsEnabledInHardware } from "../irqchip/lapic-registers.js";
import { pmuRefresh } from "../pmu/pmu.js";
import { readCr4 } from "../registers/control.js";
import type { VcpuState } from "../state/vcpu-state.js";
import { hostHas } from "./host.js";
import { cpuidHas, maxPhysAddr, setFeature } from "./features.js";
import { CpuidTable } from "./table.js";
import { supportedXcr0, xstateSize } from "./xstate.js";

/** KVM_MAX_CPUID_ENTRIES. */
const MAX_ENTRIES = 80;

/** KVM_SET_CPUID2. */
export function setCpuid2(vcpu: VcpuState, entries: readonly CpuidEntry[]): void {
  if (entries.length > MAX_ENTRIES) {
    throw new KvmError("E2BIG", "KVM_SET_CPUID2", `${entries.length} entries: at most ${MAX_ENTRIES}`);
  }
  const sizes = entries.find((entry) => entry.function === CPUID_LEAF.ADDRESS_SIZES);
  const linearBits = ((sizes?.eax ?? 0) >> 8) & 0xff;
  if (linearBits !== 0 && linearBits !== 48) {
    throw new KvmError(
      "EINVAL",
      "KVM_SET_CPUID2",
      `CPUID.80000008H:EAX[15:8] is ${linearBits}: linear addresses have 48 bits`,
    );
  }
  vcpu.cpuid = new CpuidTable(entries.map((entry) => ({ ...entry })));
  vcpu.kvm.ops.cpuid_update(vcpu);
  updateCpuid(vcpu);
}

/**
 * kvm_update_cpuid: what CPUID shows of the vCPU's own state (OSXSAVE, OSPKE, the XSAVE area's size), and what hangs on
 * what it shows.
 */
export function updateCpuid(vcpu: VcpuState): void {
  const { arch, kvm, cpuid } = vcpu;
  const version = cpuid.find(CPUID_LEAF.VERSION, 0);
  if (version === undefined) return;

  if (hostHas(kvm, CPUID.XSAVE)) setFeature(version, CPUID.OSXSAVE, readCr4(vcpu, CR4.OSXSAVE) !== 0n);
  if (vcpu.lapic) {
    // Clear while IA32_APIC_BASE disables the APIC (SDM vol. 3, "Enabling or Disabling the Local APIC"); 4.9 leaves it.
    setFeature(version, CPUID.APIC, apicIsEnabledInHardware(arch.apicBase));
    vcpu.lapic.timer.modeMask = cpuidHas(vcpu, CPUID.TSC_DEADLINE)
      ? TIMER_MODE.PERIODIC | TIMER_MODE.TSC_DEADLINE
      : TIMER_MODE.PERIODIC;
  }
  const structured = cpuid.find(CPUID_LEAF.STRUCTURED_FEATURES, 0);
  if (structured && hostHas(kvm, CPUID.PKU)) setFeature(structured, CPUID.OSPKE, readCr4(vcpu, CR4.PKE) !== 0n);

  const xsave = cpuid.find(CPUID_LEAF.XSAVE, 0);
  if (xsave === undefined) {
    arch.guestSupportedXcr0 = 0n;
  } else {
    arch.guestSupportedXcr0 = (BigInt(xsave.eax) | (BigInt(xsave.edx) << 32n)) & supportedXcr0(kvm);
    xsave.ebx = xstateSize(kvm, arch.xcr0, false);
  }
  const xsaveExtended = cpuid.find(CPUID_LEAF.XSAVE, 1);
  if (xsaveExtended && (xsaveExtended.eax & ((1 << CPUID.XSAVES.bit) | (1 << CPUID.XSAVEC.bit))) !== 0) {
    xsaveExtended.ebx = xstateSize(kvm, arch.xcr0, true);
  }

  if (kvm.host.options.eagerFpu) kvm.ops.fpu_activate(vcpu);
  arch.maxPhysAddrBits = maxPhysAddr(vcpu);
  pmuRefresh(vcpu);
}
