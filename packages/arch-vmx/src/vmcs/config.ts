import { KvmError } from "@tapvisor/kvm-core/contract";
import { capability, CPU_BASED, CPUID_LEAF, MEMORY_TYPE, MSR, PIN_BASED, SECONDARY_EXEC, VM_ENTRY, VM_EXIT, VMX_BASIC, msrName, PAGE_SIZE } from "@tapvisor/x86-isa"; // prettier-ignore
import type { VmxProcessor } from "../processor.js";

/** Controls and sizes that every VMCS of a core starts from: struct vmcs_config and vmx_capability. */
export interface VmcsConfig {
  /** Bytes of a VMCS or VMXON region. */
  readonly size: number;
  readonly revisionId: number;
  readonly pinBased: number;
  readonly cpuBased: number;
  readonly secondary: number;
  readonly vmExit: number;
  readonly vmEntry: number;
  /** IA32_VMX_EPT_VPID_CAP, or 0 without EPT. */
  readonly eptVpidCap: bigint;
  /** EFER can be switched by entry and exit controls. */
  readonly loadEfer: boolean;
}

/**
 * Controls that 4.9 asks for where the processor has them, and that nothing here drives: the local APIC keeps its
 * registers outside physical memory (TPR shadow, FlexPriority, APICv), and there is no nested VMX and no page-modification
 * logging. They are left off, so that the ops that go with them are absent, as on a processor without them.
 */
const CPU_BASED_NOT_DRIVEN = CPU_BASED.TPR_SHADOW;
const SECONDARY_NOT_DRIVEN =
  SECONDARY_EXEC.VIRTUALIZE_APIC_ACCESSES | SECONDARY_EXEC.SHADOW_VMCS | SECONDARY_EXEC.ENABLE_PML;

/**
 * Settle one control field (SDM vol. 3, appendix "VMX Capability Reporting Facility"): low word of the capability MSR
 * tells which bits must be 1, high word which may be 1.
 *
 * @throws KvmError EIO, naming the bits, when the processor lacks a required one
 */
export function adjustVmxControls(processor: VmxProcessor, required: number, optional: number, msr: number): number {
  const value = processor.rdmsr(msr);
  const mustBeOne = Number(value & 0xffffffffn);
  const mayBeOne = Number(value >> 32n);
  const controls = (((required | optional) & mayBeOne) | mustBeOne) >>> 0;
  const missing = (required & ~controls) >>> 0;
  if (missing !== 0) {
    throw new KvmError(
      "EIO",
      "hardware_setup",
      `${msrName(msr)} does not allow the required controls 0x${missing.toString(16)}`,
    );
  }
  return controls;
}

function allows(processor: VmxProcessor, msr: number, control: number): boolean {
  return (Number(processor.rdmsr(msr) >> 32n) & control) !== 0;
}

/** Signatures (CPUID.1:EAX without reserved bits) of processors whose preemption timer counts wrong. */
const BROKEN_PREEMPTION_TIMER = [
  0x206e6, 0x20652, 0x20655, 0x106e5, 0x106a0, 0x106a1, 0x106a4, 0x106a5,
] as const; // prettier-ignore

function hasBrokenPreemptionTimer(processor: VmxProcessor): boolean {
  const signature = processor.cpuid(CPUID_LEAF.VERSION, 0).eax & ~((3 << 14) | (0xf << 28));
  return BROKEN_PREEMPTION_TIMER.some((broken) => broken === signature);
}

