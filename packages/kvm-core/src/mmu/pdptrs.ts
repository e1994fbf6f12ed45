import { REG } from "../contract/index.js";
import { readGuest } from "../memory/guest.js";
import { isLongMode, isPae, readCr3 } from "../registers/control.js";
import type { VcpuState } from "../state/vcpu-state.js";

/** Low reserved bits of a PDPTE under PAE paging: 8:5 and 2:1 (SDM vol. 3, "PDPTE Registers"). */
const RESERVED_LOW = 0x1e6n;

function readPdptes(vcpu: VcpuState, cr3: bigint): BigUint64Array | undefined {
  const bytes = new Uint8Array(32);
  if (!readGuest(vcpu.vm, Number(cr3 & 0xffffffe0n), bytes)) return undefined;
  return new BigUint64Array(bytes.buffer);
}

/** load_pdptrs: false, with nothing loaded, when a present entry has a reserved bit set. */
export function loadPdptrs(vcpu: VcpuState, cr3: bigint): boolean {
  const { arch } = vcpu;
  const entries = readPdptes(vcpu, cr3);
  if (entries === undefined) return false;
  const high = BigInt(arch.maxPhysAddrBits);
  for (const entry of entries) {
    if ((entry & 1n) !== 0n && ((entry & RESERVED_LOW) !== 0n || entry >> high !== 0n)) return false;
  }
  arch.mmu.pdptrs.set(entries);
  arch.regsAvail |= 1 << REG.PDPTR;
  arch.regsDirty |= 1 << REG.PDPTR;
  return true;
}

/** pdptrs_changed: does memory hold other PDPTEs than the vCPU? */
export function pdptrsChanged(vcpu: VcpuState): boolean {
  const { arch } = vcpu;
  if (isLongMode(vcpu) || !isPae(vcpu)) return false;
  if ((arch.regsAvail & (1 << REG.PDPTR)) === 0) return true;
  const entries = readPdptes(vcpu, readCr3(vcpu));
  return entries === undefined || entries.some((entry, i) => entry !== arch.mmu.pdptrs[i]);
}

/** kvm_pdptr_read; an index above 3 is a mistake of the caller's. */
export function pdptrRead(vcpu: VcpuState, index: number): bigint {
  if ((vcpu.arch.regsAvail & (1 << REG.PDPTR)) === 0) vcpu.kvm.ops.cache_reg(vcpu, REG.PDPTR);
  const entry = vcpu.arch.mmu.pdptrs[index];
  if (entry === undefined) throw new RangeError(`no PDPTE ${index}`);
  return entry;
}
