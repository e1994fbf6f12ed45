import { CPUID, CR0, CR4, EFER, GuestException, PAGE_FAULT, RFLAGS, VECTOR } from "@tapvisor/x86-isa";
import { cpuidHas } from "../cpuid/features.js";
import { gfnOf } from "../memory/slots.js";
import { isLongMode, isPae, isPaging, readCr0, readCr3, readCr4 } from "../registers/control.js";
import type { VcpuState } from "../state/vcpu-state.js";
import { pdptrRead } from "./pdptrs.js";

/** Bits of the low word of a guest paging-structure entry, and of the high word (SDM vol. 3, "Paging"). */
const PTE = { P: 1, W: 2, U: 4, A: 1 << 5, D: 1 << 6, PS: 1 << 7 } as const;
const HIGH = { ADDRESS: 0xfffff, NX: 0x8000_0000, PAE_RESERVED: 0x7ff0_0000, KEY_SHIFT: 27 } as const;
const TWO_TO_32 = 2 ** 32;
const MAX_LEVELS = 4;

/** How memory is accessed: the bits of a page fault's error code that say so. */
export interface GuestAccess {
  readonly write: boolean;
  readonly user: boolean;
  readonly fetch: boolean;
  /** An access of the processor itself, to a descriptor table or the TSS: EFLAGS.AC does not lift SMAP for it. */
  readonly implicit: boolean;
}

export interface Translation {
  /** Guest physical address. */
  readonly address: number;
  readonly writable: boolean;
  readonly user: boolean;
}

/** A translation that faulted: `errorCode` is that of the #PF. */
export interface TranslationFault {
  readonly errorCode: number;
}

export const isFault = (result: Translation | TranslationFault): result is TranslationFault => "errorCode" in result;

/** Two halves of a 64-bit value, without a bigint for each step. */
const wide = new BigUint64Array(1);
const halves = new Uint32Array(wide.buffer);
const lowHalf = (): number => halves[0] as number;
const highHalf = (): number => halves[1] as number;

/** The entries that the walk in progress came by: guest physical and host addresses, and low words. */
const visited = {
  guest: new Float64Array(MAX_LEVELS),
  host: new Float64Array(MAX_LEVELS),
  low: new Uint32Array(MAX_LEVELS),
};

function fault(vcpu: VcpuState, access: GuestAccess, extra: number): TranslationFault {
  let errorCode = extra;
  if (access.write) errorCode |= PAGE_FAULT.W;
  if (access.user) errorCode |= PAGE_FAULT.U;
  const fetchIsReported = (vcpu.arch.efer & EFER.NXE) !== 0n || readCr4(vcpu, CR4.SMEP) !== 0n;
  if (access.fetch && fetchIsReported) errorCode |= PAGE_FAULT.I;
  return { errorCode };
}

/** Bits of the high word that must be 0 in an entry of 8 bytes. */
function reservedHigh(vcpu: VcpuState, levels: number): number {
  const width = Math.max(vcpu.arch.maxPhysAddrBits, 32);
  let reserved = HIGH.ADDRESS & ~(2 ** (width - 32) - 1);
  if ((vcpu.arch.efer & EFER.NXE) === 0n) reserved |= HIGH.NX;
  // Bits 62:52 are ignored in IA-32e mode only.
  if (levels === 2) reserved |= HIGH.PAE_RESERVED;
  return reserved;
}

/** Bits of the low word that must be 0 in an entry of 8 bytes. */
function reservedLow(vcpu: VcpuState, level: number, low: number): number {
  if ((low & PTE.PS) === 0 || level === 1) return 0;
  if (level === 4) return PTE.PS;
  if (level === 2) return 0x1fe000;
  return cpuidHas(vcpu, CPUID.PAGE1GB) ? 0x3fffe000 : PTE.PS;
}

/** permission_fault: do the rights of the whole walk forbid the access? The result is the bits of the error code. */
function permissionFault(
  vcpu: VcpuState,
  access: GuestAccess,
  writable: boolean,
  user: boolean,
  executable: boolean,
  key: number,
): number {
  const denied = PAGE_FAULT.P;
  if (access.fetch) {
    if (!executable) return denied;
    if (access.user ? !user : user && readCr4(vcpu, CR4.SMEP) !== 0n) return denied;
    return 0;
  }
  if (access.user) {
    if (!user || (access.write && !writable)) return denied;
  } else {
    if (access.write && !writable && readCr0(vcpu, CR0.WP) !== 0n) return denied;
    if (user && readCr4(vcpu, CR4.SMAP) !== 0n) {
      if (access.implicit || (vcpu.kvm.ops.get_rflags(vcpu) & RFLAGS.AC) === 0n) return denied;
    }
  }
  if (user && isLongMode(vcpu) && readCr4(vcpu, CR4.PKE) !== 0n) {
    const bits = (vcpu.kvm.ops.get_pkru(vcpu) >>> (2 * key)) & 3;
    const writeMatters = access.user || readCr0(vcpu, CR0.WP) !== 0n;
    if ((bits & 1) !== 0 || ((bits & 2) !== 0 && access.write && writeMatters)) return denied | PAGE_FAULT.PK;
  }
  return 0;
}

