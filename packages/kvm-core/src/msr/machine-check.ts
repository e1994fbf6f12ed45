import { MSR } from "@tapvisor/x86-isa";
import { KvmError } from "../contract/index.js";
import type { VcpuState } from "../state/vcpu-state.js";
import { MCE_BANKS } from "./machine-check-banks.js";
import { constant, type MsrRow, stored } from "./row.js";

/** Fields of IA32_MCG_CAP. */
const BANK_COUNT = 0xffn;
const MCG_CTL_P = 1n << 8n;
const MCG_SER_P = 1n << 24n;
const MCG_LMCE_P = 1n << 27n;
const SUPPORTED_CAP = MCG_CTL_P | MCG_SER_P | MCG_LMCE_P;
const ALL_ONES = (1n << 64n) - 1n;

const hasBank = ({ arch }: VcpuState, bank: number): boolean => bank < Number(arch.mcgCap & BANK_COUNT);

/** Where the registers of a bank are among its four. */
const CTL = 0;
const STATUS = 1;

/** The registers of one bank of error reports: IA32_MCi_CTL, _STATUS, _ADDR, _MISC. */
function bankRow(bank: number, register: number): MsrRow {
  return stored(MSR.IA32_MC0_CTL + 4 * bank + register, {
    absent: (vcpu) => !hasBank(vcpu, bank),
    // User space that sets the banks up has all their errors reported.
    reset: (vcpu) => (register === CTL && vcpu.mceSetUp ? ALL_ONES : 0n),
    accepts(data, _vcpu, { hostInitiated }) {
      if (data === 0n) return true;
      // All zeros or all ones; Linux clears bit 10 of one bank on some processors.
      if (register === CTL) return (data | (1n << 10n)) === ALL_ONES;
      // A guest can only clear it (SDM vol. 3, "IA32_MCi_STATUS MSRs"); 4.9 takes any value.
      return register !== STATUS || hostInitiated;
    },
  });
}

const hasNoControl = ({ arch }: VcpuState): boolean => (arch.mcgCap & MCG_CTL_P) === 0n;

/** Registers of the machine-check architecture (SDM vol. 3, "Machine-Check Architecture"). */
export const MACHINE_CHECK_ROWS: readonly MsrRow[] = [
  constant(MSR.IA32_P5_MC_ADDR, 0n),
  constant(MSR.IA32_P5_MC_TYPE, 0n),
  { index: MSR.IA32_MCG_CAP, read: ({ arch }) => arch.mcgCap },
  stored(MSR.IA32_MCG_STATUS, { saved: "always" }),
  stored(MSR.IA32_MCG_CTL, {
    absent: hasNoControl,
    reset: (vcpu) => (vcpu.mceSetUp ? ALL_ONES : 0n),
    accepts: (data) => data === 0n || data === ALL_ONES,
    saved: "always",
  }),
  ...Array.from({ length: 4 * MCE_BANKS }, (_, i) => bankRow(i >> 2, i & 3)),
];

/** KVM_X86_SETUP_MCE: the number of banks and the capabilities. */
export function setupMce(vcpu: VcpuState, mcgCap: bigint): void {
  const banks = Number(mcgCap & BANK_COUNT);
  if (banks === 0 || banks > MCE_BANKS) {
    throw new KvmError("EINVAL", "KVM_X86_SETUP_MCE", `mcgCap names ${banks} banks: 1 to ${MCE_BANKS}`);
  }
  if ((mcgCap & ~(SUPPORTED_CAP | 0xff00ffn)) !== 0n) {
    throw new KvmError("EINVAL", "KVM_X86_SETUP_MCE", `mcgCap is 0x${mcgCap.toString(16)}: it has unsupported bits`);
  }
  const { arch } = vcpu;
  arch.mcgCap = mcgCap;
  vcpu.mceSetUp = true;
  for (const { index } of MACHINE_CHECK_ROWS) arch.msrs.delete(index);
  vcpu.kvm.ops.setup_mce?.(vcpu);
}
