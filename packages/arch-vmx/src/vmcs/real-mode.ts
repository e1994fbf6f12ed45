import { KvmError, SREG, type Segment, type Sreg, type Vcpu, type Vm } from "@tapvisor/kvm-core/contract";
import { CR4, RFLAGS, SEGMENT_TYPE, VMCS, PAGE_SIZE } from "@tapvisor/x86-isa";
import type { KvmIntel } from "../kvm-intel.js";
import { toVmx, type VcpuVmx } from "../vcpu-vmx.js";
import { EPT_IDENTITY_PAGETABLE_ADDR, toVmxVm } from "../vm-vmx.js";
import { accessRights, segmentFields } from "./segment-cache.js";

/**
 * Real mode without unrestricted guest: the processor must run with paging and protection on, so the guest runs in
 * virtual-8086 mode, on a TSS and a page table of the backend's.
 */

/** Bits of RFLAGS that the guest does not own while it is in virtual-8086 mode. */
export const VM86_FLAGS = RFLAGS.IOPL | RFLAGS.VM;

/**
 * RFLAGS of virtual-8086 mode for a guest's RFLAGS of real mode. With IOPL 3 most instructions run; INT n then needs the
 * virtual-8086 extensions to stay within real mode. Without them IOPL is 0: INT n, CLI, PUSHF and the like fault before
 * they have any effect, and are emulated.
 */
export function vm86Flags(intel: KvmIntel, rflags: bigint): bigint {
  const iopl = intel.vm86Extensions === 0n ? 0n : RFLAGS.IOPL;
  return (rflags & ~RFLAGS.IOPL) | iopl | RFLAGS.VM;
}

/** A TSS with the redirection bitmap of interrupts and the I/O bitmap of all 65,536 ports, and its closing byte. */
const TSS_BASE_SIZE = 0x68;
const TSS_REDIRECTION_SIZE = 256 / 8;
const TSS_IOPB_SIZE = 65536 / 8;
const TSS_IOPB_BASE_OFFSET = 0x66;
export const REAL_MODE_TSS_SIZE = TSS_BASE_SIZE + TSS_REDIRECTION_SIZE + TSS_IOPB_SIZE + 1;
const BUSY_TSS_RIGHTS = 0x8b;

/** Numbers of the private memory slots, after those that user space may use. */
export const PRIVATE_SLOT = { TSS: 509, APIC_ACCESS_PAGE: 510, IDENTITY_PAGETABLE: 511 } as const;

const DATA_SEGMENTS = [SREG.ES, SREG.DS, SREG.FS, SREG.GS, SREG.SS, SREG.CS] as const;

function savedSegment(vmx: VcpuVmx, seg: Sreg): Segment {
  const segment = vmx.realMode.segments[seg];
  if (segment === undefined) throw new RangeError(`no segment register ${String(seg)}`);
  return segment;
}

/** Enter virtual-8086 mode in place of real mode. */
export function enterRmode(vcpu: Vcpu): void {
  const vmx = toVmx(vcpu);
  const { vmcs, ops, realMode } = vmx;
  const { tssAddr } = toVmxVm(vcpu.vm);
  if (tssAddr === 0)
    throw new KvmError("EINVAL", "KVM_RUN", "real mode on this processor needs KVM_SET_TSS_ADDR before the first vCPU");
  for (const seg of [SREG.TR, ...DATA_SEGMENTS]) ops.get_segment(vcpu, savedSegment(vmx, seg), seg);
  realMode.vm86Active = true;
  vmx.segmentCache.clear();

  vmcs.writeNumber(VMCS.GUEST_TR_BASE, tssAddr);
  vmcs.write32(VMCS.GUEST_TR_LIMIT, REAL_MODE_TSS_SIZE - 1);
  vmcs.write32(VMCS.GUEST_TR_AR_BYTES, BUSY_TSS_RIGHTS);

  const flags = vmcs.read(VMCS.GUEST_RFLAGS);
  realMode.savedRflags = flags;
  vmcs.write(VMCS.GUEST_RFLAGS, vm86Flags(vmx.intel, flags));
  vmcs.write(VMCS.GUEST_CR4, vmcs.read(VMCS.GUEST_CR4) | vmx.intel.vm86Extensions);
  ops.update_bp_intercept(vcpu);

  for (const seg of DATA_SEGMENTS) fixRmodeSegment(vmx, seg, savedSegment(vmx, seg));
  vmx.kvm.mmuResetContext(vcpu);
}

