import { CPU_BASED, PIN_BASED, SECONDARY_EXEC, VM_ENTRY, VM_EXIT } from "@tapvisor/x86-isa";
import { type Guest } from "../guest.js";
import { INTR, CODE, PAST_PHYSICAL, type Break } from "./break.js";

const pinReserved = (g: Guest): void => g.set("PIN_BASED_VM_EXEC_CONTROL", PIN_BASED.POSTED_INTR);

export const CONTROLS: Readonly<Record<string, Break>> = {
  "reserved bits of the pin-based controls are set as IA32_VMX_PINBASED_CTLS says": pinReserved,
  "reserved bits of the primary processor-based controls are set as IA32_VMX_PROCBASED_CTLS says": (g) =>
    g.set("CPU_BASED_VM_EXEC_CONTROL", CPU_BASED.TPR_SHADOW),
  "reserved bits of active secondary processor-based controls are clear": (g) =>
    g.set("SECONDARY_VM_EXEC_CONTROL", SECONDARY_EXEC.ENABLE_PML),
  "the CR3-target count is at most 4": (g) => g.write("CR3_TARGET_COUNT", 5),
  "with I/O bitmaps, bitmap A is a page within the physical-address width": (g) => {
    g.set("CPU_BASED_VM_EXEC_CONTROL", CPU_BASED.USE_IO_BITMAPS);
    g.write("IO_BITMAP_A", 0x1008);
  },
  "with I/O bitmaps, bitmap B is a page within the physical-address width": (g) => {
    g.set("CPU_BASED_VM_EXEC_CONTROL", CPU_BASED.USE_IO_BITMAPS);
    g.write("IO_BITMAP_B", PAST_PHYSICAL);
  },
  "with MSR bitmaps, they are a page within the physical-address width": (g) => {
    g.set("CPU_BASED_VM_EXEC_CONTROL", CPU_BASED.USE_MSR_BITMAPS);
    g.write("MSR_BITMAP", 1);
  },
  "virtual NMIs need NMI exiting": (g) => g.set("PIN_BASED_VM_EXEC_CONTROL", PIN_BASED.VIRTUAL_NMIS),
  "NMI-window exiting needs virtual NMIs": (g) => g.set("CPU_BASED_VM_EXEC_CONTROL", CPU_BASED.NMI_WINDOW_EXITING),
  "with VPIDs, the virtual-processor identifier is not 0": (g) =>
    g.set("SECONDARY_VM_EXEC_CONTROL", SECONDARY_EXEC.ENABLE_VPID),
  "with EPT, the memory type of the EPTP is supported": (g) => g.write("EPT_POINTER", g.eptp ^ 3),
  "with EPT, the EPTP asks for a page walk of 4": (g) => g.write("EPT_POINTER", g.eptp ^ (4 << 3)),
  "with EPT, reserved bits of the EPTP are clear": (g) => g.write("EPT_POINTER", g.eptp | 0x80),
  "unrestricted guest needs EPT": (g) => g.clear("SECONDARY_VM_EXEC_CONTROL", SECONDARY_EXEC.ENABLE_EPT),
  "reserved bits of the VM-exit controls are set as IA32_VMX_EXIT_CTLS says": (g) =>
    g.set("VM_EXIT_CONTROLS", VM_EXIT.CLEAR_BNDCFGS),
  "saving the VMX-preemption timer needs the timer to be active": (g) =>
    g.set("VM_EXIT_CONTROLS", VM_EXIT.SAVE_VMX_PREEMPTION_TIMER),
  "the VM-exit MSR-store list is aligned to 16 bytes and within the physical-address width": (g) => {
    g.write("VM_EXIT_MSR_STORE_COUNT", 1);
    g.write("VM_EXIT_MSR_STORE_ADDR", 8);
  },
  "the VM-exit MSR-load list is aligned to 16 bytes and within the physical-address width": (g) => {
    g.write("VM_EXIT_MSR_LOAD_COUNT", 2);
    g.write("VM_EXIT_MSR_LOAD_ADDR", PAST_PHYSICAL - 16n);
  },
  "reserved bits of the VM-entry controls are set as IA32_VMX_ENTRY_CTLS says": (g) =>
    g.set("VM_ENTRY_CONTROLS", VM_ENTRY.SMM),
  "the interruption type is not reserved": (g) => g.write("VM_ENTRY_INTR_INFO_FIELD", INTR(1, 0x20)),
  "the vector fits the interruption type": (g) => g.write("VM_ENTRY_INTR_INFO_FIELD", INTR(2, 3)),
  "an error code is delivered exactly for a hardware exception that has one, in a guest in protected mode": (g) =>
    g.write("VM_ENTRY_INTR_INFO_FIELD", INTR(3, 13)),
  "reserved bits of the interruption information are clear": (g) =>
    g.write("VM_ENTRY_INTR_INFO_FIELD", INTR(3, 6, 1 << 13)),
  "bits 31:16 of an error code that is delivered are clear": (g) => {
    g.write("VM_ENTRY_INTR_INFO_FIELD", INTR(3, 13, CODE));
    g.write("VM_ENTRY_EXCEPTION_ERROR_CODE", 0x10000);
  },
  "the instruction length of a software event is at most 15": (g) => {
    g.write("VM_ENTRY_INTR_INFO_FIELD", INTR(4, 0x80));
    g.write("VM_ENTRY_INSTRUCTION_LEN", 16);
  },
  "the VM-entry MSR-load list is aligned to 16 bytes and within the physical-address width": (g) => {
    g.write("VM_ENTRY_MSR_LOAD_COUNT", 1);
    g.write("VM_ENTRY_MSR_LOAD_ADDR", 4);
  },
};
