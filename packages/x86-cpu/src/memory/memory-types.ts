import { isPatType, MEMORY_TYPE } from "@tapvisor/x86-isa";

/** Whether a leaf of the EPT paging structures may have `type`, of 3 bits: UC- is of the PAT alone. */
export const isEptType = (type: number): boolean => type !== MEMORY_TYPE.UC_MINUS && isPatType(type);
