/** A bit field of a capability MSR: `(value >> shift) & ((1 << width) - 1)`. */
export interface CapabilityField {
  readonly shift: number;
  readonly width: number;
}

/** IA32_VMX_BASIC (SDM vol. 3, appendix "VMX Capability Reporting Facility"). */
export const VMX_BASIC = {
  REVISION_ID: { shift: 0, width: 31 },
  REGION_SIZE: { shift: 32, width: 13 },
  PHYSICAL_ADDRESS_32: { shift: 48, width: 1 },
  DUAL_MONITOR: { shift: 49, width: 1 },
  MEMORY_TYPE: { shift: 50, width: 4 },
  INS_OUTS: { shift: 54, width: 1 },
  TRUE_CONTROLS: { shift: 55, width: 1 },
  NO_ERROR_CODE_CHECK: { shift: 56, width: 1 },
} as const satisfies Record<string, CapabilityField>;

/** IA32_VMX_MISC. */
export const VMX_MISC = {
  PREEMPTION_TIMER_RATE: { shift: 0, width: 5 },
  SAVE_EFER_LMA: { shift: 5, width: 1 },
  ACTIVITY_HLT: { shift: 6, width: 1 },
  ACTIVITY_SHUTDOWN: { shift: 7, width: 1 },
  ACTIVITY_WAIT_SIPI: { shift: 8, width: 1 },
  INTEL_PT: { shift: 14, width: 1 },
  RDMSR_SMBASE: { shift: 15, width: 1 },
  CR3_TARGET_COUNT: { shift: 16, width: 9 },
  MSR_LIST_MAX: { shift: 25, width: 3 },
  SMM_MONITOR_BLOCK_SMI: { shift: 28, width: 1 },
  VMWRITE_ANY_FIELD: { shift: 29, width: 1 },
  ZERO_LENGTH_INJECTION: { shift: 30, width: 1 },
  MSEG_REVISION_ID: { shift: 32, width: 32 },
} as const satisfies Record<string, CapabilityField>;

/** IA32_VMX_EPT_VPID_CAP. */
export const VMX_EPT_VPID_CAP = {
  EPT_EXECUTE_ONLY: { shift: 0, width: 1 },
  EPT_PAGE_WALK_4: { shift: 6, width: 1 },
  EPT_PAGE_WALK_5: { shift: 7, width: 1 },
  EPTP_UC: { shift: 8, width: 1 },
  EPTP_WB: { shift: 14, width: 1 },
  EPT_2MB_PAGE: { shift: 16, width: 1 },
  EPT_1GB_PAGE: { shift: 17, width: 1 },
  INVEPT: { shift: 20, width: 1 },
  EPT_ACCESSED_DIRTY: { shift: 21, width: 1 },
  ADVANCED_EXIT_INFO: { shift: 22, width: 1 },
  INVEPT_SINGLE_CONTEXT: { shift: 25, width: 1 },
  INVEPT_ALL_CONTEXT: { shift: 26, width: 1 },
  INVVPID: { shift: 32, width: 1 },
  INVVPID_INDIVIDUAL_ADDR: { shift: 40, width: 1 },
  INVVPID_SINGLE_CONTEXT: { shift: 41, width: 1 },
  INVVPID_ALL_CONTEXT: { shift: 42, width: 1 },
  INVVPID_SINGLE_CONTEXT_RETAINING_GLOBALS: { shift: 43, width: 1 },
} as const satisfies Record<string, CapabilityField>;

/** IA32_VMX_VMCS_ENUM: bits 9:1 hold the highest index of a field. */
export const VMX_VMCS_ENUM = { HIGHEST_INDEX: { shift: 1, width: 9 } } as const satisfies Record<
  string,
  CapabilityField
>;

/** Read one bit field of a capability MSR. */
export function capability(value: bigint, field: CapabilityField): number {
  return Number((value >> BigInt(field.shift)) & ((1n << BigInt(field.width)) - 1n));
}

/** `content` placed where the bit field is. Content that does not fit is an error of the caller. */
export function capabilityBits(field: CapabilityField, content: number): bigint {
  if (content < 0 || content >= 2 ** field.width) throw new RangeError(`${content} does not fit ${field.width} bits`);
  return BigInt(content) << BigInt(field.shift);
}
