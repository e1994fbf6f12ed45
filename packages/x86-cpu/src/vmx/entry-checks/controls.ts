import {
  CPU_BASED,
  EPTP,
  EPTP_PAGE_WALK_4,
  EPTP_RESERVED,
  EPTP_WALK_LENGTH_SHIFT,
  INTR_INFO,
  INTR_INFO_RESERVED,
  INTR_TYPE,
  MAX_INSTRUCTION_BYTES,
  MEMORY_TYPE,
  PIN_BASED,
  SECONDARY_EXEC,
  VECTOR,
  VM_EXIT,
  hasErrorCode,
} from "@tapvisor/x86-isa";
import type { ControlGroup } from "../controls.js";
import { interruptionType, isSoftwareType } from "../event-information.js";
import { F } from "../fields.js";
import { FIELD_KIND } from "../vmcs-layout.js";
import type { Checked, EntryCheck } from "./checked.js";

const { CONTROL, EVENT, GUEST } = FIELD_KIND;

const outOfRange = (c: Checked, group: ControlGroup, value: number): boolean => {
  const { mustBeOne, mayBeOne } = c.capabilities.controls[group];
  return (value & mustBeOne) >>> 0 !== mustBeOne || (value & ~mayBeOne) !== 0;
};

const EXECUTION = "Checks on VM-Execution Control Fields";
const EXIT = "Checks on VM-Exit Control Fields";
const ENTRY = "Checks on VM-Entry Control Fields";

const typeOf = (c: Checked): number => interruptionType(c.event);
const vectorOf = (c: Checked): number => c.event & INTR_INFO.VECTOR;
/** The one value of the interruption type that is reserved. */
const RESERVED_TYPE = 1;

