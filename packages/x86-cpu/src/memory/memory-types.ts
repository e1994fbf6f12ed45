import { MEMORY_TYPE } from "@tapvisor/x86-isa";

/** A set of memory types, a bit each. */
const PAT_TYPES = Object.values(MEMORY_TYPE).reduce<number>((types, type) => types | (1 << type), 0);

/** Whether a byte of the PAT may be `type` (SDM vol. 3, "IA32_PAT MSR"). */
export const isPatType = (type: number): boolean => type <= 7 && ((PAT_TYPES >>> type) & 1) !== 0;

/** Whether a leaf of the EPT paging structures may have `type`, of 3 bits: UC- is of the PAT alone. */
export const isEptType = (type: number): boolean => type !== MEMORY_TYPE.UC_MINUS && isPatType(type);
