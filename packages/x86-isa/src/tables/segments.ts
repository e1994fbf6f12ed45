/**
 * Access rights of a segment, in the format of the VMCS access-rights fields (SDM vol. 3, "Guest Register State"): bits
 * 15:0 are bits 55:40 of the descriptor with the limit bits 11:8 clear, bit 16 marks a segment that cannot be used.
 */
export const SEGMENT_RIGHTS = {
  TYPE: 0xf,
  /** Code or data; clear in a system descriptor. */
  S: 1 << 4,
  DPL: 3 << 5,
  P: 1 << 7,
  AVL: 1 << 12,
  L: 1 << 13,
  DB: 1 << 14,
  G: 1 << 15,
  UNUSABLE: 1 << 16,
} as const;
export const SEGMENT_RIGHTS_DPL_SHIFT = 5;

/** What the access rights of a segment hold, each by itself. */
export interface SegmentRightsFields {
  type: number;
  /** Code or data (true), or a system segment. */
  s: boolean;
  dpl: number;
  present: boolean;
  avl: boolean;
  l: boolean;
  db: boolean;
  g: boolean;
  unusable: boolean;
}

/** The access-rights word of these fields. */
export function packSegmentRights(fields: Readonly<SegmentRightsFields>): number {
  return (
    (fields.type & SEGMENT_RIGHTS.TYPE) |
    (fields.s ? SEGMENT_RIGHTS.S : 0) |
    ((fields.dpl << SEGMENT_RIGHTS_DPL_SHIFT) & SEGMENT_RIGHTS.DPL) |
    (fields.present ? SEGMENT_RIGHTS.P : 0) |
    (fields.avl ? SEGMENT_RIGHTS.AVL : 0) |
    (fields.l ? SEGMENT_RIGHTS.L : 0) |
    (fields.db ? SEGMENT_RIGHTS.DB : 0) |
    (fields.g ? SEGMENT_RIGHTS.G : 0) |
    (fields.unusable ? SEGMENT_RIGHTS.UNUSABLE : 0)
  );
}

/** The inverse of {@link packSegmentRights}: set the fields of `into`, which is returned. */
export function unpackSegmentRights<T extends SegmentRightsFields>(rights: number, into: T): T {
  into.type = rights & SEGMENT_RIGHTS.TYPE;
  into.s = (rights & SEGMENT_RIGHTS.S) !== 0;
  into.dpl = (rights & SEGMENT_RIGHTS.DPL) >> SEGMENT_RIGHTS_DPL_SHIFT;
  into.present = (rights & SEGMENT_RIGHTS.P) !== 0;
  into.avl = (rights & SEGMENT_RIGHTS.AVL) !== 0;
  into.l = (rights & SEGMENT_RIGHTS.L) !== 0;
  into.db = (rights & SEGMENT_RIGHTS.DB) !== 0;
  into.g = (rights & SEGMENT_RIGHTS.G) !== 0;
  into.unusable = (rights & SEGMENT_RIGHTS.UNUSABLE) !== 0;
  return into;
}

/** Bits of the type of a code or data segment (SDM vol. 3, "Code- and Data-Segment Descriptor Types"). */
export const SEGMENT_TYPE = {
  ACCESSED: 1,
  /** Of a data segment. */
  WRITABLE: 2,
  /** Of a code segment. */
  READABLE: 2,
  EXPAND_DOWN: 4,
  CONFORMING: 4,
  CODE: 8,
} as const;

/** Types of system descriptors (SDM vol. 3, "System Descriptor Types"); in IA-32e mode 9, 11, 12, 14, 15 are the 64-bit forms. */
export const SYSTEM_DESCRIPTOR = {
  TSS16_AVAILABLE: 1,
  LDT: 2,
  TSS16_BUSY: 3,
  CALL_GATE16: 4,
  TASK_GATE: 5,
  INTERRUPT_GATE16: 6,
  TRAP_GATE16: 7,
  TSS_AVAILABLE: 9,
  TSS_BUSY: 11,
  CALL_GATE: 12,
  INTERRUPT_GATE: 14,
  TRAP_GATE: 15,
} as const;

/** Segment selector and selector error code (SDM vol. 3, "Segment Selectors"; "Error Code"). */
export const SELECTOR = {
  RPL: 3,
  /** Table indicator: LDT. */
  TI: 4,
  INDEX: 0xfff8,
} as const;
export const SELECTOR_ERROR = {
  /** The event was external to the program. */
  EXT: 1,
  /** The index is a vector of the IDT. */
  IDT: 2,
  TI: 4,
} as const;
