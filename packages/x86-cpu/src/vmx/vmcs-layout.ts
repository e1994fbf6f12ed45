import {
  CPU_BASED,
  PAGE_SIZE,
  PIN_BASED,
  SECONDARY_EXEC,
  VMCS_FIELDS,
  VM_ENTRY,
  VM_EXIT,
  type VmcsField,
  type VmcsFieldName,
} from "@tapvisor/x86-isa";
import type { ControlGroup } from "./controls.js";

type Needs = readonly (readonly [ControlGroup, number])[];
const pin = (bit: number): Needs => [["pin", bit]];
const primary = (bit: number): Needs => [["primary", bit]];
const secondary = (bit: number): Needs => [["secondary", bit]];
const entry = (bit: number): Needs => [["entry", bit]];
const exit = (bit: number): Needs => [["exit", bit]];
/** Needs a control that no processor here has. */
const NEVER: Needs = [];

/**
 * Fields that exist only on processors that support the 1-setting of one of the controls named (SDM vol. 3, appendix
 * "Field Encoding in VMCS", footnotes).
 */
const FIELD_NEEDS: Partial<Record<VmcsFieldName, Needs>> = {
  VIRTUAL_PROCESSOR_ID: secondary(SECONDARY_EXEC.ENABLE_VPID),
  POSTED_INTR_NV: pin(PIN_BASED.POSTED_INTR),
  EPTP_INDEX: secondary(SECONDARY_EXEC.EPT_VIOLATION_VE),
  HLAT_PREFIX_SIZE: NEVER,
  LAST_PID_POINTER_INDEX: NEVER,
  GUEST_INTR_STATUS: secondary(SECONDARY_EXEC.VIRTUAL_INTR_DELIVERY),
  GUEST_PML_INDEX: secondary(SECONDARY_EXEC.ENABLE_PML),
  GUEST_UINV: NEVER,
  MSR_BITMAP: primary(CPU_BASED.USE_MSR_BITMAPS),
  PML_ADDRESS: secondary(SECONDARY_EXEC.ENABLE_PML),
  VIRTUAL_APIC_PAGE_ADDR: primary(CPU_BASED.TPR_SHADOW),
  APIC_ACCESS_ADDR: secondary(SECONDARY_EXEC.VIRTUALIZE_APIC_ACCESSES),
  POSTED_INTR_DESC_ADDR: pin(PIN_BASED.POSTED_INTR),
  VM_FUNCTION_CONTROL: secondary(SECONDARY_EXEC.ENABLE_VMFUNC),
  EPT_POINTER: secondary(SECONDARY_EXEC.ENABLE_EPT),
  EOI_EXIT_BITMAP0: secondary(SECONDARY_EXEC.VIRTUAL_INTR_DELIVERY),
  EOI_EXIT_BITMAP1: secondary(SECONDARY_EXEC.VIRTUAL_INTR_DELIVERY),
  EOI_EXIT_BITMAP2: secondary(SECONDARY_EXEC.VIRTUAL_INTR_DELIVERY),
  EOI_EXIT_BITMAP3: secondary(SECONDARY_EXEC.VIRTUAL_INTR_DELIVERY),
  EPTP_LIST_ADDRESS: secondary(SECONDARY_EXEC.ENABLE_VMFUNC),
  VMREAD_BITMAP: secondary(SECONDARY_EXEC.SHADOW_VMCS),
  VMWRITE_BITMAP: secondary(SECONDARY_EXEC.SHADOW_VMCS),
  VIRTUALIZATION_EXCEPTION_INFO_ADDRESS: secondary(SECONDARY_EXEC.EPT_VIOLATION_VE),
  XSS_EXIT_BITMAP: secondary(SECONDARY_EXEC.XSAVES),
  ENCLS_EXITING_BITMAP: secondary(SECONDARY_EXEC.ENCLS_EXITING),
  SUB_PAGE_PERMISSION_TABLE_POINTER: secondary(SECONDARY_EXEC.SUB_PAGE_WRITE_PERMISSIONS),
  TSC_MULTIPLIER: secondary(SECONDARY_EXEC.TSC_SCALING),
  TERTIARY_VM_EXEC_CONTROL: primary(CPU_BASED.ACTIVATE_TERTIARY_CONTROLS),
  ENCLV_EXITING_BITMAP: secondary(SECONDARY_EXEC.ENCLV_EXITING),
  LOW_PASID_DIRECTORY_ADDRESS: NEVER,
  HIGH_PASID_DIRECTORY_ADDRESS: NEVER,
  SHARED_EPT_POINTER: NEVER,
  PCONFIG_EXITING_BITMAP: secondary(SECONDARY_EXEC.ENABLE_PCONFIG),
  HLAT_POINTER: NEVER,
  PID_POINTER_TABLE_ADDRESS: NEVER,
  SECONDARY_VM_EXIT_CONTROLS: exit(VM_EXIT.ACTIVATE_SECONDARY_CONTROLS),
  IA32_SPEC_CTRL_MASK: NEVER,
  IA32_SPEC_CTRL_SHADOW: NEVER,
  GUEST_PHYSICAL_ADDRESS: secondary(SECONDARY_EXEC.ENABLE_EPT),
  GUEST_IA32_PAT: [...entry(VM_ENTRY.LOAD_IA32_PAT), ...exit(VM_EXIT.SAVE_IA32_PAT)],
  GUEST_IA32_EFER: [...entry(VM_ENTRY.LOAD_IA32_EFER), ...exit(VM_EXIT.SAVE_IA32_EFER)],
  GUEST_IA32_PERF_GLOBAL_CTRL: entry(VM_ENTRY.LOAD_IA32_PERF_GLOBAL_CTRL),
  GUEST_PDPTR0: secondary(SECONDARY_EXEC.ENABLE_EPT),
  GUEST_PDPTR1: secondary(SECONDARY_EXEC.ENABLE_EPT),
  GUEST_PDPTR2: secondary(SECONDARY_EXEC.ENABLE_EPT),
  GUEST_PDPTR3: secondary(SECONDARY_EXEC.ENABLE_EPT),
  GUEST_BNDCFGS: [...entry(VM_ENTRY.LOAD_BNDCFGS), ...exit(VM_EXIT.CLEAR_BNDCFGS)],
  GUEST_IA32_RTIT_CTL: entry(VM_ENTRY.LOAD_IA32_RTIT_CTL),
  GUEST_IA32_LBR_CTL: entry(VM_ENTRY.LOAD_IA32_LBR_CTL),
  GUEST_IA32_PKRS: entry(VM_ENTRY.LOAD_PKRS),
  HOST_IA32_PAT: exit(VM_EXIT.LOAD_IA32_PAT),
  HOST_IA32_EFER: exit(VM_EXIT.LOAD_IA32_EFER),
  HOST_IA32_PERF_GLOBAL_CTRL: exit(VM_EXIT.LOAD_IA32_PERF_GLOBAL_CTRL),
  HOST_IA32_PKRS: exit(VM_EXIT.LOAD_PKRS),
  TPR_THRESHOLD: primary(CPU_BASED.TPR_SHADOW),
  SECONDARY_VM_EXEC_CONTROL: primary(CPU_BASED.ACTIVATE_SECONDARY_CONTROLS),
  PLE_GAP: secondary(SECONDARY_EXEC.PAUSE_LOOP_EXITING),
  PLE_WINDOW: secondary(SECONDARY_EXEC.PAUSE_LOOP_EXITING),
  INSTRUCTION_TIMEOUT_CONTROL: secondary(SECONDARY_EXEC.INSTRUCTION_TIMEOUT),
  VMX_PREEMPTION_TIMER_VALUE: pin(PIN_BASED.VMX_PREEMPTION_TIMER),
  GUEST_S_CET: entry(VM_ENTRY.LOAD_CET_STATE),
  GUEST_SSP: entry(VM_ENTRY.LOAD_CET_STATE),
  GUEST_INTR_SSP_TABLE: entry(VM_ENTRY.LOAD_CET_STATE),
  HOST_S_CET: exit(VM_EXIT.LOAD_CET_STATE),
  HOST_SSP: exit(VM_EXIT.LOAD_CET_STATE),
  HOST_INTR_SSP_TABLE: exit(VM_EXIT.LOAD_CET_STATE),
};

