import { isCanonical } from "@tapvisor/x86-isa";
import type { MsrAccess } from "../contract/index.js";
import type { KvmState } from "../state/kvm-state.js";
import type { VcpuState } from "../state/vcpu-state.js";

/**
 * All that the generic layer knows of one MSR. Reading, writing, the list that user space saves, and reset go over these
 * rows; what a row leaves out refuses, as an MSR does that is not there.
 */
export interface MsrRow {
  readonly index: number;
  /** kvm_get_msr_common: the value, or undefined for #GP. Absent: a backend's alone, or write-only. */
  readonly read?: (vcpu: VcpuState, msr: MsrAccess) => bigint | undefined;
  /** kvm_set_msr_common: true = refused. Absent: a backend's alone, or read-only. */
  readonly write?: (vcpu: VcpuState, msr: MsrAccess) => boolean;
  /** kvm_set_msr, before the op is called: may change the value. True = refused. */
  readonly check?: (msr: MsrAccess) => boolean;
  /** In KVM_GET_MSR_INDEX_LIST: where the host's processor has it, or always since KVM emulates it. */
  readonly saved?: "with-host" | "always";
  /** What the backend has to say for it to be in that list. */
  readonly offered?: (kvm: KvmState) => boolean;
}

/** What says whether, and for user space what, of a row is saved. */
type Saved = Pick<MsrRow, "saved" | "offered">;

/** An MSR whose value the core keeps as it was written. */
export interface StoredMsr extends Saved {
  /** What power-on leaves; INIT keeps what was written (SDM vol. 3, "Processor State After Reset"). */
  readonly reset?: bigint | ((vcpu: VcpuState) => bigint);
  /** Which values a write may bring; any, unless told otherwise. */
  readonly accepts?: (data: bigint, vcpu: VcpuState, msr: MsrAccess) => boolean;
  /** Bits that read as 1 whatever is written. */
  readonly fixed?: bigint;
  /** The register is not there for this vCPU. */
  readonly absent?: (vcpu: VcpuState) => boolean;
}

/** The value of an MSR that the core keeps: what was written since power-on, or what that has left. */
export function storedMsr({ arch }: VcpuState, index: number): bigint {
  return arch.msrs.get(index) ?? 0n;
}

/** A row whose value lies in `arch.msrs` once it was written; power-on empties that. */
export function stored(index: number, options: StoredMsr = {}): MsrRow {
  const { reset = 0n, accepts, fixed = 0n, absent, ...saved } = options;
  return {
    index,
    ...saved,
    read(vcpu) {
      if (absent?.(vcpu) === true) return undefined;
      return vcpu.arch.msrs.get(index) ?? (typeof reset === "bigint" ? reset : reset(vcpu));
    },
    write(vcpu, msr) {
      const { data } = msr;
      if (absent?.(vcpu) === true || accepts?.(data, vcpu, msr) === false) return true;
      vcpu.arch.msrs.set(index, data | fixed);
      return false;
    },
  };
}

/** Reads as a constant. A write is refused, unless `accepts` takes and drops it. */
export function constant(index: number, value: bigint, accepts?: (data: bigint) => boolean): MsrRow {
  const row = { index, read: () => value };
  return accepts === undefined ? row : { ...row, write: (_vcpu, { data }) => !accepts(data) };
}

/** For `constant`: whatever is written is dropped. */
export const anything = (): boolean => true;

/** Writes are dropped; there is nothing to read. */
export function writeOnly(index: number): MsrRow {
  return { index, write: () => false };
}

/** An MSR of the backend's: where the core has its part in a write, or user space saves it. */
export function ofBackend(index: number, row: Omit<MsrRow, "index" | "read" | "write">): MsrRow {
  return { index, ...row };
}

/** Refuses an address that is not canonical (SDM vol. 1, "Canonical Addressing"). */
export const canonical = (msr: MsrAccess): boolean => !isCanonical(msr.data);

/** #GP on Intel, not on AMD; made canonical instead, so that what was written can at least be entered with. */
export function makeCanonical(msr: MsrAccess): boolean {
  msr.data = BigInt.asUintN(64, BigInt.asIntN(48, msr.data));
  return false;
}
