import { PAGE_SIZE } from "@tapvisor/kvm-core/contract";
import { EFER, MSR } from "@tapvisor/x86-isa";
import type { KvmAmd } from "../kvm-amd.js";

/** Bit 4 of VM_CR, SVMDIS (APM vol. 2, "VM_CR MSR"). */
const VM_CR_SVM_DISABLE = 1n << 4n;
/** Pages of the I/O permissions map: one bit a port, and what an access across the last port touches (APM vol. 2, "I/O Permissions Map"). */
const IOPM_PAGES = 3;
const VENDOR_AMD = { ebx: 0x68747541, edx: 0x69746e65, ecx: 0x444d4163 };

/** An AMD processor that shows SVM (APM vol. 2, "Enabling SVM"). */
export function hasSvm(amd: KvmAmd): boolean {
  const { ebx, ecx, edx } = amd.thisCpu().cpuid(0, 0);
  const isAmd = ebx >>> 0 === VENDOR_AMD.ebx && ecx >>> 0 === VENDOR_AMD.ecx && edx >>> 0 === VENDOR_AMD.edx;
  return isAmd && amd.has("SVM");
}

export function isDisabled(amd: KvmAmd): boolean {
  return (amd.thisCpu().rdmsr(MSR.VM_CR) & VM_CR_SVM_DISABLE) !== 0n;
}

export function svmHardwareSetup(amd: KvmAmd): void {
  const { host, kvm } = amd;
  const { memory } = host;
  try {
    amd.iopmBase = memory.allocatePages(IOPM_PAGES);
    memory.view(amd.iopmBase, IOPM_PAGES * PAGE_SIZE).fill(0xff);
    for (const { id } of host.processors) amd.hostSaveAreas.set(id, memory.allocatePage());
  } catch (error) {
    freePages(amd);
    throw error;
  }
  if (amd.has("NX")) kvm.enableEferBits(EFER.NXE);
  amd.nptEnabled = amd.has("SVM_NPT");
  if (amd.nptEnabled) kvm.enableTdp();
  else kvm.disableTdp();
}

export function svmHardwareUnsetup(amd: KvmAmd): void {
  freePages(amd);
}

function freePages(amd: KvmAmd): void {
  const { memory } = amd.host;
  for (const page of amd.hostSaveAreas.values()) memory.freePages(page, 1);
  amd.hostSaveAreas.clear();
  if (amd.iopmBase !== undefined) memory.freePages(amd.iopmBase, IOPM_PAGES);
  amd.iopmBase = undefined;
}