/** 32-bit words at the start of a region. The first two are the architecture's, the others the processor's own. */
export const VMCS_HEADER = {
  REVISION_ID: 0,
  ABORT_INDICATOR: 1,
  /** 0 clear, 1 launched. */
  LAUNCHED: 2,
  /** Kinds of field ({@link FIELD_KIND}) that software wrote since the newest VM entry that passed its checks. */
  WRITTEN: 3,
} as const;

/** Kinds of field, as a mask, that the VM-entry checks are grouped by. */
export const FIELD_KIND = {
  CONTROL: 1,
  HOST: 2,
  GUEST: 4,
  /** The event to inject. */
  EVENT: 8,
  /** Where the guest goes on: RIP and the non-register state, which software changes after most exits. */
  FLOW: 16,
  FLAGS: 32,
  ALL: 63,
} as const;

const FIRST_WORD = 16;

const WORDS: ReadonlyMap<VmcsFieldName, number> = new Map(
  VMCS_FIELDS.map((field, position) => [field.name, FIRST_WORD + position * 2]),
);

/** Index of the 32-bit word that holds the low half of a field, in a region's words; the high half is the next one. */
export function vmcsWord(name: VmcsFieldName): number {
  const word = WORDS.get(name);
  if (word === undefined) throw new RangeError(`VMCS field ${name} does not exist`);
  return word;
}

