import { CPUID, MISC_ENABLE, MSR } from "@tapvisor/x86-isa";
import { cpuidHas } from "../cpuid/features.js";
import { readX2apicMsr, writeX2apicMsr } from "../irqchip/lapic.js";
import { setTscDeadline, tscDeadlineOf } from "../irqchip/lapic-timer.js";
import type { VcpuState } from "../state/vcpu-state.js";
import { readL1Tsc, writeTsc, writeTscAdjust } from "../time/tsc.js";
import { setApicBase } from "./apic-base.js";
import { writeEfer } from "./efer.js";
import { MACHINE_CHECK_ROWS } from "./machine-check.js";
import { MTRR_ROWS } from "./mtrr.js";
import { anything, canonical, constant, makeCanonical, type MsrRow, ofBackend, stored, writeOnly } from "./row.js";

/** Bits of IA32_DEBUGCTL that are taken, without effect: LBR and BTF. */
const DEBUGCTL_TAKEN = 3n;
/** Bits of K7_HWCR that guests set and KVM has no use for. */
const HWCR_IGNORED = 0x40148n;
/** No branch trace store and no precise event-based sampling: read-only. */
const MISC_ENABLE_FIXED = MISC_ENABLE.BTS_UNAVAIL | MISC_ENABLE.PEBS_UNAVAIL;
/** What an x2APIC claims: register at MMIO offset n is MSR IA32_X2APIC_BASE + (n >> 4). */
const X2APIC_MSRS = 0x400;

/** Fast strings are on, and MONITOR is as CPUID shows it (SDM vol. 4, "Architectural MSRs"). */
function resetMiscEnable(vcpu: VcpuState): bigint {
  const monitor = cpuidHas(vcpu, CPUID.MONITOR) ? MISC_ENABLE.MWAIT : 0n;
  return MISC_ENABLE.FAST_STRING | MISC_ENABLE_FIXED | monitor;
}

const x2apicRow = (_: unknown, offset: number): MsrRow => ({
  index: MSR.IA32_X2APIC_BASE + offset,
  read: ({ lapic }) => lapic && readX2apicMsr(lapic, offset << 4),
  write: ({ lapic }, { data }) => lapic === undefined || writeX2apicMsr(lapic, offset << 4, data),
});

