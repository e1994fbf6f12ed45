/** Entries of the EPT paging structures (SDM vol. 3, "The Extended Page Table Mechanism"). Bit 63 does not fit a number's bit operations. */
export const EPT = {
  READ: 1 << 0,
  WRITE: 1 << 1,
  EXECUTE: 1 << 2,
  RWX: 7,
  /** Memory type of a leaf, bits 5:3. */
  MEMORY_TYPE: 7 << 3,
  IGNORE_PAT: 1 << 6,
  /** Leaf above the last level: 1-GiB or 2-MiB page. */
  LARGE_PAGE: 1 << 7,
  ACCESSED: 1 << 8,
  DIRTY: 1 << 9,
  EXECUTE_USER: 1 << 10,
} as const;
export const EPT_MEMORY_TYPE_SHIFT = 3;
export const EPT_SUPPRESS_VE = 1n << 63n;

/** The EPT pointer (SDM vol. 3, "Extended-Page-Table Pointer (EPTP)"). */
export const EPTP = {
  MEMORY_TYPE: 7,
  /** Page-walk length minus 1. */
  WALK_LENGTH: 7 << 3,
  ACCESSED_DIRTY: 1 << 6,
} as const;
export const EPTP_WALK_LENGTH_SHIFT = 3;
/** A page walk of 4 levels, as the field of the walk length says it. */
export const EPTP_PAGE_WALK_4 = 3;
/** Bits of the low half that must be 0. */
export const EPTP_RESERVED = 0xf80;

/** Memory types (SDM vol. 3, "Memory Types and Their Properties", "Page Attribute Table"). */
export const MEMORY_TYPE = { UC: 0, WC: 1, WT: 4, WP: 5, WB: 6, UC_MINUS: 7 } as const;

/** A set of memory types, a bit each. */
const PAT_TYPES = Object.values(MEMORY_TYPE).reduce<number>((types, type) => types | (1 << type), 0);

/** Whether a byte of the PAT may be `type` (SDM vol. 3, "IA32_PAT MSR"). */
export const isPatType = (type: number): boolean => type <= 7 && ((PAT_TYPES >>> type) & 1) !== 0;

/** Exit qualification of an EPT violation (SDM vol. 3, "Exit Qualification for EPT Violations"). */
export const EPT_VIOLATION = {
  READ: 1 << 0,
  WRITE: 1 << 1,
  FETCH: 1 << 2,
  READABLE: 1 << 3,
  WRITABLE: 1 << 4,
  EXECUTABLE: 1 << 5,
  EXECUTABLE_USER: 1 << 6,
  /** The guest linear-address field is valid. */
  LINEAR_VALID: 1 << 7,
  /** The access was to the translation of a linear address, not to a paging-structure entry. */
  TRANSLATED: 1 << 8,
  NMI_UNBLOCKING: 1 << 12,
} as const;

/** Types of INVEPT, INVVPID and INVPCID. */
export const INVEPT_TYPE = { SINGLE_CONTEXT: 1, ALL_CONTEXT: 2 } as const;
export const INVVPID_TYPE = {
  INDIVIDUAL_ADDR: 0,
  SINGLE_CONTEXT: 1,
  ALL_CONTEXT: 2,
  SINGLE_CONTEXT_RETAINING_GLOBALS: 3,
} as const;
export const INVPCID_TYPE = { INDIVIDUAL_ADDR: 0, SINGLE_CONTEXT: 1, ALL_CONTEXT_GLOBAL: 2, ALL_CONTEXT: 3 } as const;
