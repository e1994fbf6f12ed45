import type { KvmX86Ops, PhysicalMemory } from "@tapvisor/kvm-core/contract";
import { capability, CPUID, CR4, EFER, EPT, FEATURE_CONTROL, MSR, VMX_MISC, PAGE_SIZE } from "@tapvisor/x86-isa";
import type { KvmIntel } from "../kvm-intel.js";
import {
  hasApicv, hasEpt, hasEpt2MPage, hasEpt4Levels, hasEptAccessedDirty, hasEptExecuteOnly, hasFlexpriority, hasMpx,
  hasPauseLoopExiting, hasPml, hasPreemptionTimer, hasTprShadow, hasUnrestrictedGuest, hasVpid, hasXsaves,
} from "../vmcs/capabilities.js"; // prettier-ignore
import { DEBUG_PORT } from "../vmcs/setup.js";
import { setupVmcsConfig, type VmcsConfig } from "../vmcs/config.js";
import { SHARED_MSRS, VMX_MSR_ROWS } from "../msrs/rows.js";
import { MsrBitmaps } from "../vmcs/msr-bitmap.js";
import { hasNx } from "../vmcs/msr-switch.js";

/** Three I/O bitmaps and four MSR bitmaps. */
const BITMAP_PAGES = 7;

/** Entries of MMIO: the EPT misconfiguration write-and-execute without read, and two ignored bits to know them by. */
const MMIO_SPTE = (3n << 62n) | BigInt(EPT.WRITE | EPT.EXECUTE);

export function cpuHasKvmSupport(intel: KvmIntel): boolean {
  return hasCpuid(intel, "VMX");
}

export function vmxDisabledByBios(intel: KvmIntel): boolean {
  const control = intel.thisCpu().rdmsr(MSR.IA32_FEATURE_CONTROL);
  // Launched without TXT: VMXON has to be allowed outside SMX, unless the lock is still open.
  return (control & FEATURE_CONTROL.LOCKED) !== 0n && (control & FEATURE_CONTROL.VMXON_ENABLED_OUTSIDE_SMX) === 0n;
}

/** Everything that is the same for all guests. Optional ops that the processor cannot serve leave `table`. */
export function hardwareSetup(intel: KvmIntel, table: KvmX86Ops): void {
  const { kvm, features } = intel;
  const processor = intel.thisCpu();
  intel.hostEfer = processor.rdmsr(MSR.IA32_EFER);
  const config = setupVmcsConfig(processor);
  SHARED_MSRS.forEach((msr, slot) => {
    kvm.defineSharedMsr(slot, msr);
  });
  if (hasNx((leaf, subleaf) => processor.cpuid(leaf, subleaf))) kvm.enableEferBits(EFER.NXE);
  intel.hostHasOspke = hasCpuid(intel, "OSPKE");
  intel.hostHasMpx = hasCpuid(intel, "MPX") && hasMpx(config);
  intel.vm86Extensions = hasCpuid(intel, "VME") ? CR4.VME : 0n;
  intel.hostXss = hasXsaves(config) ? processor.rdmsr(MSR.IA32_XSS) : 0n;

  if (!hasVpid(config)) features.vpid = false;
  if (!hasEpt(config) || !hasEpt4Levels(config)) features.ept = false;
  if (!features.ept) {
    features.unrestrictedGuest = false;
    features.eptAccessedDirty = false;
  }
  if (!hasEptAccessedDirty(config)) features.eptAccessedDirty = false;
  if (!hasUnrestrictedGuest(config)) features.unrestrictedGuest = false;
  if (!hasFlexpriority(config)) features.flexpriority = false;
  if (!features.flexpriority) table.set_apic_access_page_addr = undefined;
  if (!hasTprShadow(config)) table.update_cr8_intercept = undefined;
  if (features.ept && !hasEpt2MPage(config)) kvm.disableLargepages();
  if (!hasPauseLoopExiting(config)) features.pleGap = 0;
  if (!hasApicv(config)) features.apicv = false;
  if (!features.eptAccessedDirty || !hasPml(config)) features.pml = false;
  if (!features.pml) {
    table.slot_enable_log_dirty = undefined;
    table.slot_disable_log_dirty = undefined;
    table.flush_log_dirty = undefined;
    table.enable_log_dirty_pt_masked = undefined;
  }
  if (features.preemptionTimer && hasPreemptionTimer(config)) {
    intel.preemptionTimerShift = capability(processor.rdmsr(MSR.IA32_VMX_MISC), VMX_MISC.PREEMPTION_TIMER_RATE);
  } else {
    features.preemptionTimer = false;
    table.set_hv_timer = undefined;
    table.cancel_hv_timer = undefined;
  }

  if (features.ept) {
    kvm.setMaskPtes({
      user: BigInt(EPT.READ),
      accessed: features.eptAccessedDirty ? BigInt(EPT.ACCESSED) : 0n,
      dirty: features.eptAccessedDirty ? BigInt(EPT.DIRTY) : 0n,
      noExecute: 0n,
      execute: BigInt(EPT.EXECUTE),
      present: hasEptExecuteOnly(config) ? 0n : BigInt(EPT.READ),
    });
    kvm.setMmioSpteMask(MMIO_SPTE);
    kvm.enableTdp();
  } else kvm.disableTdp();

  allocateSharedPages(intel, config);
}