/** Every MSR that the generic layer has a part in, by index. */
const ROWS: readonly MsrRow[] = [
  { index: MSR.IA32_TIME_STAMP_COUNTER, read: readL1Tsc, write: writeTsc, saved: "with-host" },
  constant(MSR.IA32_PLATFORM_ID, 0n),
  { index: MSR.IA32_APIC_BASE, read: ({ arch }) => arch.apicBase, write: setApicBase },
  constant(MSR.MSR_EBL_CR_POWERON, 0n),
  // Core clock and bus clock at a ratio of 1, for guests that divide by it.
  constant(MSR.MSR_EBC_FREQUENCY_ID, 1n << 24n),
  ofBackend(MSR.IA32_FEATURE_CONTROL, { saved: "with-host" }),
  { index: MSR.IA32_TSC_ADJUST, read: ({ arch }) => arch.tscAdjust, write: writeTscAdjust, saved: "always" },
  writeOnly(MSR.IA32_BIOS_UPDT_TRIG),
  // Update revision in the high half.
  constant(MSR.IA32_BIOS_SIGN_ID, 0x1_00000000n, anything),
  {
    index: MSR.IA32_SMBASE,
    read: ({ smbase }, { hostInitiated }) => (hostInitiated ? smbase : undefined),
    write(vcpu, { data, hostInitiated }) {
      if (hostInitiated) vcpu.smbase = data;
      return !hostInitiated;
    },
    saved: "always",
    offered: ({ ops }) => ops.cpu_has_high_real_mode_segbase(),
  },
  constant(MSR.MSR_FSB_FREQ, 3n),
  constant(MSR.MSR_BBL_CR_CTL3, 0xbe702111n, anything),
  ofBackend(MSR.IA32_SYSENTER_CS, { saved: "with-host" }),
  ofBackend(MSR.IA32_SYSENTER_ESP, { saved: "with-host", check: makeCanonical }),
  ofBackend(MSR.IA32_SYSENTER_EIP, { saved: "with-host", check: makeCanonical }),
  // TSC increment by tick, and the multiplier.
  constant(MSR.IA32_PERF_STATUS, 1000n | (4n << 40n)),
  constant(MSR.IA32_PERF_CTL, 0n),
  stored(MSR.IA32_MISC_ENABLE, { reset: resetMiscEnable, fixed: MISC_ENABLE_FIXED, saved: "always" }),
  constant(MSR.IA32_DEBUGCTL, 0n, (data) => (data & ~DEBUGCTL_TAKEN) === 0n),
  constant(MSR.MSR_LASTBRANCHFROMIP, 0n),
  constant(MSR.MSR_LASTBRANCHTOIP, 0n),
  constant(MSR.MSR_LASTINTFROMIP, 0n),
  constant(MSR.MSR_LASTINTTOIP, 0n),
  ...MTRR_ROWS,
  ...MACHINE_CHECK_ROWS,
  {
    index: MSR.IA32_TSC_DEADLINE,
    read: ({ lapic }) => (lapic ? tscDeadlineOf(lapic) : 0n),
    write({ lapic }, { data }) {
      if (lapic) setTscDeadline(lapic, data);
      return false;
    },
    saved: "always",
  },
  ...Array.from({ length: X2APIC_MSRS }, x2apicRow),
  ofBackend(MSR.IA32_BNDCFGS, { saved: "with-host", offered: ({ ops }) => ops.mpx_supported() }),
  { index: MSR.IA32_EFER, read: ({ arch }) => arch.efer, write: (vcpu, { data }) => writeEfer(vcpu, data) },
  ofBackend(MSR.IA32_STAR, { saved: "with-host" }),
  ofBackend(MSR.IA32_LSTAR, { saved: "with-host", check: canonical }),
  ofBackend(MSR.IA32_CSTAR, { saved: "with-host", check: canonical }),
  ofBackend(MSR.IA32_FMASK, { saved: "with-host" }),
  ofBackend(MSR.IA32_FS_BASE, { check: canonical }),
  ofBackend(MSR.IA32_GS_BASE, { check: canonical }),
  ofBackend(MSR.IA32_KERNEL_GS_BASE, { saved: "with-host", check: canonical }),
  ofBackend(MSR.IA32_TSC_AUX, { saved: "with-host", offered: ({ ops }) => ops.rdtscp_supported() }),
  constant(MSR.K8_SYSCFG, 0n),
  constant(MSR.K7_HWCR, 0n, (data) => (data & ~HWCR_IGNORED) === 0n),
  constant(MSR.K7_CLK_CTL, 0x20000000n, anything),
  constant(MSR.AMD64_NB_CFG, 0n, anything),
  writeOnly(MSR.AMD64_PATCH_LOADER),
  constant(MSR.K8_INT_PENDING_MSG, 0n),
  constant(MSR.FAM10H_MMIO_CONF_BASE, 0n, (data) => data === 0n),
  constant(MSR.K8_TSEG_ADDR, 0n),
  constant(MSR.K8_TSEG_MASK, 0n),
  { ...constant(MSR.VM_HSAVE_PA, 0n, anything), saved: "with-host" },
  constant(MSR.AMD64_BU_CFG2, 0n, anything),
];

const BY_INDEX: ReadonlyMap<number, MsrRow> = new Map(ROWS.map((row) => [row.index, row]));

/** The row of an MSR, or undefined where the generic layer has no part in it. */
export function msrRow(index: number): MsrRow | undefined {
  return BY_INDEX.get(index);
}

/** Rows whose MSRs user space saves, in order of index. */
export const SAVED_ROWS: readonly MsrRow[] = ROWS.filter(({ saved }) => saved !== undefined);

/** The MSRs of all rows. */
export const MSR_ROW_INDICES: readonly number[] = ROWS.map(({ index }) => index);