const EVENT_FIELDS: ReadonlySet<VmcsFieldName> = new Set<VmcsFieldName>([
  "VM_ENTRY_INTR_INFO_FIELD",
  "VM_ENTRY_EXCEPTION_ERROR_CODE",
  "VM_ENTRY_INSTRUCTION_LEN",
]);

const FLOW_FIELDS: ReadonlySet<VmcsFieldName> = new Set<VmcsFieldName>([
  "GUEST_RIP",
  "GUEST_RSP",
  "GUEST_INTERRUPTIBILITY_INFO",
  "GUEST_ACTIVITY_STATE",
  "GUEST_PENDING_DBG_EXCEPTIONS",
  "VMX_PREEMPTION_TIMER_VALUE",
]);

function kindOf(field: VmcsField): number {
  if (field.name === "GUEST_RFLAGS") return FIELD_KIND.FLAGS;
  if (FLOW_FIELDS.has(field.name)) return FIELD_KIND.FLOW;
  if (EVENT_FIELDS.has(field.name)) return FIELD_KIND.EVENT;
  if (field.type === "host") return FIELD_KIND.HOST;
  return field.type === "guest" ? FIELD_KIND.GUEST : FIELD_KIND.CONTROL;
}

/** How VMREAD and VMWRITE reach a field: the parts of an entry of {@link VmcsLayout.access}. */
export const FIELD_ACCESS = {
  WORD: 0x3ff,
  /** 16-bit field. */
  W16: 0x400,
  /** 64-bit access; neither this nor W16: 32 bits. */
  W64: 0x800,
  READ_ONLY: 0x1000,
  KIND_SHIFT: 13,
} as const;

/** Where the fields of one processor lie in a VMCS region, and which of them exist. */
export class VmcsLayout {
  static readonly REGION_BYTES = PAGE_SIZE;

  /** By encoding: how to reach the field, 0 where there is none. */
  readonly access: Uint32Array;
  /** Highest index (bits 9:1 of the encoding) of a field that exists. */
  readonly highestIndex: number;
  readonly fields: readonly VmcsField[];

  /** @param offers whether the processor supports the 1-setting of one of `bits` */
  constructor(offers: (group: ControlGroup, bits: number) => boolean) {
    this.fields = VMCS_FIELDS.filter(({ name }) => {
      const needs = FIELD_NEEDS[name];
      return needs === undefined || needs.some(([group, bits]) => offers(group, bits));
    });
    this.access = new Uint32Array(0x8000);
    for (const field of this.fields) {
      const readOnly = field.type === "read-only" ? FIELD_ACCESS.READ_ONLY : 0;
      const shared = (kindOf(field) << FIELD_ACCESS.KIND_SHIFT) | readOnly;
      const word = vmcsWord(field.name);
      const width = field.width === 16 ? FIELD_ACCESS.W16 : field.width === 32 ? 0 : FIELD_ACCESS.W64;
      this.access[field.encoding] = word | width | shared;
      if (field.width === 64) this.access[field.encoding + 1] = (word + 1) | shared;
    }
    this.highestIndex = Math.max(...this.fields.map((field) => field.index));
  }
}
