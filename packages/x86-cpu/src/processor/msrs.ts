import {
  APIC_BASE,
  APIC_DEFAULT_PHYS_BASE,
  DEBUGCTL,
  FEATURE_CONTROL,
  GuestException,
  MSR,
  PAGE_OFFSET_MASK,
  VECTOR,
  isPatType,
  slot,
  writeEfer,
  type ControlRegisterModel,
  type CpuState,
  type SlotName,
} from "@tapvisor/x86-isa";
import type { CpuidLeaves } from "../profiles/cpuid.js";
import type { ProcessorProfile } from "../profiles/profile.js";
import type { VirtualClock } from "../time/clock.js";
import type { VmxCapabilities } from "../vmx/capabilities.js";

/** What the MSRs of a processor stand on. */
export interface MsrEnvironment {
  readonly profile: ProcessorProfile;
  readonly cpuid: CpuidLeaves;
  readonly capabilities: VmxCapabilities | undefined;
  readonly clock: VirtualClock;
  readonly bootProcessor: boolean;
  /** What the processor allows in its control registers. */
  readonly controls: ControlRegisterModel;
}

/** `switched`: the registers of root or of non-root operation, whichever the access means. */
type Read = (file: MsrFile, switched: CpuState) => bigint;
/** False for a value that the register refuses with #GP. */
type Write = (file: MsrFile, switched: CpuState, value: bigint) => boolean;

interface MsrRow {
  readonly read: Read;
  /** Absent: a write is #GP. */
  readonly write?: Write;
}

const DEBUGCTL_WRITABLE = DEBUGCTL.LBR | DEBUGCTL.BTF;

const generalProtection = (): never => {
  throw new GuestException(VECTOR.GP, 0);
};

type Accept = (value: bigint, file: MsrFile) => boolean;

const always: Accept = () => true;
const low32: Accept = (value) => value >> 32n === 0n;

const canonical: Accept = (value, file) => {
  const top = BigInt.asIntN(64, value) >> BigInt(file.environment.profile.linearAddressBits - 1);
  return top === 0n || top === -1n;
};

/** Every byte is a memory type that the PAT knows. */
const memoryTypes: Accept = (value) => {
  for (let shift = 0n; shift < 64n; shift += 8n) {
    if (!isPatType(Number((value >> shift) & 0xffn))) return false;
  }
  return true;
};

/** An MSR that is a field of the architectural state which VM entries and exits switch. */
function switchedField(name: SlotName, accept: Accept = always): MsrRow {
  const at = slot(name);
  return {
    read: (_, switched) => switched.get64(at),
    write: (file, switched, value) => {
      if (!accept(value, file)) return false;
      switched.set64(at, value);
      return true;
    },
  };
}

/** An MSR that root and non-root operation share. */
function sharedField(name: SlotName, accept: Accept = always): MsrRow {
  const at = slot(name);
  return {
    read: (file) => file.shared.get64(at),
    write: (file, _, value) => {
      if (!accept(value, file)) return false;
      file.shared.set64(at, value);
      return true;
    },
  };
}

/** An MSR that only stores what software wrote. */
function stored(index: number, accept: Accept = always): MsrRow {
  return {
    read: (file) => file.stored.get(index) ?? 0n,
    write: (file, _, value) => {
      if (!accept(value, file)) return false;
      file.stored.set(index, value);
      return true;
    },
  };
}

const constant = (value: bigint): MsrRow => ({ read: () => value });

const EFER_AT = slot("efer");

const TIME_STAMP_COUNTER: MsrRow = {
  read: (file) => BigInt(file.tsc()),
  write: (file, _, value) => {
    file.tscAdjust += Number(value) - file.tsc();
    return true;
  },
};

const EXTENDED_FEATURE_ENABLE: MsrRow = {
  read: (_, switched) => switched.get64(EFER_AT),
  write: (file, switched, value) => {
    writeEfer(switched, value, file.environment.controls);
    return true;
  },
};

const FEATURE_CONTROL_REGISTER: MsrRow = {
  read: (file) => file.featureControl,
  write: (file, _, value) => {
    if ((file.featureControl & FEATURE_CONTROL.LOCKED) !== 0n) return false;
    file.featureControl = value;
    return true;
  },
};

const APIC_BASE_REGISTER: MsrRow = {
  read: (file) =>
    BigInt(APIC_DEFAULT_PHYS_BASE) | APIC_BASE.ENABLE | (file.environment.bootProcessor ? APIC_BASE.BSP : 0n),
};