/** Index into the table of a level: 9 bits of the linear address where entries have 8 bytes, else 10. */
function tableIndex(low: number, high: number, level: number, bytes: 4 | 8): number {
  if (bytes === 4) return level === 2 ? low >>> 22 : (low >>> 12) & 0x3ff;
  switch (level) {
    case 1:
      return (low >>> 12) & 0x1ff;
    case 2:
      return (low >>> 21) & 0x1ff;
    case 3:
      return ((low >>> 30) | (high << 2)) & 0x1ff;
    default:
      return (high >>> 7) & 0x1ff;
  }
}

/** Physical address in an entry, from bit 12 on. */
const addressIn = (low: number, high: number): number => (high & HIGH.ADDRESS) * TWO_TO_32 + ((low & ~0xfff) >>> 0);

/**
 * Translate a linear address by the guest's own page tables (walk_addr_generic), setting accessed and dirty bits as the
 * processor does.
 */
export function translate(
  vcpu: VcpuState,
  linear: bigint,
  access: GuestAccess,
  setBits = true,
): Translation | TranslationFault {
  wide[0] = linear;
  const low = lowHalf();
  const high = highHalf();
  if (!isPaging(vcpu)) return { address: low, writable: true, user: true };
  const long = isLongMode(vcpu);
  const bytes = long || isPae(vcpu) ? 8 : 4;
  const levels = long ? 4 : 2;
  const { memory } = vcpu.kvm.host;
  const mustBe0 = bytes === 8 ? reservedHigh(vcpu, levels) : 0;

  let table: number;
  if (levels === 2 && bytes === 8) {
    wide[0] = pdptrRead(vcpu, low >>> 30);
    if ((lowHalf() & PTE.P) === 0) return fault(vcpu, access, 0);
    table = addressIn(lowHalf(), highHalf());
  } else {
    wide[0] = readCr3(vcpu);
    table = long ? addressIn(lowHalf(), highHalf()) : (lowHalf() & ~0xfff) >>> 0;
  }
  let writable = true;
  let user = true;
  let executable = true;
  for (let level = levels; level >= 1; level--) {
    const at = table + tableIndex(low, high, level, bytes) * bytes;
    const host = vcpu.vm.slots.hostAddressOf(at);
    if (host === -1) return fault(vcpu, access, 0);
    const entry = memory.readU32(host);
    const entryHigh = bytes === 8 ? memory.readU32(host + 4) : 0;
    if ((entry & PTE.P) === 0) return fault(vcpu, access, 0);
    const large = level > 1 && (entry & PTE.PS) !== 0 && (bytes === 8 || readCr4(vcpu, CR4.PSE) !== 0n);
    const reserved =
      bytes === 8
        ? (entryHigh & mustBe0) !== 0 || (entry & reservedLow(vcpu, level, entry)) !== 0
        : large && (entry & (1 << 21)) !== 0;
    if (reserved) return fault(vcpu, access, PAGE_FAULT.P | PAGE_FAULT.RSVD);
    writable &&= (entry & PTE.W) !== 0;
    user &&= (entry & PTE.U) !== 0;
    executable &&= (entryHigh & HIGH.NX) === 0;
    const step = levels - level;
    visited.guest[step] = at;
    visited.host[step] = host;
    visited.low[step] = entry;
    if (level > 1 && !large) {
      table = addressIn(entry, entryHigh);
      continue;
    }
    const denied = permissionFault(vcpu, access, writable, user, executable, (entryHigh >>> HIGH.KEY_SHIFT) & 0xf);
    if (denied !== 0) return fault(vcpu, access, denied);
    if (setBits) setAccessed(vcpu, step, access.write);
    return { address: pageAddress(entry, entryHigh, level, bytes, low), writable, user };
  }
  return fault(vcpu, access, 0);
}

/** The address that a leaf entry gives to an access. */
function pageAddress(entry: number, entryHigh: number, level: number, bytes: 4 | 8, low: number): number {
  if (bytes === 4 && level === 2) {
    // PSE-36: bits 20:13 of a 4-MiB entry are bits 39:32 of the address.
    return ((entry >>> 13) & 0xff) * TWO_TO_32 + (((entry & 0xffc0_0000) | (low & 0x003f_ffff)) >>> 0);
  }
  const offset = level === 1 ? 0xfff : level === 2 ? 0x1f_ffff : 0x3fff_ffff;
  return (entryHigh & HIGH.ADDRESS) * TWO_TO_32 + (((entry & ~offset) | (low & offset)) >>> 0);
}

/** Set the accessed bits of the entries that were visited, the last of them the leaf, and its dirty bit for a write. */
function setAccessed(vcpu: VcpuState, leaf: number, write: boolean): void {
  for (let step = 0; step <= leaf; step++) {
    const entry = visited.low[step] as number;
    const updated = (entry | PTE.A | (write && step === leaf ? PTE.D : 0)) >>> 0;
    if (updated === entry) continue;
    vcpu.kvm.host.memory.writeU32(visited.host[step] as number, updated);
    vcpu.vm.slots.markDirty(gfnOf(visited.guest[step] as number));
  }
}

/** Translate, or raise the #PF that the access meets. */
export function translateOrFault(vcpu: VcpuState, linear: bigint, access: GuestAccess): number {
  const result = translate(vcpu, linear, access);
  if (isFault(result)) throw new GuestException(VECTOR.PF, result.errorCode, linear);
  return result.address;
}
