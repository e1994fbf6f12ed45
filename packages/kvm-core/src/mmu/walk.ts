import { CPUID, CR0, CR4, EFER, GuestException, PAGE_FAULT, RFLAGS, VECTOR } from "@tapvisor/x86-isa";
import { cpuidHas } from "../cpuid/entries.js";
import { isLongMode, isPae, isPaging, readCr0, readCr3, readCr4 } from "../registers/control.js";
import type { KvmVcpu } from "../vcpu.js";
import { pdptrRead } from "./pdptrs.js";

/** Bits of a guest paging-structure entry (SDM vol. 3, "Paging"). */
const PTE = { P: 1n, W: 2n, U: 4n, A: 1n << 5n, D: 1n << 6n, PS: 1n << 7n, NX: 1n << 63n } as const;
const ADDRESS = 0x000fffff_fffff000n;

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

interface PagingMode {
  readonly levels: number;
  readonly entryBytes: 4 | 8;
}

function pagingMode(vcpu: KvmVcpu): PagingMode | undefined {
  if (!isPaging(vcpu)) return undefined;
  if (isLongMode(vcpu)) return { levels: 4, entryBytes: 8 };
  if (isPae(vcpu)) return { levels: 2, entryBytes: 8 };
  return { levels: 2, entryBytes: 4 };
}

function errorCodeOf(vcpu: KvmVcpu, access: GuestAccess, extra: number): number {
  let code = extra;
  if (access.write) code |= PAGE_FAULT.W;
  if (access.user) code |= PAGE_FAULT.U;
  const fetchIsReported = (vcpu.arch.efer & EFER.NXE) !== 0n || readCr4(vcpu, CR4.SMEP) !== 0n;
  if (access.fetch && fetchIsReported) code |= PAGE_FAULT.I;
  return code;
}

/** Bits that must be 0 in an entry of this level, for the vCPU's mode and physical-address width. */
function reservedBits(vcpu: KvmVcpu, mode: PagingMode, level: number, entry: bigint): bigint {
  const large = (entry & PTE.PS) !== 0n && level > 1;
  if (mode.entryBytes === 4) return large ? 1n << 21n : 0n;
  const width = BigInt(vcpu.arch.maxPhysAddrBits);
  let reserved = ADDRESS & ~((1n << width) - 1n);
  if ((vcpu.arch.efer & EFER.NXE) === 0n) reserved |= PTE.NX;
  // Bits 62:52 are ignored in IA-32e mode only.
  if (mode.levels === 2) reserved |= 0x7ff00000_00000000n;
  if (level === 4) reserved |= PTE.PS;
  if (level === 3 && !cpuidHas(vcpu, CPUID.PAGE1GB)) reserved |= PTE.PS;
  if (large && level === 2) reserved |= 0x1fe000n;
  if (large && level === 3) reserved |= 0x3fffe000n;
  return reserved;
}

/** permission_fault: do the rights of the whole walk forbid the access? The result is the bits of the error code. */
function permissionFault(
  vcpu: KvmVcpu,
  access: GuestAccess,
  rights: { w: boolean; u: boolean; x: boolean },
  pte: bigint,
): number {
  const denied = PAGE_FAULT.P;
  if (access.fetch) {
    if (!rights.x) return denied;
    if (access.user ? !rights.u : rights.u && readCr4(vcpu, CR4.SMEP) !== 0n) return denied;
    return 0;
  }
  if (access.user) {
    if (!rights.u || (access.write && !rights.w)) return denied;
  } else {
    if (access.write && !rights.w && readCr0(vcpu, CR0.WP) !== 0n) return denied;
    if (rights.u && readCr4(vcpu, CR4.SMAP) !== 0n) {
      if (access.implicit || (vcpu.kvm.ops.get_rflags(vcpu) & RFLAGS.AC) === 0n) return denied;
    }
  }
  if (rights.u && isLongMode(vcpu) && readCr4(vcpu, CR4.PKE) !== 0n) {
    const key = Number((pte >> 59n) & 0xfn);
    const bits = (vcpu.kvm.ops.get_pkru(vcpu) >>> (2 * key)) & 3;
    const writeMatters = access.user || readCr0(vcpu, CR0.WP) !== 0n;
    if ((bits & 1) !== 0 || ((bits & 2) !== 0 && access.write && writeMatters)) return denied | PAGE_FAULT.PK;
  }
  return 0;
}

