import { MSR } from "@tapvisor/x86-isa";
import { KvmError, type MsrAccess } from "../contract/index.js";
import type { VcpuState } from "../state/vcpu-state.js";
import { MCE_BANKS } from "./machine-check-banks.js";

const MCG_CTL_P = 1n << 8n;
const MCG_SER_P = 1n << 24n;
const MCG_LMCE_P = 1n << 27n;
const SUPPORTED_CAP = MCG_CTL_P | MCG_SER_P | MCG_LMCE_P;
const ALL_ONES = (1n << 64n) - 1n;

const bankEnd = (vcpu: VcpuState): number => MSR.IA32_MC0_CTL + 4 * Number(vcpu.arch.mcgCap & 0xffn);

/** Registers of the machine-check architecture (SDM vol. 3, "Machine-Check Architecture"). */
export function isMachineCheckMsr(msr: number): boolean {
  return (
    msr === MSR.IA32_P5_MC_ADDR ||
    msr === MSR.IA32_P5_MC_TYPE ||
    msr === MSR.IA32_MCG_CAP ||
    msr === MSR.IA32_MCG_STATUS ||
    msr === MSR.IA32_MCG_CTL ||
    (msr >= MSR.IA32_MC0_CTL && msr < MSR.IA32_MC0_CTL + 4 * MCE_BANKS)
  );
}

/** get_msr_mce: the value, or undefined for #GP. */
export function getMachineCheckMsr(vcpu: VcpuState, msr: number): bigint | undefined {
  const { arch } = vcpu;
  switch (msr) {
    case MSR.IA32_P5_MC_ADDR:
    case MSR.IA32_P5_MC_TYPE:
      return 0n;
    case MSR.IA32_MCG_CAP:
      return arch.mcgCap;
    case MSR.IA32_MCG_STATUS:
      return arch.mcgStatus;
    case MSR.IA32_MCG_CTL:
      return (arch.mcgCap & MCG_CTL_P) !== 0n ? arch.mcgCtl : undefined;
    default:
      return msr < bankEnd(vcpu) ? vcpu.mceBanks[msr - MSR.IA32_MC0_CTL] : undefined;
  }
}

/** set_msr_mce: true = refused. */
export function setMachineCheckMsr(vcpu: VcpuState, { index: msr, data, hostInitiated }: MsrAccess): boolean {
  const { arch } = vcpu;
  switch (msr) {
    case MSR.IA32_P5_MC_ADDR:
    case MSR.IA32_P5_MC_TYPE:
    case MSR.IA32_MCG_CAP:
      return true;
    case MSR.IA32_MCG_STATUS:
      arch.mcgStatus = data;
      return false;
    case MSR.IA32_MCG_CTL:
      if ((arch.mcgCap & MCG_CTL_P) === 0n || (data !== 0n && data !== ALL_ONES)) return true;
      arch.mcgCtl = data;
      return false;
    default: {
      if (msr >= bankEnd(vcpu)) return true;
      const offset = msr - MSR.IA32_MC0_CTL;
      // IA32_MCi_CTL takes all zeros or all ones; Linux clears bit 10 of one bank on some processors.
      if ((offset & 3) === 0 && data !== 0n && (data | (1n << 10n)) !== ALL_ONES) return true;
      // A guest can only clear IA32_MCi_STATUS (SDM vol. 3, "IA32_MCi_STATUS MSRs"); 4.9 takes any value.
      if ((offset & 3) === 1 && data !== 0n && !hostInitiated) return true;
      vcpu.mceBanks[offset] = data;
      return false;
    }
  }
}

/** KVM_X86_SETUP_MCE: the number of banks and the capabilities. */
export function setupMce(vcpu: VcpuState, mcgCap: bigint): void {
  const banks = Number(mcgCap & 0xffn);
  if (banks === 0 || banks > MCE_BANKS) {
    throw new KvmError("EINVAL", "KVM_X86_SETUP_MCE", `mcgCap names ${banks} banks: 1 to ${MCE_BANKS}`);
  }
  if ((mcgCap & ~(SUPPORTED_CAP | 0xff00ffn)) !== 0n) {
    throw new KvmError("EINVAL", "KVM_X86_SETUP_MCE", `mcgCap is 0x${mcgCap.toString(16)}: it has unsupported bits`);
  }
  const { arch } = vcpu;
  arch.mcgCap = mcgCap;
  if ((mcgCap & MCG_CTL_P) !== 0n) arch.mcgCtl = ALL_ONES;
  for (let bank = 0; bank < banks; bank++) vcpu.mceBanks[4 * bank] = ALL_ONES;
  vcpu.kvm.ops.setup_mce?.(vcpu);
}