function allocateSharedPages(intel: KvmIntel, config: VmcsConfig): void {
  const { memory, processors } = intel.host;
  const pages = allocateAllOrNone(memory, BITMAP_PAGES + processors.length);
  const [
    ioBitmapA = 0,
    debugPortBitmapA = 0,
    ioBitmapB = 0,
    legacy = 0,
    longMode = 0,
    legacyX2apic = 0,
    longModeX2apic = 0,
  ] = pages;
  for (const page of [ioBitmapA, debugPortBitmapA, ioBitmapB]) memory.view(page, PAGE_SIZE).fill(0xff);
  const byte = debugPortBitmapA + (DEBUG_PORT >> 3);
  memory.writeU8(byte, memory.readU8(byte) & ~(1 << (DEBUG_PORT & 7)));
  const msrBitmaps = new MsrBitmaps(memory, [legacy, longMode, legacyX2apic, longModeX2apic], VMX_MSR_ROWS);
  intel.setUp(config, { ioBitmapA, debugPortBitmapA, ioBitmapB, msrBitmaps });
  pages.slice(BITMAP_PAGES).forEach((region, i) => {
    memory.writeU32(region, config.revisionId);
    intel.cpu(i).vmxonRegion = region;
  });
}

function allocateAllOrNone(memory: PhysicalMemory, count: number): number[] {
  const pages: number[] = [];
  try {
    while (pages.length < count) pages.push(memory.allocatePage());
    return pages;
  } catch (error) {
    for (const page of pages) memory.freePages(page, 1);
    throw error;
  }
}

export function hardwareUnsetup(intel: KvmIntel): void {
  const { memory } = intel.host;
  const { ioBitmapA, debugPortBitmapA, ioBitmapB, msrBitmaps } = intel.pages;
  const bitmaps = [msrBitmaps.legacy, msrBitmaps.longMode, msrBitmaps.legacyX2apic, msrBitmaps.longModeX2apic];
  for (const page of [ioBitmapA, debugPortBitmapA, ioBitmapB, ...bitmaps.map((bitmap) => bitmap.address)])
    memory.freePages(page, 1);
  for (const cpu of intel.perCpu) {
    if (cpu.vmxonRegion !== -1) memory.freePages(cpu.vmxonRegion, 1);
    cpu.vmxonRegion = -1;
  }
  intel.tearDown();
}

function hasCpuid(intel: KvmIntel, feature: "VMX" | "OSPKE" | "MPX" | "VME"): boolean {
  const { leaf, subleaf, register, bit } = CPUID[feature];
  return (intel.thisCpu().cpuid(leaf, subleaf)[register] & (1 << bit)) !== 0;
}