/** A violation makes VMLAUNCH and VMRESUME fail with VM-instruction error 7. */
export const CONTROL_CHECKS: readonly EntryCheck[] = [
  {
    section: EXECUTION,
    rule: "reserved bits of the pin-based controls are set as IA32_VMX_PINBASED_CTLS says",
    reads: CONTROL,
    violated: (c) => outOfRange(c, "pin", c.pin),
  },
  {
    section: EXECUTION,
    rule: "reserved bits of the primary processor-based controls are set as IA32_VMX_PROCBASED_CTLS says",
    reads: CONTROL,
    violated: (c) => outOfRange(c, "primary", c.primary),
  },
  {
    section: EXECUTION,
    rule: "reserved bits of active secondary processor-based controls are clear",
    reads: CONTROL,
    violated: (c) => outOfRange(c, "secondary", c.secondary),
  },
  {
    section: EXECUTION,
    rule: "the CR3-target count is at most 4",
    reads: CONTROL,
    violated: (c) => c.low(F.CR3_TARGET_COUNT) > c.capabilities.cr3Targets,
  },
  {
    section: EXECUTION,
    rule: "with I/O bitmaps, bitmap A is a page within the physical-address width",
    reads: CONTROL,
    violated: (c) => (c.primary & CPU_BASED.USE_IO_BITMAPS) !== 0 && c.notPage(F.IO_BITMAP_A),
  },
  {
    section: EXECUTION,
    rule: "with I/O bitmaps, bitmap B is a page within the physical-address width",
    reads: CONTROL,
    violated: (c) => (c.primary & CPU_BASED.USE_IO_BITMAPS) !== 0 && c.notPage(F.IO_BITMAP_B),
  },
  {
    section: EXECUTION,
    rule: "with MSR bitmaps, they are a page within the physical-address width",
    reads: CONTROL,
    violated: (c) => (c.primary & CPU_BASED.USE_MSR_BITMAPS) !== 0 && c.notPage(F.MSR_BITMAP),
  },
  {
    section: EXECUTION,
    rule: "virtual NMIs need NMI exiting",
    reads: CONTROL,
    violated: (c) => (c.pin & (PIN_BASED.NMI_EXITING | PIN_BASED.VIRTUAL_NMIS)) === PIN_BASED.VIRTUAL_NMIS,
  },
  {
    section: EXECUTION,
    rule: "NMI-window exiting needs virtual NMIs",
    reads: CONTROL,
    violated: (c) => (c.pin & PIN_BASED.VIRTUAL_NMIS) === 0 && (c.primary & CPU_BASED.NMI_WINDOW_EXITING) !== 0,
  },
  {
    section: EXECUTION,
    rule: "with VPIDs, the virtual-processor identifier is not 0",
    reads: CONTROL,
    violated: (c) => (c.secondary & SECONDARY_EXEC.ENABLE_VPID) !== 0 && c.low(F.VIRTUAL_PROCESSOR_ID) === 0,
  },
  {
    section: EXECUTION,
    rule: "with EPT, the memory type of the EPTP is supported",
    reads: CONTROL,
    violated: (c) => {
      const type = c.low(F.EPT_POINTER) & EPTP.MEMORY_TYPE;
      return withEpt(c) && type !== MEMORY_TYPE.UC && type !== MEMORY_TYPE.WB;
    },
  },
  {
    section: EXECUTION,
    rule: "with EPT, the EPTP asks for a page walk of 4",
    reads: CONTROL,
    violated: (c) =>
      withEpt(c) && (c.low(F.EPT_POINTER) & EPTP.WALK_LENGTH) >> EPTP_WALK_LENGTH_SHIFT !== EPTP_PAGE_WALK_4,
  },
  {
    section: EXECUTION,
    rule: "with EPT, accessed and dirty flags are asked for only where they exist",
    reads: CONTROL,
    violated: (c) =>
      withEpt(c) && (c.low(F.EPT_POINTER) & EPTP.ACCESSED_DIRTY) !== 0 && !c.capabilities.has("eptAccessedDirty"),
  },
  {
    section: EXECUTION,
    rule: "with EPT, reserved bits of the EPTP are clear",
    reads: CONTROL,
    violated: (c) => withEpt(c) && ((c.low(F.EPT_POINTER) & EPTP_RESERVED) !== 0 || c.pastPhysical(F.EPT_POINTER)),
  },
  {
    section: EXECUTION,
    rule: "unrestricted guest needs EPT",
    reads: CONTROL,
    violated: (c) => c.unrestricted && !withEpt(c),
  },
  {
    section: EXIT,
    rule: "reserved bits of the VM-exit controls are set as IA32_VMX_EXIT_CTLS says",
    reads: CONTROL,
    violated: (c) => outOfRange(c, "exit", c.exit),
  },
  {
    section: EXIT,
    rule: "saving the VMX-preemption timer needs the timer to be active",
    reads: CONTROL,
    violated: (c) =>
      (c.exit & VM_EXIT.SAVE_VMX_PREEMPTION_TIMER) !== 0 && (c.pin & PIN_BASED.VMX_PREEMPTION_TIMER) === 0,
  },
  {
    section: EXIT,
    rule: "the VM-exit MSR-store list is aligned to 16 bytes and within the physical-address width",
    reads: CONTROL,
    violated: (c) => c.badMsrList(F.VM_EXIT_MSR_STORE_COUNT, F.VM_EXIT_MSR_STORE_ADDR),
  },
  {
    section: EXIT,
    rule: "the VM-exit MSR-load list is aligned to 16 bytes and within the physical-address width",
    reads: CONTROL,
    violated: (c) => c.badMsrList(F.VM_EXIT_MSR_LOAD_COUNT, F.VM_EXIT_MSR_LOAD_ADDR),
  },
  {
    section: ENTRY,
    rule: "reserved bits of the VM-entry controls are set as IA32_VMX_ENTRY_CTLS says",
    reads: CONTROL,
    violated: (c) => outOfRange(c, "entry", c.entry),
  },
  {
    section: ENTRY,
    rule: "the interruption type is not reserved",
    reads: EVENT,
    violated: (c) =>
      c.injecting &&
      (typeOf(c) === RESERVED_TYPE ||
        (typeOf(c) === INTR_TYPE.OTHER_EVENT && !c.capabilities.offers("primary", CPU_BASED.MONITOR_TRAP_FLAG))),
  },
  {
    section: ENTRY,
    rule: "the vector fits the interruption type",
    reads: EVENT,
    violated: (c) => {
      if (!c.injecting) return false;
      const type = typeOf(c);
      if (type === INTR_TYPE.NMI_INTR) return vectorOf(c) !== VECTOR.NMI;
      if (type === INTR_TYPE.HARD_EXCEPTION) return vectorOf(c) > 31;
      return type === INTR_TYPE.OTHER_EVENT && vectorOf(c) !== 0;
    },
  },
  {
    section: ENTRY,
    rule: "an error code is delivered exactly for a hardware exception that has one, in a guest in protected mode",
    reads: EVENT | GUEST | CONTROL,
    violated: (c) => {
      if (!c.injecting) return false;
      const wanted =
        typeOf(c) === INTR_TYPE.HARD_EXCEPTION &&
        hasErrorCode(vectorOf(c)) &&
        vectorOf(c) !== VECTOR.CP &&
        (!c.unrestricted || c.protectedMode);
      return ((c.event & INTR_INFO.DELIVER_CODE) !== 0) !== wanted;
    },
  },
  {
    section: ENTRY,
    rule: "reserved bits of the interruption information are clear",
    reads: EVENT,
    violated: (c) => c.injecting && (c.event & INTR_INFO_RESERVED) !== 0,
  },
  {
    section: ENTRY,
    rule: "bits 31:16 of an error code that is delivered are clear",
    reads: EVENT,
    violated: (c) =>
      c.injecting && (c.event & INTR_INFO.DELIVER_CODE) !== 0 && c.low(F.VM_ENTRY_EXCEPTION_ERROR_CODE) >>> 16 !== 0,
  },
  {
    section: ENTRY,
    rule: "the instruction length of a software event is at most 15",
    reads: EVENT,
    violated: (c) =>
      c.injecting && isSoftwareType(typeOf(c)) && c.low(F.VM_ENTRY_INSTRUCTION_LEN) > MAX_INSTRUCTION_BYTES,
  },
  {
    section: ENTRY,
    rule: "the VM-entry MSR-load list is aligned to 16 bytes and within the physical-address width",
    reads: CONTROL,
    violated: (c) => c.badMsrList(F.VM_ENTRY_MSR_LOAD_COUNT, F.VM_ENTRY_MSR_LOAD_ADDR),
  },
];

function withEpt(c: Checked): boolean {
  return (c.secondary & SECONDARY_EXEC.ENABLE_EPT) !== 0;
}