/**
 * Translate a linear address by the guest's own page tables (walk_addr_generic), setting accessed and dirty bits as the
 * processor does.
 */
export function translate(
  vcpu: KvmVcpu,
  linear: bigint,
  access: GuestAccess,
  setBits = true,
): Translation | TranslationFault {
  const mode = pagingMode(vcpu);
  if (mode === undefined) return { address: Number(linear & 0xffffffffn), writable: true, user: true };
  const { memory } = vcpu.kvm.host;
  const fault = (extra: number): TranslationFault => ({ errorCode: errorCodeOf(vcpu, access, extra) });
  const indexBits = mode.entryBytes === 8 ? 9n : 10n;
  const cr3 = readCr3(vcpu);

  let table = mode.levels === 4 ? cr3 & ADDRESS : cr3 & 0xfffff000n;
  if (mode.levels === 2 && mode.entryBytes === 8) {
    const pdpte = pdptrRead(vcpu, Number((linear >> 30n) & 3n));
    if ((pdpte & PTE.P) === 0n) return fault(0);
    table = pdpte & ADDRESS;
  }
  const rights = { w: true, u: true, x: true };
  const visited: { host: number; entry: bigint }[] = [];
  for (let level = mode.levels; level >= 1; level--) {
    const shift = 12n + indexBits * BigInt(level - 1);
    const index = (linear >> shift) & ((1n << indexBits) - 1n);
    const host = vcpu.vm.slots.hostAddressOf(Number(table) + Number(index) * mode.entryBytes);
    if (host === -1) return fault(0);
    const entry = mode.entryBytes === 8 ? memory.readU64(host) : BigInt(memory.readU32(host));
    if ((entry & PTE.P) === 0n) return fault(0);
    const is4MiB = mode.entryBytes === 4 && level === 2 && readCr4(vcpu, CR4.PSE) !== 0n;
    const mayBeLarge = mode.entryBytes === 8 ? level === 2 || level === 3 : is4MiB;
    if ((mode.entryBytes === 8 || is4MiB) && (entry & reservedBits(vcpu, mode, level, entry)) !== 0n) {
      return fault(PAGE_FAULT.P | PAGE_FAULT.RSVD);
    }
    rights.w &&= (entry & PTE.W) !== 0n;
    rights.u &&= (entry & PTE.U) !== 0n;
    rights.x &&= mode.entryBytes === 4 || (entry & PTE.NX) === 0n;
    visited.push({ host, entry });
    const leaf = level === 1 || (mayBeLarge && (entry & PTE.PS) !== 0n);
    if (!leaf) {
      table = mode.entryBytes === 8 ? entry & ADDRESS : entry & 0xfffff000n;
      continue;
    }
    const denied = permissionFault(vcpu, access, rights, entry);
    if (denied !== 0) return fault(denied);
    if (setBits) setAccessed(vcpu, visited, mode.entryBytes, access.write);
    const offset = linear & ((1n << shift) - 1n);
    let base = entry & ADDRESS & ~((1n << shift) - 1n);
    // PSE-36: bits 20:13 of a 4-MiB entry are bits 39:32 of the address.
    if (is4MiB && level === 2) base = (entry & 0xffc00000n) | (((entry >> 13n) & 0xffn) << 32n);
    return { address: Number(base | offset), writable: rights.w, user: rights.u };
  }
  return fault(0);
}

function setAccessed(
  vcpu: KvmVcpu,
  visited: readonly { host: number; entry: bigint }[],
  bytes: 4 | 8,
  write: boolean,
): void {
  const { memory } = vcpu.kvm.host;
  visited.forEach(({ host, entry }, i) => {
    const dirty = write && i === visited.length - 1 ? PTE.D : 0n;
    const updated = entry | PTE.A | dirty;
    if (updated === entry) return;
    if (bytes === 8) memory.writeU64(host, updated);
    else memory.writeU32(host, Number(updated));
  });
}

/** Translate, or raise the #PF that the access meets. */
export function translateOrFault(vcpu: KvmVcpu, linear: bigint, access: GuestAccess): number {
  const result = translate(vcpu, linear, access);
  if (isFault(result)) throw new GuestException(VECTOR.PF, result.errorCode, linear);
  return result.address;
}