/** Leave virtual-8086 mode: the guest has set CR0.PE. */
export function enterPmode(vcpu: Vcpu): void {
  const vmx = toVmx(vcpu);
  const { vmcs, ops, realMode } = vmx;
  // The guest may have loaded segment registers since they were saved.
  for (const seg of DATA_SEGMENTS) ops.get_segment(vcpu, savedSegment(vmx, seg), seg);
  realMode.vm86Active = false;
  vmx.segmentCache.clear();
  ops.set_segment(vcpu, savedSegment(vmx, SREG.TR), SREG.TR);

  const flags = vmcs.read(VMCS.GUEST_RFLAGS);
  vmcs.write(VMCS.GUEST_RFLAGS, (flags & ~VM86_FLAGS) | (realMode.savedRflags & VM86_FLAGS));
  const shadow = vmcs.read(VMCS.CR4_READ_SHADOW);
  vmcs.write(VMCS.GUEST_CR4, (vmcs.read(VMCS.GUEST_CR4) & ~CR4.VME) | (shadow & CR4.VME));
  ops.update_bp_intercept(vcpu);

  for (const seg of [SREG.CS, SREG.SS, SREG.ES, SREG.DS, SREG.FS, SREG.GS])
    ops.set_segment(vcpu, savedSegment(vmx, seg), seg);
}

/** Write a segment of real mode as virtual-8086 mode wants it: DPL 3, and CS a data segment. */
export function fixRmodeSegment(vmx: VcpuVmx, seg: Sreg, segment: Readonly<Segment>): void {
  const fields = segmentFields(seg);
  const type = seg === SREG.CS ? SEGMENT_TYPE.WRITABLE | SEGMENT_TYPE.ACCESSED : segment.type;
  vmx.vmcs.write32(fields.selector, segment.selector);
  vmx.vmcs.write(fields.base, segment.base);
  vmx.vmcs.write32(fields.limit, segment.limit);
  vmx.vmcs.write32(fields.rights, accessRights({ ...segment, dpl: 3, type }));
}

/** Back three pages at `address` and build the TSS there. */
export function initRealModeTss(intel: KvmIntel, vm: Vm, address: number): void {
  const { kvm } = intel;
  kvm.setPrivateSlot(vm, PRIVATE_SLOT.TSS, address, 3 * PAGE_SIZE);
  toVmxVm(vm).tssAddr = address;
  const ioBitmapBase = TSS_BASE_SIZE + TSS_REDIRECTION_SIZE;
  const done =
    [0, 1, 2].every((page) => kvm.clearGuestPage(vm, address / PAGE_SIZE + page)) &&
    kvm.writeGuest(vm, address + TSS_IOPB_BASE_OFFSET, Uint8Array.of(ioBitmapBase & 0xff, ioBitmapBase >> 8)) &&
    kvm.writeGuest(vm, address + REAL_MODE_TSS_SIZE - 1, Uint8Array.of(0xff));
  if (!done) throw new KvmError("EFAULT", "KVM_SET_TSS_ADDR", `cannot write the TSS at 0x${address.toString(16)}`);
}

/** One page table with 1,024 pages of 4 MiB, present, writable, user, accessed and dirty: address = guest physical. */
const IDENTITY_ENTRY = 0xe7;
const IDENTITY_ENTRIES = 1024;

/** Build the page table that a guest without paging runs on, once for the VM. */
export function initRealModeIdentityMap(intel: KvmIntel, vm: Vm): void {
  const state = toVmxVm(vm);
  if (!intel.features.ept || state.identityMapDone) return;
  if (state.identityMapAddr === 0) state.identityMapAddr = vm.identityMapAddr ?? EPT_IDENTITY_PAGETABLE_ADDR;
  intel.kvm.setPrivateSlot(vm, PRIVATE_SLOT.IDENTITY_PAGETABLE, state.identityMapAddr, PAGE_SIZE);
  const table = new Uint8Array(PAGE_SIZE);
  const view = new DataView(table.buffer);
  for (let i = 0; i < IDENTITY_ENTRIES; i++) view.setUint32(i * 4, ((i << 22) | IDENTITY_ENTRY) >>> 0, true);
  if (!intel.kvm.writeGuest(vm, state.identityMapAddr, table)) {
    throw new KvmError(
      "EFAULT",
      "KVM_CREATE_VCPU",
      `cannot write the identity map at 0x${state.identityMapAddr.toString(16)}`,
    );
  }
  state.identityMapDone = true;
}