/** Read the capability MSRs of one processor and settle what guests run with: setup_vmcs_config() of 4.9. */
export function setupVmcsConfig(processor: VmxProcessor): VmcsConfig {
  let cpuBased = adjustVmxControls(
    processor,
    CPU_BASED.HLT_EXITING |
      CPU_BASED.CR8_LOAD_EXITING |
      CPU_BASED.CR8_STORE_EXITING |
      CPU_BASED.CR3_LOAD_EXITING |
      CPU_BASED.CR3_STORE_EXITING |
      CPU_BASED.USE_IO_BITMAPS |
      CPU_BASED.MOV_DR_EXITING |
      CPU_BASED.USE_TSC_OFFSETTING |
      CPU_BASED.MWAIT_EXITING |
      CPU_BASED.MONITOR_EXITING |
      CPU_BASED.INVLPG_EXITING |
      CPU_BASED.RDPMC_EXITING,
    (CPU_BASED.TPR_SHADOW & ~CPU_BASED_NOT_DRIVEN) | CPU_BASED.USE_MSR_BITMAPS | CPU_BASED.ACTIVATE_SECONDARY_CONTROLS,
    MSR.IA32_VMX_PROCBASED_CTLS,
  );
  const tprShadow = (cpuBased & CPU_BASED.TPR_SHADOW) !== 0;
  if (tprShadow) cpuBased &= ~(CPU_BASED.CR8_LOAD_EXITING | CPU_BASED.CR8_STORE_EXITING);

  let secondary = 0;
  if ((cpuBased & CPU_BASED.ACTIVATE_SECONDARY_CONTROLS) !== 0) {
    secondary = adjustVmxControls(
      processor,
      0,
      (SECONDARY_EXEC.VIRTUALIZE_APIC_ACCESSES |
        SECONDARY_EXEC.VIRTUALIZE_X2APIC_MODE |
        SECONDARY_EXEC.WBINVD_EXITING |
        SECONDARY_EXEC.ENABLE_VPID |
        SECONDARY_EXEC.ENABLE_EPT |
        SECONDARY_EXEC.UNRESTRICTED_GUEST |
        SECONDARY_EXEC.PAUSE_LOOP_EXITING |
        SECONDARY_EXEC.RDTSCP |
        SECONDARY_EXEC.ENABLE_INVPCID |
        SECONDARY_EXEC.APIC_REGISTER_VIRT |
        SECONDARY_EXEC.VIRTUAL_INTR_DELIVERY |
        SECONDARY_EXEC.SHADOW_VMCS |
        SECONDARY_EXEC.XSAVES |
        SECONDARY_EXEC.ENABLE_PML |
        SECONDARY_EXEC.TSC_SCALING) &
        ~SECONDARY_NOT_DRIVEN,
      MSR.IA32_VMX_PROCBASED_CTLS2,
    );
  }
  if (!tprShadow) {
    secondary &= ~(
      SECONDARY_EXEC.APIC_REGISTER_VIRT |
      SECONDARY_EXEC.VIRTUALIZE_X2APIC_MODE |
      SECONDARY_EXEC.VIRTUAL_INTR_DELIVERY
    );
  }

  let eptVpidCap = 0n;
  if ((secondary & SECONDARY_EXEC.ENABLE_EPT) !== 0) {
    // With EPT the guest's own page tables are its own business.
    cpuBased &= ~(CPU_BASED.CR3_LOAD_EXITING | CPU_BASED.CR3_STORE_EXITING | CPU_BASED.INVLPG_EXITING);
  }
  if ((secondary & (SECONDARY_EXEC.ENABLE_EPT | SECONDARY_EXEC.ENABLE_VPID)) !== 0)
    eptVpidCap = processor.rdmsr(MSR.IA32_VMX_EPT_VPID_CAP);

  const vmExit = adjustVmxControls(
    processor,
    VM_EXIT.SAVE_DEBUG_CONTROLS | VM_EXIT.ACK_INTR_ON_EXIT | VM_EXIT.HOST_ADDR_SPACE_SIZE,
    VM_EXIT.SAVE_IA32_PAT | VM_EXIT.LOAD_IA32_PAT | VM_EXIT.CLEAR_BNDCFGS,
    MSR.IA32_VMX_EXIT_CTLS,
  );

  let pinBased = adjustVmxControls(
    processor,
    PIN_BASED.EXT_INTR_EXITING | PIN_BASED.NMI_EXITING,
    PIN_BASED.VIRTUAL_NMIS | PIN_BASED.POSTED_INTR | PIN_BASED.VMX_PREEMPTION_TIMER,
    MSR.IA32_VMX_PINBASED_CTLS,
  );
  if (hasBrokenPreemptionTimer(processor)) pinBased &= ~PIN_BASED.VMX_PREEMPTION_TIMER;
  if ((secondary & SECONDARY_EXEC.VIRTUAL_INTR_DELIVERY) === 0) pinBased &= ~PIN_BASED.POSTED_INTR;

  const vmEntry = adjustVmxControls(
    processor,
    VM_ENTRY.LOAD_DEBUG_CONTROLS,
    VM_ENTRY.LOAD_IA32_PAT | VM_ENTRY.LOAD_BNDCFGS,
    MSR.IA32_VMX_ENTRY_CTLS,
  );

  const basic = processor.rdmsr(MSR.IA32_VMX_BASIC);
  const size = capability(basic, VMX_BASIC.REGION_SIZE);
  if (size > PAGE_SIZE) throw badBasic(`a VMCS region of ${size} bytes does not fit a page`);
  if (capability(basic, VMX_BASIC.PHYSICAL_ADDRESS_32) !== 0) throw badBasic("VMX addresses are limited to 32 bits");
  if (capability(basic, VMX_BASIC.MEMORY_TYPE) !== MEMORY_TYPE.WB)
    throw badBasic("the memory type of VMX structures is not write-back");

  return {
    size,
    revisionId: capability(basic, VMX_BASIC.REVISION_ID),
    pinBased: pinBased >>> 0,
    cpuBased: cpuBased >>> 0,
    secondary: secondary >>> 0,
    vmExit,
    vmEntry,
    eptVpidCap,
    loadEfer:
      allows(processor, MSR.IA32_VMX_ENTRY_CTLS, VM_ENTRY.LOAD_IA32_EFER) &&
      allows(processor, MSR.IA32_VMX_EXIT_CTLS, VM_EXIT.LOAD_IA32_EFER),
  };
}

function badBasic(why: string): KvmError {
  return new KvmError("EIO", "hardware_setup", `IA32_VMX_BASIC: ${why}`);
}

/** Names of the members in which two processors differ: check_processor_compatibility must find none. */
export function configDifferences(a: VmcsConfig, b: VmcsConfig): (keyof VmcsConfig)[] {
  return (Object.keys(a) as (keyof VmcsConfig)[]).filter((member) => a[member] !== b[member]);
}