const COMMON: readonly (readonly [number, MsrRow])[] = [
  [MSR.IA32_TIME_STAMP_COUNTER, TIME_STAMP_COUNTER],
  [MSR.IA32_APIC_BASE, APIC_BASE_REGISTER],
  [MSR.IA32_BIOS_SIGN_ID, stored(MSR.IA32_BIOS_SIGN_ID)],
  // No variable and no fixed ranges.
  [MSR.IA32_MTRRCAP, constant(0n)],
  [MSR.IA32_MTRR_DEF_TYPE, stored(MSR.IA32_MTRR_DEF_TYPE, low32)],
  [MSR.IA32_SYSENTER_CS, switchedField("sysenter_cs", low32)],
  [MSR.IA32_SYSENTER_ESP, switchedField("sysenter_esp", canonical)],
  [MSR.IA32_SYSENTER_EIP, switchedField("sysenter_eip", canonical)],
  // No banks of machine-check registers.
  [MSR.IA32_MCG_CAP, constant(0n)],
  [MSR.IA32_MCG_STATUS, stored(MSR.IA32_MCG_STATUS, low32)],
  [MSR.IA32_DEBUGCTL, switchedField("debugctl", (value) => (value & ~DEBUGCTL_WRITABLE) === 0n)],
  [MSR.IA32_PAT, switchedField("pat", memoryTypes)],
  [MSR.IA32_EFER, EXTENDED_FEATURE_ENABLE],
  [MSR.IA32_STAR, sharedField("star")],
  [MSR.IA32_LSTAR, sharedField("lstar", canonical)],
  [MSR.IA32_CSTAR, sharedField("cstar", canonical)],
  [MSR.IA32_FMASK, sharedField("sfmask", low32)],
  [MSR.IA32_FS_BASE, switchedField("fs.base", canonical)],
  [MSR.IA32_GS_BASE, switchedField("gs.base", canonical)],
  [MSR.IA32_KERNEL_GS_BASE, sharedField("kernel_gs_base", canonical)],
  [MSR.IA32_TSC_AUX, sharedField("tsc_aux", low32)],
];

const INTEL: readonly (readonly [number, MsrRow])[] = [
  [MSR.IA32_PLATFORM_ID, constant(0n)],
  [MSR.IA32_MISC_ENABLE, stored(MSR.IA32_MISC_ENABLE)],
];

const AMD: readonly (readonly [number, MsrRow])[] = [
  [MSR.K8_SYSCFG, stored(MSR.K8_SYSCFG)],
  [MSR.K7_HWCR, stored(MSR.K7_HWCR)],
  [MSR.VM_CR, stored(MSR.VM_CR, low32)],
  [MSR.VM_HSAVE_PA, stored(MSR.VM_HSAVE_PA, (value) => (value & BigInt(PAGE_OFFSET_MASK)) === 0n)],
];

/** The model-specific registers of one processor. What is not here is #GP, in root and in non-root operation. */
export class MsrFile {
  readonly #rows: Map<number, MsrRow>;
  /** Registers that software wrote and nothing else reads. */
  readonly stored = new Map<number, bigint>();
  featureControl: bigint;
  /** Cycles that the TSC of this processor is ahead of the clock. */
  tscAdjust = 0;

  /** @param shared the state whose registers a VM entry and exit do not switch */
  constructor(
    readonly environment: MsrEnvironment,
    readonly shared: CpuState,
  ) {
    const { profile, capabilities } = environment;
    this.featureControl = profile.featureControl ?? 0n;
    this.#rows = new Map([...COMMON, ...(profile.vendor === "intel" ? INTEL : AMD)]);
    for (const [index, value] of capabilities?.msrs ?? []) this.#rows.set(index, constant(value));
    if (profile.featureControl !== undefined) this.#rows.set(MSR.IA32_FEATURE_CONTROL, FEATURE_CONTROL_REGISTER);
  }

  /** The time-stamp counter in root operation, in cycles. */
  tsc(): number {
    return this.environment.clock.cycles() + this.tscAdjust;
  }

  /** @throws GuestException #GP where there is no such MSR */
  read(index: number, switched: CpuState): bigint {
    const row = this.#rows.get(index >>> 0) ?? generalProtection();
    return row.read(this, switched);
  }

  /** @throws GuestException #GP where there is no such MSR, it cannot be written, or refuses the value */
  write(index: number, value: bigint, switched: CpuState): void {
    const row = this.#rows.get(index >>> 0);
    if (row?.write?.(this, switched, BigInt.asUintN(64, value)) !== true) generalProtection();
  }
}
